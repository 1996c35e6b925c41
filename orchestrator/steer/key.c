/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/key.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

int key_of(const struct sockaddr *address, struct steer_pin_key *ret)
{
	*ret = (struct steer_pin_key){};
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;

		ret->address[10] = ret->address[11] = 0xff;
		memcpy(ret->address + 12, &in->sin_addr, 4);
		ret->port = in->sin_port;
		return 0;
	}
	if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;

		memcpy(ret->address, &in6->sin6_addr, 16);
		ret->port = in6->sin6_port;
		return 0;
	}
	return -EAFNOSUPPORT;
}
