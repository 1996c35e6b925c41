/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/advice.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text that grows, and is cut where its buffer ends. */
struct text {
	char *to;
	size_t n;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
	size_t left = ADVICE_TEXT_MAX - text->n;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(text->to + text->n, left, format, ap);
	va_end(ap);
	if (n > 0)
		text->n += (size_t)n < left ? (size_t)n : left - 1;
}

static bool has_bit(uint32_t set, size_t k)
{
	return set >> k & 1;
}

/* An address with more than its text, for one that was bound: it need not be one to declare. */
struct bound {
	const char *text;
	bool mapped; /* an IPv4 address in IPv6 form */
	bool dual;   /* ":80" */
	long port;
};

static struct bound look_at(const char *text)
{
	const char *colon = strrchr(text, ':');

	return (struct bound){
		.text = text,
		.mapped = strncmp(text, "[::ffff:", strlen("[::ffff:")) == 0,
		.dual = text[0] == ':',
		.port = colon ? strtol(colon + 1, NULL, 10) : -1,
	};
}

/* Those of @among that have the port. */
static uint32_t with_port(const struct address *declared, size_t n, uint32_t among, long port)
{
	uint32_t ret = 0;

	for (size_t k = 0; k < n; k++)
		if (has_bit(among, k) && address_port(&declared[k]) == port)
			ret |= UINT32_C(1) << k;
	return ret;
}

static size_t count_bits(uint32_t set)
{
	size_t n = 0;

	for (; set; set &= set - 1)
		n++;
	return n;
}

/* "127.0.0.1:80, [::1]:80 and :81" */
static void add_addresses(struct text *text, const struct address *declared, size_t n, uint32_t set)
{
	size_t left = count_bits(set), all = left;

	for (size_t k = 0; k < n; k++) {
		if (!has_bit(set, k))
			continue;
		add(text, "%s%s", left == all ? "" : left == 1 ? " and " : ", ", declared[k].text);
		left--;
	}
}

/* What to write: @declared without @gone, and with the @n_more of @more instead. */
static void add_listen(struct text *text, const struct address *declared, size_t n, uint32_t gone,
		       const char *const *more, size_t n_more)
{
	size_t all = n - count_bits(gone) + n_more, done = 0;

	add(text, "write \"listen\": %s", all > 1 ? "[" : "");
	for (size_t k = 0; k < n; k++)
		if (!has_bit(gone, k))
			add(text, "%s\"%s\"", done++ ? ", " : "", declared[k].text);
	for (size_t k = 0; k < n_more; k++)
		add(text, "%s\"%s\"", done++ ? ", " : "", more[k]);
	add(text, "%s", all > 1 ? "]" : "");
}

static void add_mapped(struct text *text, const struct bound *bound)
{
	add(text,
	    " (IPv4 by an IPv6 socket, which is not of its group): have it use an IPv4 socket for "
	    "%.*s (Java: -Djava.net.preferIPv4Stack=true)",
	    (int)strcspn(bound->text + strlen("[::ffff:"), "]"), bound->text + strlen("[::ffff:"));
}

/* ---- addresses ------------------------------------------------------------------------------ */

/*
 * The address that the server listens on by mistake: of the port of an address that is missing, if
 * there is one. -1: none.
 */
static int choose_stranger(const struct advice_addresses *facts)
{
	for (size_t k = 0; k < facts->n_strangers; k++)
		if (with_port(facts->declared, facts->n_declared, facts->missing,
			      look_at(facts->strangers[k]).port))
			return (int)k;
	return facts->n_strangers > 0 ? 0 : -1;
}

static void add_instead(struct text *text, const struct advice_addresses *facts,
			const struct bound *bound, uint32_t instead)
{
	const char *more[16];
	size_t n = 0;

	for (size_t k = 0; k < facts->n_strangers && n < sizeof(more) / sizeof(more[0]); k++)
		if (look_at(facts->strangers[k]).port == bound->port)
			more[n++] = facts->strangers[k];
	add(text, "listens on ");
	for (size_t k = 0; k < n; k++)
		add(text, "%s%s", k == 0 ? "" : k + 1 < n ? ", " : " and ", more[k]);
	if (bound->mapped) {
		add_mapped(text, bound);
		return;
	}
	add(text, "%s, but \"listen\" says ", bound->dual ? " (IPv4 and IPv6 by one socket)" : "");
	add_addresses(text, facts->declared, facts->n_declared, instead);
	add(text, ": ");
	add_listen(text, facts->declared, facts->n_declared, instead, more, n);
	add(text, ", or have it listen on ");
	add_addresses(text, facts->declared, facts->n_declared, instead);
}

char *advice_addresses(const struct advice_addresses *facts, char ret[static ADVICE_TEXT_MAX])
{
	struct text text = {.to = ret};
	int stranger = choose_stranger(facts);
	struct bound bound;
	uint32_t instead;

	assert(facts->n_declared <= 32);
	ret[0] = '\0';
	if (stranger < 0) {
		if (!facts->missing)
			return ret;
		add(&text, "does not listen on ");
		add_addresses(&text, facts->declared, facts->n_declared, facts->missing);
		add(&text, ", which \"listen\" names: have it listen there, or take %s out",
		    count_bits(facts->missing) == 1 ? "it" : "them");
		return ret;
	}
	bound = look_at(facts->strangers[stranger]);
	instead = with_port(facts->declared, facts->n_declared, facts->missing, bound.port);
	if (!instead)
		instead = facts->missing;
	if (instead)
		add_instead(&text, facts, &bound, instead);
	else
		add(&text, "listens on %s, which \"listen\" does not name", bound.text);
	return ret;
}

/* ---- last words ----------------------------------------------------------------------------- */

bool advice_says_in_use(const char *tail)
{
	return strcasestr(tail, "address already in use") || strcasestr(tail, "eaddrinuse");
}

/* An address as servers print it: node writes ":::80". */
static int parse_word(const char *word, size_t length, struct address *ret)
{
	char text[ADDRESS_TEXT_MAX];

	while (length > 0 && strchr(".:", word[length - 1]))
		length--;
	if (length > 3 && strncmp(word, ":::", 3) == 0) {
		word += 2;
		length -= 2;
	} else if (length > 5 && strncmp(word, "[::]:", 5) == 0) {
		word += 4;
		length -= 4;
	}
	if (length == 0 || length >= sizeof(text))
		return -ENOENT;
	memcpy(text, word, length);
	text[length] = '\0';
	return address_parse(text, ret, NULL) < 0 ? -ENOENT : 0;
}

bool advice_is_wrapper(const char *name)
{
	static const char *const names[] = {
		"sh",      "bash",      "dash",        "ash",          "zsh",     "ksh",
		"busybox", "su",        "sudo",        "doas",         "runuser", "dumb-init",
		"tini",    "catatonit", "docker-init", "s6-supervise", "timeout", "script",
		"npm",     "npx",       "yarn",        "pnpm",         "poetry",  "uv",
		"make",    "strace",
	};
	/* npm calls itself "npm run start". */
	size_t n = strcspn(name, " ");

	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
		if (strlen(names[k]) == n && strncmp(names[k], name, n) == 0)
			return true;
	return false;
}

int advice_find_address(const char *tail, struct address *ret)
{
	static const char between[] = " \t\r'\"(){},;=/";

	for (; *tail; tail += strcspn(tail, "\n"), tail += *tail != '\0') {
		char line[256];
		size_t length = strcspn(tail, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)(length < 255 ? length : 255), tail);
		if (!advice_says_in_use(line))
			continue;
		for (const char *word = line; *word; word += strcspn(word, between)) {
			word += strspn(word, between);
			if (parse_word(word, strcspn(word, between), ret) == 0)
				return 0;
		}
	}
	return -ENOENT;
}

/* ---- in use --------------------------------------------------------------------------------- */

/* Nobody has seen IPV6_V6ONLY: ":80" is "[::]:80" if that is declared. */
static bool is_declared(const struct advice_in_use *facts)
{
	struct address v6only = *facts->bound;

	v6only.dual_stack = false;
	for (size_t k = 0; k < facts->n_declared; k++)
		if (address_equal(&facts->declared[k], facts->bound) ||
		    address_equal(&facts->declared[k], &v6only))
			return true;
	return false;
}

static void add_other_address(struct text *text, const struct advice_in_use *facts)
{
	const struct bound bound = look_at(facts->bound->text);
	uint32_t instead = with_port(facts->declared, facts->n_declared, UINT32_MAX, bound.port);

	add(text, "the server binds %s", bound.text);
	if (instead && bound.mapped) {
		add_mapped(text, &bound);
		return;
	}
	if (!instead) {
		add(text, ", which \"listen\" does not name, and which %s has: ",
		    facts->holder ? facts->holder : "the other generation or somebody else");
		add_listen(text, facts->declared, facts->n_declared, 0, &bound.text, 1);
		add(text, ", or give each generation another one ({generation})");
		return;
	}
	add(text, "%s, but \"listen\" says ", bound.dual ? " (IPv4 and IPv6 by one socket)" : "");
	add_addresses(text, facts->declared, facts->n_declared, instead);
	add(text, ", and only what it says is shared: ");
	add_listen(text, facts->declared, facts->n_declared, instead, &bound.text, 1);
	add(text, ", or have the server bind ");
	add_addresses(text, facts->declared, facts->n_declared, instead);
}

static void add_user(struct text *text, const char *name, uid_t uid)
{
	if (name)
		add(text, "%s (uid %u)", name, (unsigned)uid);
	else
		add(text, "uid %u", (unsigned)uid);
}

static void add_other_user(struct text *text, const struct advice_in_use *facts)
{
	add(text, "the server binds it as ");
	add_user(text, facts->user_name, facts->uid);
	add(text, ", but the sockets of this address belong to ");
	add_user(text, facts->owner_name, facts->owner);
	add(text, ", and only one user can share an address: ");
	if (facts->user_name)
		add(text, "write \"user\": \"%s\"", facts->user_name);
	else
		add(text, "write \"user\" as the name of uid %u", (unsigned)facts->uid);
	add(text, ", or have the server bind all its sockets before it changes its user");
}

static void add_unshared(struct text *text, const struct advice_in_use *facts)
{
	const char *which = facts->bound             ? facts->bound->text
			    : facts->n_declared == 1 ? facts->declared[0].text
						     : "its address";

	add(text,
	    "the server binds %s itself and does not share it: switch on its reuse-port option "
	    "(SO_REUSEPORT)",
	    which);
	if (facts->inherits)
		add(text, ", or have it take the socket that is passed to it (LISTEN_FDS, {fd}), "
			  "or use mode \"auto\"");
	else if (facts->could_share)
		add(text, ", or use mode \"transparent\"");
	else
		add(text, ", or have it take its socket from its parent (LISTEN_FDS, {fd})");
	for (size_t k = 0; k < facts->n_declared && !facts->bound; k++) {
		if (facts->declared[k].sa.sa_family != AF_INET)
			continue;
		add(text, "; if it binds [::], for IPv4 and IPv6, also write \"listen\": \":%u\"",
		    (unsigned)address_port(&facts->declared[k]));
		break;
	}
	if (!facts->inherits && !facts->could_share && facts->cannot_share &&
	    facts->cannot_share[0])
		add(text, "; mode \"transparent\" does not work here: %s", facts->cannot_share);
}

char *advice_in_use(const struct advice_in_use *facts, char ret[static ADVICE_TEXT_MAX])
{
	struct text text = {.to = ret};

	assert(facts->n_declared <= 32);
	ret[0] = '\0';
	if (facts->bound && !is_declared(facts))
		add_other_address(&text, facts);
	else if (facts->has_uid && facts->uid != facts->owner)
		add_other_user(&text, facts);
	else if (facts->lingers)
		add(&text, "nobody listens there, but connections of an earlier server are not "
			   "over yet (TIME_WAIT), and the server binds without SO_REUSEADDR: "
			   "switch that on, or wait a minute");
	else if (facts->wrapper)
		add(&text,
		    "the server binds its address itself, although a socket was passed to it: "
		    "LISTEN_PID has the pid of \"%s\", not of the server that it started; " ADVICE_WRAPPER,
		    facts->wrapper);
	else if (facts->holder)
		add(&text, "%s has it, and does not share it: end it", facts->holder);
	else if (!facts->shares)
		add_unshared(&text, facts);
	else
		add(&text, "mode \"transparent\" makes the server share exactly what \"listen\" "
			   "says, and nothing else: have it bind that");
	return ret;
}
