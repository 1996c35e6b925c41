/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * address: where a service listens, as text and as a socket address. Address and protocol (TCP)
 * together are an endpoint: one reuseport group of the kernel. Pure.
 *
 *	127.0.0.1:8080	 one IPv4 address
 *	0.0.0.0:8080	 every IPv4 address
 *	[::1]:8080	 one IPv6 address
 *	[::]:8080	 every IPv6 address, and only IPv6 (IPV6_V6ONLY is set)
 *	:8080		 every address of both families: one dual-stack IPv6 socket
 *	[::ffff:127.0.0.1]:8080
 *			 one IPv4 address on an IPv6 socket (IPv4-mapped), as Java binds it
 *
 * The kernel puts sockets of one family only into a reuseport group. So an IPv4 address and its
 * IPv4-mapped form are two endpoints, of which clients see one: twins.
 *
 * Refused are:
 *	host names	What they stand for can change between two generations. These would then
 *			not be in one group.
 *	port 0, and leading zeros
 *	scope ids ("%eth0"), and the link-local addresses that need one
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
 * Parse an address in one of the forms above. Returns 0, or -EINVAL with a reason in @err
 * ("\"localhost:80\": not an IP address ..."); @ret is then left alone.
 */
int address_parse(const char *text, struct address *ret, struct error *err);

/*
 * Make an address from what getsockname(2) and the kernel's lists of sockets say; @v6only is the
 * socket's IPV6_V6ONLY. It gets a text even if address_parse() would refuse it; a scope is not part
 * of the text. Returns 0, or -EAFNOSUPPORT if @sa is neither AF_INET nor AF_INET6.
 */
int address_from(const struct sockaddr *sa, bool v6only, struct address *ret);

/* The port in host byte order. */
uint16_t address_port(const struct address *address);

/* Is it an IPv4 address on IPv6 sockets? */
bool address_is_mapped(const struct address *address);

/*
 * What IPV6_V6ONLY of its sockets must be; false for AF_INET, whose sockets do not have it. bind(2)
 * refuses IPv4-mapped addresses on a socket with IPV6_V6ONLY.
 */
bool address_v6only(const struct address *address);

/* The other twin: "127.0.0.1:80" for "[::ffff:127.0.0.1]:80", and back. False: it has none. */
bool address_twin(const struct address *address, struct address *ret);

/* Are they twins of each other? */
bool address_are_twins(const struct address *a, const struct address *b);

/* Do both name the same endpoint? ":80" and "[::]:80" do not, and twins do not. */
bool address_equal(const struct address *a, const struct address *b);

/*
 * Would two sockets bound to @a and @b compete for some connection? They would if the addresses are
 * equal, or if one is the wildcard of the other's family; a dual-stack wildcard is one of both. An
 * IPv4-mapped address competes as the IPv4 address that it stands for.
 */
bool address_overlaps(const struct address *a, const struct address *b);

/*
 * The address that a local client connects to in order to reach @address. A wildcard becomes the
 * loopback address of its family (127.0.0.1 for dual-stack), an IPv4-mapped one the IPv4 address
 * that it stands for. Any other address stays as it is.
 */
void address_local(const struct address *address, struct address *ret);

/*
 * Write the endpoint's name as one path component into @buffer and return @buffer:
 * "tcp-127_0_0_1-8080", "tcp---1-8080" for [::1]:8080, "tcp-any-8080" for :8080. The name has no
 * dot, which bpffs refuses, and no colon, which separates the names in LISTEN_FDNAMES. Different
 * addresses have different names.
 */
#define ADDRESS_KEY_MAX 80
char *address_key(const struct address *address, char buffer[static ADDRESS_KEY_MAX]);
