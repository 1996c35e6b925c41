/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "orchestrator/steer/bpffs.h"
#include "orchestrator/steer/earlier.h"
#include "tests/unit/fakes/netns.h"

static const char *missing;
static char dir[BPFFS_PATH_MAX];
static struct error err;

static int setup(void **state)
{
	char name[32];

	(void)state;
	if (!missing)
		missing = netns_enter();
	if (missing)
		skip();
	memset(&err, 0, sizeof(err));
	snprintf(name, sizeof(name), "test-earlier-%d", (int)getpid());
	assert_int_equal(bpffs_make(name, "web", "tcp", dir, &err), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	earlier_unpin(dir, "one");
	earlier_unpin(dir, EARLIER_LAYOUT);
	bpffs_remove(dir);
	return access(dir, F_OK) == 0;
}

static int make(const char *name, enum bpf_map_type type, uint32_t value, uint32_t entries,
		uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	int fd = bpf_map_create(type, name, 4, value, entries, &options);

	assert_true(fd >= 0);
	return fd;
}

/* A program that has the map. */
static int program_with(int map)
{
	const struct bpf_insn refuse[] = {
		{.code = 0xb7, .imm = 0}, /* r0 = SK_DROP */
		{.code = 0x95},           /* exit */
	};
	LIBBPF_OPTS(bpf_prog_load_opts, load);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "steer", "GPL", refuse, 2, &load);

	assert_true(fd >= 0);
	assert_int_equal(bpf_prog_bind_map(fd, map, NULL), 0);
	return fd;
}

static void test_earlier_finds_the_maps_of_a_program(void **state)
{
	int map = make("one", BPF_MAP_TYPE_ARRAY, 8, 3, 0), program = program_with(map);
	struct earlier earlier = {};

	(void)state;
	earlier_add_program(&earlier, program);
	earlier_add_program(&earlier, program);
	assert_true(earlier.known);
	assert_int_equal(earlier.n, 1);
	assert_int_equal(earlier_entries(earlier_find(&earlier, "one")), 3);
	assert_int_equal(earlier_find(&earlier, "two"), -1);
	earlier_forget(&earlier, "one");
	assert_int_equal(earlier_find(&earlier, "one"), -1);
	earlier_done(&earlier);
	close(program);
	close(map);
}

static void test_earlier_pin_of_another_map_than_the_programs_does_not_count(void **state)
{
	int map = make("one", BPF_MAP_TYPE_ARRAY, 8, 3, 0), program = program_with(map);
	int other = make("one", BPF_MAP_TYPE_ARRAY, 8, 5, 0);
	struct earlier earlier = {}, pins = {};

	(void)state;
	assert_int_equal(earlier_pin(other, dir, "one", &err), 1);
	earlier_add_program(&earlier, program);
	assert_int_equal(earlier_add_pin(&earlier, dir, "one", "one", &err), 0);
	assert_int_equal(earlier_entries(earlier_find(&earlier, "one")), 3);
	/* Without a program each counts. */
	assert_int_equal(earlier_add_pin(&pins, dir, "one", "one", &err), 0);
	assert_int_equal(earlier_add_pin(&pins, dir, "two", "two", &err), 0);
	assert_int_equal(earlier_entries(earlier_find(&pins, "one")), 5);
	assert_int_equal(pins.n, 1);
	earlier_done(&pins);
	earlier_done(&earlier);
	close(program);
	close(other);
	close(map);
}

static void test_earlier_pin_is_replaced_and_kept(void **state)
{
	int first = make("one", BPF_MAP_TYPE_ARRAY, 8, 3, 0);
	int second = make("one", BPF_MAP_TYPE_ARRAY, 8, 4, 0);
	char path[BPFFS_PATH_MAX + 16];

	(void)state;
	assert_int_equal(earlier_pin(first, dir, "one", &err), 1);
	assert_int_equal(earlier_pin(first, dir, "one", &err), 0);
	assert_int_equal(earlier_pin(second, dir, "one", &err), 1);
	assert_int_equal(earlier_pin(second, dir, "one", &err), 0);
	snprintf(path, sizeof(path), "%s/one" EARLIER_NEXT, dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_true(earlier_pin(first, "/nowhere", "one", &err) < 0);
	assert_non_null(strstr(err.text, "/nowhere/one"));
	close(first);
	close(second);
}

static void test_earlier_layout_is_the_first_until_another_is_noted(void **state)
{
	struct earlier earlier = {};
	int wide;

	(void)state;
	assert_int_equal(earlier_layout(&earlier), 1);
	assert_int_equal(earlier_note_layout(dir, -1, 7, &err), 1);
	assert_int_equal(earlier_add_pin(&earlier, dir, EARLIER_LAYOUT, EARLIER_LAYOUT, &err), 0);
	assert_int_equal(earlier_layout(&earlier), 7);
	earlier_done(&earlier);
	/* What has another shape is no layout that is known. */
	wide = make(EARLIER_LAYOUT, BPF_MAP_TYPE_ARRAY, 4096, 1, 0);
	assert_int_equal(earlier_pin(wide, dir, EARLIER_LAYOUT, &err), 1);
	assert_int_equal(earlier_add_pin(&earlier, dir, EARLIER_LAYOUT, EARLIER_LAYOUT, &err), 0);
	assert_int_equal(earlier_layout(&earlier), 0);
	earlier_done(&earlier);
	close(wide);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_earlier_##name, setup, teardown)
		TEST(finds_the_maps_of_a_program),
		TEST(pin_of_another_map_than_the_programs_does_not_count),
		TEST(pin_is_replaced_and_kept),
		TEST(layout_is_the_first_until_another_is_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
