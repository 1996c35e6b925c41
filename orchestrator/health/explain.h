/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * explain: what an answer is that is not the one asked for, in words, and what to change. Pure; fed
 * by probe with the first bytes that came, or with what OpenSSL says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define EXPLAIN_BYTES_MAX 80 /* more of an answer is not looked at */

enum explain_asked {
	EXPLAIN_HTTP1,
	EXPLAIN_HTTP2,
	EXPLAIN_TLS,
};

/*
 * The first bytes of something that is not what was @asked for: "this port speaks TLS: use
 * \"https\"", "the answer is not HTTP/1: \"SSH-2.0-x\"". Into @buffer, which is returned.
 */
char *explain_bytes(enum explain_asked asked, const char *data, size_t length, char *buffer,
		    size_t size);

/*
 * Why there is no TLS connection, of what curl says of it, which is what OpenSSL says: "TLS alert
 * unrecognized_name: the server has no certificate for this name (\"tls\": {\"name\": ...})", "the
 * certificate has expired". Into @buffer, which is returned.
 */
char *explain_tls(const char *curl_says, char *buffer, size_t size);

/* Is it the page by which an HTTPS server answers a plain request? @body is cleaned. */
bool explain_is_https_page(unsigned status, const char *body);
