/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/classic.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <string.h>

/* Offset from the network header, whatever the packet's data points to (net/core/filter.c). */
#define NET(offset) ((uint32_t)SKF_NET_OFF + (offset))

#define IPV4_SOURCE 12
#define IPV6_SOURCE 8
#define IPV6_HEADER 40

/* Scratch memory. */
enum {
	MEM_ADDRESS, /* four words in host byte order; IPv4 as IPv4-mapped */
	MEM_PORT = 4,
	MEM_BUCKET,
	MEM_SHIFT, /* where the bucket's bits are in its word */
};

/* Of the mix: odd numbers whose bits look like chance. */
#define MIX_WORD  0x9e3779b1u
#define MIX_FINAL 0x85ebca6bu

#define TO_LOOKUP UINT32_MAX /* the target of a jump that is not known yet */

struct builder {
	const struct classic *classic;
	struct sock_filter *code;
	size_t n, max;
	bool full;

	uint16_t targets[CLASSIC_TARGETS_MAX]; /* the different positions in the table */
	size_t n_targets;
	uint8_t target_of[STEER_BUCKETS];
	unsigned bits;     /* for one target: 1, 2, 4 or 8 */
	unsigned per_word; /* buckets whose targets fit into 32 bits */
};

static size_t emit_jump(struct builder *b, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	if (b->n == b->max) {
		b->full = true;
		return b->max - 1;
	}
	b->code[b->n] = (struct sock_filter)BPF_JUMP(code, k, jt, jf);
	return b->n++;
}

static size_t emit(struct builder *b, uint16_t code, uint32_t k)
{
	return emit_jump(b, code, k, 0, 0);
}

/*
 * A conditional jump reaches 255 instructions, an unconditional one the whole program. So "unless A
 * is @k, go to ..." takes two instructions. The second one is returned: land() sets its target.
 */
static size_t emit_unless_equal(struct builder *b, uint32_t k)
{
	emit_jump(b, BPF_JMP | BPF_JEQ | BPF_K, k, 1, 0);
	return emit(b, BPF_JMP | BPF_JA, 0);
}

/* The jump @from goes to the instruction that is emitted next. */
static void land(struct builder *b, size_t from)
{
	if (!b->full)
		b->code[from].k = (uint32_t)(b->n - from - 1);
}

/* ---- where the connection comes from -------------------------------------------------------- */

/*
 * The version is in the first half byte of both headers: a dual-stack socket sees both. IPv4 has
 * options, and tells the length of its header. IPv6 extension headers are not followed: no client
 * sends any in front of a SYN, and one that did would only get the bucket of other bytes.
 */
static void emit_source(struct builder *b)
{
	size_t ipv6, done;

	emit(b, BPF_LD | BPF_B | BPF_ABS, NET(0));
	emit(b, BPF_ALU | BPF_RSH | BPF_K, 4);
	ipv6 = emit_unless_equal(b, 4);

	emit(b, BPF_LD | BPF_IMM, 0);
	emit(b, BPF_ST, MEM_ADDRESS);
	emit(b, BPF_ST, MEM_ADDRESS + 1);
	emit(b, BPF_LD | BPF_IMM, 0xffff);
	emit(b, BPF_ST, MEM_ADDRESS + 2);
	emit(b, BPF_LD | BPF_W | BPF_ABS, NET(IPV4_SOURCE));
	emit(b, BPF_ST, MEM_ADDRESS + 3);
	emit(b, BPF_LDX | BPF_B | BPF_MSH, NET(0));
	emit(b, BPF_LD | BPF_H | BPF_IND, NET(0));
	emit(b, BPF_ST, MEM_PORT);
	done = emit(b, BPF_JMP | BPF_JA, 0);

	land(b, ipv6);
	for (uint32_t word = 0; word < 4; word++) {
		emit(b, BPF_LD | BPF_W | BPF_ABS, NET(IPV6_SOURCE + 4 * word));
		emit(b, BPF_ST, MEM_ADDRESS + word);
	}
	emit(b, BPF_LD | BPF_H | BPF_ABS, NET(IPV6_HEADER));
	emit(b, BPF_ST, MEM_PORT);
	land(b, done);
}

static void source_words(const struct steer_pin_key *source, uint32_t ret[static 5])
{
	for (size_t word = 0; word < 4; word++) {
		memcpy(&ret[word], source->address + 4 * word, sizeof(ret[word]));
		ret[word] = ntohl(ret[word]);
	}
	ret[MEM_PORT] = ntohs(source->port);
}

/* ---- pins ----------------------------------------------------------------------------------- */

static bool same_address(const struct steer_pin_key *a, const struct steer_pin_key *b)
{
	return memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

/* All pins with the address of pin @first: the address is compared once. */
static void emit_pins_of(struct builder *b, size_t first)
{
	const struct classic_pin *pins = b->classic->pins;
	uint32_t words[5];
	size_t unless[4];

	source_words(&pins[first].source, words);
	/* The last word differs most: compare that first. */
	for (size_t word = 4; word-- > 0;) {
		emit(b, BPF_LD | BPF_MEM, MEM_ADDRESS + (uint32_t)word);
		unless[word] = emit_unless_equal(b, words[word]);
	}
	emit(b, BPF_LD | BPF_MEM, MEM_PORT);
	for (size_t k = first; k < b->classic->n_pins; k++) {
		if (!same_address(&pins[k].source, &pins[first].source))
			continue;
		emit_jump(b, BPF_JMP | BPF_JEQ | BPF_K, ntohs(pins[k].source.port), 0, 1);
		emit(b, BPF_RET | BPF_K, pins[k].position);
	}
	for (size_t word = 0; word < 4; word++)
		land(b, unless[word]);
}

static void emit_pins(struct builder *b)
{
	const struct classic_pin *pins = b->classic->pins;

	for (size_t k = 0; k < b->classic->n_pins; k++) {
		size_t first = 0;

		while (!same_address(&pins[first].source, &pins[k].source))
			first++;
		if (first == k)
			emit_pins_of(b, k);
	}
}

/* ---- the bucket ----------------------------------------------------------------------------- */

/* A ^= A >> @bits. */
static void emit_fold(struct builder *b, uint32_t bits)
{
	emit(b, BPF_MISC | BPF_TAX, 0);
	emit(b, BPF_ALU | BPF_RSH | BPF_K, bits);
	emit(b, BPF_ALU | BPF_XOR | BPF_X, 0);
}

/*
 * Mix the words of the address, and the port unless sticky, into a hash. No secret goes into it, so
 * that a client keeps its bucket when another daemon takes over.
 */
static void emit_bucket(struct builder *b)
{
	emit(b, BPF_LD | BPF_IMM, 0);
	for (uint32_t word = 0; word < (b->classic->sticky ? 4 : 5); word++) {
		emit(b, BPF_LDX | BPF_MEM, MEM_ADDRESS + word);
		emit(b, BPF_ALU | BPF_XOR | BPF_X, 0);
		emit(b, BPF_ALU | BPF_MUL | BPF_K, MIX_WORD);
		emit_fold(b, 15);
	}
	emit(b, BPF_ALU | BPF_MUL | BPF_K, MIX_FINAL);
	emit_fold(b, 16);
	emit(b, BPF_ALU | BPF_AND | BPF_K, STEER_BUCKETS - 1);
	emit(b, BPF_ST, MEM_BUCKET);
	emit(b, BPF_ALU | BPF_AND | BPF_K, b->per_word - 1);
	emit(b, BPF_ALU | BPF_MUL | BPF_K, b->bits);
	emit(b, BPF_ST, MEM_SHIFT);
}

/* ---- the table ------------------------------------------------------------------------------ */

static int collect_targets(struct builder *b)
{
	for (size_t i = 0; i < STEER_BUCKETS; i++) {
		uint16_t position = b->classic->positions[i];
		size_t t = 0;

		while (t < b->n_targets && b->targets[t] != position)
			t++;
		if (t == CLASSIC_TARGETS_MAX)
			return -ENOSPC;
		if (t == b->n_targets)
			b->targets[b->n_targets++] = position;
		b->target_of[i] = (uint8_t)t;
	}
	b->bits = 1;
	while (1u << b->bits < b->n_targets)
		b->bits *= 2;
	b->per_word = 32 / b->bits;
	return 0;
}

static bool is_uniform(const struct builder *b, size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		if (b->target_of[i] != b->target_of[first])
			return false;
	return true;
}

static uint32_t word_of(const struct builder *b, size_t first)
{
	uint32_t word = 0;

	for (size_t i = 0; i < b->per_word; i++)
		word |= (uint32_t)b->target_of[first + i] << (i * b->bits);
	return word;
}

/* For the @n buckets from @first, of which A is one. At most 8 calls deep: 1,024 to 4. */
static void emit_tree(struct builder *b, size_t first, size_t n)
{
	size_t upper;

	if (is_uniform(b, first, n)) {
		emit(b, BPF_RET | BPF_K, b->targets[b->target_of[first]]);
		return;
	}
	if (n == b->per_word) {
		emit(b, BPF_LD | BPF_IMM, word_of(b, first));
		emit(b, BPF_JMP | BPF_JA, TO_LOOKUP);
		return;
	}
	emit_jump(b, BPF_JMP | BPF_JGE | BPF_K, (uint32_t)(first + n / 2), 0, 1);
	upper = emit(b, BPF_JMP | BPF_JA, 0);
	emit_tree(b, first, n / 2);
	land(b, upper);
	emit_tree(b, first + n / 2, n / 2);
}

/* A is the word that has the bucket's target. Targets in the order in which they come up. */
static void emit_lookup(struct builder *b, size_t tree)
{
	for (size_t i = tree; i < b->n; i++)
		if (b->code[i].code == (BPF_JMP | BPF_JA) && b->code[i].k == TO_LOOKUP)
			land(b, i);
	emit(b, BPF_LDX | BPF_MEM, MEM_SHIFT);
	emit(b, BPF_ALU | BPF_RSH | BPF_X, 0);
	emit(b, BPF_ALU | BPF_AND | BPF_K, (1u << b->bits) - 1);
	for (size_t t = 0; t + 1 < b->n_targets; t++) {
		emit_jump(b, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)t, 0, 1);
		emit(b, BPF_RET | BPF_K, b->targets[t]);
	}
	emit(b, BPF_RET | BPF_K, b->targets[b->n_targets - 1]);
}

int classic_build(const struct classic *classic, struct sock_filter *ret, size_t max, size_t *ret_n)
{
	struct builder b = {.classic = classic, .code = ret, .max = max};
	size_t tree;
	int r;

	assert(max > 0);
	if (classic->n_pins > CLASSIC_PINS_MAX)
		return -ENOSPC;
	r = collect_targets(&b);
	if (r < 0)
		return r;
	emit_source(&b);
	emit_pins(&b);
	if (b.n_targets > 1) {
		emit_bucket(&b);
		emit(&b, BPF_LD | BPF_MEM, MEM_BUCKET);
	}
	tree = b.n;
	emit_tree(&b, 0, STEER_BUCKETS);
	if (b.n_targets > 1)
		emit_lookup(&b, tree);
	if (b.full)
		return -ENOSPC;
	*ret_n = b.n;
	return 0;
}
