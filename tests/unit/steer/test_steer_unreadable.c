/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel does not tell. A question that cannot be answered must cost nothing: no slot that
 * serves is given away, no program of somebody else is replaced, no pin is removed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dlfcn.h>

#include "tests/unit/steer/steer_fixture.h"

/* ---- libbpf, with failures ------------------------------------------------------------------ */

static struct {
	const char *map;     /* reading the map of this name */
	bool earlier, group; /* looking at the earlier program; at the group */
} unreadable;

static bool is_map(int fd, const char *name)
{
	struct bpf_map_info info = {};
	uint32_t length = sizeof(info);

	return name && bpf_obj_get_info_by_fd(fd, &info, &length) == 0 &&
	       strcmp(info.name, name) == 0;
}

static int refuse(int code)
{
	errno = code;
	return -code;
}

int bpf_map_lookup_elem(int fd, const void *key, void *value)
{
	static int (*real)(int fd, const void *key, void *value);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "bpf_map_lookup_elem");
	return is_map(fd, unreadable.map) ? refuse(EIO) : real(fd, key, value);
}

int bpf_obj_get(const char *path)
{
	static int (*real)(const char *path);
	const char *name = strrchr(path, '/');

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "bpf_obj_get");
	return unreadable.earlier && name && strcmp(name, "/program") == 0 ? refuse(ENOMEM)
									   : real(path);
}

int bpf_iter_create(int link_fd)
{
	static int (*real)(int link_fd);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "bpf_iter_create");
	return unreadable.group ? refuse(EMFILE) : real(link_fd);
}

static int forget_failures(void **state)
{
	memset(&unreadable, 0, sizeof(unreadable));
	return setup(state);
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* A daemon that sends everything to @fd, and ends without a word. */
static void die_after_publish(int fd)
{
	struct steer *steer = open_steer();

	publish(steer, join(steer, fd), -1);
	steer_free(steer);
}

static void assert_serves(int fd)
{
	int clients[10];

	connect_many(clients, 10);
	assert_int_equal(accept_all(fd), 10);
	close_many(clients, 10);
}

/* What could not be opened has left everything as it was. */
static void assert_successor_takes_over(int fd)
{
	struct steer *steer;

	memset(&unreadable, 0, sizeof(unreadable));
	assert_serves(fd);
	steer = open_successor();
	assert_true(steer_is_taken_over(steer));
	assert_true(steer_names(steer, join(steer, fd)));
	assert_int_equal(steer_attach(steer, &err), 0);
	assert_serves(fd);
	steer_unpin_all(steer);
	steer_free(steer);
}

static void test_steer_unreadable_slots_are_not_taken_for_free_ones(void **state)
{
	struct steer *steer = NULL;
	int fd;

	(void)state;
	use_pins("slots");
	fd = listener(&address);
	die_after_publish(fd);
	unreadable.map = "slots";
	assert_int_equal(steer_open(&address, &options, &steer, &err), -EIO);
	assert_non_null(strstr(err.text, "read slot 0"));
	assert_null(steer);
	assert_successor_takes_over(fd);
	close(fd);
}

static void test_steer_unreadable_earlier_program_is_not_taken_for_none(void **state)
{
	struct steer *steer = NULL;
	int fd;

	(void)state;
	use_pins("earlier");
	fd = listener(&address);
	die_after_publish(fd);
	unreadable.earlier = true;
	assert_int_equal(steer_open(&address, &options, &steer, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "/program: "));
	assert_successor_takes_over(fd);
	close(fd);
}

/* -EINVAL is also libbpf's word for pinned maps of another shape, which would be replaced. */
static void test_steer_unloadable_program_costs_no_pins(void **state)
{
	int wrong = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "wrong", 4, 4, 1, NULL);
	struct tap tap = {.counts = wrong, .moved = wrong};
	struct steer *steer = NULL;
	int fd;

	(void)state;
	use_pins("unloadable");
	fd = listener(&address);
	die_after_publish(fd);
	options.tap = &tap;
	assert_int_equal(steer_open(&address, &options, &steer, &err), -EINVAL);
	options.tap = NULL;
	assert_successor_takes_over(fd);
	close(wrong);
	close(fd);
}

static void test_steer_unreadable_group_is_not_taken_from_anybody(void **state)
{
	struct steer *steer;

	(void)state;
	if (missing || !inspect)
		skip();
	if (steer_open(&address, &options, &steer, &err) < 0)
		fail_msg("%s", err.text);
	unreadable.group = true;
	assert_int_equal(steer_attach(steer, &err), -EMFILE);
	assert_non_null(strstr(err.text, "look who steers it already"));
	unreadable.group = false;
	assert_int_equal(steer_check(steer, NULL, 0), STEER_PROGRAM_MISSING);
	assert_int_equal(steer_attach(steer, &err), 0);
	steer_free(steer);
}

static void test_steer_unreadable_group_costs_no_slot_that_serves(void **state)
{
	struct steer *steer;
	uint16_t slot;
	bool drift;
	int fd;

	(void)state;
	use_pins("group");
	if (!inspect)
		skip();
	fd = listener(&address);
	die_after_publish(fd);
	steer = open_successor();
	assert_int_equal(steer_attach(steer, &err), 0);
	unreadable.group = true;
	assert_int_equal(steer_join(steer, fd, 0, &slot, &drift, &err), -EMFILE);
	unreadable.group = false;
	assert_serves(fd);
	assert_true(steer_names(steer, join(steer, fd)));
	steer_unpin_all(steer);
	steer_free(steer);
	close(fd);
}

static void test_steer_unreadable_table_names_and_sends_nothing_on(void **state)
{
	struct steer *steer = open_steer();
	int fd, client;
	uint32_t held;
	uint16_t slot;

	(void)state;
	assert_int_equal(steer_hold(steer, true), 0);
	client = try_connect();
	assert_true(client >= 0);
	fd = listener(&address);
	slot = join(steer, fd);
	publish(steer, slot, -1);
	unreadable.map = "tables";
	assert_true(steer_names(steer, slot));
	assert_true(steer_names(steer, STEER_SLOTS - 1));
	assert_int_equal(steer_unhold(steer, &err), -EIO);
	assert_string_equal(err.text, "127.0.0.1:8080: read the current table: Input/output error");
	unreadable.map = "slots";
	assert_int_equal(steer_unhold(steer, &err), -EIO);
	assert_int_equal(steer_held(steer, &held), 0);
	assert_int_equal(held, 1);
	unreadable.map = NULL;
	assert_int_equal(steer_unhold(steer, &err), 1);
	say_x(&client, 1);
	accept_n(fd, 1);
	close(client);
	close(fd);
	steer_free(steer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_steer_##name, forget_failures)
		TEST(unreadable_slots_are_not_taken_for_free_ones),
		TEST(unreadable_earlier_program_is_not_taken_for_none),
		TEST(unloadable_program_costs_no_pins),
		TEST(unreadable_group_is_not_taken_from_anybody),
		TEST(unreadable_group_costs_no_slot_that_serves),
		TEST(unreadable_table_names_and_sends_nothing_on),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
