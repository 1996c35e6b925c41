/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Quotes a bad address in a message. However long it is, its beginning suffices to find it. */
#define QUOTED "\"%.100s\""

static int parse_port(const char *whole, const char *text, uint16_t *ret, struct error *err)
{
	size_t length = strlen(text);
	unsigned port = 0;

	if (length == 0)
		return error_text(err, -EINVAL, QUOTED ": no port after the colon", whole);
	/* A leading zero means octal to some programs and nothing to others. */
	if (length > 5 || strspn(text, "0123456789") != length || text[0] == '0')
		return error_text(err, -EINVAL,
				  QUOTED ": the port must be a number from 1 to 65535", whole);
	for (; *text; text++)
		port = port * 10 + (unsigned)(*text - '0');
	if (port > UINT16_MAX)
		return error_text(err, -EINVAL,
				  QUOTED ": the port must be a number from 1 to 65535", whole);
	*ret = (uint16_t)port;
	return 0;
}

/* Set everything but the host and the text. */
static void set_family(struct address *address, sa_family_t family, uint16_t port)
{
	*address = (struct address){0};
	if (family == AF_INET) {
		address->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
		address->length = sizeof(address->in);
	} else {
		address->in6 =
			(struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
		address->length = sizeof(address->in6);
	}
}

static void format_host(const struct address *address, char host[static INET6_ADDRSTRLEN])
{
	if (address->sa.sa_family == AF_INET)
		inet_ntop(AF_INET, &address->in.sin_addr, host, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, &address->in6.sin6_addr, host, INET6_ADDRSTRLEN);
}

static void set_text(struct address *address)
{
	char host[INET6_ADDRSTRLEN];
	unsigned port = address_port(address);

	format_host(address, host);
	if (address->dual_stack)
		snprintf(address->text, sizeof(address->text), ":%u", port);
	else if (address->sa.sa_family == AF_INET)
		snprintf(address->text, sizeof(address->text), "%s:%u", host, port);
	else
		snprintf(address->text, sizeof(address->text), "[%s]:%u", host, port);
}

static int parse_in6(const char *whole, const char *host, struct address *ret, struct error *err)
{
	if (strchr(host, '%'))
		return error_text(err, -EINVAL,
				  QUOTED ": addresses with a scope (%%) are not supported", whole);
	if (inet_pton(AF_INET6, host, &ret->in6.sin6_addr) != 1)
		return error_text(err, -EINVAL, QUOTED ": not an IPv6 address between the brackets",
				  whole);
	/* Without its scope the kernel does not know the link (ipv6(7)). */
	if (IN6_IS_ADDR_LINKLOCAL(&ret->in6.sin6_addr))
		return error_text(
			err, -EINVAL,
			QUOTED ": link-local addresses need a scope and are not supported", whole);
	return 0;
}

static int parse_in(const char *whole, const char *host, struct address *ret, struct error *err)
{
	if (inet_pton(AF_INET, host, &ret->in.sin_addr) == 1)
		return 0;
	if (strchr(host, ':'))
		return error_text(err, -EINVAL,
				  QUOTED ": an IPv6 address must be in brackets: [::1]:8080",
				  whole);
	return error_text(err, -EINVAL,
			  QUOTED ": not an IP address with a port (host names are refused)", whole);
}

/* Split "HOST:PORT". @host gets the host without its brackets. */
static int split_host_port(const char *text, char host[static INET6_ADDRSTRLEN], bool *ret_brackets,
			   const char **ret_port, struct error *err)
{
	const char *start = text, *end, *colon;

	*ret_brackets = text[0] == '[';
	if (*ret_brackets) {
		start++;
		end = strchr(start, ']');
		if (!end)
			return error_text(err, -EINVAL, QUOTED ": no closing bracket", text);
		colon = end + 1;
	} else {
		end = strrchr(text, ':');
		if (!end)
			return error_text(err, -EINVAL,
					  QUOTED ": no port: write ADDRESS:PORT or :PORT", text);
		colon = end;
	}
	if (*colon != ':')
		return error_text(err, -EINVAL, QUOTED ": no port after the closing bracket", text);
	if (end - start >= INET6_ADDRSTRLEN)
		return error_text(err, -EINVAL, QUOTED ": not an IP address: too long", text);
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	*ret_port = colon + 1;
	return 0;
}

int address_parse(const char *text, struct address *ret, struct error *err)
{
	char host[INET6_ADDRSTRLEN];
	struct address address;
	const char *port_text = "";
	uint16_t port = 0;
	bool brackets = false;
	int r;

	r = split_host_port(text, host, &brackets, &port_text, err);
	if (r < 0)
		return r;
	r = parse_port(text, port_text, &port, err);
	if (r < 0)
		return r;
	set_family(&address, brackets || !*host ? AF_INET6 : AF_INET, port);
	if (brackets)
		r = parse_in6(text, host, &address, err);
	else if (*host)
		r = parse_in(text, host, &address, err);
	else
		address.dual_stack = true;
	if (r < 0)
		return r;
	set_text(&address);
	*ret = address;
	return 0;
}

int address_from(const struct sockaddr *sa, bool v6only, struct address *ret)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

	if (sa->sa_family == AF_INET) {
		set_family(ret, AF_INET, ntohs(in->sin_port));
		ret->in.sin_addr = in->sin_addr;
	} else if (sa->sa_family == AF_INET6) {
		set_family(ret, AF_INET6, ntohs(in6->sin6_port));
		ret->in6.sin6_addr = in6->sin6_addr;
		/* No other address is reached over IPv4, whatever the option says. */
		ret->dual_stack = !v6only && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	} else {
		return -EAFNOSUPPORT;
	}
	set_text(ret);
	return 0;
}

uint16_t address_port(const struct address *address)
{
	return ntohs(address->sa.sa_family == AF_INET ? address->in.sin_port
						      : address->in6.sin6_port);
}

bool address_is_mapped(const struct address *address)
{
	return address->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&address->in6.sin6_addr);
}

bool address_v6only(const struct address *address)
{
	return address->sa.sa_family == AF_INET6 && !address->dual_stack &&
	       !address_is_mapped(address);
}

bool address_twin(const struct address *address, struct address *ret)
{
	struct address twin;

	if (address_is_mapped(address)) {
		set_family(&twin, AF_INET, address_port(address));
		memcpy(&twin.in.sin_addr, &address->in6.sin6_addr.s6_addr[12], 4);
	} else if (address->sa.sa_family == AF_INET) {
		set_family(&twin, AF_INET6, address_port(address));
		twin.in6.sin6_addr.s6_addr[10] = twin.in6.sin6_addr.s6_addr[11] = 0xff;
		memcpy(&twin.in6.sin6_addr.s6_addr[12], &address->in.sin_addr, 4);
	} else {
		return false;
	}
	set_text(&twin);
	*ret = twin;
	return true;
}

bool address_are_twins(const struct address *a, const struct address *b)
{
	struct address twin;

	return address_twin(a, &twin) && address_equal(&twin, b);
}

/* An IPv4-mapped address as IPv4, any other as it is. */
static void unmap(const struct address *address, struct address *ret)
{
	if (!address_is_mapped(address) || !address_twin(address, ret))
		*ret = *address;
}

static bool same_host(const struct address *a, const struct address *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
}

static bool is_wildcard(const struct address *address)
{
	if (address->sa.sa_family == AF_INET)
		return address->in.sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr);
}

bool address_equal(const struct address *a, const struct address *b)
{
	return address_port(a) == address_port(b) && a->dual_stack == b->dual_stack &&
	       same_host(a, b);
}

static bool overlaps(const struct address *a, const struct address *b)
{
	if (address_port(a) != address_port(b))
		return false;
	if (a->dual_stack || b->dual_stack)
		return true;
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	return is_wildcard(a) || is_wildcard(b) || same_host(a, b);
}

bool address_overlaps(const struct address *a, const struct address *b)
{
	struct address x, y;

	unmap(a, &x);
	unmap(b, &y);
	return overlaps(&x, &y);
}

void address_local(const struct address *address, struct address *ret)
{
	uint16_t port = address_port(address);
	bool dual_stack = address->dual_stack;

	unmap(address, ret);
	if (!is_wildcard(ret))
		return;
	if (ret->sa.sa_family == AF_INET || dual_stack) {
		set_family(ret, AF_INET, port);
		ret->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		set_family(ret, AF_INET6, port);
		ret->in6.sin6_addr = in6addr_loopback;
	}
	set_text(ret);
}

char *address_key(const struct address *address, char buffer[static ADDRESS_KEY_MAX])
{
	char host[INET6_ADDRSTRLEN] = "any";

	if (!address->dual_stack)
		format_host(address, host);
	/* Dots and colons are replaced differently: "::1.2.3.4" and "::1:2:3:4" stay two names. */
	for (char *c = host; *c; c++)
		*c = *c == '.' ? '_' : *c == ':' ? '-' : *c;
	snprintf(buffer, ADDRESS_KEY_MAX, "tcp-%s-%u", host, (unsigned)address_port(address));
	return buffer;
}
