/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "orchestrator/api/api_socket.h"

static char folder[64], path[96];
static struct error err;

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_api_socket.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/api.sock", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static int connect_to(const struct api_socket *listening)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&listening->address,
				 sizeof(listening->address)),
			 0);
	return fd;
}

static void test_api_socket_open_makes_a_narrow_file(void **state)
{
	struct api_socket listening;
	mode_t before = umask(0);
	struct stat st;
	int client, server;
	uid_t uid = 12345;

	(void)state;
	assert_int_equal(api_socket_open(path, (gid_t)-1, &listening, &err), 0);
	assert_int_equal(umask(before), 0); /* left as it was */
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(fcntl(listening.fd, F_GETFD), FD_CLOEXEC);
	client = connect_to(&listening);
	server = accept(listening.fd, NULL, NULL);
	assert_true(server >= 0);
	assert_int_equal(api_socket_peer(server, &uid), 0);
	assert_int_equal(uid, geteuid());
	assert_int_equal(api_socket_peer(-1, &uid), -EBADF);
	close(client);
	close(server);
	close(listening.fd);
	api_socket_unlink(&listening);
	assert_int_equal(lstat(path, &st), -1);
}

static void test_api_socket_open_sets_the_group(void **state)
{
	struct api_socket listening;
	struct stat st;

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
	assert_int_equal(api_socket_open(path, 65534, &listening, &err), 0);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_gid, 65534);
	assert_int_equal(st.st_mode, S_IFSOCK | 0660);
	close(listening.fd);
}

static void test_api_socket_set_group_opens_and_closes_the_file(void **state)
{
	struct api_socket listening;
	struct stat st;

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
	assert_int_equal(api_socket_open(path, (gid_t)-1, &listening, &err), 0);
	assert_int_equal(api_socket_set_group(&listening, 65534, &err), 0);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_gid, 65534);
	assert_int_equal(st.st_mode, S_IFSOCK | 0660);
	assert_int_equal(api_socket_set_group(&listening, (gid_t)-1, &err), 0);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_gid, getegid());
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	/* What is not ours is left alone. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(api_socket_set_group(&listening, 65534, &err), -ENOENT);
	assert_non_null(strstr(err.text, "not the socket of this daemon"));
	close(listening.fd);
}

/* Its main group, or one of many others: as they were when it connected. */
static void test_api_socket_peer_is_in_its_groups(void **state)
{
	gid_t groups[100], before[64];
	struct api_socket listening;
	int client, server, n_before;

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
	for (gid_t k = 0; k < 100; k++)
		groups[k] = 1000 + k;
	n_before = getgroups(64, before);
	assert_true(n_before >= 0);
	assert_int_equal(api_socket_open(path, (gid_t)-1, &listening, &err), 0);
	assert_int_equal(setgroups(100, groups), 0);
	client = connect_to(&listening);
	assert_int_equal(setgroups((size_t)n_before, before), 0);
	server = accept(listening.fd, NULL, NULL);
	assert_true(server >= 0);
	assert_true(api_socket_peer_is_in(server, getegid()));
	assert_true(api_socket_peer_is_in(server, 1000));
	assert_true(api_socket_peer_is_in(server, 1099));
	assert_false(api_socket_peer_is_in(server, 1100));
	assert_false(api_socket_peer_is_in(-1, 1000));
	close(client);
	close(server);
	close(listening.fd);
}

static void test_api_socket_open_replaces_a_dead_one(void **state)
{
	struct api_socket first, second;

	(void)state;
	assert_int_equal(api_socket_open(path, (gid_t)-1, &first, &err), 0);
	close(first.fd); /* as after a crash: the file stays */
	assert_int_equal(api_socket_open(path, (gid_t)-1, &second, &err), 0);
	close(connect_to(&second));
	close(second.fd);
}

static void test_api_socket_open_leaves_a_live_one_alone(void **state)
{
	struct api_socket first, second = {.fd = -7};
	int clients[80], n = 0;

	(void)state;
	assert_int_equal(api_socket_open(path, (gid_t)-1, &first, &err), 0);
	assert_int_equal(api_socket_open(path, (gid_t)-1, &second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "another daemon answers there"));
	assert_int_equal(second.fd, -7);
	/* Also one that is so busy that its queue is full. */
	assert_int_equal(listen(first.fd, 0), 0);
	for (; n < 80; n++) {
		clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(clients[n], (const struct sockaddr *)&first.address,
			    sizeof(first.address)) < 0)
			break;
	}
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(api_socket_open(path, (gid_t)-1, &second, &err), -EADDRINUSE);
	for (; n >= 0; n--)
		close(clients[n]);
	close(first.fd);
}

static void test_api_socket_open_leaves_what_is_no_socket_alone(void **state)
{
	struct api_socket listening;
	struct stat st;
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(api_socket_open(path, (gid_t)-1, &listening, &err), -EEXIST);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

static void test_api_socket_open_bad_paths_are_refused(void **state)
{
	struct api_socket listening;
	char text[200];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[108] = '\0';
	assert_int_equal(api_socket_open(text, (gid_t)-1, &listening, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "longer than 107 bytes"));
	snprintf(text, sizeof(text), "%s/none/api.sock", folder);
	assert_int_equal(api_socket_open(text, (gid_t)-1, &listening, &err), -ENOENT);
	assert_non_null(strstr(err.text, text));
}

static void test_api_socket_unlink_spares_the_file_of_another(void **state)
{
	struct api_socket first, second;
	struct stat st;

	(void)state;
	assert_int_equal(api_socket_open(path, (gid_t)-1, &first, &err), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(api_socket_open(path, (gid_t)-1, &second, &err), 0);
	api_socket_unlink(&first);
	assert_int_equal(lstat(path, &st), 0);
	api_socket_unlink(&second);
	assert_int_equal(lstat(path, &st), -1);
	api_socket_unlink(&second);
	close(first.fd);
	close(second.fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_api_socket_open_makes_a_narrow_file),
		TEST(test_api_socket_open_sets_the_group),
		TEST(test_api_socket_set_group_opens_and_closes_the_file),
		TEST(test_api_socket_peer_is_in_its_groups),
		TEST(test_api_socket_open_replaces_a_dead_one),
		TEST(test_api_socket_open_leaves_a_live_one_alone),
		TEST(test_api_socket_open_leaves_what_is_no_socket_alone),
		TEST(test_api_socket_open_bad_paths_are_refused),
		TEST(test_api_socket_unlink_spares_the_file_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
