/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz: what reads bytes from outside, and what must hold of what it makes of them.
 *
 * A target takes any bytes. It ends the process (FUZZ_MUST()) if something does not hold. "make
 * fuzz" gives each target to libFuzzer for a minute; its corpus is the folder corpus/TARGET. What
 * is in there is given to the target by "make check", too (tests/unit/fuzz/test_corpus.c): a file
 * that once made one fail is put there.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FUZZ_TARGETS(X)                                                                            \
	X(report)      /* an agent's, to batond */                                                 \
	X(order)       /* batond's, to an agent */                                                 \
	X(spec)        /* what an agent is to start */                                             \
	X(handover)    /* what an agent has noted for the next one */                              \
	X(notify)      /* sd_notify(3) */                                                          \
	X(clean)       /* text of anybody's */                                                     \
	X(label)       /* a server's output in batond's stream */                                  \
	X(words)       /* addresses, durations, placeholders, versions */                          \
	X(config)      /* baton.json */                                                            \
	X(state)       /* state.json */                                                            \
	X(history)     /* releases of before */                                                    \
	X(events)      /* events of before */                                                      \
	X(environment) /* a service's environment file */                                          \
	X(elf)         /* the build id of a program */                                             \
	X(mountinfo)   /* /proc/self/mountinfo, and after a NUL /proc/self/cgroup */               \
	X(privilege)   /* /proc/self/status, and after a NUL /proc/self/uid_map */                 \
	X(answer)      /* a server's answer to a check */                                          \
	X(netlink)     /* the kernel's answers to sock_diag(7) */                                  \
	X(body)        /* the body of an order: its first byte says of which */                    \
	X(request)     /* what a client says to the API */

#define FUZZ_DECLARE(name) void fuzz_##name(const uint8_t *data, size_t size);
FUZZ_TARGETS(FUZZ_DECLARE)
#undef FUZZ_DECLARE

/* Does it hold? Also without assert(3). */
#define FUZZ_MUST(what)                                                                            \
	do {                                                                                       \
		if (!(what))                                                                       \
			fuzz_fail(__FILE__, __LINE__, #what);                                      \
	} while (0)

_Noreturn void fuzz_fail(const char *file, int line, const char *what);

/* A NUL-terminated copy, which the caller frees. */
char *fuzz_text(const uint8_t *data, size_t size);

/* Is it text as clean.h has it? @lines: newlines and tabs are. */
void fuzz_must_be_clean(const char *text, size_t n, int lines);

/*
 * A file with these bytes, in a folder of this process's own. The path is good until the next call
 * of fuzz_folder_done(), which removes the folder and what the target has made in it.
 */
const char *fuzz_file(const uint8_t *data, size_t size);
void fuzz_folder_done(void);
