/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clean.h"

static char folder[64], file[sizeof(folder) + 8];

_Noreturn void fuzz_fail(const char *where, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", where, line, what);
	abort();
}

char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	FUZZ_MUST(text);
	memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

void fuzz_must_be_clean(const char *text, size_t n, int lines)
{
	for (size_t i = 0; i < n;) {
		unsigned char c = (unsigned char)text[i];
		size_t length = clean_character(text + i, n - i);

		FUZZ_MUST(length > 0);
		FUZZ_MUST(c >= 0x20 || (lines && (c == '\n' || c == '\t')));
		FUZZ_MUST(c != 0x7f);
		/* C1 is C2 80 to C2 9F. */
		FUZZ_MUST(c != 0xc2 || (unsigned char)text[i + 1] >= 0xa0);
		i += length;
	}
}

const char *fuzz_file(const uint8_t *data, size_t size)
{
	int fd;

	if (!folder[0]) {
		snprintf(folder, sizeof(folder), "/tmp/baton-fuzz.XXXXXX");
		FUZZ_MUST(mkdtemp(folder));
	}
	snprintf(file, sizeof(file), "%s/input", folder);
	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FUZZ_MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
	return file;
}

void fuzz_folder_done(void)
{
	DIR *list = opendir(folder);
	struct dirent *entry;

	while (list && (entry = readdir(list)))
		(void)unlinkat(dirfd(list), entry->d_name, 0);
	if (list)
		closedir(list);
	(void)rmdir(folder);
	folder[0] = '\0';
}
