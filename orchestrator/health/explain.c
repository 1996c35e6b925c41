/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/explain.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/health/answer.h"

#define USE_HTTPS "this port speaks TLS: use \"https\""

/* ---- the first bytes ------------------------------------------------------------------------ */

/* RFC 8446, 5.1: a record of an alert or a handshake, and its version. */
static bool is_tls(const unsigned char *data, size_t n)
{
	return n >= 3 && (data[0] == 0x15 || data[0] == 0x16) && data[1] == 3 && data[2] <= 4;
}

/* RFC 9113, 3.4: a server begins with SETTINGS; some say GOAWAY at once. Both are of stream 0. */
static bool is_http2(const unsigned char *data, size_t n)
{
	static const unsigned char stream[4];

	return n >= 9 && data[0] == 0 && (data[3] == 4 || data[3] == 7) &&
	       memcmp(data + 5, stream, sizeof(stream)) == 0;
}

char *explain_bytes(enum explain_asked asked, const char *data, size_t length, char *buffer,
		    size_t size)
{
	static const char *const names[] = {"HTTP/1", "HTTP/2", "TLS"};
	const unsigned char *bytes = (const unsigned char *)data;
	char shown[EXPLAIN_BYTES_MAX];
	size_t n = 0;

	while (n < length && data[n] != '\r' && data[n] != '\n')
		n++;
	if (asked != EXPLAIN_TLS && is_tls(bytes, length)) {
		snprintf(buffer, size, USE_HTTPS);
	} else if (asked == EXPLAIN_HTTP1 && is_http2(bytes, length)) {
		snprintf(buffer, size, "the server speaks HTTP/2 here: use \"http2\"");
	} else if (asked == EXPLAIN_TLS && is_http2(bytes, length)) {
		snprintf(
			buffer, size,
			"this port speaks plain HTTP/2: use \"http2\" or \"grpc\" without \"tls\"");
	} else if (length >= 5 && memcmp(data, "HTTP/", 5) == 0) {
		snprintf(buffer, size, "this port speaks plain HTTP/1: use \"http\"");
	} else {
		answer_printable(data, n, shown, sizeof(shown));
		snprintf(buffer, size, "the answer is not %s: \"%s\"", names[asked], shown);
	}
	return buffer;
}

bool explain_is_https_page(unsigned status, const char *body)
{
	/* Of nginx, Apache, and Go's net/http. */
	static const char *const pages[] = {"plain HTTP request was sent to HTTPS port",
					    "speaking plain HTTP to an SSL-enabled server port",
					    "sent an HTTP request to an HTTPS server"};

	for (size_t i = 0; status == 400 && i < sizeof(pages) / sizeof(pages[0]); i++)
		if (strstr(body, pages[i]))
			return true;
	return false;
}

/* ---- TLS ------------------------------------------------------------------------------------ */

#define SET_NAME "(\"tls\": {\"name\": ...})"

/* RFC 8446, 6. */
static const struct {
	unsigned number;
	const char *name, *meaning; /* NULL: the name says it */
} alerts[] = {
	{10, "unexpected_message", NULL},
	{20, "bad_record_mac", NULL},
	{22, "record_overflow", NULL},
	{40, "handshake_failure",
	 "no version or cipher in common, or the server has no certificate"},
	{42, "bad_certificate", NULL},
	{43, "unsupported_certificate", NULL},
	{44, "certificate_revoked", NULL},
	{45, "certificate_expired", NULL},
	{46, "certificate_unknown", NULL},
	{47, "illegal_parameter", NULL},
	{48, "unknown_ca", NULL},
	{49, "access_denied", NULL},
	{50, "decode_error", NULL},
	{51, "decrypt_error", NULL},
	{70, "protocol_version", "the server takes other versions of TLS"},
	{71, "insufficient_security", NULL},
	{80, "internal_error", "the server may have no certificate for this name " SET_NAME},
	{90, "user_canceled", NULL},
	{109, "missing_extension", NULL},
	{112, "unrecognized_name", "the server has no certificate for this name " SET_NAME},
	{116, "certificate_required",
	 "the server wants a certificate of the client, and a check "
	 "has none"},
	{120, "no_application_protocol", "the server does not speak this version of HTTP"},
};

static char *explain_alert(unsigned number, char *buffer, size_t size)
{
	for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++) {
		if (alerts[i].number != number)
			continue;
		snprintf(buffer, size, "TLS alert %s%s%s", alerts[i].name,
			 alerts[i].meaning ? ": " : "", alerts[i].meaning ? alerts[i].meaning : "");
		return buffer;
	}
	snprintf(buffer, size, "TLS alert %u", number);
	return buffer;
}

/* Of libssl itself (openssl/sslerr.h), which gives up before the server does. */
#define TOO_OLD "the server's TLS is too old for this host's OpenSSL"

static const struct {
	unsigned number;
	const char *text;
} reasons[] = {
	{258, TOO_OLD ": it takes no version later than 1.1"},
	{294, "the server closed the connection during the handshake"},
	{333, TOO_OLD ": it signs with SHA-1 or MD5"},
	{338, TOO_OLD ": it cannot renegotiate safely (RFC 5746)"},
	{394, TOO_OLD ": its Diffie-Hellman key is too small"},
};

static const char *explain_reason(unsigned number)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].number == number)
			return reasons[i].text;
	return NULL;
}

/* curl has the name at the end: "... matches target host name 'www.example.org'". */
static char *explain_other_name(const char *curl_says, char *buffer, size_t size)
{
	static const char before[] = "target host name '";
	const char *name = strstr(curl_says, before);
	char shown[EXPLAIN_BYTES_MAX];

	name = name ? name + strlen(before) : "";
	answer_printable(name, strcspn(name, "'"), shown, sizeof(shown));
	snprintf(buffer, size, "the certificate is not for \"%s\" " SET_NAME, shown);
	return buffer;
}

/* OpenSSL's own words, but a server may have chosen some of them. */
static char *explain_certificate(const char *problem, char *buffer, size_t size)
{
	char shown[2 * EXPLAIN_BYTES_MAX];

	answer_printable(problem, strlen(problem), shown, sizeof(shown));
	snprintf(buffer, size, "the %s", shown);
	return buffer;
}

/* What OpenSSL calls it, without its version, number and library. */
static char *explain_unknown(const char *curl_says, char *buffer, size_t size)
{
	const char *error = strstr(curl_says, "error:");
	const char *last = error ? strstr(error, "::") : NULL;
	char shown[2 * EXPLAIN_BYTES_MAX];

	last = last ? last + 2 : curl_says;
	answer_printable(last, strlen(last), shown, sizeof(shown));
	snprintf(buffer, size, "no TLS: %s", shown);
	return buffer;
}

/*
 * openssl/err.h: "error:0A000458:...": the library above bit 23, the reason below; a reason of
 * libssl (20) from 1000 on is an alert that was received (openssl/sslerr.h, SSL_AD_REASON_OFFSET).
 */
static unsigned reason_of(const char *text)
{
	const char *error = strstr(text, "error:");
	unsigned long code = error ? strtoul(error + 6, NULL, 16) : 0;

	return code >> 23 == 20 ? (unsigned)(code & 0x7fffff) : 0;
}

char *explain_tls(const char *curl_says, char *buffer, size_t size)
{
	static const char problem[] = "SSL certificate problem: ";
	unsigned reason = reason_of(curl_says);

	if (reason >= 1000 && reason < 1256)
		return explain_alert(reason - 1000, buffer, size);
	if (explain_reason(reason)) {
		snprintf(buffer, size, "%s", explain_reason(reason));
		return buffer;
	}
	if (strstr(curl_says, "self-signed") || strstr(curl_says, "self signed"))
		snprintf(buffer, size,
			 "the certificate is self-signed (\"tls\": {\"ca\": FILE} or {\"verify\": "
			 "false})");
	else if (strstr(curl_says, "unable to get local issuer"))
		snprintf(buffer, size,
			 "nobody known here has signed the certificate (\"tls\": {\"ca\": FILE})");
	else if (strncmp(curl_says, problem, strlen(problem)) == 0)
		explain_certificate(curl_says + strlen(problem), buffer, size);
	else if (strstr(curl_says, "does not match target") ||
		 strstr(curl_says, "subject name matches target"))
		explain_other_name(curl_says, buffer, size);
	else
		explain_unknown(curl_says, buffer, size);
	return buffer;
}
