/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cleanup: releases a variable's object when its scope ends, whichever way the scope is left.
 *
 *	cleanup_free char *text = strdup(s);
 *	cleanup_close int fd = open(...);
 *	...
 *	*ret = TAKE_PTR(text);		hand over: the variable is NULL (or -1) afterwards
 *
 * A module with an object type of its own defines the attribute beside the type, by
 * DEFINE_CLEANUP(struct config *, config_free). A variable is then declared with
 * cleanup(config_free) in front.
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define cleanup(function) __attribute__((__cleanup__(function##_ptr)))

/* Define the function that cleanup(function) calls. @function must take NULL. */
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

/* free(3) a pointer of any type, and close(2) a descriptor that is not negative. */
#define cleanup_free  __attribute__((__cleanup__(cleanup_free_ptr)))
#define cleanup_close __attribute__((__cleanup__(cleanup_close_ptr)))

/* The value of a variable that is NULL, or -1, afterwards: ownership goes to the receiver. */
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
