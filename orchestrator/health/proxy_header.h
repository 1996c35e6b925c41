/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy_header: the header of the PROXY protocol that a client sends first, in the words of
 * https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define PROXY_HEADER_MAX 107 /* of version 1, section 2.1 */

/*
 * The header of @version (1 or 2) for a connection from @source to @target, both of one family,
 * AF_INET or AF_INET6. Returns its length; 0 for version 0.
 */
size_t proxy_header(uint32_t version, const struct sockaddr *source, const struct sockaddr *target,
		    char ret[static PROXY_HEADER_MAX]);
