/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log: writes lines to stderr, for the journal or for a person.
 *
 * If stderr is the journal (JOURNAL_STREAM names it, see systemd.exec(5)), each line starts with
 * its priority as "<N>" (sd-daemon(3)), else with the program's name. A line is one write(2) of at
 * most 2,048 bytes, cleaned (clean_line()): whatever text is in it, it is one line of this
 * program's.
 */
#pragma once

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* @program is kept, not copied. Lines of a level above @max are not written. */
void log_init(const char *program, enum log_level max);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
