/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * pin: by what steer.bpf.c and tap.bpf.c know the connections of health checks. Fixed-width types
 * only, sizes asserted.
 */
#pragma once

#include <linux/types.h>

/*
 * The client's end of a connection. IPv4 addresses are IPv4-mapped, so that one map serves
 * dual-stack sockets too.
 */
struct steer_pin_key {
	__u8 address[16];
	__u16 port; /* network byte order */
	__u16 zero;
};

_Static_assert(sizeof(struct steer_pin_key) == 20, "steer_pin_key");
