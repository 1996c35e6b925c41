/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * address: where a service listens. With the protocol (TCP) it makes an endpoint, that is one
 * reuseport group of the kernel.
 *
 *	127.0.0.1:8080	 one IPv4 address
 *	0.0.0.0:8080	 every IPv4 address
 *	[::1]:8080	 one IPv6 address
 *	[::]:8080	 every IPv6 address, and only IPv6 (IPV6_V6ONLY is set)
 *	:8080		 every address of both families: one dual-stack IPv6 socket
 *
 * Host names are refused: what they stand for can change between two generations, which would
 * then not be in one group. So are port 0, leading zeros, scope ids ("%eth0") with the link-local
 * addresses that need them, and IPv4 addresses in IPv6 form, which bind(2) refuses to a socket
 * with IPV6_V6ONLY.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/error.h"

#define ADDRESS_TEXT_MAX 64

struct address {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t length;
	bool dual_stack;             /* ":PORT": AF_INET6, IPV6_V6ONLY off */
	char text[ADDRESS_TEXT_MAX]; /* canonical, as in status: "127.0.0.1:8080", ":8080" */
};

/*
 * Returns -EINVAL with a reason in @err ("\"localhost:80\": not an IP address ..."); @ret is then
 * left alone.
 */
int address_parse(const char *text, struct address *ret, struct error *err);

/*
 * The address of a socket, as getsockname(2) and the kernel's lists of sockets have it; @v6only is
 * its IPV6_V6ONLY. Any of them has a text, also what address_parse() refuses; a scope is not in it.
 * -EAFNOSUPPORT where it is of another family than the two.
 */
int address_from(const struct sockaddr *sa, bool v6only, struct address *ret);

/* The port in host byte order. */
uint16_t address_port(const struct address *address);

bool address_equal(const struct address *a, const struct address *b);

/*
 * Would two sockets bound to @a and @b compete for some connection? True for equal addresses and
 * where one is the wildcard of the other's family (for a dual-stack wildcard: of either).
 */
bool address_overlaps(const struct address *a, const struct address *b);

/*
 * Where a local client connects in order to reach @address: the same, with a wildcard replaced
 * by the loopback address of its family (127.0.0.1 for dual-stack). The port stays.
 */
void address_local(const struct address *address, struct address *ret);

/*
 * The name of the endpoint as one path component: "tcp-127_0_0_1-8080", "tcp---1-8080" for
 * [::1]:8080, "tcp-any-8080" for :8080. bpffs refuses names with dots, LISTEN_FDNAMES those with
 * colons, so neither is in it; different addresses have different names.
 */
#define ADDRESS_KEY_MAX 80
char *address_key(const struct address *address, char buffer[static ADDRESS_KEY_MAX]);
