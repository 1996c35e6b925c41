/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Real files in a folder of the test's own. That something is not told is shown without a clock: a
 * second watch, whose file is changed later, tells, and the first has not.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/host/watch_internal.h"
#include "tests/unit/fakes/children.h"

#define DEADLINE_MS 10000
#define NEVER_MS    1000000

static const struct watch_pace by_events = {
	.quiet_ms = 30, .poll_ms = NEVER_MS, .others_ms = NEVER_MS};
static const struct watch_pace by_looks = {.quiet_ms = 30, .poll_ms = 5, .others_ms = NEVER_MS};

static sd_event *event;
static struct watch *watch, *sentinel;
static struct error err;
static char folder[64], told_path[PATH_MAX];
static unsigned told, sentinel_told;
static bool free_when_told;

/* ---- between the module and the kernel ------------------------------------------------------ */

static int init_error, add_error; /* what the next calls fail with; 0: they do not */
static unsigned *n_added;         /* shared with helpers: calls of inotify_add_watch(2) */

int inotify_init1(int flags)
{
	int (*real)(int) = NULL;

	if (init_error) {
		errno = init_error;
		return -1;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "inotify_init1");
	return real(flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	int (*real)(int, const char *, uint32_t) = NULL;

	++*n_added;
	if (add_error) {
		errno = add_error;
		return -1;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "inotify_add_watch");
	return real(fd, path, mask);
}

/* ---- files ---------------------------------------------------------------------------------- */

/* @name in the test's folder; a few of them at a time. */
static const char *in_folder(const char *name)
{
	static char paths[8][PATH_MAX];
	static size_t next;
	char *path = paths[next++ % 8];

	snprintf(path, PATH_MAX, "%s/%s", folder, name);
	return path;
}

static void write_mode(const char *name, const char *text, int flags, mode_t mode)
{
	int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void write_file(const char *name, const char *text)
{
	write_mode(name, text, O_TRUNC, 0644);
}

/* By rename(2), as careful people do. */
static void replace_file(const char *name, const char *text)
{
	write_file("replacement", text);
	assert_int_equal(rename(in_folder("replacement"), in_folder(name)), 0);
}

static void make_folder(const char *name)
{
	assert_int_equal(mkdir(in_folder(name), 0755), 0);
}

static void make_link(const char *target, const char *name)
{
	assert_int_equal(symlink(target, in_folder(name)), 0);
}

static void swap_link(const char *target, const char *name)
{
	make_link(target, "replacement");
	assert_int_equal(rename(in_folder("replacement"), in_folder(name)), 0);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void on_change(void *userdata, const char *path)
{
	assert_ptr_equal(userdata, &told);
	told++;
	if (free_when_told) {
		watch_free(watch);
		watch = NULL;
	}
	snprintf(told_path, sizeof(told_path), "%s", path); /* it outlives the watch */
}

static void on_sentinel(void *userdata, const char *path)
{
	(void)userdata;
	(void)path;
	sentinel_told++;
}

#define run_until(condition)                                                                       \
	do {                                                                                       \
		uint64_t deadline_ = clock_monotonic_ms() + DEADLINE_MS;                           \
                                                                                                   \
		while (!(condition)) {                                                             \
			if (clock_monotonic_ms() >= deadline_)                                     \
				fail_msg("never: %s", #condition);                                 \
			assert_true(sd_event_run(event, 100000) >= 0);                             \
		}                                                                                  \
	} while (0)

/* What the paths lead to before the test goes on is known. */
static void run_until_begun(const struct watch *begun)
{
	run_until(watch_has_begun(begun));
}

static void watch_paths(char *const *paths, const struct watch_pace *pace)
{
	assert_int_equal(watch_new_paced(event, paths, pace, on_change, &told, &watch, &err), 0);
	run_until_begun(watch);
}

static void watch_one(const char *name, const struct watch_pace *pace)
{
	char path[PATH_MAX], *paths[] = {path, NULL};

	snprintf(path, sizeof(path), "%s", in_folder(name));
	watch_paths(paths, pace);
	memset(path, 'x', strlen(path)); /* it has been copied */
}

static int set_up(void **state)
{
	static char path[PATH_MAX];
	char *paths[] = {path, NULL};

	(void)state;
	n_added = mmap(NULL, sizeof *n_added, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (n_added == MAP_FAILED)
		return -1;
	told = sentinel_told = 0;
	init_error = add_error = 0;
	free_when_told = false;
	told_path[0] = '\0';
	strcpy(folder, "/tmp/baton-test-watch-XXXXXX");
	if (!mkdtemp(folder) || chmod(folder, 0755) < 0 || sd_event_new(&event) < 0)
		return -1;
	make_folder("sentinel");
	write_file("sentinel/file", "0");
	snprintf(path, sizeof(path), "%s/sentinel/file", folder);
	if (watch_new_paced(event, paths, &by_events, on_sentinel, NULL, &sentinel, &err) < 0)
		return -1;
	run_until_begun(sentinel);
	/* It does not look again before something happens, whatever a test makes fail. */
	run_until(!has_children());
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	watch_free(watch);
	watch_free(sentinel);
	watch = sentinel = NULL;
	run_until(!has_children());
	event = sd_event_unref(event);
	munmap(n_added, sizeof *n_added);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* Whatever has been done by now has had its chance to be told. */
static void pass_quiet_time(void)
{
	static unsigned number;

	for (int k = 0; k < 3; k++) {
		unsigned before = sentinel_told;
		char text[16];

		snprintf(text, sizeof(text), "%u", ++number);
		replace_file("sentinel/file", text);
		run_until(sentinel_told > before);
	}
}

static void assert_told(unsigned n, const char *name)
{
	run_until(told >= n);
	pass_quiet_time();
	assert_int_equal(told, n);
	assert_string_equal(told_path, in_folder(name));
}

static void assert_not_told(unsigned n)
{
	pass_quiet_time();
	assert_int_equal(told, n);
}

/* ---- what is told --------------------------------------------------------------------------- */

static void test_watch_nothing_changes_nothing_is_told(void **state)
{
	(void)state;
	write_file("file", "1");
	watch_one("file", &by_looks);
	assert_not_told(0);
}

static void test_watch_symlink_swapped_is_told_each_time(void **state)
{
	(void)state;
	make_folder("1");
	make_folder("2");
	make_link("1", "current");
	watch_one("current", &by_events);
	swap_link("2", "current");
	assert_told(1, "current");
	swap_link(in_folder("1"), "current"); /* an absolute one */
	assert_told(2, "current");
	/* Where it says the same in other words, nothing has changed. */
	swap_link("./2/../1", "current");
	assert_not_told(2);
}

static void test_watch_symlink_made_anew_is_told_once(void **state)
{
	(void)state;
	make_folder("1");
	make_folder("2");
	make_link("1", "current");
	watch_one("current", &by_events);
	assert_int_equal(unlink(in_folder("current")), 0);
	assert_not_told(0);
	make_link("2", "current");
	assert_told(1, "current");
}

static void test_watch_link_in_the_middle_is_told(void **state)
{
	(void)state;
	make_folder("1");
	make_folder("1/bin");
	write_file("1/bin/web", "1");
	make_folder("2");
	make_folder("2/bin");
	write_file("2/bin/web", "1");
	make_link("1", "current");
	watch_one("current/bin/web", &by_events);
	swap_link("2", "current");
	assert_told(1, "current/bin/web");
	/* The new way is the one that is watched now. */
	replace_file("2/bin/web", "2");
	assert_told(2, "current/bin/web");
	replace_file("1/bin/web", "2");
	assert_not_told(2);
}

static void test_watch_chain_of_links_is_watched_at_each(void **state)
{
	(void)state;
	make_folder("a");
	make_folder("b");
	write_file("b/1", "1");
	write_file("b/2", "2");
	make_link("1", "b/link");
	make_link("../b/link", "a/link");
	make_link("a/link", "link");
	watch_one("link", &by_events);
	swap_link("2", "b/link");
	assert_told(1, "link");
	swap_link("../b/1", "a/link");
	assert_told(2, "link");
	swap_link("b/2", "link");
	assert_told(3, "link");
}

static void test_watch_links_in_a_circle_lead_nowhere(void **state)
{
	struct watch_look look;

	(void)state;
	make_link("two", "one");
	make_link("one", "two");
	write_file("file", "1");
	watch_look(in_folder("one"), NULL, NULL, &look);
	assert_string_equal(look.real, "");
	watch_one("one", &by_events);
	assert_not_told(0);
	swap_link("file", "two");
	assert_told(1, "one");
}

static void test_watch_more_links_than_are_followed_lead_nowhere(void **state)
{
	char name[2][16] = {"file"};
	struct watch_look look;

	(void)state;
	write_file("file", "1");
	for (int k = 0; k < WATCH_LINKS_MAX; k++) {
		snprintf(name[1], sizeof(name[1]), "link%d", k);
		make_link(name[0], name[1]);
		strcpy(name[0], name[1]);
	}
	watch_look(in_folder(name[0]), NULL, NULL, &look);
	assert_string_equal(look.real, in_folder("file"));
	make_link(name[0], "one-more");
	watch_look(in_folder("one-more"), NULL, NULL, &look);
	assert_string_equal(look.real, "");
}

/* Another place, though it is the same file. */
static void test_watch_link_to_another_name_of_the_file_is_told(void **state)
{
	(void)state;
	write_file("1", "1");
	assert_int_equal(link(in_folder("1"), in_folder("2")), 0);
	make_link("1", "current");
	watch_one("current", &by_events);
	swap_link("2", "current");
	assert_told(1, "current");
}

/* In place, of the same size, and the time of the last write is set back. */
static void test_watch_contents_count_whatever_the_times_say(void **state)
{
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct stat before, after;

	(void)state;
	write_file("file", "1");
	assert_int_equal(utimensat(AT_FDCWD, in_folder("file"), times, 0), 0);
	assert_int_equal(stat(in_folder("file"), &before), 0);
	watch_one("file", &by_events);
	write_mode("file", "2", 0, 0644);
	assert_int_equal(utimensat(AT_FDCWD, in_folder("file"), times, 0), 0);
	assert_told(1, "file");
	assert_int_equal(stat(in_folder("file"), &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(after.st_size, before.st_size);
	assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
}

static void test_watch_file_that_is_touched_has_not_changed(void **state)
{
	(void)state;
	write_file("file", "1");
	watch_one("file", &by_looks);
	for (int k = 0; k < 3; k++) {
		assert_int_equal(utimensat(AT_FDCWD, in_folder("file"), NULL, 0), 0);
		assert_not_told(0);
	}
	write_mode("file", "1", 0, 0644);
	assert_not_told(0);
	write_file("file", "2");
	assert_told(1, "file");
}

/* Compared by inode, size and time instead. */
static void test_watch_file_too_large_to_be_read_is_told_by_its_times(void **state)
{
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

	(void)state;
	write_file("file", "1");
	assert_int_equal(truncate(in_folder("file"), FILE_HASH_SIZE_MAX + 1), 0);
	watch_one("file", &by_events);
	assert_int_equal(chmod(in_folder("file"), 0600), 0);
	assert_not_told(0);
	assert_int_equal(utimensat(AT_FDCWD, in_folder("file"), times, 0), 0);
	assert_told(1, "file");
	assert_int_equal(truncate(in_folder("file"), FILE_HASH_SIZE_MAX + 2), 0);
	assert_int_equal(utimensat(AT_FDCWD, in_folder("file"), times, 0), 0);
	assert_told(2, "file");
}

static void test_watch_file_that_changes_while_it_is_read_is_unfinished(void **state)
{
	struct watch_look look;

	(void)state;
	write_file("file", "1");
	watch_look(in_folder("file"), NULL, NULL, &look);
	assert_true(watch_look_read(&look));
	assert_int_equal(strncmp(look.hash, "sha256:", 7), 0);
	write_file("file", "22");
	assert_false(watch_look_read(&look));
	assert_string_equal(look.hash, "");
}

static void test_watch_file_replaced_is_told(void **state)
{
	(void)state;
	write_file("file", "1");
	watch_one("file", &by_events);
	replace_file("file", "2");
	assert_told(1, "file");
	/* By an equal one: nothing is another than before. */
	replace_file("file", "2");
	assert_not_told(1);
	replace_file("file", "1");
	assert_told(2, "file");
}

static void test_watch_file_rewritten_in_steps_is_told_once_when_closed(void **state)
{
	int fd;

	(void)state;
	write_file("file", "1");
	watch_one("file", &by_events);
	fd = open(in_folder("file"), O_WRONLY | O_TRUNC | O_CLOEXEC);
	for (int k = 0; k < 3; k++) {
		assert_int_equal(write(fd, "part", 4), 4);
		assert_int_equal(futimens(fd, NULL), 0); /* which is an event */
		assert_not_told(0);
	}
	close(fd);
	assert_told(1, "file");
}

/* Somebody has it open without a word: no event and no new time says so. */
static void test_watch_file_open_for_writing_is_waited_for(void **state)
{
	int fd;

	(void)state;
	write_file("file", "1");
	watch_one("file", &by_looks);
	write_file("new", "2");
	fd = open(in_folder("new"), O_RDWR | O_CLOEXEC);
	assert_int_equal(rename(in_folder("new"), in_folder("file")), 0);
	assert_not_told(0);
	close(fd);
	assert_told(1, "file");
	/* Who only reads it does not matter. */
	fd = open(in_folder("file"), O_RDONLY | O_CLOEXEC);
	replace_file("file", "3");
	assert_told(2, "file");
	close(fd);
}

/*
 * Who opens the file while it is asked about waits for a moment, and nothing else happens to either
 * (by default a broken lease ends its holder by SIGIO).
 */
static void test_watch_asking_hurts_nobody(void **state)
{
	struct watch_look look;
	unsigned answers[2] = {0};
	int status;
	pid_t pid;

	(void)state;
	write_file("file", "1");
	watch_look(in_folder("file"), NULL, NULL, &look);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			int fd = open(look.real, O_WRONLY | O_CLOEXEC);

			if (fd < 0)
				_exit(1);
			close(fd);
		}
	}
	for (uint64_t end = clock_monotonic_ms() + DEADLINE_MS; clock_monotonic_ms() < end;) {
		answers[watch_look_unfinished(&look, &look)]++;
		if (answers[0] >= 1000 && answers[1] >= 1000)
			break;
	}
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(answers[0] > 0 && answers[1] > 0);
}

static void test_watch_file_that_cannot_be_asked_now_is_unfinished(void **state)
{
	struct watch_look look;
	struct rlimit before, none;

	(void)state;
	write_file("file", "1");
	watch_look(in_folder("file"), NULL, NULL, &look);
	assert_false(watch_look_unfinished(&look, &look));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_true(watch_look_unfinished(&look, &look));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void test_watch_without_leases_standing_still_will_do(void **state)
{
	unsigned steps = 0;
	int fd;

	(void)state;
	if (geteuid() != 0)
		skip(); /* only root can become who may not have a lease */
	write_file("file", "1");
	watch_one("file", &by_looks);
	fd = open(in_folder("file"), O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(seteuid(65534), 0);
	/* Each look, however late it is, finds it grown. */
	for (uint64_t end = clock_monotonic_ms() + 200; clock_monotonic_ms() < end; steps++) {
		assert_int_equal(write(fd, "x", 1), 1);
		assert_true(sd_event_run(event, 1000) >= 0);
	}
	assert_int_equal(told, 0);
	run_until(told == 1);
	assert_int_equal(seteuid(0), 0);
	assert_told(1, "file");
	assert_true(steps > 0);
	close(fd);
}

static void test_watch_file_deleted_and_made_anew_is_told_once(void **state)
{
	(void)state;
	write_file("file", "1");
	watch_one("file", &by_events);
	assert_int_equal(unlink(in_folder("file")), 0);
	assert_not_told(0);
	write_file("file", "2");
	assert_told(1, "file");
}

static void test_watch_program_is_waited_for_until_it_is_executable(void **state)
{
	(void)state;
	write_mode("web", "1", 0, 0755);
	watch_one("web", &by_events);
	replace_file("web", "2");
	assert_not_told(0);
	assert_int_equal(chmod(in_folder("web"), 0755), 0);
	assert_told(1, "web");
	/* Also where it was away in between. */
	assert_int_equal(unlink(in_folder("web")), 0);
	assert_not_told(1);
	write_file("web", "3");
	assert_not_told(1);
	assert_int_equal(chmod(in_folder("web"), 0700), 0);
	assert_told(2, "web");
}

static void test_watch_mode_alone_is_no_change(void **state)
{
	(void)state;
	write_file("file", "1");
	watch_one("file", &by_events);
	assert_int_equal(chmod(in_folder("file"), 0600), 0);
	assert_int_equal(chmod(in_folder("file"), 0755), 0);
	assert_not_told(0);
}

static void test_watch_missing_folders_are_watched_for(void **state)
{
	(void)state;
	watch_one("not/there/yet", &by_events);
	assert_not_told(0);
	make_folder("not");
	assert_not_told(0);
	make_folder("not/there");
	assert_not_told(0);
	write_file("not/there/yet", "1");
	assert_told(1, "not/there/yet");
}

static void test_watch_folder_on_the_way_replaced_is_told(void **state)
{
	(void)state;
	make_folder("web");
	write_file("web/file", "1");
	watch_one("web/file", &by_events);
	make_folder("new");
	write_file("new/file", "2");
	assert_int_equal(rename(in_folder("web"), in_folder("old")), 0);
	assert_int_equal(rename(in_folder("new"), in_folder("web")), 0);
	assert_told(1, "web/file");
	replace_file("old/file", "3");
	assert_not_told(1);
	replace_file("web/file", "3");
	assert_told(2, "web/file");
}

static void test_watch_file_on_the_way_leads_nowhere(void **state)
{
	struct watch_look look;

	(void)state;
	write_file("web", "1");
	watch_look(in_folder("web/file"), NULL, NULL, &look);
	assert_string_equal(look.real, "");
	watch_look(in_folder("web/.."), NULL, NULL, &look);
	assert_string_equal(look.real, "");
	watch_look(in_folder("web/"), NULL, NULL, &look);
	assert_string_equal(look.real, in_folder("web"));
	watch_one("web/file", &by_events);
	assert_int_equal(unlink(in_folder("web")), 0);
	make_folder("web");
	write_file("web/file", "1");
	assert_told(1, "web/file");
}

static void test_watch_what_happens_inside_a_folder_is_not_told(void **state)
{
	(void)state;
	make_folder("release");
	watch_one("release", &by_looks);
	write_file("release/file", "1");
	make_folder("release/more");
	write_file("beside", "1");
	assert_not_told(0);
	make_folder("next");
	assert_int_equal(rename(in_folder("release"), in_folder("last")), 0);
	assert_int_equal(rename(in_folder("next"), in_folder("release")), 0);
	assert_told(1, "release");
}

static void test_watch_change_taken_back_is_not_told(void **state)
{
	(void)state;
	make_folder("1");
	make_folder("2");
	make_link("1", "current");
	watch_one("current", &by_events);
	swap_link("2", "current");
	assert_true(sd_event_run(event, 100000) > 0);
	swap_link("1", "current");
	assert_not_told(0);
	/* Also where it led nowhere for long. */
	swap_link("3", "current");
	assert_not_told(0);
	swap_link("1", "current");
	assert_not_told(0);
}

/* ---- several paths -------------------------------------------------------------------------- */

static char several[3][PATH_MAX];
static char *const paths_of_several[] = {several[0], several[1], several[2], NULL};

static void watch_several(const struct watch_pace *pace)
{
	for (size_t k = 0; k < 3; k++) {
		snprintf(several[k], PATH_MAX, "%s/%zu", folder, k);
		write_file(strrchr(several[k], '/') + 1, "1");
	}
	watch_paths(paths_of_several, pace);
}

static void test_watch_many_changes_at_once_are_told_once(void **state)
{
	(void)state;
	watch_several(&by_looks);
	for (int k = 0; k < 10; k++) {
		replace_file("2", "2");
		replace_file("1", "2");
		assert_true(sd_event_run(event, 100000) > 0);
	}
	assert_told(1, "1");
	replace_file("2", "3");
	assert_told(2, "2");
}

static void test_watch_finished_path_waits_for_the_others(void **state)
{
	(void)state;
	watch_several(&by_events);
	replace_file("0", "2");
	assert_int_equal(unlink(in_folder("1")), 0);
	assert_not_told(0);
	write_file("1", "2");
	assert_told(1, "0");
}

static void test_watch_finished_path_does_not_wait_for_ever(void **state)
{
	const struct watch_pace pace = {.quiet_ms = 30, .poll_ms = NEVER_MS, .others_ms = 60};

	(void)state;
	watch_several(&pace);
	assert_int_equal(unlink(in_folder("1")), 0);
	assert_not_told(0);
	replace_file("2", "2");
	assert_told(1, "2");
	write_file("1", "2");
	assert_told(2, "1");
}

/* ---- freeing -------------------------------------------------------------------------------- */

static void test_watch_may_be_freed_when_it_tells(void **state)
{
	(void)state;
	write_file("file", "1");
	watch_one("file", &by_events);
	free_when_told = true;
	replace_file("file", "2");
	assert_told(1, "file");
	assert_null(watch);
	replace_file("file", "3");
	assert_not_told(1);
}

static void test_watch_freed_in_between_tells_nothing(void **state)
{
	(void)state;
	write_file("file", "1");
	watch_one("file", &by_events);
	replace_file("file", "2");
	assert_true(sd_event_run(event, 100000) > 0);
	watch_free(watch);
	watch = NULL;
	assert_not_told(0);
}

/* ---- without inotify ------------------------------------------------------------------------ */

static void test_watch_without_watches_left_looks_now_and_then(void **state)
{
	(void)state;
	write_file("file", "1");
	add_error = ENOSPC;
	watch_one("file", &by_looks);
	assert_true(*n_added > 0);
	replace_file("file", "2");
	run_until(told == 1);
	assert_int_equal(unlink(in_folder("file")), 0);
	add_error = 0;
	assert_not_told(1);
	add_error = ENOSPC;
	write_file("file", "3");
	run_until(told == 2);
}

static void test_watch_without_inotify_looks_now_and_then(void **state)
{
	(void)state;
	write_file("file", "1");
	init_error = EMFILE;
	watch_one("file", &by_looks);
	*n_added = 0;
	replace_file("file", "2");
	run_until(told == 1);
	assert_int_equal(*n_added, 0);
}

/* Of which no event that is asked for tells. */
static void test_watch_truncated_by_name_is_seen_by_the_slow_look(void **state)
{
	(void)state;
	write_file("file", "12");
	watch_one("file", &by_looks);
	assert_int_equal(truncate(in_folder("file"), 1), 0);
	assert_told(1, "file");
}

/* How many inotify watches this process has (proc(5): fdinfo). */
static unsigned count_watches(void)
{
	DIR *dir = opendir("/proc/self/fdinfo");
	struct dirent *entry;
	unsigned n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		char path[PATH_MAX], line[256];
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		while (file && fgets(line, sizeof(line), file))
			n += strncmp(line, "inotify wd:", 11) == 0;
		if (file)
			fclose(file);
	}
	closedir(dir);
	return n;
}

static void test_watch_folders_no_longer_on_the_way_are_let_go(void **state)
{
	unsigned before, watches;
	char path[32];

	(void)state;
	make_folder("1");
	make_folder("1/deep");
	make_folder("2");
	write_file("1/deep/file", "1");
	write_file("2/file", "2");
	make_link("1/deep/file", "current");
	watch_one("current", &by_events);
	watches = count_watches();
	swap_link("2/file", "current");
	assert_told(1, "current");
	assert_int_equal(count_watches(), watches - 1);
	/* Nobody is woken by it any more: only those that are on the way are asked for again. */
	before = *n_added;
	for (int k = 0; k < 20; k++) {
		snprintf(path, sizeof(path), "1/deep/%d", k);
		write_file(path, "1");
	}
	replace_file("1/deep/file", "2");
	while (sd_event_run(event, 0) > 0)
		;
	assert_int_equal(*n_added, before);
}

/* ---- mistakes ------------------------------------------------------------------------------- */

static void test_watch_bad_paths_are_refused(void **state)
{
	static char long_path[PATH_MAX + 1];
	char *paths[] = {(char *)"/tmp", (char *)"srv/web", NULL};
	struct watch *none = NULL;

	(void)state;
	assert_int_equal(watch_new(event, paths, WATCH_SETTLE_MS, on_change, &told, &none, &err),
			 -EINVAL);
	assert_string_equal(err.text, "watch: \"srv/web\" is not an absolute path");
	memset(long_path, '/', PATH_MAX);
	paths[1] = long_path;
	assert_int_equal(watch_new(event, paths, WATCH_SETTLE_MS, on_change, &told, &none, &err),
			 -ENAMETOOLONG);
	assert_string_equal(err.text, "watch: a path may have 4095 bytes, not 4096");
	assert_null(none);
	watch_free(NULL);
}

static void test_watch_look_at_odd_paths(void **state)
{
	static char long_name[300], path[PATH_MAX];
	struct watch_look look;

	(void)state;
	watch_look("/", NULL, NULL, &look);
	assert_string_equal(look.real, "/");
	watch_look("/../..//./", NULL, NULL, &look);
	assert_string_equal(look.real, "/");
	memset(long_name, 'x', sizeof(long_name) - 1);
	snprintf(path, sizeof(path), "/%s", long_name);
	watch_look(path, NULL, NULL, &look);
	assert_string_equal(look.real, "");
	watch_look("", NULL, NULL, &look);
	assert_string_equal(look.real, "/");
}

static void test_watch_of_no_paths_tells_nothing(void **state)
{
	char *none[] = {NULL};

	(void)state;
	assert_int_equal(watch_new(event, none, WATCH_SETTLE_MS, on_change, &told, &watch, &err),
			 0);
	assert_not_told(0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_watch_nothing_changes_nothing_is_told),
		TEST(test_watch_symlink_swapped_is_told_each_time),
		TEST(test_watch_symlink_made_anew_is_told_once),
		TEST(test_watch_link_in_the_middle_is_told),
		TEST(test_watch_chain_of_links_is_watched_at_each),
		TEST(test_watch_links_in_a_circle_lead_nowhere),
		TEST(test_watch_more_links_than_are_followed_lead_nowhere),
		TEST(test_watch_link_to_another_name_of_the_file_is_told),
		TEST(test_watch_contents_count_whatever_the_times_say),
		TEST(test_watch_file_that_is_touched_has_not_changed),
		TEST(test_watch_file_too_large_to_be_read_is_told_by_its_times),
		TEST(test_watch_file_that_changes_while_it_is_read_is_unfinished),
		TEST(test_watch_file_replaced_is_told),
		TEST(test_watch_file_rewritten_in_steps_is_told_once_when_closed),
		TEST(test_watch_file_open_for_writing_is_waited_for),
		TEST(test_watch_asking_hurts_nobody),
		TEST(test_watch_file_that_cannot_be_asked_now_is_unfinished),
		TEST(test_watch_without_leases_standing_still_will_do),
		TEST(test_watch_file_deleted_and_made_anew_is_told_once),
		TEST(test_watch_program_is_waited_for_until_it_is_executable),
		TEST(test_watch_mode_alone_is_no_change),
		TEST(test_watch_missing_folders_are_watched_for),
		TEST(test_watch_folder_on_the_way_replaced_is_told),
		TEST(test_watch_file_on_the_way_leads_nowhere),
		TEST(test_watch_what_happens_inside_a_folder_is_not_told),
		TEST(test_watch_change_taken_back_is_not_told),
		TEST(test_watch_many_changes_at_once_are_told_once),
		TEST(test_watch_finished_path_waits_for_the_others),
		TEST(test_watch_finished_path_does_not_wait_for_ever),
		TEST(test_watch_may_be_freed_when_it_tells),
		TEST(test_watch_freed_in_between_tells_nothing),
		TEST(test_watch_without_watches_left_looks_now_and_then),
		TEST(test_watch_without_inotify_looks_now_and_then),
		TEST(test_watch_truncated_by_name_is_seen_by_the_slow_look),
		TEST(test_watch_folders_no_longer_on_the_way_are_let_go),
		TEST(test_watch_bad_paths_are_refused),
		TEST(test_watch_look_at_odd_paths),
		TEST(test_watch_of_no_paths_tells_nothing),
	};
#undef TEST

	return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
