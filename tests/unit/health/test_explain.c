/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "orchestrator/health/explain.h"

static void check_bytes(enum explain_asked asked, const char *data, size_t length, const char *text)
{
	char buffer[256];

	assert_string_equal(explain_bytes(asked, data, length, buffer, sizeof(buffer)), text);
}

#define BYTES(asked, literal, text) check_bytes(asked, literal, sizeof(literal) - 1, text)

static void test_explain_bytes_says_what_the_port_speaks(void **state)
{
	(void)state;
	/* An alert, and the head of a handshake. */
	BYTES(EXPLAIN_HTTP1, "\x15\x03\x01\x00\x02\x02\x46", "this port speaks TLS: use \"https\"");
	BYTES(EXPLAIN_HTTP1, "\x16\x03\x03\x00\x7a", "this port speaks TLS: use \"https\"");
	/* SETTINGS with one setting; GOAWAY. */
	BYTES(EXPLAIN_HTTP1, "\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64",
	      "the server speaks HTTP/2 here: use \"http2\"");
	BYTES(EXPLAIN_HTTP1, "\0\0\x08\7\0\0\0\0\0",
	      "the server speaks HTTP/2 here: use \"http2\"");
	BYTES(EXPLAIN_TLS, "\0\0\6\4\0\0\0\0\0",
	      "this port speaks plain HTTP/2: use \"http2\" or \"grpc\" without \"tls\"");
	BYTES(EXPLAIN_TLS, "HTTP/", "this port speaks plain HTTP/1: use \"http\"");
	BYTES(EXPLAIN_HTTP2, "HTTP/1.1 400 Bad", "this port speaks plain HTTP/1: use \"http\"");
}

static void test_explain_bytes_shows_a_banner_cleaned(void **state)
{
	char longest[EXPLAIN_BYTES_MAX + 8];

	(void)state;
	BYTES(EXPLAIN_HTTP1, "SSH-2.0-OpenSSH_9.2\r\nmore",
	      "the answer is not HTTP/1: "
	      "\"SSH-2.0-OpenSSH_9.2\"");
	BYTES(EXPLAIN_HTTP1, "+PONG\r\n", "the answer is not HTTP/1: \"+PONG\"");
	BYTES(EXPLAIN_HTTP1, "220 a\x1b[31mb\x07\n", "the answer is not HTTP/1: \"220 a?[31mb?\"");
	BYTES(EXPLAIN_HTTP1, "", "the answer is not HTTP/1: \"\"");
	BYTES(EXPLAIN_TLS, "SSH-2", "the answer is not TLS: \"SSH-2\"");
	memset(longest, 'x', sizeof(longest));
	check_bytes(
		EXPLAIN_HTTP1, longest, sizeof(longest),
		"the answer is not HTTP/1: "
		"\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"");
}

static void test_explain_tls_names_alerts_and_certificates(void **state)
{
	static const struct {
		const char *says, *text;
	} cases[] = {
		{"OpenSSL/3.0.19: error:0A000458:SSL routines::tlsv1 unrecognized name",
		 "TLS alert unrecognized_name: the server has no certificate for this name "
		 "(\"tls\": {\"name\": ...})"},
		{"error:0A000410:SSL routines::sslv3 alert handshake failure",
		 "TLS alert handshake_failure: no version or cipher in common, or the server has no "
		 "certificate"},
		{"error:0A000415:SSL routines::sslv3 alert certificate expired",
		 "TLS alert certificate_expired"},
		{"error:0A0004E7:SSL routines::x", "TLS alert 255"},
		{"error:0A00010B:SSL routines::wrong version number",
		 "no TLS: wrong version number"},
		{"OpenSSL/3.0.19: error:0A00014D:SSL routines::legacy sigalg disallowed",
		 "the server's TLS is too old for this host's OpenSSL: it signs with SHA-1 or MD5"},
		{"error:0A000126:SSL routines::unexpected eof while reading",
		 "the server closed the connection during the handshake"},
		{"something\x1b else", "no TLS: something? else"},
		{"SSL certificate problem: certificate has expired", "the certificate has expired"},
		{"SSL certificate problem: \x1b[2Jof \xff", "the ?[2Jof ?"},
		{"SSL certificate problem: self-signed certificate",
		 "the certificate is self-signed (\"tls\": {\"ca\": FILE} or {\"verify\": false})"},
		{"SSL certificate problem: unable to get local issuer certificate",
		 "nobody known here has signed the certificate (\"tls\": {\"ca\": FILE})"},
		{"SSL: no alternative certificate subject name matches target host name 'a'",
		 "the certificate is not for \"a\" (\"tls\": {\"name\": ...})"},
		{"SSL: certificate subject name 'b' does not match target host name 'a'",
		 "the certificate is not for \"a\" (\"tls\": {\"name\": ...})"},
	};
	char buffer[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(explain_tls(cases[i].says, buffer, sizeof(buffer)),
				    cases[i].text);
}

static void test_explain_https_page_is_known(void **state)
{
	(void)state;
	assert_true(explain_is_https_page(
		400, "<h1>400 Bad Request</h1> The plain HTTP request was sent to HTTPS port"));
	assert_true(explain_is_https_page(400, "Client sent an HTTP request to an HTTPS server."));
	assert_false(explain_is_https_page(400, "no"));
	assert_false(explain_is_https_page(200, "The plain HTTP request was sent to HTTPS port"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_explain_bytes_says_what_the_port_speaks),
		cmocka_unit_test(test_explain_bytes_shows_a_banner_cleaned),
		cmocka_unit_test(test_explain_tls_names_alerts_and_certificates),
		cmocka_unit_test(test_explain_https_page_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
