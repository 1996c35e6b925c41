/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/paths.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NOBODY       65534
#define NO_USER      54321 /* has no entry in the user database */

/* 63 characters: the longest name. */
#define LONGEST "a23456789_b23456789_c23456789_d23456789_e23456789_f23456789_123"

static bool was_root;

static void clear_environment(void)
{
	unsetenv("BATON_NAME");
	unsetenv("XDG_RUNTIME_DIR");
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", "/home/somebody", 1);
}

static int setup(void **state)
{
	(void)state;
	was_root = geteuid() == 0;
	clear_environment();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return was_root && seteuid(0) < 0 ? -1 : 0;
}

/* From here on to the end of the test. Whoever is no root stays who it is. */
static void become(uid_t uid)
{
	if (was_root)
		assert_int_equal(seteuid(uid), 0);
}

static void need_root(void)
{
	if (!was_root)
		skip();
}

static struct paths made(const char *name)
{
	struct paths paths;
	struct error err;

	if (paths_init(name, &paths, &err) != 0)
		fail_msg("%s", err.text);
	return paths;
}

/* ---- names ---------------------------------------------------------------------------------- */

static void test_paths_check_name_good_is_accepted(void **state)
{
	static const char *const names[] = {"a", "A", "0", "_", "web-1", "Web_2", "a-", LONGEST};

	(void)state;
	assert_int_equal(strlen(LONGEST), 63);
	for (size_t i = 0; i < COUNT(names); i++)
		assert_int_equal(paths_check_name(names[i], NULL), 0);
}

static void test_paths_check_name_bad_is_refused(void **state)
{
	static const char *const names[] = {
		"",    "-",    "-a",  "a.b", ".",        "..",        "a/b", "/",
		"a b", "a\nb", "a:b", "a%b", "\xc3\xa4", LONGEST "4", "@",   "[",
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		strcpy(err.text, "");
		assert_int_equal(paths_check_name(names[i], &err), -EINVAL);
		assert_non_null(strstr(err.text, names[i]));
		assert_non_null(strstr(err.text, "is not a name"));
	}
}

/* ---- folders -------------------------------------------------------------------------------- */

static void test_paths_init_root_uses_run_and_var_lib(void **state)
{
	struct paths paths;

	(void)state;
	need_root();
	setenv("XDG_RUNTIME_DIR", "/run/user/0", 1);
	setenv("XDG_STATE_HOME", "/root/state", 1);
	paths = made("web-host");
	assert_string_equal(paths.name, "web-host");
	assert_string_equal(paths.run_dir, "/run/web-host");
	assert_string_equal(paths.api_socket, "/run/web-host/api.sock");
	assert_string_equal(paths.agents_dir, "/run/web-host/agents");
	assert_string_equal(paths.state_dir, "/var/lib/web-host");
	assert_string_equal(paths.state_file, "/var/lib/web-host/state.json");
	assert_string_equal(paths.event_file, "/var/lib/web-host/events.jsonl");
	assert_string_equal(paths.event_spare, "/run/web-host/events.jsonl");
}

static void test_paths_init_user_uses_xdg_folders(void **state)
{
	struct paths paths;

	(void)state;
	become(NOBODY);
	setenv("XDG_RUNTIME_DIR", "/run/user/65534", 1);
	setenv("XDG_STATE_HOME", "/home/somebody/state", 1);
	paths = made("b");
	assert_string_equal(paths.run_dir, "/run/user/65534/b");
	assert_string_equal(paths.api_socket, "/run/user/65534/b/api.sock");
	assert_string_equal(paths.agents_dir, "/run/user/65534/b/agents");
	assert_string_equal(paths.state_dir, "/home/somebody/state/b");
	assert_string_equal(paths.state_file, "/home/somebody/state/b/state.json");
	assert_string_equal(paths.event_file, "/home/somebody/state/b/events.jsonl");
}

static void test_paths_init_user_without_xdg_uses_tmp_and_home(void **state)
{
	char expected[64];
	struct paths paths;

	(void)state;
	become(NOBODY);
	paths = made("b");
	snprintf(expected, sizeof(expected), "/tmp/b-%lu", (unsigned long)geteuid());
	assert_string_equal(paths.run_dir, expected);
	assert_string_equal(paths.state_dir, "/home/somebody/.local/state/b");
}

static void test_paths_init_relative_xdg_is_ignored(void **state)
{
	struct paths paths;

	(void)state;
	become(NOBODY);
	setenv("XDG_RUNTIME_DIR", "run", 1);
	setenv("XDG_STATE_HOME", "", 1);
	paths = made("b");
	assert_int_equal(strncmp(paths.run_dir, "/tmp/b-", 7), 0);
	assert_string_equal(paths.state_dir, "/home/somebody/.local/state/b");
}

static void test_paths_init_without_home_asks_the_user_database(void **state)
{
	struct paths paths;

	(void)state;
	need_root();
	become(NOBODY);
	unsetenv("HOME");
	paths = made("b");
	assert_non_null(strstr(paths.state_dir, "/.local/state/b"));
	assert_int_equal(paths.state_dir[0], '/');
}

static void test_paths_init_without_any_home_is_enoent(void **state)
{
	struct paths paths;
	struct error err;

	(void)state;
	need_root();
	become(NO_USER);
	unsetenv("HOME");
	assert_int_equal(paths_init("b", &paths, &err), -ENOENT);
	assert_non_null(strstr(err.text, "XDG_STATE_HOME"));
}

static void test_paths_init_name_argument_wins_over_environment(void **state)
{
	(void)state;
	assert_string_equal(made(NULL).name, "baton");
	setenv("BATON_NAME", "", 1);
	assert_string_equal(made(NULL).name, "baton");
	setenv("BATON_NAME", "other", 1);
	assert_string_equal(made(NULL).name, "other");
	assert_string_equal(made("mine").name, "mine");
}

static void test_paths_init_bad_name_is_refused_wherever_it_is_from(void **state)
{
	struct paths paths;
	struct error err;

	(void)state;
	assert_int_equal(paths_init("", &paths, &err), -EINVAL);
	assert_int_equal(paths_init("../etc", &paths, &err), -EINVAL);
	setenv("BATON_NAME", "a/b", 1);
	assert_int_equal(paths_init(NULL, &paths, &err), -EINVAL);
	assert_non_null(strstr(err.text, "a/b"));
}

/* A unix socket's path has 108 bytes with its NUL: 107 fit, 108 do not. */
static void test_paths_init_long_socket_path_is_refused(void **state)
{
	char folder[PATHS_MAX * 2] = "/";
	size_t rest = strlen("/b/api.sock");
	struct paths paths;
	struct error err;

	(void)state;
	become(NOBODY);
	memset(folder + 1, 'x', 107 - rest - 1);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	assert_int_equal(strlen(made("b").api_socket), 107);

	folder[107 - rest] = 'x';
	setenv("XDG_RUNTIME_DIR", folder, 1);
	assert_int_equal(paths_init("b", &paths, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "unix socket"));

	memset(folder + 1, 'x', sizeof(folder) - 2);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	assert_int_equal(paths_init("b", &paths, &err), -ENAMETOOLONG);
	unsetenv("XDG_RUNTIME_DIR");
	setenv("HOME", folder, 1);
	assert_int_equal(paths_init("b", &paths, &err), -ENAMETOOLONG);
}

/* ---- programs ------------------------------------------------------------------------------- */

#define PROGRAM_OPTION "--paths-program"
#define REMOVED_OPTION "--paths-program-removed"

/*
 * A copy of this test, started elsewhere as "... --paths-program NAME", says what it finds there;
 * with the other option it removes its own file first.
 */
static int say_program(const char *self, bool remove_self, const char *program)
{
	char path[PATH_MAX];
	struct error err;
	int r;

	if (remove_self && unlink(self) < 0)
		return 1;
	r = paths_program(program, path, sizeof(path), &err);
	printf("%d %s\n", r, r < 0 ? err.text : path);
	return 0;
}

static void make_file(const char *folder, const char *name, mode_t mode)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void copy_self(const char *path)
{
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	struct stat st;
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	assert_int_equal(fstat(in, &st), 0);
	for (off_t left = st.st_size; left > 0; left -= n) {
		n = sendfile(out, in, NULL, (size_t)left);
		assert_true(n > 0);
	}
	close(in);
	close(out);
}

struct tree {
	char root[64];
	char bin[PATH_MAX], sbin[PATH_MAX], libexec[PATH_MAX];
	char probe[PATH_MAX + 8];
};

static struct tree make_tree(void)
{
	struct tree tree = {.root = "/tmp/test_paths.XXXXXX"};
	char libexec[PATH_MAX];

	assert_non_null(mkdtemp(tree.root));
	snprintf(tree.bin, sizeof(tree.bin), "%s/bin", tree.root);
	snprintf(tree.sbin, sizeof(tree.sbin), "%s/sbin", tree.root);
	snprintf(libexec, sizeof(libexec), "%s/libexec", tree.root);
	snprintf(tree.libexec, sizeof(tree.libexec), "%s/libexec/baton", tree.root);
	snprintf(tree.probe, sizeof(tree.probe), "%s/probe", tree.bin);
	assert_int_equal(mkdir(tree.bin, 0755), 0);
	assert_int_equal(mkdir(tree.sbin, 0755), 0);
	assert_int_equal(mkdir(libexec, 0755), 0);
	assert_int_equal(mkdir(tree.libexec, 0755), 0);
	copy_self(tree.probe);
	return tree;
}

static void remove_tree(const struct tree *tree)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -rf -- %s", tree->root);
	assert_int_equal(system(command), 0);
}

/* What the copy in the tree finds for @program, relative to the tree, in a static buffer. */
static const char *found_by(const struct tree *tree, const char *option, const char *program)
{
	static char line[PATH_MAX * 2];
	char command[PATH_MAX * 2], expected[128];
	FILE *pipe;

	snprintf(command, sizeof(command), "%s %s %s", tree->probe, option, program);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(line, sizeof(line), pipe));
	assert_int_equal(pclose(pipe), 0);
	line[strcspn(line, "\n")] = '\0';
	snprintf(expected, sizeof(expected), "0 %s/", tree->root);
	if (strncmp(line, expected, strlen(expected)) == 0)
		return line + strlen(expected);
	return line;
}

static const char *found(const struct tree *tree, const char *program)
{
	return found_by(tree, PROGRAM_OPTION, program);
}

static void test_paths_program_is_found_in_the_documented_order(void **state)
{
	struct tree tree = make_tree();
	char path[PATH_MAX + 16], prefix[16];

	(void)state;
	snprintf(prefix, sizeof(prefix), "%d ", -ENOENT);
	assert_int_equal(strncmp(found(&tree, "x"), prefix, strlen(prefix)), 0);
	assert_non_null(strstr(found(&tree, "x"), "../libexec/baton"));
	make_file(tree.sbin, "x", 0755);
	assert_string_equal(found(&tree, "x"), "sbin/x");
	make_file(tree.libexec, "x", 0755);
	assert_string_equal(found(&tree, "x"), "libexec/baton/x");
	make_file(tree.bin, "x", 0755);
	assert_string_equal(found(&tree, "x"), "bin/x");

	/* From sbin, the one in bin is found, and so is one from libexec/baton. */
	snprintf(path, sizeof(path), "%s/probe", tree.sbin);
	assert_int_equal(rename(tree.probe, path), 0);
	strcpy(tree.probe, path);
	make_file(tree.bin, "y", 0755);
	assert_string_equal(found(&tree, "y"), "bin/y");
	assert_string_equal(found(&tree, "x"), "sbin/x");
	remove_tree(&tree);
}

static void test_paths_program_not_executable_is_passed_over(void **state)
{
	struct tree tree = make_tree();
	char path[PATH_MAX + 16];

	(void)state;
	make_file(tree.bin, "x", 0644);
	snprintf(path, sizeof(path), "%s/x", tree.libexec);
	assert_int_equal(mkdir(path, 0755), 0);
	make_file(tree.sbin, "x", 0755);
	assert_string_equal(found(&tree, "x"), "sbin/x");
	remove_tree(&tree);
}

/* As in an upgrade of baton: the running file is gone, others lie in its place. */
static void test_paths_program_of_a_removed_file_is_found(void **state)
{
	struct tree tree = make_tree();

	(void)state;
	make_file(tree.bin, "x", 0755);
	assert_string_equal(found_by(&tree, REMOVED_OPTION, "x"), "bin/x");
	assert_int_equal(access(tree.probe, F_OK), -1);
	remove_tree(&tree);
}

static void test_paths_program_beside_itself_is_found(void **state)
{
	char self[PATH_MAX], path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct error err;
	const char *name;
	size_t length;

	(void)state;
	assert_true(n > 0);
	self[n] = '\0';
	name = strrchr(self, '/') + 1;
	length = strlen(self);
	assert_int_equal(paths_program(name, path, sizeof(path), NULL), 0);
	assert_string_equal(path, self);
	/* The buffer just fits, and just does not. */
	assert_int_equal(paths_program(name, path, length + 1, NULL), 0);
	strcpy(path, "");
	assert_int_equal(paths_program(name, path, length, &err), -ENAMETOOLONG);
	assert_string_equal(path, "");
}

static void test_paths_program_path_instead_of_name_is_refused(void **state)
{
	char path[PATH_MAX];
	struct error err;

	(void)state;
	assert_int_equal(paths_program("", path, sizeof(path), &err), -EINVAL);
	assert_int_equal(paths_program("../x", path, sizeof(path), &err), -EINVAL);
	assert_int_equal(paths_program("/bin/sh", path, sizeof(path), &err), -EINVAL);
	assert_non_null(strstr(err.text, "/bin/sh"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		TEST(test_paths_check_name_good_is_accepted),
		TEST(test_paths_check_name_bad_is_refused),
		TEST(test_paths_init_root_uses_run_and_var_lib),
		TEST(test_paths_init_user_uses_xdg_folders),
		TEST(test_paths_init_user_without_xdg_uses_tmp_and_home),
		TEST(test_paths_init_relative_xdg_is_ignored),
		TEST(test_paths_init_without_home_asks_the_user_database),
		TEST(test_paths_init_without_any_home_is_enoent),
		TEST(test_paths_init_name_argument_wins_over_environment),
		TEST(test_paths_init_bad_name_is_refused_wherever_it_is_from),
		TEST(test_paths_init_long_socket_path_is_refused),
		TEST(test_paths_program_is_found_in_the_documented_order),
		TEST(test_paths_program_not_executable_is_passed_over),
		TEST(test_paths_program_of_a_removed_file_is_found),
		TEST(test_paths_program_beside_itself_is_found),
		TEST(test_paths_program_path_instead_of_name_is_refused),
	};

	if (argc == 3 && strcmp(argv[1], PROGRAM_OPTION) == 0)
		return say_program(argv[0], false, argv[2]);
	if (argc == 3 && strcmp(argv[1], REMOVED_OPTION) == 0)
		return say_program(argv[0], true, argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
