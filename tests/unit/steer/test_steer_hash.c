/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/resource.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/steer.h"
#include "orchestrator/steer/table.h"
#include "tests/unit/fakes/netns.h"

static const char *missing; /* why the tests are skipped; NULL: they are not */
static struct address address;

static int group_setup(void **state)
{
	(void)state;
	missing = netns_enter();
	return 0;
}

static struct steer *open_at(const char *text)
{
	const struct steer_options options = {.tier = STEER_HASH, .uid = geteuid()};
	struct steer *steer = NULL;
	struct error err = {};

	if (missing)
		skip();
	assert_int_equal(address_parse(text, &address, NULL), 0);
	if (steer_open(&address, &options, &steer, &err) < 0 || steer_reset(steer, &err) < 0 ||
	    steer_attach(steer, &err) < 0)
		fail_msg("%s", err.text);
	return steer;
}

static int listener(const char *text)
{
	struct address a;
	struct error err = {};
	int fd;

	assert_int_equal(address_parse(text, &a, NULL), 0);
	if (anchor_open(&a, geteuid(), -1, &fd, NULL, &err) < 0)
		fail_msg("%s", err.text);
	return fd;
}

static uint16_t join(struct steer *steer, int fd)
{
	struct error err = {};
	uint16_t slot;
	bool drift = true;

	if (steer_join(steer, fd, 7, &slot, &drift, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(drift);
	return slot;
}

static int try_connect(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = connect(fd, &address.sa, address.length) < 0 ? -errno : 0;

	close(fd);
	return r;
}

static void test_steer_hash_kernel_shares_among_those_who_listen(void **state)
{
	struct steer *steer = open_at("127.0.0.1:8080");
	struct steer_table table;
	int fds[2], counts[2] = {};

	(void)state;
	/* Nothing of the daemon's is in the group. */
	assert_int_equal(try_connect(), -ECONNREFUSED);
	fds[0] = listener("127.0.0.1:8080");
	fds[1] = listener("127.0.0.1:8080");
	join(steer, fds[0]);
	join(steer, fds[1]);
	/* Whatever the table says. */
	table_clear(&table);
	assert_int_equal(steer_publish(steer, &table, NULL), 0);
	for (int n = 0; n < 200; n++)
		assert_int_equal(try_connect(), 0);
	for (int k = 0; k < 2; k++)
		counts[k] = (int)anchor_sweep(fds[k]);
	assert_int_equal(counts[0] + counts[1], 200);
	assert_true(counts[0] > 50 && counts[1] > 50);
	close(fds[0]), close(fds[1]);
	assert_int_equal(try_connect(), -ECONNREFUSED);
	steer_free(steer);
}

static void test_steer_hash_remembers_its_table(void **state)
{
	const struct table_share share = {.slot = 3, .weight = 1};
	struct steer *steer = open_at("127.0.0.1:8080");
	struct steer_table table, again;

	(void)state;
	assert_false(steer_names(steer, 0));
	table_compute(&share, 1, NULL, 0, NULL, &table);
	assert_int_equal(steer_publish(steer, &table, NULL), 0);
	assert_int_equal(steer_table(steer, &again), 0);
	assert_memory_equal(&table, &again, sizeof(table));
	assert_true(steer_names(steer, 3));
	assert_int_equal(steer_reset(steer, NULL), 0);
	assert_false(steer_names(steer, 3));
	assert_false(steer_is_taken_over(steer));
	steer_free(steer);
}

static void test_steer_hash_slots_run_out_and_come_back(void **state)
{
	struct steer *steer = open_at("127.0.0.1:8080");
	static int fds[STEER_SLOTS + 1];
	struct rlimit limit;
	struct error err = {};
	uint16_t slot;
	bool drift;

	(void)state;
	/* The soft limit of the shell is often 1,024. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < 2 * STEER_SLOTS)
		limit.rlim_cur = 2 * STEER_SLOTS;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int k = 0; k <= STEER_SLOTS; k++)
		fds[k] = listener("127.0.0.1:8080");
	for (int k = 0; k < STEER_SLOTS; k++)
		assert_int_equal(join(steer, fds[k]), k);
	/* Known already: its own slot. */
	assert_int_equal(join(steer, fds[9]), 9);
	assert_int_equal(steer_join(steer, fds[STEER_SLOTS], 0, &slot, &drift, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "all 1024 that one address can have"));
	steer_release(steer, 5);
	steer_release(steer, 5);
	assert_int_equal(join(steer, fds[STEER_SLOTS]), 5);
	for (int k = 0; k <= STEER_SLOTS; k++)
		close(fds[k]);
	steer_free(steer);
}

static void assert_refused(struct steer *steer, int fd, const char *why)
{
	struct error err = {};
	uint16_t slot;
	bool drift;

	assert_int_equal(steer_join(steer, fd, 0, &slot, &drift, &err), -EINVAL);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
	close(fd);
}

static int unshared(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
	return fd;
}

static void test_steer_hash_takes_only_listeners_that_share_the_address(void **state)
{
	struct steer *steer;
	int alone, fd;

	(void)state;
	if (missing)
		skip();
	/* Before the endpoint was opened; later it cannot be bound. */
	assert_int_equal(address_parse("127.0.0.1:8080", &address, NULL), 0);
	alone = unshared();
	assert_int_equal(bind(alone, &address.sa, address.length), 0);
	assert_int_equal(listen(alone, 1), 0);
	steer = open_at("127.0.0.1:8080");
	assert_refused(steer, alone, "no SO_REUSEPORT");
	steer_free(steer);

	steer = open_at("127.0.0.1:8080");
	fd = unshared();
	assert_int_equal(bind(fd, &address.sa, address.length), -1);
	assert_int_equal(errno, EADDRINUSE);
	close(fd);
	assert_refused(steer, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "does not listen");
	assert_refused(steer, listener("127.0.0.1:8081"), "elsewhere");
	assert_refused(steer, listener("0.0.0.0:8080"), "elsewhere");
	assert_refused(steer, listener("[::1]:8080"), "elsewhere");
	steer_free(steer);

	steer = open_at(":8080");
	assert_refused(steer, listener("[::]:8080"), "elsewhere");
	fd = listener(":8080");
	join(steer, fd);
	close(fd);
	steer_free(steer);

	steer = open_at("[::1]:8080");
	assert_refused(steer, listener("[::]:8080"), "elsewhere");
	fd = listener("[::1]:8080");
	join(steer, fd);
	close(fd);
	steer_free(steer);
}

static void test_steer_hash_says_what_it_can_do(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct steer *steer = open_at("127.0.0.1:8080");
	struct steer_slot_stats stats;
	struct error err = {};
	char who[16] = "x";
	int fd;

	(void)state;
	for (int ability = STEER_CAN_PIN; ability <= STEER_MAKES_SOCKETS; ability++)
		assert_false(steer_can(STEER_HASH, (enum steer_ability)ability));
	assert_int_equal(steer_try(STEER_HASH, &err), 0);
	assert_int_equal(steer_check(steer, who, sizeof(who)), STEER_PROGRAM_NONE);
	assert_string_equal(who, "");
	assert_int_equal(steer_program_id(steer), 0);
	assert_int_equal(steer_pin(steer, (struct sockaddr *)&in, 0), -EOPNOTSUPP);
	steer_unpin(steer, (struct sockaddr *)&in);
	assert_int_equal(steer_hold(steer, true), -EOPNOTSUPP);
	assert_int_equal(steer_listen(steer, 1, true, &fd, &err), -EOPNOTSUPP);
	assert_int_equal(steer_slot_stats(steer, 0, &stats), 0);
	assert_int_equal(stats.primary, 0);
	steer_unpin_all(steer);
	steer_release_unclaimed(steer);
	steer_free(steer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steer_hash_kernel_shares_among_those_who_listen),
		cmocka_unit_test(test_steer_hash_remembers_its_table),
		cmocka_unit_test(test_steer_hash_slots_run_out_and_come_back),
		cmocka_unit_test(test_steer_hash_takes_only_listeners_that_share_the_address),
		cmocka_unit_test(test_steer_hash_says_what_it_can_do),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
