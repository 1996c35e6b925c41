/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ebpf/inspect.h"
#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/steer.h"
#include "tests/unit/fakes/count_fds.h"
#include "tests/unit/fakes/netns.h"

/* More than one read(2) of the iterator takes (128 records). */
#define MANY 400

#define PASS 1 /* SK_PASS */
#define DROP 0

static struct inspect *inspect;
static const char *missing; /* why the tests are skipped; NULL: they are not */
static struct address address;
static struct error err;

/* Each test has a namespace of its own, so that what a failed one has left is nobody's concern. */
static int setup(void **state)
{
	struct rlimit files = {4096, 4096};

	(void)state;
	memset(&err, 0, sizeof(err));
	assert_int_equal(address_parse("127.0.0.1:8080", &address, &err), 0);
	missing = netns_enter();
	if (!missing && setrlimit(RLIMIT_NOFILE, &files) < 0)
		missing = "cannot have enough descriptors";
	if (!missing && inspect_open(&inspect, &err) < 0)
		missing = err.text;
	if (missing)
		print_message("%s\n", missing);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	inspect_free(inspect);
	inspect = NULL;
	inspect_free(NULL);
	return 0;
}

/* Skips where nothing can be opened at all. */
static int listener(const struct address *a)
{
	int fd = -1;

	if (missing)
		skip();
	if (anchor_open(a, geteuid(), -1, &fd, NULL, &err) < 0)
		fail_msg("%s", err.text);
	return fd;
}

static void expect(int fd, uint32_t program_id, uint32_t members)
{
	uint32_t id = UINT32_MAX, n = UINT32_MAX;

	if (inspect_listener(inspect, steer_cookie(fd), &id, &n, &err) < 0)
		fail_msg("not found: %s", err.text);
	assert_int_equal(id, program_id);
	assert_int_equal(n, members);
}

static void expect_none(uint64_t cookie)
{
	uint32_t id = 77, n = 78;

	assert_int_equal(inspect_listener(inspect, cookie, &id, &n, &err), -ENOENT);
	assert_int_equal(id, 77);
	assert_int_equal(n, 78);
}

/* Attach a program that always returns @verdict; returns its id. */
static uint32_t attach(int fd, int verdict)
{
	const struct bpf_insn code[] = {
		{.code = 0xb7, .imm = verdict}, /* r0 = verdict */
		{.code = 0x95},                 /* exit */
	};
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);
	LIBBPF_OPTS(bpf_prog_load_opts, options);
	int program = bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "test", "GPL", code, 2, &options);

	assert_true(program >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(program, &info, &length), 0);
	assert_true(info.id != 0);
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)), 0);
	close(program);
	return info.id;
}

/* ---- found ---------------------------------------------------------------------------------- */

static void test_inspect_group_without_a_program_is_0(void **state)
{
	int fd = listener(&address);

	(void)state;
	expect(fd, 0, 1);
	close(fd);
}

static void test_inspect_members_are_counted(void **state)
{
	int a = listener(&address), b = listener(&address), c = listener(&address);
	int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	(void)state;
	expect(a, 0, 3);
	expect(c, 0, 3);
	/* A socket joins at listen(2), not at bind(2). */
	setsockopt(bound, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	setsockopt(bound, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(bound, &address.sa, address.length), 0);
	expect(a, 0, 3);
	assert_int_equal(listen(bound, 1), 0);
	expect(a, 0, 4);
	close(bound);
	close(b);
	expect(a, 0, 2);
	close(c);
	expect(a, 0, 1);
	close(a);
}

static void test_inspect_program_is_the_groups(void **state)
{
	int a = listener(&address), b = listener(&address);
	uint32_t first, second;
	int on = 1;

	(void)state;
	first = attach(a, PASS);
	expect(a, first, 2);
	expect(b, first, 2);
	/* Any member can replace it. */
	second = attach(b, DROP);
	assert_int_not_equal(second, first);
	expect(a, second, 2);
	expect(b, second, 2);
	assert_int_equal(setsockopt(a, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &on, sizeof(on)), 0);
	expect(b, 0, 2);
	close(a);
	close(b);
}

/* It has no id, but it decides all the same. */
static void test_inspect_classic_program_is_told_from_none(void **state)
{
	struct sock_filter first = {.code = BPF_RET | BPF_K, .k = 0};
	struct sock_fprog program = {.len = 1, .filter = &first};
	int fd = listener(&address);

	(void)state;
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)), 0);
	expect(fd, INSPECT_CLASSIC, 1);
	expect(fd, attach(fd, PASS), 1);
	close(fd);
}

static void test_inspect_groups_are_told_apart(void **state)
{
	static const char *const texts[] = {"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.2:8080",
					    "[::1]:8080"};
	uint32_t ids[4];
	int fds[4];

	(void)state;
	for (size_t k = 0; k < 4; k++) {
		struct address other;

		assert_int_equal(address_parse(texts[k], &other, &err), 0);
		fds[k] = listener(&other);
		ids[k] = attach(fds[k], PASS);
	}
	for (size_t k = 0; k < 4; k++)
		expect(fds[k], ids[k], 1);
	for (size_t k = 0; k < 4; k++)
		close(fds[k]);
}

/* Listeners in groups of their own; the first and the last of them have programs, @ret_ids. */
static void listen_on_many(int fds[static MANY], uint32_t ret_ids[static 2])
{
	for (uint16_t k = 0; k < MANY; k++) {
		struct address other = address;

		other.in.sin_port = htons((uint16_t)(10000 + k));
		fds[k] = listener(&other);
	}
	ret_ids[0] = attach(fds[0], PASS);
	ret_ids[1] = attach(fds[MANY - 1], PASS);
}

static void test_inspect_one_of_many_listeners_is_found(void **state)
{
	static int fds[MANY];
	uint32_t ids[2];

	(void)state;
	listen_on_many(fds, ids);
	for (size_t k = 0; k < MANY; k++)
		expect(fds[k], k == 0 ? ids[0] : k == MANY - 1 ? ids[1] : 0, 1);
	for (size_t k = 0; k < MANY; k++)
		close(fds[k]);
}

/* ---- not found ------------------------------------------------------------------------------ */

static void test_inspect_socket_that_does_not_listen_is_not_found(void **state)
{
	int a = listener(&address), b = listener(&address);
	uint64_t cookie = steer_cookie(a);

	(void)state;
	expect(a, 0, 2);
	assert_int_equal(shutdown(a, SHUT_RD), 0);
	expect_none(cookie);
	expect(b, 0, 1);
	assert_int_equal(listen(a, 1), 0);
	expect(a, 0, 2);
	close(a);
	expect_none(cookie);
	expect_none(UINT64_MAX);
	close(b);
}

static void test_inspect_listener_outside_a_group_is_not_found(void **state)
{
	int fd, on = 1;

	(void)state;
	if (missing)
		skip();
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, &address.sa, address.length), 0);
	assert_int_equal(listen(fd, 1), 0);
	expect_none(steer_cookie(fd));
	close(fd);
}

static void test_inspect_connections_are_not_found(void **state)
{
	int fd = listener(&address), client, server;

	(void)state;
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, &address.sa, address.length), 0);
	server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	expect_none(steer_cookie(client));
	expect_none(steer_cookie(server));
	close(client);
	close(server);
	close(fd);
}

static void test_inspect_listener_of_another_namespace_is_not_found(void **state)
{
	int fd = listener(&address), home, other;

	(void)state;
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(home >= 0);
	expect(fd, 0, 1);
	assert_null(netns_enter());
	other = listener(&address);
	expect_none(steer_cookie(fd));
	/* It was opened at home, but looks where the caller is. */
	expect(other, 0, 1);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	expect_none(steer_cookie(other));
	expect(fd, 0, 1);
	close(home);
	close(other);
	close(fd);
}

/* ---- opening -------------------------------------------------------------------------------- */

static void test_inspect_no_call_leaves_a_descriptor_open(void **state)
{
	int fd = listener(&address);
	struct inspect *second = NULL;
	uint64_t cookie = steer_cookie(fd);
	size_t n = count_fds();
	uint32_t id, members;

	(void)state;
	assert_int_equal(inspect_open(&second, &err), 0);
	assert_int_equal(inspect_listener(second, cookie, &id, &members, &err), 0);
	assert_int_equal(inspect_listener(second, UINT64_MAX, &id, &members, &err), -ENOENT);
	inspect_free(second);
	assert_int_equal(count_fds(), n);
	close(fd);
}

static void test_inspect_out_of_descriptors_is_an_error_with_its_reason(void **state)
{
	int fd = listener(&address), lowest;
	struct rlimit before, none;
	struct inspect *second = NULL;
	uint32_t id, members;
	int r_listener, r_open;
	struct error err_listener = {0}, err_open = {0};

	(void)state;
	lowest = dup(fd);
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){(rlim_t)lowest, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	r_listener = inspect_listener(inspect, steer_cookie(fd), &id, &members, &err_listener);
	r_open = inspect_open(&second, &err_open);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(r_listener, -EMFILE);
	assert_non_null(strstr(err_listener.text, "iterator: Too many open files"));
	assert_int_equal(r_open, -EMFILE);
	assert_null(second);
	assert_non_null(strstr(err_open.text, "Too many open files"));
	close(fd);
}

/* ---- recalled ------------------------------------------------------------------------------- */

static uint32_t recall(int fd)
{
	uint32_t id = UINT32_MAX;

	assert_int_equal(inspect_recall(inspect, steer_cookie(fd), &id), 0);
	return id;
}

/* One that has come since the last walk is found, too; one that is gone is not. */
static void test_inspect_recall_knows_each_of_many(void **state)
{
	static int fds[MANY];
	uint32_t ids[2], nobody;
	int late;

	(void)state;
	listen_on_many(fds, ids);
	for (int round = 0; round < 3; round++)
		for (size_t k = 0; k < MANY; k++)
			assert_int_equal(recall(fds[k]), k == 0          ? ids[0]
							 : k == MANY - 1 ? ids[1]
									 : 0);
	/* Whoever knows of a change does not wait for the next look. */
	ids[0] = attach(fds[0], PASS);
	inspect_forget(inspect);
	assert_int_equal(recall(fds[0]), ids[0]);
	late = listener(&address);
	assert_int_equal(recall(late), 0);
	assert_int_equal(recall(late), 0);
	inspect_drop(inspect, steer_cookie(late));
	close(late);
	assert_int_equal(inspect_recall(inspect, 1, &nobody), -ENOENT);
	assert_int_equal(inspect_recall(inspect, 1, &nobody), -ENOENT);
	for (size_t k = 0; k < MANY; k++)
		close(fds[k]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_inspect_##name, setup, teardown)
		TEST(group_without_a_program_is_0),
		TEST(members_are_counted),
		TEST(program_is_the_groups),
		TEST(classic_program_is_told_from_none),
		TEST(groups_are_told_apart),
		TEST(one_of_many_listeners_is_found),
		TEST(socket_that_does_not_listen_is_not_found),
		TEST(listener_outside_a_group_is_not_found),
		TEST(connections_are_not_found),
		TEST(listener_of_another_namespace_is_not_found),
		TEST(no_call_leaves_a_descriptor_open),
		TEST(out_of_descriptors_is_an_error_with_its_reason),
		TEST(recall_knows_each_of_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
