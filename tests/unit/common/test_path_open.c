/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/path_open.h"
#include "tests/unit/fakes/folder.h"

#define SOMEBODY 4711 /* who runs the service */
#define STRANGER 4712
#define GROUP    4713

static const gid_t groups[] = {GROUP};
static const struct as_user somebody = {SOMEBODY, SOMEBODY, groups, 1};

#define SKIP_UNLESS_ROOT()                                                                         \
	do {                                                                                       \
		if (geteuid() != 0)                                                                \
			skip();                                                                    \
	} while (0)

/* A file of root's that nobody else may read, and the folder "d" with an owner and a mode. */
static void make_scene(uid_t owner, gid_t group, mode_t mode)
{
	write_file("secret", "root\n", 0600);
	assert_int_equal(mkdir(in_folder("d"), 0755), 0);
	assert_int_equal(chown(in_folder("d"), owner, group), 0);
	assert_int_equal(chmod(in_folder("d"), mode), 0);
}

static void clear_scene(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'/*", folder);
	assert_int_equal(system(command), 0);
}

static void link_to(const char *target, const char *name, uid_t owner)
{
	assert_int_equal(symlink(target, in_folder(name)), 0);
	assert_int_equal(lchown(in_folder(name), owner, owner), 0);
}

/* What path_check() says first, and path_open() then must say, too; else a closed descriptor. */
static int try(const char *name, enum path_use use, const struct as_user *user, struct error *err)
{
	int checked = path_check(in_folder(name), use, user, err);
	int r = path_open(in_folder(name), use, user, err);

	if (r >= 0)
		close(r);
	assert_int_equal(checked < 0 ? checked : 0, r < 0 ? r : 0);
	return r < 0 ? r : 0;
}

/* ---- the table ------------------------------------------------------------------------------ */

enum what { SYMLINK, HARD_LINK, PLAIN, NOTHING, FIFO, FOLDER, SOCKET };

struct row {
	uid_t folder_owner;
	gid_t folder_group;
	mode_t folder_mode;
	enum what what; /* d/f */
	uid_t owner;    /* of it */
	bool read;      /* whether it may be read, as root without a service's user */
	bool append;
};

static const struct row rows[] = {
	/* Nobody else can write there: whatever root has made is what root wants. */
	{0, 0, 0755, SYMLINK, 0, true, true},
	{0, GROUP, 0755, SYMLINK, STRANGER, true, true},
	{0, 0, 0755, HARD_LINK, 0, true, true},
	{0, 0, 0755, PLAIN, STRANGER, true, true},
	{0, 0, 0755, NOTHING, 0, false, true},
	/* The service's user, or another one, has the folder. */
	{SOMEBODY, 0, 0755, SYMLINK, SOMEBODY, false, false},
	{SOMEBODY, 0, 0755, SYMLINK, 0, false, false},
	{SOMEBODY, 0, 0755, HARD_LINK, 0, false, false},
	{SOMEBODY, 0, 0755, PLAIN, SOMEBODY, true, true},
	{SOMEBODY, 0, 0755, PLAIN, 0, true, true},
	{SOMEBODY, 0, 0755, NOTHING, 0, false, true},
	{SOMEBODY, 0, 01777, SYMLINK, 0, false, false},
	/* A group has it, or everybody. */
	{0, GROUP, 0775, SYMLINK, 0, false, false},
	{0, GROUP, 0775, HARD_LINK, 0, false, false},
	{0, GROUP, 0775, PLAIN, STRANGER, true, true},
	{0, 0, 0757, SYMLINK, 0, false, false},
	/* As /tmp. */
	{0, 0, 01777, SYMLINK, 0, true, true},
	{0, 0, 01777, SYMLINK, STRANGER, false, false},
	{0, 0, 01777, HARD_LINK, 0, false, false},
	{0, 0, 01777, PLAIN, 0, true, true},
	{0, 0, 01777, PLAIN, STRANGER, true, false},
	{0, GROUP, 01775, SYMLINK, STRANGER, false, false},
	{0, 0, 01777, NOTHING, 0, false, true},
	/* Never. */
	{0, 0, 0755, FIFO, 0, false, false},
	{0, 0, 0755, FOLDER, 0, false, false},
	{0, 0, 0755, SOCKET, 0, false, false},
	{SOMEBODY, 0, 0755, FIFO, SOMEBODY, false, false},
};

static void make_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

static void make_file(const struct row *row)
{
	switch (row->what) {
	case SYMLINK:
		link_to("../secret", "d/f", row->owner);
		return;
	case HARD_LINK:
		assert_int_equal(link(in_folder("secret"), in_folder("d/f")), 0);
		return;
	case PLAIN:
		write_file("d/f", "own\n", 0600);
		break;
	case NOTHING:
		return;
	case FIFO:
		assert_int_equal(mkfifo(in_folder("d/f"), 0666), 0);
		break;
	case FOLDER:
		assert_int_equal(mkdir(in_folder("d/f"), 0755), 0);
		break;
	case SOCKET:
		make_socket(in_folder("d/f"));
		break;
	}
	assert_int_equal(chown(in_folder("d/f"), row->owner, row->owner), 0);
}

static void test_path_open_table(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		const struct row *row = &rows[k];
		struct error err = {};
		bool read, append;

		make_scene(row->folder_owner, row->folder_group, row->folder_mode);
		make_file(row);
		read = try("d/f", PATH_READ, NULL, &err) == 0;
		if (read != row->read)
			fail_msg("row %zu: read: %d, %s", k, read, err.text);
		append = try("d/f", PATH_APPEND, NULL, &err) == 0;
		if (append != row->append)
			fail_msg("row %zu: append: %d, %s", k, append, err.text);
		clear_scene();
	}
}

/* ---- what is said --------------------------------------------------------------------------- */

static void check_says(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static void test_path_open_says_part_owner_and_change(void **state)
{
	struct error err;

	(void)state;
	SKIP_UNLESS_ROOT();
	make_scene(SOMEBODY, 0, 0755);
	link_to("../secret", "d/f", SOMEBODY);
	assert_int_equal(try("d/f", PATH_APPEND, &somebody, &err), -PATH_IS_REFUSED);
	check_says(err.text, "\"f\" is a symbolic link");
	check_says(err.text, "uid 4711 can write to its folder /tmp/baton-test-");
	check_says(err.text, "name the file that it leads to");
	check_says(err.text, "uid 4711, as which the service runs, gets: Permission denied");
	assert_int_equal(chown(in_folder("d"), 0, GROUP), 0);
	assert_int_equal(chmod(in_folder("d"), 0775), 0);
	assert_int_equal(try("d/f", PATH_READ, NULL, &err), -PATH_IS_REFUSED);
	check_says(err.text, "the members of gid 4713 can write");
	assert_int_equal(unlink(in_folder("d/f")), 0);
	assert_int_equal(link(in_folder("secret"), in_folder("d/f")), 0);
	assert_int_equal(try("d/f", PATH_READ, NULL, &err), -PATH_IS_REFUSED);
	check_says(err.text, "hard links");
	assert_string_not_equal(path_why(-PATH_IS_REFUSED), path_why(-PATH_IS_NO_FILE));
	assert_string_equal(path_why(-ENOENT), strerror(ENOENT));
}

/* ---- parts in the middle -------------------------------------------------------------------- */

static void test_path_open_link_in_the_middle_is_judged_by_its_folder(void **state)
{
	struct error err;

	(void)state;
	SKIP_UNLESS_ROOT();
	make_scene(SOMEBODY, 0, 0755);
	assert_int_equal(mkdir(in_folder("etc"), 0755), 0);
	write_file("etc/f", "root\n", 0600);
	link_to("../etc", "d/current", SOMEBODY);
	link_to("d/current", "way", 0);
	assert_int_equal(try("d/current/f", PATH_READ, NULL, &err), -PATH_IS_REFUSED);
	check_says(err.text, "\"current\" is a symbolic link");
	/* A link of root's leads to it, and ".." does, too. */
	assert_int_equal(try("way/f", PATH_READ, NULL, &err), -PATH_IS_REFUSED);
	assert_int_equal(try("etc/../d/./current//f", PATH_READ, NULL, &err), -PATH_IS_REFUSED);
	assert_int_equal(try("d/../etc/f", PATH_READ, NULL, &err), 0);
	/* Root's folder: as /srv/web/current -> releases/3. */
	assert_int_equal(chown(in_folder("d"), 0, 0), 0);
	assert_int_equal(try("way/f", PATH_READ, NULL, &err), 0);
}

static void test_path_open_ring_and_missing_parts_are_errors(void **state)
{
	struct error err;
	char path[5000];

	(void)state;
	link_to("b", "a", geteuid());
	link_to("a", "b", geteuid());
	assert_int_equal(try("a", PATH_READ, NULL, &err), -ELOOP);
	assert_int_equal(try("no/such", PATH_APPEND, NULL, &err), -ENOENT);
	assert_string_equal(err.text, strerror(ENOENT));
	write_file("file", "", 0644);
	assert_int_equal(try("file/x", PATH_READ, NULL, &err), -ENOTDIR);
	assert_int_equal(try("file/", PATH_READ, NULL, &err), -ENOTDIR);
	assert_int_equal(path_open("", PATH_READ, NULL, &err), -ENOENT);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(path_open(path, PATH_READ, NULL, NULL), -ENAMETOOLONG);
}

/* ---- the service's user --------------------------------------------------------------------- */

static void test_path_open_what_the_user_may_open_he_may_name(void **state)
{
	struct error err;
	struct stat st;

	(void)state;
	SKIP_UNLESS_ROOT();
	make_scene(SOMEBODY, 0, 0755);
	assert_int_equal(mkdir(in_folder("d/releases"), 0755), 0);
	assert_int_equal(chown(in_folder("d/releases"), SOMEBODY, 0), 0);
	write_file("d/releases/env", "A=1\n", 0600);
	assert_int_equal(chown(in_folder("d/releases/env"), SOMEBODY, 0), 0);
	link_to("releases", "d/current", SOMEBODY);
	assert_int_equal(try("d/current/env", PATH_READ, &somebody, &err), 0);
	assert_int_equal(try("d/current/env", PATH_READ, NULL, &err), -PATH_IS_REFUSED);
	/* What he makes is his. */
	assert_int_equal(try("d/current/log", PATH_APPEND, &somebody, &err), 0);
	assert_int_equal(stat(in_folder("d/releases/log"), &st), 0);
	assert_int_equal(st.st_uid, SOMEBODY);
	assert_int_equal(st.st_mode & 07777, PATH_APPEND_MODE);
	/* By a group of his. */
	assert_int_equal(chown(in_folder("secret"), 0, GROUP), 0);
	assert_int_equal(chmod(in_folder("secret"), 0640), 0);
	link_to("../secret", "d/f", SOMEBODY);
	assert_int_equal(try("d/f", PATH_READ, &somebody, &err), 0);
	assert_int_equal(try("d/f", PATH_APPEND, &somebody, &err), -PATH_IS_REFUSED);
}

static void test_path_open_log_of_root_and_of_logrotate(void **state)
{
	cleanup_close int fd = -1;
	struct error err;
	struct stat st;

	(void)state;
	SKIP_UNLESS_ROOT();
	make_scene(0, 0, 0755);
	fd = path_open(in_folder("d/log"), PATH_APPEND, &somebody, &err);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_APPEND);
	/* "create 0640 www-data adm" */
	assert_int_equal(chown(in_folder("d/log"), STRANGER, GROUP), 0);
	assert_int_equal(try("d/log", PATH_APPEND, &somebody, &err), 0);
	/* In /tmp a log of the service's user will do, too. */
	assert_int_equal(chmod(in_folder("d"), 01777), 0);
	assert_int_equal(try("d/log", PATH_APPEND, &somebody, &err), -PATH_IS_REFUSED);
	check_says(err.text, "belongs to uid 4712");
	assert_int_equal(chown(in_folder("d/log"), SOMEBODY, GROUP), 0);
	assert_int_equal(try("d/log", PATH_APPEND, &somebody, &err), 0);
}

static void test_path_open_goes_on_as_before(void **state)
{
	gid_t before[64], after[64];
	int n, death = 0;

	(void)state;
	SKIP_UNLESS_ROOT();
	make_scene(SOMEBODY, 0, 0755);
	link_to("../secret", "d/f", SOMEBODY);
	n = getgroups(64, before);
	assert_int_equal(prctl(PR_SET_PDEATHSIG, SIGUSR2), 0);
	(void)try("d/f", PATH_READ, &somebody, NULL);
	assert_int_equal(getgroups(64, after), n);
	assert_memory_equal(before, after, (size_t)n * sizeof(before[0]));
	assert_int_equal(prctl(PR_GET_PDEATHSIG, &death), 0);
	assert_int_equal(death, SIGUSR2);
	assert_int_equal(prctl(PR_SET_PDEATHSIG, 0), 0);
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
	assert_int_equal(try("secret", PATH_READ, NULL, NULL), 0);
}

/* ---- pipes and devices ---------------------------------------------------------------------- */

static void test_path_open_devices_and_passed_pipes(void **state)
{
	int fds[2], fd;
	char path[64];

	(void)state;
	for (enum path_use use = PATH_READ; use <= PATH_APPEND; use++) {
		fd = path_open("/dev/null", use, NULL, NULL);
		assert_true(fd >= 0);
		close(fd);
		assert_int_equal(path_open("/dev/zero", use, NULL, NULL), -PATH_IS_NO_FILE);
		assert_int_equal(path_open("/tmp", use, NULL, NULL), -EISDIR);
	}
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	assert_int_equal(path_open(path, PATH_READ, NULL, NULL), -PATH_IS_NO_FILE);
	fd = path_open(path, PATH_READ_OR_PIPE, NULL, NULL);
	assert_true(fd >= 0);
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	close(fds[0]);
	close(fds[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_set_up, folder_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_path_open_table),
		TEST(test_path_open_says_part_owner_and_change),
		TEST(test_path_open_link_in_the_middle_is_judged_by_its_folder),
		TEST(test_path_open_ring_and_missing_parts_are_errors),
		TEST(test_path_open_what_the_user_may_open_he_may_name),
		TEST(test_path_open_log_of_root_and_of_logrotate),
		TEST(test_path_open_goes_on_as_before),
		TEST(test_path_open_devices_and_passed_pipes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
