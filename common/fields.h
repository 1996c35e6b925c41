/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fields: C structs to JSON objects and back, by one table for both ways.
 *
 *	static const struct field order_fields[] = {
 *		FIELD_BOOLEAN(struct order, on, 1U << ORDER_STEADY),
 *		FIELD_INTEGER(struct order, signal, 0, 64, 1U << ORDER_LEAVE | 1U << ORDER_STOP),
 *	};
 *
 * Each field belongs to some of the types of a message (a bit each) and is left out of the others.
 * Reading is strict: a field that is missing, has another JSON type or is out of range is -EBADMSG
 * and named in the error; fields the table does not name are ignored.
 *
 * JSON is UTF-8, what a process is given and writes need not be. Text for people (FIELD_TEXT) has
 * each invalid byte replaced by "?"; what must arrive as it was (FIELD_BYTES) is sent as
 * {"hex": "..."} where it is not UTF-8. NUL ends a string and never comes out of one.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

DEFINE_CLEANUP(json_t *, json_decref);

enum field_kind {
	FIELD_KIND_BOOLEAN, /* bool */
	FIELD_KIND_INTEGER, /* any type of 32 bits, not negative */
	FIELD_KIND_NAME,    /* an enum, sent as its name */
	FIELD_KIND_TEXT,    /* char[size], with its NUL; made UTF-8 */
	FIELD_KIND_BYTES,   /* char *, malloc'ed; never NULL */
	FIELD_KIND_BYTES_OR_NULL,
	FIELD_KIND_BYTES_LIST, /* char **, NULL-terminated, malloc'ed */
};

struct field {
	const char *name;
	enum field_kind kind;
	size_t offset;
	size_t size;              /* of the member */
	uint32_t min, max;        /* INTEGER: range; NAME: max is how many there are */
	const char *const *names; /* NAME */
	unsigned types;           /* bits of the message types that have it */
};

#define FIELD_OF(type, member, which, bits)                                                        \
	.name = #member, .kind = (which), .offset = offsetof(type, member),                        \
	.size = sizeof(((type *)NULL)->member), .types = (bits)
#define FIELD_BOOLEAN(type, member, bits)                                                          \
	{                                                                                          \
		FIELD_OF(type, member, FIELD_KIND_BOOLEAN, bits)                                   \
	}
#define FIELD_INTEGER(type, member, from, to, bits)                                                \
	{                                                                                          \
		FIELD_OF(type, member, FIELD_KIND_INTEGER, bits), .min = (from), .max = (to)       \
	}
#define FIELD_NAME(type, member, list, count, bits)                                                \
	{                                                                                          \
		FIELD_OF(type, member, FIELD_KIND_NAME, bits), .names = (list), .max = (count)     \
	}
#define FIELD_TEXT(type, member, bits)                                                             \
	{                                                                                          \
		FIELD_OF(type, member, FIELD_KIND_TEXT, bits)                                      \
	}
#define FIELD_BYTES(type, member, bits)                                                            \
	{                                                                                          \
		FIELD_OF(type, member, FIELD_KIND_BYTES, bits)                                     \
	}
#define FIELD_BYTES_OR_NULL(type, member, bits)                                                    \
	{                                                                                          \
		FIELD_OF(type, member, FIELD_KIND_BYTES_OR_NULL, bits)                             \
	}
#define FIELD_BYTES_LIST(type, member, bits)                                                       \
	{                                                                                          \
		FIELD_OF(type, member, FIELD_KIND_BYTES_LIST, bits)                                \
	}

/*
 * Add to @object the fields of @base that messages of @type have. -ENOMEM. A value that no reader
 * would take (a negative number) is the caller's mistake and is not looked for.
 */
int fields_encode(json_t *object, const struct field *fields, size_t n_fields, unsigned type,
		  const void *base);

/*
 * Read into @base what messages of @type have. -EBADMSG, -ENOMEM; what was read before that is in
 * @base, whose strings the caller frees either way (they must be NULL before).
 */
int fields_decode(const json_t *object, const struct field *fields, size_t n_fields, unsigned type,
		  void *base, struct error *err);

/* The list @name, borrowed; -EBADMSG where it is missing, longer than @max or no list. */
int fields_get_array(const json_t *object, const char *name, size_t max, const json_t **ret,
		     struct error *err);

/* The object's "type" as an index into @names; -EBADMSG where it is none of them. */
int fields_get_type(const json_t *object, const char *const *names, unsigned count, unsigned *ret,
		    struct error *err);

/* As compact text, malloc'ed and NUL-terminated; -EMSGSIZE where longer than @max, -ENOMEM. */
int fields_dump(const json_t *object, size_t max, char **ret_text, size_t *ret_length);

/* Parse one object of at most @max bytes; a new reference. -EBADMSG, -ENOMEM. */
int fields_load(const char *text, size_t length, size_t max, json_t **ret, struct error *err);

/* Replace each byte that is not part of valid UTF-8 (RFC 3629) by "?"; the length stays. */
void fields_make_utf8(char *text);
