/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * local_ports: ranges of local ports for commands that connect from a port of their own choice
 * (curl --local-port 61000-61007), and that nobody else connects from.
 *
 * The kernel gives connect(2) and bind(2) without a port none of these: they lie outside of
 * net.ipv4.ip_local_port_range, or are listed in net.ipv4.ip_local_reserved_ports. No socket of
 * this network namespace has them when they are taken, not even one in TIME_WAIT. Ports are taken
 * one range after the other, so that those of a command that has ended rest as long as possible.
 */
#pragma once

#include <stdint.h>

#include "common/error.h"

#define LOCAL_PORTS_FIRST 1024
#define LOCAL_PORTS_MAX   32 /* of one range */

/* All zero: nothing is taken. One per daemon. */
struct local_ports {
	uint8_t taken[65536 / 8];
	uint16_t next; /* where the search goes on; 0: nowhere yet */
};

struct local_ports_range {
	uint16_t first, n;
};

/*
 * Take @wanted ports in a row, or the longest row that is found in a bounded search; one at least.
 * -EADDRNOTAVAIL: there is none, and @err says what to change. Else the host lacks descriptors or
 * memory.
 */
int local_ports_take(struct local_ports *ports, uint16_t wanted, struct local_ports_range *ret,
		     struct error *err);

/* Give them back. One of no ports is nothing. */
void local_ports_give(struct local_ports *ports, const struct local_ports_range *range);
