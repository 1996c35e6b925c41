/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "orchestrator/steer/bpf_kept.h"
#include "tests/unit/fakes/count_fds.h"
#include "tests/unit/fakes/real_syscall.h"

#define MANY 40

static int refused; /* a negative errno: nothing is opened by number */
static unsigned by_id;

/* libbpf's, as the program's own come first. */
long syscall(long number, ...)
{
	long a[SYSCALL_ARGUMENTS];
	va_list ap;

	va_start(ap, number);
	syscall_arguments(ap, a);
	va_end(ap);
	if (number == SYS_bpf && (a[0] == BPF_MAP_GET_FD_BY_ID || a[0] == BPF_PROG_GET_FD_BY_ID)) {
		by_id++;
		if (refused) {
			errno = -refused;
			return -1;
		}
	}
	return real_syscall(number, a);
}

static int make(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "kept", 4, 4, 1, NULL);

	if (fd == -EPERM)
		skip();
	assert_true(fd >= 0);
	return fd;
}

static void write_to(const struct bpf_kept *kept, uint32_t value)
{
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(bpf_kept_fd(kept), &zero, &value, BPF_ANY), 0);
}

static uint32_t read_from(const struct bpf_kept *kept)
{
	uint32_t zero = 0, value = 0;

	assert_int_equal(bpf_map_lookup_elem(bpf_kept_fd(kept), &zero, &value), 0);
	return value;
}

static void test_bpf_kept_without_sys_admin_keeps_the_descriptor(void **state)
{
	struct bpf_kept kept;
	size_t before;
	int fd = make();

	(void)state;
	before = count_fds();
	refused = -EPERM;
	assert_int_equal(bpf_kept_map(fd, true, &kept), 0);
	close(fd);
	assert_int_equal(count_fds(), before);
	write_to(&kept, 7);
	assert_int_equal(read_from(&kept), 7);
	assert_int_equal(by_id, 1);
	bpf_kept_done(&kept);
	assert_int_equal(count_fds(), before - 1);
	assert_int_equal(bpf_kept_fd(&kept), -ENOENT);
}

static void test_bpf_kept_that_nothing_holds_keeps_the_descriptor(void **state)
{
	struct bpf_kept kept;
	int fd = make();

	(void)state;
	assert_int_equal(bpf_kept_map(fd, false, &kept), 0);
	close(fd);
	by_id = 0;
	write_to(&kept, 8);
	assert_int_equal(read_from(&kept), 8);
	assert_int_equal(by_id, 0);
	bpf_kept_done(&kept);
}

static void test_bpf_kept_many_need_few_descriptors(void **state)
{
	struct bpf_kept kept[MANY];
	int fds[MANY], holder;
	size_t before;

	(void)state;
	for (uint32_t k = 0; k < MANY; k++)
		fds[k] = make();
	holder = bpf_kept_holder(fds, MANY);
	assert_true(holder >= 0);
	before = count_fds();
	for (uint32_t k = 0; k < MANY; k++) {
		assert_int_equal(bpf_kept_map(fds[k], true, &kept[k]), 0);
		close(fds[k]);
	}
	assert_true(count_fds() <= before - MANY + BPF_KEPT_OPEN_MAX);
	for (uint32_t k = 0; k < MANY; k++)
		write_to(&kept[k], k);
	for (uint32_t k = 0; k < MANY; k++)
		assert_int_equal(read_from(&kept[k]), k);
	assert_true(count_fds() <= before - MANY + BPF_KEPT_OPEN_MAX);
	/* The same again is not opened again. */
	by_id = 0;
	for (uint32_t k = 0; k < 10; k++)
		write_to(&kept[0], k);
	assert_true(by_id <= 1);
	for (uint32_t k = 0; k < MANY; k++)
		bpf_kept_done(&kept[k]);
	assert_int_equal(count_fds(), before - MANY);
	close(holder);
}

static void test_bpf_kept_whose_holder_is_gone_is_not_there(void **state)
{
	struct bpf_kept kept;
	int fd = make(), holder = bpf_kept_holder(&fd, 1);

	(void)state;
	assert_true(holder >= 0);
	assert_int_equal(bpf_kept_map(fd, true, &kept), 0);
	close(fd);
	write_to(&kept, 1);
	bpf_kept_done(&(struct bpf_kept){.id = kept.id}); /* not among the last ones */
	refused = -ENOENT;
	close(holder);
	assert_int_equal(bpf_kept_fd(&kept), -ENOENT);
	bpf_kept_done(&kept);
}

/* How many are open must not depend on what was used seldom, and not on numbers that happen. */
static void test_bpf_kept_programs_are_not_among_the_last(void **state)
{
	int fd = make(), holder = bpf_kept_holder(&fd, 1), again;
	struct bpf_prog_info info = {};
	struct bpf_kept program, map;
	uint32_t length = sizeof(info);
	size_t before;

	(void)state;
	assert_true(holder >= 0);
	assert_int_equal(bpf_kept_map(fd, true, &map), 0);
	write_to(&map, 1);
	before = count_fds();
	assert_int_equal(bpf_kept_program(holder, true, &program), 0);
	assert_int_equal(count_fds(), before);
	again = bpf_kept_open(&program);
	assert_int_equal(bpf_obj_get_info_by_fd(again, &info, &length), 0);
	assert_int_equal(info.id, program.id);
	close(again);
	/* Both numbers may be the same: it is another one all the same. */
	program.id = map.id;
	bpf_kept_done(&program);
	by_id = 0;
	write_to(&map, 2);
	assert_int_equal(by_id, 0);
	bpf_kept_done(&map);
	close(fd);
	close(holder);
}

static void test_bpf_kept_opened_is_the_callers(void **state)
{
	struct bpf_kept kept, nothing = {};
	size_t before;
	int fd = make(), again;

	(void)state;
	for (int held = 0; held < 2; held++) {
		assert_int_equal(bpf_kept_map(fd, held, &kept), 0);
		before = count_fds();
		again = bpf_kept_open(&kept);
		assert_true(again >= 0);
		assert_int_equal(count_fds(), before + 1);
		close(again);
		write_to(&kept, 1);
		bpf_kept_done(&kept);
	}
	assert_int_equal(bpf_kept_open(&nothing), -ENOENT);
	close(fd);
}

static int setup(void **state)
{
	(void)state;
	refused = 0;
	by_id = 0;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(test_bpf_kept_##name, setup)
		TEST(without_sys_admin_keeps_the_descriptor),
		TEST(that_nothing_holds_keeps_the_descriptor),
		TEST(many_need_few_descriptors),
		TEST(whose_holder_is_gone_is_not_there),
		TEST(programs_are_not_among_the_last),
		TEST(opened_is_the_callers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
