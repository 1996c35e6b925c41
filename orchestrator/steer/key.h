/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * key: an address and a port as the BPF programs compare them. IPv4 addresses are IPv4-mapped, so
 * that one program serves dual-stack sockets too.
 */
#pragma once

#include <sys/socket.h>

#include "ebpf/steer.h"

/* -EAFNOSUPPORT: @address is neither IPv4 nor IPv6. */
int key_of(const struct sockaddr *address, struct steer_pin_key *ret);
