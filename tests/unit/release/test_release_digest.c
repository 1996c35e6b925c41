/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "orchestrator/release/release.h"
#include "tests/unit/release/release_fixture.h"

#define DIGEST_OF_ABC     "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define DIGEST_OF_NOTHING "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static struct release identify(const char *path)
{
	struct release release;

	memset(&release, 'x', sizeof(release));
	release_identify(path, &release);
	assert_non_null(memchr(release.digest, '\0', sizeof(release.digest)));
	assert_non_null(memchr(release.hash, '\0', sizeof(release.hash)));
	return release;
}

static const char *digest(const char *path)
{
	static struct release release;

	release = identify(path);
	return release.digest;
}

static const char *hash(const char *path)
{
	static struct release release;

	release = identify(path);
	return release.hash;
}

static bool has_label(const char *text, const char *label)
{
	return strncmp(text, label, strlen(label)) == 0;
}

static void test_release_digest_of_an_elf_file_is_its_build_id(void **state)
{
	static const unsigned aligns[] = {4, 8};

	(void)state;
	for (size_t i = 0; i < sizeof(aligns) / sizeof(aligns[0]); i++) {
		struct small_elf elf = small_elf(aligns[i], "");

		/* Not the type, and not the owner. */
		add_note(&elf, NT_GNU_ABI_TAG, "GNU", 4, "0123456789abcdef", 16);
		add_note(&elf, NT_GNU_BUILD_ID, "Go\0", 4, "\x55\x66", 2);
		add_note(&elf, NT_GNU_BUILD_ID, "GNU\0abc", 8, "\x77\x88", 2);
		add_build_id(&elf, "\x01\x23\xff\x0a\xb0");
		write_bytes("program", &elf, sizeof(elf), 0755);
		assert_string_equal(digest(in_folder("program")), "build-id:0123ff0ab0");
	}
}

static void test_release_digest_finds_a_build_id_that_only_a_section_has(void **state)
{
	struct {
		struct small_elf elf;
		Elf64_Shdr sections[2];
	} file = {.elf = small_elf(4, "")};

	(void)state;
	add_build_id(&file.elf, "\x01\x02\x03\x04");
	file.sections[1] = (Elf64_Shdr){.sh_type = SHT_NOTE,
					.sh_offset = file.elf.notes.p_offset,
					.sh_size = file.elf.notes.p_filesz,
					.sh_addralign = 4};
	file.elf.notes.p_type = PT_NULL;
	file.elf.header.e_shoff = sizeof(file.elf);
	file.elf.header.e_shentsize = sizeof(Elf64_Shdr);
	file.elf.header.e_shnum = 2;
	write_bytes("program", &file, sizeof(file), 0755);
	assert_string_equal(digest(in_folder("program")), "build-id:01020304");
}

static void test_release_digest_without_a_build_id_is_a_hash(void **state)
{
	struct small_elf elf = small_elf(4, "");

	(void)state;
	write_file("script", "abc", 0644);
	assert_string_equal(digest(in_folder("script")), DIGEST_OF_ABC);
	write_file("empty", "", 0644);
	assert_string_equal(digest(in_folder("empty")), DIGEST_OF_NOTHING);
	write_bytes("no-notes", &elf, sizeof(elf), 0755);
	assert_true(has_label(digest(in_folder("no-notes")), "sha256:"));
	add_note(&elf, NT_GNU_ABI_TAG, "GNU", 4, "0123456789abcdef", 16);
	write_bytes("other-notes", &elf, sizeof(elf), 0755);
	assert_true(has_label(digest(in_folder("other-notes")), "sha256:"));
}

static void test_release_digest_build_id_that_is_too_long_or_empty_does_not_count(void **state)
{
	char id[37];

	(void)state;
	memset(id, 'A', sizeof(id));
	id[36] = '\0';
	write_elf("program", id, "");
	assert_true(has_label(digest(in_folder("program")), "sha256:"));
	id[35] = '\0';
	write_elf("program", id, "");
	assert_int_equal(strlen(digest(in_folder("program"))), RELEASE_DIGEST_MAX - 1);
	assert_true(has_label(digest(in_folder("program")), "build-id:4141"));
	write_elf("program", "", "");
	assert_true(has_label(digest(in_folder("program")), "sha256:"));
}

/* As bundlers do it: one loader for all, and what it is to run behind it. */
static void test_release_digest_with_something_appended_is_a_hash(void **state)
{
	char first[RELEASE_DIGEST_MAX];
	FILE *f;

	(void)state;
	for (int i = 0; i < 2; i++) {
		write_elf("program", "\x01", "");
		f = fopen(in_folder("program"), "a");
		assert_non_null(f);
		assert_true(fputs(i == 0 ? "print(1)" : "print(2)", f) >= 0);
		assert_int_equal(fclose(f), 0);
		assert_true(has_label(digest(in_folder("program")), "sha256:"));
		if (i == 0)
			strcpy(first, digest(in_folder("program")));
	}
	assert_string_not_equal(digest(in_folder("program")), first);
}

static void test_release_digest_of_the_largest_file_is_a_hash(void **state)
{
	(void)state;
	write_file("large", "", 0644);
	assert_int_equal(truncate(in_folder("large"), RELEASE_HASH_MAX), 0);
	assert_true(has_label(digest(in_folder("large")), "sha256:"));
	assert_int_equal(truncate(in_folder("large"), RELEASE_HASH_MAX + 1), 0);
	assert_string_equal(digest(in_folder("large")), "");
	assert_string_equal(hash(in_folder("large")), "");
}

static void test_release_digest_of_a_larger_one_is_its_build_id(void **state)
{
	struct small_elf elf = small_elf(4, "");

	(void)state;
	add_build_id(&elf, "\x01");
	elf.payload.p_filesz = (uint64_t)RELEASE_HASH_MAX + 1 - elf.payload.p_offset;
	write_bytes("large", &elf, sizeof(elf), 0755);
	assert_int_equal(truncate(in_folder("large"), RELEASE_HASH_MAX + 1), 0);
	assert_string_equal(digest(in_folder("large")), "build-id:01");
	assert_string_equal(hash(in_folder("large")), "");
}

static void test_release_hash_is_of_the_contents_with_and_without_a_build_id(void **state)
{
	char first[RELEASE_DIGEST_MAX];

	(void)state;
	write_file("script", "abc", 0644);
	assert_string_equal(hash(in_folder("script")), DIGEST_OF_ABC);
	write_elf("program", "\x01", "one");
	strcpy(first, hash(in_folder("program")));
	assert_true(has_label(first, "sha256:"));
	write_elf("program", "\x01", "two");
	assert_string_equal(digest(in_folder("program")), "build-id:01");
	assert_true(has_label(hash(in_folder("program")), "sha256:"));
	assert_string_not_equal(hash(in_folder("program")), first);
}

/* ---- what is not read again ----------------------------------------------------------------- */

#define DEADLINE_S 30
#define LARGE      (1024 * 1024)

/* How much this program has read by now, of whatever. */
static unsigned long long read_so_far(void)
{
	unsigned long long n = 0;
	FILE *f = fopen("/proc/self/io", "re");

	if (!f || fscanf(f, "rchar: %llu", &n) != 1) {
		print_message("skipped: needs /proc/self/io\n");
		skip();
	}
	fclose(f);
	return n;
}

static bool is_read_by_identifying(const char *path)
{
	unsigned long long before = read_so_far();

	(void)identify(path);
	return read_so_far() - before >= LARGE;
}

/* It is read as long as it has changed only lately. */
static void await_not_read(const char *path)
{
	time_t end = time(NULL) + DEADLINE_S;

	while (is_read_by_identifying(path)) {
		if (time(NULL) > end)
			fail_msg("%s is hashed again and again", path);
		(void)poll(NULL, 0, 50);
	}
}

static void set_times(const char *name)
{
	struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};

	assert_int_equal(utimensat(AT_FDCWD, in_folder(name), times, 0), 0);
}

/* A file that begins with @number; always of the same size and time. */
static void write_numbered(const char *name, unsigned number)
{
	write_bytes(name, &number, sizeof(number), 0644);
	assert_int_equal(truncate(in_folder(name), LARGE), 0);
	set_times(name);
}

static void test_release_identify_reads_an_unchanged_file_once(void **state)
{
	struct release first, again;

	(void)state;
	write_numbered("program", 1);
	first = identify(in_folder("program"));
	await_not_read(in_folder("program"));
	again = identify(in_folder("program"));
	assert_string_equal(again.hash, first.hash);
	assert_string_equal(again.digest, first.digest);
}

/* Of the same inode and size, and the time of its last write has been set back. */
static void test_release_identify_reads_a_changed_file_anew(void **state)
{
	struct release first, changed;
	struct stat before, after;

	(void)state;
	write_numbered("program", 1);
	first = identify(in_folder("program"));
	await_not_read(in_folder("program"));
	assert_int_equal(stat(in_folder("program"), &before), 0);
	write_numbered("program", 2);
	assert_int_equal(stat(in_folder("program"), &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
	changed = identify(in_folder("program"));
	assert_true(has_label(changed.hash, "sha256:"));
	assert_string_not_equal(changed.hash, first.hash);
}

/* Time stamps are coarse: what was hashed a moment ago may have changed since and look the same. */
static void test_release_identify_does_not_trust_the_times_of_a_new_file(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		char text[16], first[RELEASE_DIGEST_MAX];

		snprintf(text, sizeof(text), "one %4u", i);
		write_file("program", text, 0644);
		set_times("program");
		strcpy(first, hash(in_folder("program")));
		snprintf(text, sizeof(text), "two %4u", i);
		write_file("program", text, 0644);
		set_times("program");
		assert_string_not_equal(hash(in_folder("program")), first);
	}
}

static void test_release_identify_of_more_files_than_are_remembered(void **state)
{
	enum { FILES = 70 };
	char hashes[FILES][RELEASE_DIGEST_MAX], name[16];

	(void)state;
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		write_numbered(name, i);
		strcpy(hashes[i], hash(in_folder(name)));
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(hashes[k], hashes[i]);
	}
	/* All at one time, as far as the kernel's clock can tell. */
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		set_times(name);
	}
	await_not_read(in_folder(name));
	for (unsigned i = 0; i < 3 * FILES; i++) {
		snprintf(name, sizeof(name), "file%u", i % FILES);
		assert_string_equal(hash(in_folder(name)), hashes[i % FILES]);
	}
	for (unsigned i = FILES - 64; i < FILES; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		assert_false(is_read_by_identifying(in_folder(name)));
	}
	/* The first ones have made room for these. */
	assert_true(is_read_by_identifying(in_folder("file0")));
}

/* ---- what is no program --------------------------------------------------------------------- */

/* The alarm ends the test program where one of these were waited for. */
static void test_release_digest_of_what_is_no_regular_file_is_empty_at_once(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
	assert_int_equal(symlink("fifo", in_folder("link")), 0);
	alarm(30);
	assert_string_equal(digest(in_folder("fifo")), "");
	assert_string_equal(digest(in_folder("link")), "");
	assert_string_equal(digest("/dev/null"), "");
	assert_string_equal(digest("/dev/zero"), "");
	assert_string_equal(digest("/dev/tty"), "");
	assert_string_equal(digest(folder), "");
	assert_string_equal(hash(folder), "");
	assert_string_equal(digest(in_folder("no-such")), "");
	assert_string_equal(digest(""), "");
	alarm(0);
}

static void copy_program(const char *from, const char *to)
{
	char command[512];

	snprintf(command, sizeof(command), "cp -L %s %s", from, to);
	assert_int_equal(system(command), 0);
}

/* The child says by the end of its pipe that it has begun to run the program. */
static pid_t run_until_killed(const char *program)
{
	int begun[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(begun, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl(program, "sleep", "300", NULL);
		_exit(1);
	}
	close(begun[1]);
	assert_int_equal(read(begun[0], &byte, 1), 0);
	close(begun[0]);
	return pid;
}

static void test_release_digest_of_a_running_program_whose_file_is_gone(void **state)
{
	char expected[RELEASE_DIGEST_MAX], exe[32];
	pid_t pid;

	(void)state;
	copy_program("/bin/sleep", in_folder("program"));
	strcpy(expected, digest(in_folder("program")));
	assert_true(expected[0]);
	pid = run_until_killed(in_folder("program"));
	assert_int_equal(unlink(in_folder("program")), 0);
	write_file("program", "another one", 0755);
	snprintf(exe, sizeof(exe), "/proc/%d/exe", pid);
	assert_string_equal(digest(exe), expected);
	assert_string_not_equal(digest(in_folder("program")), expected);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Files of a linker's, with sections behind the segments. */
static void test_release_digest_of_this_very_program_is_a_build_id(void **state)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char expected[RELEASE_DIGEST_MAX];

	(void)state;
	assert_true(n > 0);
	path[n] = '\0';
	strcpy(expected, digest(path));
	if (!has_label(expected, "build-id:"))
		skip(); /* linked without one */
	assert_string_equal(digest("/proc/self/exe"), expected);
}

static void expect_some_digest(const void *bytes, size_t n)
{
	const char *text;

	write_bytes("hostile", bytes, n, 0755);
	text = digest(in_folder("hostile"));
	if (!has_label(text, "sha256:") && !has_label(text, "build-id:"))
		fail_msg("\"%s\"", text);
}

/* Each byte of the headers and notes as large and as small as it may be, and every length. */
static void test_release_digest_survives_damaged_elf_files(void **state)
{
	static const unsigned char values[] = {0, 1, 0x7f, 0x80, 0xff};
	struct small_elf good = small_elf(4, "");

	(void)state;
	add_build_id(&good, "\x01\x02\x03\x04");
	for (size_t at = 0; at < offsetof(struct small_elf, payload_bytes); at++) {
		for (size_t i = 0; i < sizeof(values); i++) {
			struct small_elf bad = good;

			((unsigned char *)&bad)[at] = values[i];
			expect_some_digest(&bad, sizeof(bad));
		}
		expect_some_digest(&good, at);
	}
	for (size_t at = 0; at + 8 <= offsetof(struct small_elf, payload_bytes); at += 4) {
		struct small_elf bad = good;

		memset((unsigned char *)&bad + at, 0xff, 8);
		expect_some_digest(&bad, sizeof(bad));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_release_digest_of_an_elf_file_is_its_build_id),
		TEST(test_release_digest_finds_a_build_id_that_only_a_section_has),
		TEST(test_release_digest_without_a_build_id_is_a_hash),
		TEST(test_release_digest_build_id_that_is_too_long_or_empty_does_not_count),
		TEST(test_release_digest_with_something_appended_is_a_hash),
		TEST(test_release_digest_of_the_largest_file_is_a_hash),
		TEST(test_release_digest_of_a_larger_one_is_its_build_id),
		TEST(test_release_hash_is_of_the_contents_with_and_without_a_build_id),
		TEST(test_release_identify_reads_an_unchanged_file_once),
		TEST(test_release_identify_reads_a_changed_file_anew),
		TEST(test_release_identify_does_not_trust_the_times_of_a_new_file),
		TEST(test_release_identify_of_more_files_than_are_remembered),
		TEST(test_release_digest_of_what_is_no_regular_file_is_empty_at_once),
		TEST(test_release_digest_of_a_running_program_whose_file_is_gone),
		TEST(test_release_digest_of_this_very_program_is_a_build_id),
		TEST(test_release_digest_survives_damaged_elf_files),
	};

	return cmocka_run_group_tests_name("release_digest", tests, NULL, NULL);
}
