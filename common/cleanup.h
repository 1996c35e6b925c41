/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cleanup: release things where their scope ends, whichever way it is left.
 *
 *	cleanup_free char *text = strdup(s);
 *	cleanup_close int fd = open(...);
 *	...
 *	*ret = TAKE_PTR(text);		hand over: the variable is NULL (or -1) afterwards
 *
 * Each module with an object of its own defines its attribute beside the type:
 *	DEFINE_CLEANUP(struct config *, config_free)   and then   cleanup(config_free)
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define cleanup(function) __attribute__((__cleanup__(function##_ptr)))

/* Define what cleanup(function) calls; @function must take NULL. */
#define DEFINE_CLEANUP(type, function)                                                             \
	static inline void function##_ptr(type *object)                                            \
	{                                                                                          \
		function(*object);                                                                 \
	}                                                                                          \
	struct cleanup_semicolon

static inline void cleanup_free_ptr(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close_ptr(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define cleanup_free  __attribute__((__cleanup__(cleanup_free_ptr)))
#define cleanup_close __attribute__((__cleanup__(cleanup_close_ptr)))

#define TAKE_PTR(pointer)                                                                          \
	({                                                                                         \
		__auto_type taken_ = (pointer);                                                    \
		(pointer) = NULL;                                                                  \
		taken_;                                                                            \
	})

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})
