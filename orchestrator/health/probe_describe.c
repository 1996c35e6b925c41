/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clean.h"
#include "common/duration.h"
#include "orchestrator/health/probe_internal.h"

/* No answer, or not the whole of it, in time. */
static void describe_timeout(struct probe *p, struct probe_result *result)
{
	char limit[DURATION_TEXT_MAX], status[ANSWER_REASON_MAX + 8];
	curl_off_t looked_up = 0, connected = 0, first_byte = 0;

	duration_format(p->health.timeout_ms, limit);
	if (p->easy) {
		curl_easy_getinfo(p->easy, CURLINFO_NAMELOOKUP_TIME_T, &looked_up);
		curl_easy_getinfo(p->easy, CURLINFO_CONNECT_TIME_T, &connected);
		curl_easy_getinfo(p->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_byte);
	}
	if (!p->connected && connected == 0)
		snprintf(result->text, sizeof(result->text), "%s%s: no answer within %s", p->whom,
			 p->url && looked_up == 0 ? "look up the name" : "connect", limit);
	else if (p->answer.status)
		snprintf(result->text, sizeof(result->text),
			 "%s: %s, but its end did not come within %s", p->what,
			 answer_status_text(&p->answer, status, sizeof(status)), limit);
	else
		snprintf(result->text, sizeof(result->text),
			 "%s: no answer within %s (connected, %s%s)", p->what, limit,
			 first_byte && (p->url || p->received) ? "an answer began"
							       : "nothing received",
			 p->queued ? "; connections wait to be accepted" : "");
}

/* ---- no answer ------------------------------------------------------------------------------ */

static void describe_connect(struct probe *p, int error, const char *why,
			     struct probe_result *result)
{
	result->unasked = probe_is_own_trouble(error) || error == EADDRNOTAVAIL;
	snprintf(result->text, sizeof(result->text), "%s%sconnect: %.140s",
		 result->unasked ? "not asked: " : "", p->whom, why);
}

static void describe_unasked(struct probe *p, const char *why, struct probe_result *result)
{
	result->unasked = true;
	snprintf(result->text, sizeof(result->text), "not asked: %s: %.140s", p->what, why);
}

/* What a server may expect that closes as soon as the first byte is something else. */
static const char *closed_hint(const struct probe *p)
{
	if (p->url)
		return "";
	if (p->health.proxy_protocol)
		return p->health.tls ? " (if the server does not expect the PROXY protocol: leave "
				       "\"proxy_protocol\" out)"
				     : " (if the server does not expect the PROXY protocol: leave "
				       "\"proxy_protocol\" out; if it speaks TLS: use \"https\")";
	return p->health.tls ? " (if the server expects the PROXY protocol: set "
			       "\"proxy_protocol\")"
			     : " (if the server expects the PROXY protocol: set "
			       "\"proxy_protocol\"; if it speaks TLS: use \"https\")";
}

static void describe_closed(struct probe *p, const char *why, struct probe_result *result)
{
	snprintf(result->text, sizeof(result->text), "%s: %s%s", p->what, why, closed_hint(p));
}

/* The first bytes of TLS are the head of a record, or something else altogether. */
static bool speaks_tls(const struct probe *p)
{
	return p->first_length == 0 || (p->first[0] >= 0x14 && p->first[0] <= 0x18);
}

static void describe_tls(struct probe *p, const char *why, struct probe_result *result)
{
	char text[PROBE_TEXT_MAX / 2];

	if (speaks_tls(p))
		explain_tls(why, text, sizeof(text));
	else
		explain_bytes(EXPLAIN_TLS, p->first, p->first_length, text, sizeof(text));
	snprintf(result->text, sizeof(result->text), "%s: %s", p->what, text);
}

/* Whatever came in the place of HTTP/2 is lost in nghttp2. */
static void describe_http2(struct probe *p, const char *why, struct probe_result *result)
{
	/* curl has words only for a stream that began: a TLS alert is a frame that is too long. */
	bool spoken = (p->code == CURLE_HTTP2 || p->code == CURLE_HTTP2_STREAM) && p->curl_error[0];

	if (spoken && !strstr(why, "expected SETTINGS"))
		snprintf(result->text, sizeof(result->text), "%s: %.140s", p->what, why);
	else if (p->grpc && p->code == CURLE_HTTP2_STREAM)
		/* curl (7.88) says the same of what answers before it has the message; see
		 * probe_set_repeat(). */
		snprintf(
			result->text, sizeof(result->text),
			"%s: no answer in HTTP/2 that could be read: the server answers before it has "
			"the call (without grpc.health.v1.Health?), or speaks %s",
			p->what, p->health.tls ? "HTTP/1" : "HTTP/1 or TLS");
	else if (p->health.tls)
		snprintf(result->text, sizeof(result->text),
			 "%s: no answer in HTTP/2: use \"https\" if the server speaks HTTP/1",
			 p->what);
	else
		snprintf(
			result->text, sizeof(result->text),
			"%.80s: no answer in HTTP/2: use \"http\" if the server speaks HTTP/1, add "
			"\"tls\" if it speaks TLS, %s",
			p->what,
			p->health.proxy_protocol
				? "leave \"proxy_protocol\" out if it does not expect that"
				: "\"proxy_protocol\" if it expects that");
}

static void describe_bytes(struct probe *p, struct probe_result *result)
{
	char text[PROBE_TEXT_MAX / 2];

	explain_bytes(EXPLAIN_HTTP1, p->first, p->first_length, text, sizeof(text));
	snprintf(result->text, sizeof(result->text), "%s: %s%s", p->what, text,
		 p->health.proxy_protocol ? closed_hint(p) : "");
}

/* curl says "Out of memory" of a line that is longer than what it keeps of one (lib/dynbuf.h). */
static bool is_endless(const struct probe *p, const char *why)
{
	return strncmp(why, "Too large response headers", 26) == 0 ||
	       (p->code == CURLE_OUT_OF_MEMORY && p->received > PROBE_LINE_MAX);
}

static void describe_cut(struct probe *p, const char *why, struct probe_result *result)
{
	char status[ANSWER_REASON_MAX + 8];

	answer_status_text(&p->answer, status, sizeof(status));
	if (!p->answer.headed && is_endless(p, why))
		snprintf(result->text, sizeof(result->text),
			 "%s: %s, but its header does not end: over %d kB of it came", p->what,
			 status, PROBE_LINE_MAX / 1000);
	else if (!p->answer.headed && p->code == CURLE_OK)
		snprintf(result->text, sizeof(result->text),
			 "%s: %s, but the connection was closed within its header", p->what,
			 status);
	else
		snprintf(result->text, sizeof(result->text),
			 "%s: %s, but its end did not come: %.40s", p->what, status, why);
}

/* What curl calls it, and what else is known of it. */
static void describe_code(struct probe *p, int error, const char *why, struct probe_result *result)
{
	switch (p->code) {
	case CURLE_GOT_NOTHING:
		describe_closed(p, "the connection was closed without an answer", result);
		break;
	case CURLE_SSL_CONNECT_ERROR:
		if (error || strstr(why, "SSL_ERROR_SYSCALL"))
			describe_closed(p,
					error ? strerror(error)
					      : "the connection was closed without an answer",
					result);
		else
			describe_tls(p, why, result);
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
		describe_tls(p, why, result);
		break;
	case CURLE_SSL_CACERT_BADFILE:
		describe_unasked(
			p, "the authorities' certificates cannot be read (\"tls\": {\"ca\": FILE})",
			result);
		break;
	case CURLE_OUT_OF_MEMORY:
		if (is_endless(p, why))
			snprintf(result->text, sizeof(result->text),
				 "%s: the first line of the answer does not end", p->what);
		else
			describe_unasked(p, strerror(ENOMEM), result);
		break;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		snprintf(result->text, sizeof(result->text),
			 "%s: the answer begins with \"HTTP/\", but has no status line of HTTP/1",
			 p->what);
		break;
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		if (strstr(why, "error:"))
			describe_tls(p, why, result);
		else
			snprintf(result->text, sizeof(result->text), "%s: %.140s", p->what, why);
		break;
	default:
		snprintf(result->text, sizeof(result->text), "%s: %.140s", p->what, why);
	}
}

/* The connection stood, and the server has reset it; curl says so whatever it was about to do. */
static bool is_cut_off(const struct probe *p, int error)
{
	return p->connected && (error == ECONNRESET || error == EPIPE);
}

#define FRAME_HEAD 9 /* bytes, RFC 9113, 4.1: less is not one frame */

/* The connection stood, and what came in it was no HTTP/2. */
static bool lacks_http2(const struct probe *p, int error)
{
	if (!p->health.http2)
		return false;
	if (p->code == CURLE_HTTP2 || p->code == CURLE_HTTP2_STREAM || p->code == CURLE_GOT_NOTHING)
		return true;
	if (p->code == CURLE_PARTIAL_FILE)
		return p->received < FRAME_HEAD;
	return !p->health.tls &&
	       (p->code == CURLE_RECV_ERROR || p->code == CURLE_SEND_ERROR || is_cut_off(p, error));
}

static void describe_failure(struct probe *p, struct probe_result *result)
{
	/* It may quote the server, its certificate, and its host's name. */
	clean_line(p->curl_error);

	const char *why = p->curl_error[0] ? p->curl_error : curl_easy_strerror(p->code);
	long error = 0;

	/* It stays from an address that did not answer, when another one does. */
	if (p->code == CURLE_COULDNT_CONNECT || p->code == CURLE_RECV_ERROR ||
	    p->code == CURLE_SEND_ERROR || (p->code == CURLE_SSL_CONNECT_ERROR && !p->url))
		curl_easy_getinfo(p->easy, CURLINFO_OS_ERRNO, &error);
	if (error && p->code != CURLE_SSL_CONNECT_ERROR)
		why = strerror((int)error);
	else if (p->code == CURLE_PARTIAL_FILE)
		why = "the connection was closed";
	if (p->refused[0]) {
		memcpy(result->text, p->refused, sizeof(result->text));
		result->unasked = p->unasked;
	} else if (p->code == CURLE_WRITE_ERROR && !p->answer.status && p->first_length) {
		describe_bytes(p, result);
	} else if (p->code == CURLE_OPERATION_TIMEDOUT) {
		describe_timeout(p, result);
	} else if (p->answer.status) {
		describe_cut(p, why, result);
	} else if (lacks_http2(p, (int)error)) {
		describe_http2(p, why, result);
	} else if (is_cut_off(p, (int)error)) {
		describe_closed(p, strerror((int)error), result);
	} else if (p->code == CURLE_COULDNT_CONNECT) {
		describe_connect(p, (int)error, why, result);
	} else {
		describe_code(p, (int)error, why, result);
	}
}

/* ---- an answer ------------------------------------------------------------------------------ */

/* regexec(3) would end at a NUL: REG_STARTEND, of glibc and BSD, does not. */
static bool matches(const struct probe *p)
{
	regmatch_t all = {.rm_eo = (regoff_t)p->body_length};

	return regexec(&p->expected, p->body, 1, &all, REG_STARTEND) == 0;
}

/* RFC 9110 has no word for what gRPC says in its trailer. */
static void describe_grpc(struct probe *p, struct probe_result *result)
{
	const char *said = p->answer.grpc_status, *message = p->answer.grpc_message;
	unsigned status = (unsigned)strtoul(said, NULL, 10);
	uint64_t serving = 0;
	int r;

	if (!said[0]) {
		snprintf(result->text, sizeof(result->text), "%s: the answer is no gRPC", p->what);
		return;
	}
	if (status != 0) {
		snprintf(result->text, sizeof(result->text), "%s: %s (%u)%s%.100s%s", p->what,
			 grpc_status_name(status), status, message[0] ? ": " : "", message,
			 status == 12  ? ": the server has no grpc.health.v1.Health"
			 : status == 5 ? ": the server does not know this service"
				       : "");
		return;
	}
	r = grpc_decode(p->body, p->body_length, &serving);
	result->ok = r == 0 && serving == 1;
	if (r < 0)
		snprintf(result->text, sizeof(result->text),
			 "%s: the answer is no HealthCheckResponse", p->what);
	else
		snprintf(result->text, sizeof(result->text), "%s: %s", p->what,
			 grpc_serving_name(serving));
}

/* The status is one of the good ones: is the rest? */
static void describe_body(struct probe *p, const char *status, struct probe_result *result)
{
	long version = 0;

	curl_easy_getinfo(p->easy, CURLINFO_HTTP_VERSION, &version);
	result->ok = false;
	if (p->health.http2 && version != CURL_HTTP_VERSION_2_0)
		snprintf(result->text, sizeof(result->text),
			 "%s: %s, but by HTTP/1: the server does not offer HTTP/2 here (ALPN): use "
			 "\"https\"",
			 p->what, status);
	else if (p->expects && p->answer.encoding[0])
		snprintf(result->text, sizeof(result->text),
			 "%s: %s, but its body is encoded (%.40s), which nobody asked for", p->what,
			 status, p->answer.encoding);
	else if (p->expects && !matches(p))
		snprintf(result->text, sizeof(result->text),
			 "%s: %s, but its body does not match \"body\"%s", p->what, status,
			 p->answer.received > p->body_length ? " in its first 16384 bytes" : "");
	else if (p->grpc)
		describe_grpc(p, result);
	else
		result->ok = true;
	if (result->ok && !p->grpc)
		snprintf(result->text, sizeof(result->text), "%s: %s", p->what, status);
}

static void describe_status(struct probe *p, struct probe_result *result)
{
	char status[ANSWER_REASON_MAX + 8], accepted[CONFIG_STATUSES_MAX * 9 + 1];
	const char *location = p->answer.location, *hint = "";

	answer_status_text(&p->answer, status, sizeof(status));
	if (answer_accepted(&p->answer, &p->health)) {
		describe_body(p, status, result);
		return;
	}
	if (!p->health.tls && explain_is_https_page(p->answer.status, p->answer.body))
		hint = ": this port speaks TLS: use \"https\"";
	else if (p->health.proxy_protocol && p->answer.status == 400)
		hint = ": the server may not expect the PROXY protocol";
	/* Keys are in queries: these are shown nowhere. */
	snprintf(result->text, sizeof(result->text), "%s: %s%s%.*s%s is not in %.70s%s", p->what,
		 status, location[0] ? " (Location: " : "", (int)strcspn(location, "?#"), location,
		 location[0] ? ")" : "",
		 answer_accepted_text(&p->health, accepted, sizeof(accepted)), hint);
}

void probe_describe(struct probe *p, struct probe_result *result)
{
	bool whole = p->code == CURLE_OK || p->answer.received > PROBE_ANSWER_MAX;

	if (!p->refused[0] && whole && p->answer.headed)
		describe_status(p, result);
	else
		describe_failure(p, result);
}

void probe_describe_accepted(struct probe *p, int r, struct probe_result *result)
{
	char limit[DURATION_TEXT_MAX];

	result->ok = r > 0;
	if (r > 0)
		snprintf(result->text, sizeof(result->text), "connected and accepted");
	else if (r == 0)
		snprintf(result->text, sizeof(result->text),
			 "%sconnected, but nothing accepted the connection within %s", p->whom,
			 duration_format(p->health.timeout_ms, limit));
	else if (r == -ENOENT)
		snprintf(result->text, sizeof(result->text),
			 "%sconnected, but the listening socket is gone", p->whom);
	else
		snprintf(result->text, sizeof(result->text),
			 "%sconnected, but whether it was accepted cannot be told: %s", p->whom,
			 strerror(-r));
	result->unasked = r < 0 && r != -ENOENT;
}
