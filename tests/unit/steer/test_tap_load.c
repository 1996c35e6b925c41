/* SPDX-License-Identifier: BSD-2-Clause */
/* Pins that outlive the daemon, and kernels that refuse something. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/syscall.h>

#include "orchestrator/steer/bpf_kept.h"
#include "orchestrator/steer/earlier.h"
#include "tests/unit/fakes/real_syscall.h"
#include "tests/unit/steer/tap_fixture.h"

#define NAME "test-tap"
#define HERE "127.0.0.1:8080"

#define NOBODY 65534
#define MANY   8 /* taps */

/* ---- a kernel that refuses: bpf(2) goes through here ---------------------------------------- */

static struct {
	int program_type;  /* do not load programs to be attached so; -1: load all */
	bool births;       /* nor those that call bpf_sk_storage_get() */
	bool tracing;      /* nor those that call what takes CAP_PERFMON */
	int attach_type;   /* do not attach those; -1: attach all */
	bool reuseport;    /* SO_REUSEPORT is never set */
	bool gone;         /* no program is opened by its number */
	unsigned attached; /* programs on cgroups */
	unsigned loaded;   /* programs that do anything: no trials of libbpf's, no holders */
} refuse;

/*
 * Would the verifier come to a call of bpf_sk_storage_get()? Where the map was not made libbpf has
 * put a call that does not exist in the place of its address, on the way there.
 */
static bool dates_connections(const union bpf_attr *attr)
{
	const struct bpf_insn *insns = (const struct bpf_insn *)(uintptr_t)attr->insns;
	bool calls = false, without_map = false;

	for (uint32_t k = 0; k < attr->insn_cnt; k++) {
		if (insns[k].code != (BPF_JMP | BPF_CALL))
			continue;
		calls |= insns[k].imm == BPF_FUNC_sk_storage_get;
		without_map |= insns[k].imm >= 2000000000;
	}
	return calls && !without_map;
}

static bool traces(const union bpf_attr *attr)
{
	const struct bpf_insn *insns = (const struct bpf_insn *)(uintptr_t)attr->insns;

	for (uint32_t k = 0; k < attr->insn_cnt; k++)
		if (insns[k].code == (BPF_JMP | BPF_CALL) &&
		    (insns[k].imm == BPF_FUNC_get_current_comm ||
		     insns[k].imm == BPF_FUNC_probe_read_kernel))
			return true;
	return false;
}

static bool is_refused(int command, const union bpf_attr *attr)
{
	if (command == BPF_PROG_LOAD && (int)attr->expected_attach_type == refuse.program_type &&
	    attr->prog_type != BPF_PROG_TYPE_SOCKET_FILTER)
		return true;
	if (command == BPF_PROG_LOAD && refuse.births && dates_connections(attr))
		return true;
	if (command == BPF_PROG_LOAD && refuse.tracing && traces(attr))
		return true;
	return command == BPF_PROG_ATTACH && (int)attr->attach_type == refuse.attach_type;
}

/* libbpf's, as the program's own come first. */
long syscall(long number, ...)
{
	long a[SYSCALL_ARGUMENTS];
	va_list ap;

	va_start(ap, number);
	syscall_arguments(ap, a);
	va_end(ap);
	if (number == SYS_bpf && is_refused((int)a[0], (const union bpf_attr *)a[1])) {
		errno = EINVAL;
		return -1;
	}
	if (number == SYS_bpf && a[0] == BPF_PROG_GET_FD_BY_ID && refuse.gone) {
		errno = ENOENT;
		return -1;
	}
	if (number == SYS_bpf && a[0] == BPF_PROG_ATTACH)
		refuse.attached++;
	if (number == SYS_bpf && a[0] == BPF_PROG_LOAD)
		refuse.loaded += ((union bpf_attr *)a[1])->insn_cnt > 2;
	return real_syscall(number, a);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	long r = syscall(SYS_getsockopt, fd, level, name, value, length);

	if (r == 0 && refuse.reuseport && level == SOL_SOCKET && name == SO_REUSEPORT)
		*(int *)value = 0;
	return (int)r;
}

static int setup_load(void **state)
{
	memset(&refuse, 0, sizeof(refuse));
	refuse.program_type = refuse.attach_type = -1;
	if (!missing)
		bpffs_sweep(NAME);
	return setup(state);
}

/* One connection, made and ended. */
static void connect_once(void)
{
	int listener = listener_in(leaves[0], HERE), client = client_of(HERE);

	close(accept_from(listener));
	close(client);
	close(listener);
}

static unsigned on_cgroup(const char *path, enum bpf_attach_type type)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t ids[64], n = 64, flags;

	assert_true(fd >= 0);
	assert_int_equal(bpf_prog_query(fd, type, 0, &flags, ids, &n), 0);
	close(fd);
	return n;
}

/* ---- pins ----------------------------------------------------------------------------------- */

static void make_pin_dir(char ret[static BPFFS_PATH_MAX])
{
	if (missing)
		skip();
	if (bpffs_make(NAME, "web", "tap", ret, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_tap_counting_goes_on_without_a_daemon(void **state)
{
	char dir[BPFFS_PATH_MAX];
	int listener, clients[3], servers[3];
	struct tap *tap;

	(void)state;
	make_pin_dir(dir);
	tap = open_tap(dir, HERE);
	attach(tap, 0, true);
	listener = listener_in(leaves[0], HERE);
	for (size_t k = 0; k < 2; k++) {
		clients[k] = client_of(HERE);
		servers[k] = accept_from(listener);
	}
	assert_int_equal(tap_watch(tap, 1, 0), 0);
	run_loop();
	tap_free(tap);

	clients[2] = client_of(HERE);
	servers[2] = accept_from(listener);
	close(clients[0]);
	close(servers[0]);

	tap = open_tap(dir, HERE);
	assert_count(tap, 0, 3, 2, 1, 0);
	assert_true(tap_forced(tap, cookie_of(listener)));
	tap_free(tap);

	/* Nobody is there to hear that the last one ends. */
	for (size_t k = 1; k < 3; k++) {
		close(clients[k]);
		close(servers[k]);
	}
	tap = open_tap(dir, HERE);
	assert_int_equal(seen.zeros, 0);
	wait_for(seen.zeros == 1);
	assert_count(tap, 0, 3, 0, 3, 0);
	close(listener);
	tap_unpin_all(tap);
	tap_free(tap);
	assert_int_equal(access(dir, F_OK), -1);
}

static void test_tap_maps_of_another_shape_are_replaced(void **state)
{
	char dir[BPFFS_PATH_MAX], path[BPFFS_PATH_MAX + 16];
	struct tap_count count;
	struct tap *tap;
	int fd;

	(void)state;
	make_pin_dir(dir);
	tap = open_tap(dir, HERE);
	attach(tap, 0, false);
	tap_free(tap);
	snprintf(path, sizeof(path), "%s/moved", dir);
	assert_int_equal(unlink(path), 0);
	fd = bpf_map_create(BPF_MAP_TYPE_HASH, "moved", 8, 16, 4, NULL);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	close(fd);

	tap = open_tap(dir, HERE);
	assert_int_equal(tap_count(tap, 1, 0, &count), -ENOENT);
	attach(tap, 0, false);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	tap_free(tap);
	/* And what was made instead is pinned. */
	tap = open_tap(dir, HERE);
	assert_count(tap, 0, 1, 0, 1, 0);
	tap_unpin_all(tap);
	tap_free(tap);
}

/* What the programs on a cgroup count goes on, whatever has become of the pins. */
static void test_tap_pins_that_are_gone_are_made_again_around_the_programs(void **state)
{
	static const char *const names[] = {"counts", "moved", "probes", "layout", NULL};
	char dir[BPFFS_PATH_MAX], path[BPFFS_PATH_MAX + 16];
	struct tap *tap;

	(void)state;
	make_pin_dir(dir);
	tap = open_tap(dir, HERE);
	attach(tap, 0, false);
	connect_once();
	tap_free(tap);
	for (size_t k = 0; names[k]; k++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[k]);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(tap_open(loop, dir, leaves[0], &callbacks, &seen, &tap, &err), 0);
	assert_count(tap, 0, 1, 0, 1, 0);
	connect_once();
	assert_count(tap, 0, 2, 0, 2, 0);
	tap_free(tap);
	/* And they are pinned again. */
	tap = open_tap(dir, HERE);
	assert_count(tap, 0, 2, 0, 2, 0);
	tap_unpin_all(tap);
	tap_free(tap);
}

/* Counters whose numbers may mean something else are not read. */
static void test_tap_maps_of_an_unknown_layout_are_replaced(void **state)
{
	char dir[BPFFS_PATH_MAX];
	struct tap_count count;
	struct tap *tap;

	(void)state;
	make_pin_dir(dir);
	tap = open_tap(dir, HERE);
	attach(tap, 0, false);
	tap_free(tap);
	assert_int_equal(earlier_note_layout(dir, -1, TAP_LAYOUT + 1, &err), 1);
	tap = open_tap(dir, HERE);
	assert_int_equal(tap_count(tap, 1, 0, &count), -ENOENT);
	tap_free(tap);
	tap = open_tap(dir, HERE);
	attach(tap, 0, false);
	tap_free(tap);
	tap = open_tap(dir, HERE);
	assert_count(tap, 0, 0, 0, 0, 0);
	tap_unpin_all(tap);
	tap_free(tap);
}

static void test_tap_without_pins_each_begins_anew(void **state)
{
	struct tap *tap = open_tap(NULL, HERE), *second;
	struct tap_count count;

	(void)state;
	attach(tap, 0, false);
	second = open_tap(NULL, HERE);
	assert_int_equal(tap_count(second, 1, 0, &count), -ENOENT);
	tap_unpin_all(second);
	tap_free(second);
	tap_free(tap);
}

static void test_tap_open_where_nothing_can_be_pinned_fails(void **state)
{
	struct tap *tap = NULL;
	char longer[BPFFS_PATH_MAX];

	(void)state;
	if (missing)
		skip();
	assert_true(tap_open(loop, "/tmp", NULL, &callbacks, &seen, &tap, &err) < 0);
	assert_null(tap);
	assert_memory_equal(err.text, "tap: ", 5);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(tap_open(loop, longer, NULL, &callbacks, &seen, &tap, &err),
			 -ENAMETOOLONG);
}

/* ---- attaching ------------------------------------------------------------------------------ */

static void test_tap_attach_twice_counts_once_and_from_0(void **state)
{
	struct tap *tap = open_tap(NULL, HERE), *other = open_tap(NULL, HERE);

	(void)state;
	attach(tap, 0, true);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	attach(tap, 0, false);
	assert_count(tap, 0, 0, 0, 0, 0);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_SOCK_OPS), 1);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_SETSOCKOPT), 1);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_INET4_BIND), 1);
	/* The leaf of an earlier daemon that has left nothing else. */
	attach(other, 0, true);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	assert_count(other, 0, 1, 0, 1, 0);
	tap_free(other);
	tap_free(tap);
}

/* Of each two, however many there are and whatever is done with them. */
static void test_tap_keeps_two_descriptors_open(void **state)
{
	struct tap *taps[MANY];
	size_t before;

	(void)state;
	if (missing)
		skip();
	before = count_fds();
	for (size_t k = 0; k < MANY; k++) {
		taps[k] = open_tap(NULL, HERE);
		attach(taps[k], 0, true);
		attach(taps[k], 1, true);
		connect_once();
		assert_count(taps[k], 0, 1, 0, 1, 0);
	}
	assert_true(count_fds() <= before + BPF_KEPT_OPEN_MAX + 2 * MANY);
	for (size_t k = 0; k < MANY; k++)
		tap_free(taps[k]);
	assert_int_equal(count_fds(), before);
}

/* So many that none of those before them is still open. */
static void open_others(void)
{
	for (int k = 0; k < 8 * BPF_KEPT_OPEN_MAX; k++) {
		int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "other", 4, 4, 1, NULL);
		struct bpf_kept other;

		assert_true(fd >= 0);
		assert_int_equal(bpf_kept_map(fd, true, &other), 0);
		bpf_kept_done(&other);
		close(fd);
	}
}

/* Programs of the service are on the cgroups of all its instances, each of which they tell apart.
 */
static void test_tap_programs_are_loaded_once(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	attach(tap, 0, true);
	/* And perhaps one that tries whether ports are shared. */
	assert_in_range(refuse.loaded, 4, 5);
	refuse.loaded = 0;
	attach(tap, 1, true);
	attach(tap, 1, false);
	assert_int_equal(refuse.loaded, 0);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	assert_count(tap, 1, 0, 0, 0, 0);
	tap_free(tap);
}

/* Without CAP_SYS_ADMIN nobody sees what is on the cgroup already. */
static void test_tap_programs_that_cannot_be_seen_are_not_put_on_twice(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	refuse.gone = true;
	attach(tap, 0, true);
	refuse.loaded = 0;
	attach(tap, 0, true);
	assert_int_equal(refuse.loaded, 0);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_SOCK_OPS), 1);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	tap_free(tap);
}

/* They go with the last cgroup. */
static void test_tap_programs_that_are_gone_are_loaded_again(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	attach(tap, 0, true);
	open_others();
	refuse.gone = true;
	refuse.loaded = 0;
	attach(tap, 1, true);
	assert_int_equal(refuse.loaded, 4);
	tap_free(tap);
}

static void test_tap_attach_to_what_is_no_cgroup_fails(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct tap_count count;

	(void)state;
	assert_int_equal(tap_attach(tap, "/no/such", 1, 0, true, &err), -ENOENT);
	assert_string_equal(err.text, "tap: /no/such: No such file or directory");
	assert_true(tap_attach(tap, "/tmp", 1, 0, false, &err) < 0);
	assert_memory_equal(err.text, "tap: /tmp: ", 11);
	assert_int_equal(tap_count(tap, 1, 0, &count), -ENOENT);
	assert_int_equal(tap_attach(tap, leaves[0], 0, 7, false, &err), -EINVAL);
	tap_free(tap);
}

static void test_tap_attach_without_room_for_counters_fails(void **state)
{
	const struct tap_counts zero = {};
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	for (uint64_t owner = 1; owner <= TAP_INSTANCES_MAX; owner++)
		assert_int_equal(bpf_map_update_elem(tap_counts_fd(tap), &owner, &zero, BPF_ANY),
				 0);
	assert_int_equal(tap_attach(tap, leaves[0], 1, 0, false, &err), -E2BIG);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_SOCK_OPS), 0);
	tap_free(tap);
}

static void test_tap_as_many_addresses_as_a_service_can_have(void **state)
{
	struct address addresses[TAP_LISTEN_MAX + 1];
	struct tap *tap = NULL;
	char text[32];
	int fd, client;

	(void)state;
	if (missing)
		skip();
	for (size_t k = 0; k <= TAP_LISTEN_MAX; k++) {
		snprintf(text, sizeof(text), k % 2 ? "[::1]:%zu" : "127.0.0.1:%zu", 8100 + k);
		addresses[k] = parse(text);
	}
	if (tap_open(loop, NULL, NULL, &callbacks, &seen, &tap, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(tap_declare(tap, addresses, TAP_LISTEN_MAX + 1, &err), -E2BIG);
	assert_int_equal(tap_declare(tap, addresses, TAP_LISTEN_MAX, &err), 0);
	attach(tap, 0, true);
	fd = listener_in(leaves[0], addresses[TAP_LISTEN_MAX - 1].text);
	assert_true(fd >= 0);
	assert_true(tap_forced(tap, cookie_of(fd)));
	client = client_of(addresses[TAP_LISTEN_MAX - 1].text);
	wait_for(count_of(tap, 0).live == 1);
	close(client);
	close(fd);
	tap_free(tap);
}

/* The third of four programs is refused: none stays. */
static void test_tap_attach_that_fails_half_way_leaves_nothing(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);
	struct tap_count count;

	(void)state;
	refuse.attach_type = BPF_CGROUP_INET6_BIND;
	assert_int_equal(tap_attach(tap, leaves[0], 1, 0, true, &err), -EINVAL);
	assert_non_null(strstr(err.text, leaves[0]));
	assert_non_null(strstr(err.text, "cgroup/bind6"));
	assert_int_equal(refuse.attached, 2);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_SOCK_OPS), 0);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_INET4_BIND), 0);
	assert_int_equal(tap_count(tap, 1, 0, &count), -ENOENT);
	tap_free(tap);
}

/* ---- older kernels -------------------------------------------------------------------------- */

static void test_tap_kernel_without_setsockopt_still_counts_and_shares(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	refuse.program_type = BPF_CGROUP_SETSOCKOPT;
	attach(tap, 0, true);
	attach(tap, 1, true);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_SETSOCKOPT), 0);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_INET6_BIND), 1);
	assert_true(tap_births_fd(tap) >= 0);
	tap_free(tap);
}

/* In a container with CAP_BPF and CAP_NET_ADMIN alone. */
static void test_tap_without_perfmon_still_counts_and_shares(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	refuse.tracing = true;
	attach(tap, 0, true);
	attach(tap, 1, true);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	assert_true(tap_births_fd(tap) >= 0);
	assert_false(tap_tells_ends(tap));
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_SETSOCKOPT), 1);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_INET6_BIND), 1);
	assert_int_equal(tap_can_share(&err), 0);
	tap_free(tap);
}

static void test_tap_kernel_without_births_still_counts(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	refuse.births = true;
	attach(tap, 0, true);
	attach(tap, 1, true);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	assert_int_equal(tap_births_fd(tap), -1);
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_SETSOCKOPT), 1);
	tap_free(tap);
}

static void test_tap_kernel_without_sockops_is_an_error(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	refuse.program_type = BPF_CGROUP_SOCK_OPS;
	assert_int_equal(tap_attach(tap, leaves[0], 1, 0, false, &err), -EINVAL);
	assert_string_equal(err.text, "tap: count connections (sockops): Invalid argument");
	tap_free(tap);
}

static void test_tap_kernel_without_bind_programs_cannot_share(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	refuse.program_type = BPF_CGROUP_INET4_BIND;
	assert_true(tap_attach(tap, leaves[0], 1, 0, true, &err) < 0);
	assert_non_null(strstr(err.text, "share ports (cgroup/bind4)"));
	assert_non_null(strstr(err.text, "Linux 6.0"));
	assert_int_equal(on_cgroup(leaves[0], BPF_CGROUP_SOCK_OPS), 0);
	attach(tap, 0, false);
	connect_once();
	assert_count(tap, 0, 1, 0, 1, 0);
	tap_free(tap);
}

/* Before Linux 6.0 the program loads, runs, and sets nothing. */
static void test_tap_kernel_whose_bind_programs_do_nothing_cannot_share(void **state)
{
	struct tap *tap = open_tap(NULL, HERE);

	(void)state;
	refuse.reuseport = true;
	assert_int_equal(tap_attach(tap, leaves[0], 1, 0, true, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "SO_REUSEPORT"));
	assert_non_null(strstr(err.text, "Linux 6.0"));
	attach(tap, 0, false);
	tap_free(tap);
}

static void test_tap_without_privileges_is_an_error_that_says_so(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (missing)
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct tap *tap;

		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(1);
		if (tap_open(loop, NULL, NULL, &callbacks, &seen, &tap, &err) != -EPERM)
			_exit(2);
		if (!strstr(err.text, "run it as root"))
			_exit(3);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_tap_##name, setup_load, teardown)
		/* Once it works that is not asked again. */
		TEST(kernel_whose_bind_programs_do_nothing_cannot_share),
		TEST(counting_goes_on_without_a_daemon),
		TEST(maps_of_another_shape_are_replaced),
		TEST(pins_that_are_gone_are_made_again_around_the_programs),
		TEST(maps_of_an_unknown_layout_are_replaced),
		TEST(without_pins_each_begins_anew),
		TEST(open_where_nothing_can_be_pinned_fails),
		TEST(attach_twice_counts_once_and_from_0),
		TEST(keeps_two_descriptors_open),
		TEST(programs_are_loaded_once),
		TEST(programs_that_cannot_be_seen_are_not_put_on_twice),
		TEST(programs_that_are_gone_are_loaded_again),
		TEST(attach_to_what_is_no_cgroup_fails),
		TEST(attach_without_room_for_counters_fails),
		TEST(as_many_addresses_as_a_service_can_have),
		TEST(attach_that_fails_half_way_leaves_nothing),
		TEST(kernel_without_setsockopt_still_counts_and_shares),
		TEST(without_perfmon_still_counts_and_shares),
		TEST(kernel_without_births_still_counts),
		TEST(kernel_without_sockops_is_an_error),
		TEST(kernel_without_bind_programs_cannot_share),
		TEST(without_privileges_is_an_error_that_says_so),
	};
	int r = cmocka_run_group_tests_name("tap_load", tests, fixture_open, fixture_close);

	if (!missing)
		bpffs_sweep(NAME);
	return r;
}
