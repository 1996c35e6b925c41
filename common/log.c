/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clean.h"

static const char *log_program = "baton";
static enum log_level log_max = LOG_LEVEL_INFO;
static bool log_journal;

/* Is stderr the stream that JOURNAL_STREAM ("device:inode") names? */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(const char *program, enum log_level max)
{
	log_program = program;
	log_max = max;
	log_journal = stderr_is_journal();
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[2048];
	va_list ap;
	int n, m;

	if (level > log_max)
		return;
	if (log_journal)
		n = snprintf(line, sizeof(line), "<%d>", (int)level);
	else
		n = snprintf(line, sizeof(line), "%s: ", log_program);
	va_start(ap, format);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, ap);
	va_end(ap);
	if (m < 0)
		return;
	n = n + m > (int)sizeof(line) - 2 ? (int)sizeof(line) - 2 : n + m;
	line[n] = '\0';
	clean_line(line);
	n = (int)strlen(line);
	line[n++] = '\n';
	/* If the log cannot be written, there is nobody to tell. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}
