/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/reply.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

/* Larger lengths are nonsense here, and no sum of theirs overflows. */
#define LENGTH_MAX (UINT64_C(1) << 50)

static void begin_head(struct reply *reply)
{
	reply->state = REPLY_STATUS_LINE;
	reply->status = 0;
	reply->keep_alive = false;
	reply->left = reply->length = 0;
	reply->has_length = reply->chunked = reply->coded = false;
	reply->close = reply->persist = reply->http10 = false;
	reply->line_length = 0;
}

void reply_begin(struct reply *reply)
{
	begin_head(reply);
	reply->received = reply->body_length = 0;
	reply->body_kept = 0;
	reply->head = 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* "HTTP/1.1 200 OK"; the reason may be missing (RFC 9112 section 4). */
static int status_line(struct reply *reply, const char *line, size_t length)
{
	if (length < 12 || memcmp(line, "HTTP/1.", 7) != 0 || !is_digit(line[7]) || line[8] != ' ')
		return -EBADMSG;
	for (size_t i = 9; i < 12; i++) {
		if (!is_digit(line[i]))
			return -EBADMSG;
		reply->status = reply->status * 10 + (line[i] - '0');
	}
	if (reply->status < 100 || (length > 12 && line[12] != ' '))
		return -EBADMSG;
	reply->http10 = line[7] == '0';
	reply->state = REPLY_HEADERS;
	return 0;
}

static int content_length(struct reply *reply, const char *value, size_t length)
{
	uint64_t number = 0;

	if (length == 0)
		return -EBADMSG;
	for (size_t i = 0; i < length; i++) {
		if (!is_digit(value[i]))
			return -EBADMSG;
		number = number * 10 + (uint64_t)(value[i] - '0');
		if (number > LENGTH_MAX)
			return -EBADMSG;
	}
	/* Two different lengths are smuggling or a bug (RFC 9112 section 6.3). */
	if (reply->has_length && reply->length != number)
		return -EBADMSG;
	reply->has_length = true;
	reply->length = number;
	return 0;
}

/* The next token of a comma-separated list, or NULL at its end. */
static const char *next_token(const char **list, const char *end, size_t *ret_length)
{
	const char *start;

	while (*list < end && (is_space(**list) || **list == ','))
		(*list)++;
	if (*list == end)
		return NULL;
	start = *list;
	while (*list < end && **list != ',')
		(*list)++;
	*ret_length = (size_t)(*list - start);
	while (*ret_length && is_space(start[*ret_length - 1]))
		(*ret_length)--;
	return start;
}

static bool token_is(const char *token, size_t length, const char *name)
{
	return length == strlen(name) && strncasecmp(token, name, length) == 0;
}

/* Take what matters from a line "Name: value". Of other headers only the form is checked. */
static int header_line(struct reply *reply, const char *line, size_t length, bool cut)
{
	const char *colon = memchr(line, ':', length);
	const char *value, *token, *end = line + length;
	size_t name_length, n;

	if (!colon && cut)
		return -EBADMSG;
	/* Neither folded lines nor space before the colon: RFC 9112 sections 5.1 and 5.2. */
	if (!colon || colon == line || is_space(line[0]) || is_space(colon[-1]))
		return -EBADMSG;
	name_length = (size_t)(colon - line);
	value = colon + 1;
	while (value < end && is_space(*value))
		value++;
	while (end > value && is_space(end[-1]))
		end--;

	if (token_is(line, name_length, "Content-Length")) {
		return cut ? -EBADMSG : content_length(reply, value, (size_t)(end - value));
	} else if (token_is(line, name_length, "Transfer-Encoding")) {
		/* Only a last "chunked" says where the body ends. */
		while ((token = next_token(&value, end, &n))) {
			reply->coded = true;
			reply->chunked = token_is(token, n, "chunked");
		}
		return cut ? -EBADMSG : 0;
	} else if (token_is(line, name_length, "Connection")) {
		while ((token = next_token(&value, end, &n))) {
			reply->close |= token_is(token, n, "close");
			reply->persist |= token_is(token, n, "keep-alive");
		}
		return cut ? -EBADMSG : 0;
	}
	return 0;
}

static void done(struct reply *reply)
{
	reply->keep_alive = !reply->close && (!reply->http10 || reply->persist);
	reply->state = REPLY_DONE;
}

/* The empty line: RFC 9112 section 6.3 in its order. */
static void end_of_headers(struct reply *reply)
{
	if (reply->status < 200 && reply->status != 101) {
		begin_head(reply);
	} else if (reply->status == 101) {
		reply->close = true;
		done(reply);
	} else if (reply->status == 204 || reply->status == 304) {
		done(reply);
	} else if (reply->chunked) {
		reply->state = REPLY_CHUNK_SIZE;
	} else if (reply->coded || !reply->has_length) {
		reply->close = true;
		reply->state = REPLY_BODY_UNTIL_END;
	} else if (reply->length == 0) {
		done(reply);
	} else {
		reply->left = reply->length;
		reply->state = REPLY_BODY_COUNTED;
	}
}

/* "1a" or "1a;extension=x" */
static int chunk_size(struct reply *reply, const char *line, size_t length)
{
	uint64_t size = 0;
	size_t i = 0;

	for (; i < length; i++) {
		char c = line[i];
		unsigned digit;

		if (is_digit(c))
			digit = (unsigned)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (unsigned)((c | 0x20) - 'a' + 10);
		else
			break;
		size = size * 16 + digit;
		if (size > LENGTH_MAX)
			return -EBADMSG;
	}
	if (i == 0 || (i < length && line[i] != ';' && !is_space(line[i])))
		return -EBADMSG;
	reply->left = size;
	reply->state = size ? REPLY_CHUNK_DATA : REPLY_TRAILERS;
	return 0;
}

static int whole_line(struct reply *reply)
{
	size_t length = reply->line_length;
	bool cut = length > REPLY_LINE_KEPT;
	const char *line = reply->line;

	reply->line_length = 0;
	if (cut)
		length = REPLY_LINE_KEPT;
	else if (length && line[length - 1] == '\r')
		length--;

	switch (reply->state) {
	case REPLY_STATUS_LINE:
		return status_line(reply, line, length);
	case REPLY_HEADERS:
		if (length)
			return header_line(reply, line, length, cut);
		end_of_headers(reply);
		return 0;
	case REPLY_CHUNK_SIZE:
		return chunk_size(reply, line, length);
	case REPLY_CHUNK_END:
		reply->state = REPLY_CHUNK_SIZE;
		return length ? -EBADMSG : 0;
	case REPLY_TRAILERS:
		if (!length)
			done(reply);
		return 0;
	default:
		return -EBADMSG;
	}
}

/* Collect up to a line end and act on the line. Returns the bytes used or -EBADMSG. */
static ssize_t take_line(struct reply *reply, const char *data, size_t length)
{
	const char *newline = memchr(data, '\n', length);
	size_t used = newline ? (size_t)(newline - data) + 1 : length;
	size_t text = newline ? used - 1 : used;
	int r;

	/* Lines with chunk sizes do not count: a long body has many. */
	if (reply->state != REPLY_CHUNK_SIZE && reply->state != REPLY_CHUNK_END)
		reply->head += used;
	if (reply->head > REPLY_HEAD_MAX || reply->line_length + text > REPLY_HEAD_MAX)
		return -EBADMSG;
	if (reply->line_length < REPLY_LINE_KEPT) {
		size_t room = REPLY_LINE_KEPT - reply->line_length;

		memcpy(reply->line + reply->line_length, data, text < room ? text : room);
	}
	reply->line_length += text;
	if (!newline)
		return (ssize_t)used;
	r = whole_line(reply);
	return r < 0 ? r : (ssize_t)used;
}

static size_t take_body(struct reply *reply, const char *data, size_t length)
{
	size_t room = REPLY_BODY_KEPT - reply->body_kept;
	size_t kept;

	if (reply->state != REPLY_BODY_UNTIL_END) {
		if (length > reply->left)
			length = (size_t)reply->left;
		reply->left -= length;
	}
	kept = length < room ? length : room;
	memcpy(reply->body + reply->body_kept, data, kept);
	reply->body_kept += kept;
	reply->body_length += length;
	if (reply->state == REPLY_BODY_COUNTED && !reply->left)
		done(reply);
	else if (reply->state == REPLY_CHUNK_DATA && !reply->left)
		reply->state = REPLY_CHUNK_END;
	return length;
}

int reply_feed(struct reply *reply, const char *data, size_t length, size_t *ret_used)
{
	size_t used = 0;

	while (used < length && reply->state != REPLY_DONE && reply->state != REPLY_BROKEN) {
		ssize_t n;

		if (reply->state == REPLY_BODY_COUNTED || reply->state == REPLY_CHUNK_DATA ||
		    reply->state == REPLY_BODY_UNTIL_END)
			n = (ssize_t)take_body(reply, data + used, length - used);
		else
			n = take_line(reply, data + used, length - used);
		if (n < 0) {
			reply->state = REPLY_BROKEN;
			break;
		}
		used += (size_t)n;
	}
	if (reply->state == REPLY_BROKEN)
		used = length;
	reply->received += used;
	*ret_used = used;
	if (reply->state == REPLY_BROKEN)
		return -EBADMSG;
	return reply->state == REPLY_DONE;
}

int reply_end(struct reply *reply)
{
	if (reply->state == REPLY_BODY_UNTIL_END)
		done(reply);
	return reply->state == REPLY_DONE ? 1 : -ENODATA;
}
