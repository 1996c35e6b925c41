/* SPDX-License-Identifier: BSD-2-Clause */
/* The programs run on a machine of our own, with the kernel's rules; test_steer_cbpf attaches them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/steer/classic.h"

/* ---- the machine ---------------------------------------------------------------------------- */

struct packet {
	uint8_t bytes[128];
	size_t n;
};

static uint32_t load(const struct packet *p, uint32_t k, size_t size)
{
	uint32_t value = 0;
	size_t offset = k - (uint32_t)SKF_NET_OFF;

	assert_true(offset + size <= p->n);
	while (size-- > 0)
		value = value << 8 | p->bytes[offset++];
	return value;
}

static size_t load_size(uint16_t code)
{
	return BPF_SIZE(code) == BPF_W ? 4 : BPF_SIZE(code) == BPF_H ? 2 : 1;
}

static uint32_t compute(uint16_t code, uint32_t a, uint32_t operand)
{
	switch (BPF_OP(code)) {
	case BPF_MUL:
		return a * operand;
	case BPF_AND:
		return a & operand;
	case BPF_XOR:
		return a ^ operand;
	case BPF_RSH:
		assert_true(operand < 32);
		return a >> operand;
	}
	fail_msg("operation %#x", code);
	return 0;
}

/* bpf_check_classic(): what is known, jumps inside, memory written before it is read: the latter
 * is checked where it happens, by run(). */
static void check(const struct sock_filter *code, size_t n)
{
	assert_true(n > 0 && n <= CLASSIC_MAX);
	for (size_t pc = 0; pc < n; pc++) {
		const struct sock_filter *i = &code[pc];

		if (BPF_CLASS(i->code) != BPF_JMP)
			continue;
		if (BPF_OP(i->code) == BPF_JA)
			assert_true(i->k < n - pc - 1);
		else
			assert_true(pc + i->jt + 1 < n && pc + i->jf + 1 < n);
	}
	assert_int_equal(BPF_CLASS(code[n - 1].code), BPF_RET);
}

static uint32_t run(const struct sock_filter *code, const struct packet *p)
{
	uint32_t a = 0, x = 0, mem[BPF_MEMWORDS] = {};
	uint16_t written = 0;

	for (size_t pc = 0;; pc++) {
		const struct sock_filter *i = &code[pc];
		uint32_t operand = BPF_SRC(i->code) == BPF_X ? x : i->k;

		switch (i->code) {
		case BPF_LD | BPF_IMM:
			a = i->k;
			continue;
		case BPF_LD | BPF_MEM:
		case BPF_LDX | BPF_MEM:
			assert_true(written & 1u << i->k);
			*(BPF_CLASS(i->code) == BPF_LD ? &a : &x) = mem[i->k];
			continue;
		case BPF_ST:
			mem[i->k] = a;
			written |= (uint16_t)(1u << i->k);
			continue;
		case BPF_LDX | BPF_B | BPF_MSH:
			x = (load(p, i->k, 1) & 0xf) * 4;
			continue;
		case BPF_MISC | BPF_TAX:
			x = a;
			continue;
		case BPF_RET | BPF_K:
			return i->k;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == i->k ? i->jt : i->jf;
			continue;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= i->k ? i->jt : i->jf;
			continue;
		}
		if (BPF_CLASS(i->code) == BPF_ALU)
			a = compute(i->code, a, operand);
		else if (BPF_CLASS(i->code) == BPF_LD && BPF_MODE(i->code) == BPF_ABS)
			a = load(p, i->k, load_size(i->code));
		else if (BPF_CLASS(i->code) == BPF_LD && BPF_MODE(i->code) == BPF_IND)
			a = load(p, i->k + x, load_size(i->code));
		else
			fail_msg("instruction %#x", i->code);
	}
}

/* ---- packets and programs ------------------------------------------------------------------- */

static struct steer_pin_key source4(const char *text, uint16_t port)
{
	struct steer_pin_key key = {.port = htons(port)};

	key.address[10] = key.address[11] = 0xff;
	assert_int_equal(inet_pton(AF_INET, text, key.address + 12), 1);
	return key;
}

static struct steer_pin_key source6(const char *text, uint16_t port)
{
	struct steer_pin_key key = {.port = htons(port)};

	assert_int_equal(inet_pton(AF_INET6, text, key.address), 1);
	return key;
}

/* A SYN: what is not its source is filled with what must not matter. @options: bytes, IPv4. */
static struct packet packet(const struct steer_pin_key *source, bool ipv6, size_t options)
{
	size_t header = ipv6 ? 40 : 20 + options;
	struct packet p = {.n = header + 20};

	memset(p.bytes, 0xa5, p.n);
	p.bytes[0] = ipv6 ? 0x65 : (uint8_t)(0x40 | header / 4);
	if (ipv6)
		memcpy(p.bytes + 8, source->address, 16);
	else
		memcpy(p.bytes + 12, source->address + 12, 4);
	memcpy(p.bytes + header, &source->port, 2);
	return p;
}

static struct sock_filter code[CLASSIC_MAX];
static size_t n_code;

static void build(const struct classic *classic)
{
	assert_int_equal(classic_build(classic, code, CLASSIC_MAX, &n_code), 0);
	check(code, n_code);
}

static uint32_t ask4(const char *address, uint16_t port)
{
	struct steer_pin_key source = source4(address, port);
	struct packet p = packet(&source, false, 0);

	return run(code, &p);
}

static uint32_t ask6(const char *address, uint16_t port)
{
	struct steer_pin_key source = source6(address, port);
	struct packet p = packet(&source, true, 0);

	return run(code, &p);
}

static void fill(struct classic *classic, uint16_t position)
{
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		classic->positions[i] = position;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_classic_one_target_gets_everything(void **state)
{
	struct classic classic = {};

	(void)state;
	fill(&classic, 37);
	build(&classic);
	assert_int_equal(ask4("127.0.0.1", 1), 37);
	assert_int_equal(ask4("255.255.255.255", 65535), 37);
	assert_int_equal(ask6("::1", 40000), 37);
	assert_true(n_code < 32);
}

static uint32_t mixed(uint32_t hash, uint32_t word)
{
	hash = (hash ^ word) * 0x9e3779b1u;
	return hash ^ hash >> 15;
}

/* The bucket of a source, computed a second time. */
static uint16_t bucket_of(const struct steer_pin_key *source, bool sticky)
{
	uint32_t hash = 0;

	for (size_t k = 0; k < sizeof(source->address); k += sizeof(uint32_t)) {
		uint32_t word;

		memcpy(&word, source->address + k, sizeof(word));
		hash = mixed(hash, ntohl(word));
	}
	if (!sticky)
		hash = mixed(hash, ntohs(source->port));
	hash *= 0x85ebca6bu;
	return (hash ^ hash >> 16) % STEER_BUCKETS;
}

/* Every bucket is asked for, by whatever source has it. */
static void assert_every_bucket(const struct classic *classic)
{
	bool seen[STEER_BUCKETS] = {};
	size_t n_seen = 0;

	for (uint32_t n = 0; n_seen < STEER_BUCKETS; n++) {
		bool ipv6 = n % 2;
		struct steer_pin_key source =
			ipv6 ? source6("2001:db8::", 0) : source4("10.0.0.0", 0);
		uint16_t bucket;
		struct packet p;

		assert_true(n < 100000);
		source.address[13] = (uint8_t)(n >> 16);
		source.address[14] = (uint8_t)(n >> 8);
		source.address[15] = (uint8_t)n;
		source.port = htons((uint16_t)(n * 7));
		bucket = bucket_of(&source, classic->sticky);
		p = packet(&source, ipv6, ipv6 ? 0 : n % 11 * 4);
		assert_int_equal(run(code, &p), classic->positions[bucket]);
		n_seen += !seen[bucket];
		seen[bucket] = true;
	}
}

static void test_classic_table_is_followed_bucket_by_bucket(void **state)
{
	static const size_t counts[] = {1, 2, 3, 4, 5, 15, 16, 17, 64, 255, 256};

	(void)state;
	srand(1);
	for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
		for (int sticky = 0; sticky < 2; sticky++) {
			struct classic classic = {.sticky = sticky};

			/* Positions that are not their own numbers; the first ones are all there.
			 */
			for (size_t i = 0; i < STEER_BUCKETS; i++) {
				size_t target = i < counts[k] ? i : (size_t)rand() % counts[k];

				classic.positions[i] = (uint16_t)(511 - target);
			}
			build(&classic);
			assert_every_bucket(&classic);
		}
	}
}

/* Runs of any length: the tree ends early in some places and not in others. */
static void test_classic_runs_of_buckets_are_followed(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 40; seed++) {
		struct classic classic = {};
		uint16_t position = 0;

		srand(seed);
		for (size_t i = 0; i < STEER_BUCKETS; i++) {
			if (rand() % (1 << seed % 10) == 0)
				position = (uint16_t)(rand() % 9);
			classic.positions[i] = position;
		}
		build(&classic);
		assert_every_bucket(&classic);
	}
}

static void test_classic_buckets_are_even_whatever_differs(void **state)
{
	(void)state;
	for (int what = 0; what < 4; what++) {
		size_t counts[16] = {};

		for (uint32_t n = 0; n < 16000; n++) {
			struct steer_pin_key source = source4("127.0.0.1", 40000);

			switch (what) {
			case 0: /* ports one after the other */
				source.port = htons((uint16_t)(30000 + n));
				break;
			case 1: /* every other port, as Linux gives them to connect(2) */
				source.port = htons((uint16_t)(2 * n));
				break;
			case 2: /* neighbours */
				source.address[14] = (uint8_t)(n >> 8);
				source.address[15] = (uint8_t)n;
				break;
			default: /* networks */
				source = source6("2001:db8::1", 40000);
				source.address[4] = (uint8_t)(n >> 8);
				source.address[5] = (uint8_t)n;
			}
			counts[bucket_of(&source, what >= 2) % 16]++;
		}
		for (size_t k = 0; k < 16; k++)
			assert_in_range(counts[k], 850, 1150);
	}
}

static void test_classic_sticky_looks_at_the_address_alone(void **state)
{
	struct classic classic = {.sticky = true};
	struct steer_pin_key source = source4("192.0.2.7", 1);
	uint16_t bucket = bucket_of(&source, true);
	bool differs = false;

	(void)state;
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		classic.positions[i] = i == bucket;
	build(&classic);
	for (uint16_t port = 1; port < 500; port++) {
		assert_int_equal(ask4("192.0.2.7", port), 1);
		source.port = htons(port);
		differs |= bucket_of(&source, false) != bucket;
	}
	assert_true(differs);
}

static void test_classic_pin_is_stronger_than_the_table(void **state)
{
	const struct classic_pin pins[] = {
		{source4("127.0.0.1", 40000), 5},
		{source6("::1", 40000), 6},
		{source4("127.0.0.1", 40001), 7},
		{source4("127.0.0.2", 40000), 8},
	};
	struct classic classic = {.pins = pins, .n_pins = 4};
	struct packet p;

	(void)state;
	fill(&classic, 1);
	build(&classic);
	assert_int_equal(ask4("127.0.0.1", 40000), 5);
	assert_int_equal(ask6("::1", 40000), 6);
	assert_int_equal(ask4("127.0.0.1", 40001), 7);
	assert_int_equal(ask4("127.0.0.2", 40000), 8);
	/* Another port, another address, another family: not the check. */
	assert_int_equal(ask4("127.0.0.1", 40002), 1);
	assert_int_equal(ask4("127.0.0.3", 40000), 1);
	assert_int_equal(ask4("127.0.0.2", 40001), 1);
	assert_int_equal(ask6("::1", 40001), 1);
	assert_int_equal(ask6("::2", 40000), 1);
	assert_int_equal(ask6("1::1", 40000), 1);
	/* IPv4 has options. */
	for (size_t options = 0; options <= 40; options += 4) {
		p = packet(&pins[0].source, false, options);
		assert_int_equal(run(code, &p), 5);
	}
}

static void test_classic_pins_are_followed_with_a_table_behind_them(void **state)
{
	struct classic_pin pins[CLASSIC_PINS_MAX];
	struct classic classic = {.pins = pins, .n_pins = CLASSIC_PINS_MAX};

	(void)state;
	/* Jumps over more than 255 instructions, in the pins and in the table. */
	for (size_t k = 0; k < CLASSIC_PINS_MAX; k++)
		pins[k] = (struct classic_pin){
			.source = k % 2 ? source6("::1", (uint16_t)(20000 + k))
					: source4("127.0.0.1", (uint16_t)(20000 + k)),
			.position = (uint16_t)(k + 1),
		};
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		classic.positions[i] = (uint16_t)(1000 + i % CLASSIC_TARGETS_MAX);
	build(&classic);
	for (size_t k = 0; k < CLASSIC_PINS_MAX; k++) {
		struct packet p = packet(&pins[k].source, k % 2, 0);

		assert_int_equal(run(code, &p), k + 1);
		/* The same port at the other address. */
		assert_true(k % 2 ? ask4("127.0.0.1", (uint16_t)(20000 + k)) >= 1000
				  : ask6("::1", (uint16_t)(20000 + k)) >= 1000);
	}
	assert_every_bucket(&classic);
	/* Room for more source addresses than that. */
	assert_true(n_code < CLASSIC_MAX * 3 / 4);
}

static void test_classic_too_much_is_refused(void **state)
{
	struct classic_pin pins[CLASSIC_PINS_MAX + 1];
	struct classic classic = {.pins = pins};

	(void)state;
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		classic.positions[i] = (uint16_t)(i % (CLASSIC_TARGETS_MAX + 1));
	assert_int_equal(classic_build(&classic, code, CLASSIC_MAX, &n_code), -ENOSPC);

	fill(&classic, 0);
	for (size_t k = 0; k <= CLASSIC_PINS_MAX; k++)
		pins[k] = (struct classic_pin){source4("127.0.0.1", (uint16_t)(k + 1)), 1};
	classic.n_pins = CLASSIC_PINS_MAX + 1;
	assert_int_equal(classic_build(&classic, code, CLASSIC_MAX, &n_code), -ENOSPC);

	/* Each from an address of its own, and a full table. */
	classic.n_pins = CLASSIC_PINS_MAX;
	for (size_t k = 0; k < CLASSIC_PINS_MAX; k++)
		pins[k].source.address[15] = (uint8_t)k;
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		classic.positions[i] = (uint16_t)(i % CLASSIC_TARGETS_MAX);
	assert_int_equal(classic_build(&classic, code, CLASSIC_MAX, &n_code), -ENOSPC);
}

static void test_classic_nothing_is_written_behind_the_end(void **state)
{
	const struct classic_pin pins[] = {{source4("127.0.0.1", 40000), 5}};
	struct classic classic = {.pins = pins, .n_pins = 1};
	size_t whole;

	(void)state;
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		classic.positions[i] = (uint16_t)(i * 7 % 5);
	build(&classic);
	whole = n_code;
	for (size_t max = 1; max < whole; max++) {
		struct sock_filter *small = malloc(max * sizeof(*small));

		assert_non_null(small);
		assert_int_equal(classic_build(&classic, small, max, &n_code), -ENOSPC);
		free(small);
	}
	assert_int_equal(classic_build(&classic, code, whole, &n_code), 0);
	assert_int_equal(n_code, whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classic_one_target_gets_everything),
		cmocka_unit_test(test_classic_table_is_followed_bucket_by_bucket),
		cmocka_unit_test(test_classic_runs_of_buckets_are_followed),
		cmocka_unit_test(test_classic_buckets_are_even_whatever_differs),
		cmocka_unit_test(test_classic_sticky_looks_at_the_address_alone),
		cmocka_unit_test(test_classic_pin_is_stronger_than_the_table),
		cmocka_unit_test(test_classic_pins_are_followed_with_a_table_behind_them),
		cmocka_unit_test(test_classic_too_much_is_refused),
		cmocka_unit_test(test_classic_nothing_is_written_behind_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
