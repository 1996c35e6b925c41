/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fields: turns C structs into JSON objects and back, by one table for both ways. Pure.
 *
 *	static const struct field order_fields[] = {
 *		FIELD_BOOLEAN(struct order, on, 1U << ORDER_STEADY),
 *		FIELD_INTEGER(struct order, signal, 0, 64, 1U << ORDER_LEAVE | 1U << ORDER_STOP),
 *	};
 *
 * A field belongs to some types of message, one bit each; messages of other types do not have it.
 * Reading is strict: a field that is missing, that has another JSON type, or that is out of range
 * is -EBADMSG, and the error names it. Fields that the table does not have are ignored.
 *
 * JSON is UTF-8, but a process's arguments and output need not be. In text for people (FIELD_TEXT)
 * each invalid byte becomes "?". Strings that must arrive unchanged (FIELD_BYTES) are sent as
 * {"hex": "..."} if they are not UTF-8. A NUL ends a string, and decoding never yields one inside.
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
	unsigned types;           /* which messages have it: bit 1U << type */
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
 * Add to @object those of @fields that messages of @type have, with the values in the struct @base.
 * Returns 0 or -ENOMEM. A number must not be above its field's range, nor an enum's value without a
 * name (asserted).
 */
int fields_encode(json_t *object, const struct field *fields, size_t n_fields, unsigned type,
		  const void *base);

/*
 * Read those of @fields that messages of @type have from @object into the struct @base. Its strings
 * must be NULL before, and the caller frees them. Returns 0, -EBADMSG or -ENOMEM; after an error
 * the fields that were read before it are filled, and the caller frees their strings, too.
 */
int fields_decode(const json_t *object, const struct field *fields, size_t n_fields, unsigned type,
		  void *base, struct error *err);

/* *ret: the list @name, borrowed. -EBADMSG if it is missing, no list, or longer than @max. */
int fields_get_array(const json_t *object, const char *name, size_t max, const json_t **ret,
		     struct error *err);

/* *ret: the index of the object's "type" in the @count @names. -EBADMSG if it is none of them. */
int fields_get_type(const json_t *object, const char *const *names, unsigned count, unsigned *ret,
		    struct error *err);

/*
 * *ret_text: @object as compact text, malloc'ed, NUL-terminated. -EMSGSIZE if it is longer than
 * @max bytes, -ENOMEM.
 */
int fields_dump(const json_t *object, size_t max, char **ret_text, size_t *ret_length);

/*
 * @json as text by @flags, those of json_dumps(), malloc'ed; NULL without memory. Take this one:
 * without memory json_dumps() may return a text from which something is missing.
 */
char *fields_text(const json_t *json, size_t flags);

/* Parse one JSON object of at most @max bytes; *ret is a new reference. -EBADMSG, -ENOMEM. */
int fields_load(const char *text, size_t length, size_t max, json_t **ret, struct error *err);

/* Replace each byte that is not part of valid UTF-8 (RFC 3629) by "?". The length stays. */
void fields_make_utf8(char *text);
