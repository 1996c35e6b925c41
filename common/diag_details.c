/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel says about a connection if it is asked. A file of its own, because only
 * linux/tcp.h has the newer members of tcp_info, and it cannot be included beside netinet/tcp.h.
 */
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <string.h>

#include "common/diag_internal.h"

uint8_t diag_details_wanted(void)
{
	return 1 << (INET_DIAG_INFO - 1);
}

uint8_t diag_drops_wanted(void)
{
	return 1 << (INET_DIAG_SKMEMINFO - 1);
}

/* For a listener both queues are about accept(2) (tcp_diag.c: tcp_diag_get_info()). */
void diag_read_queue(const struct nlmsghdr *header, struct diag_listener *ret)
{
	const struct inet_diag_msg *message = mnl_nlmsg_get_payload(header);
	const struct nlattr *attribute;
	uint32_t memory[SK_MEMINFO_DROPS + 1];

	*ret = (struct diag_listener){
		.queued = message->idiag_rqueue,
		.backlog = message->idiag_wqueue,
		.inode = message->idiag_inode,
		.uid = message->idiag_uid,
	};
	for (attribute = mnl_nlmsg_get_payload_offset(header, sizeof(*message));
	     diag_is_attribute(attribute, mnl_nlmsg_get_payload_tail(header));
	     attribute = mnl_attr_next(attribute)) {
		if (mnl_attr_get_type(attribute) != INET_DIAG_SKMEMINFO ||
		    mnl_attr_get_payload_len(attribute) < sizeof(memory))
			continue;
		memcpy(memory, mnl_attr_get_payload(attribute), sizeof(memory));
		ret->dropped = memory[SK_MEMINFO_DROPS];
	}
}

void diag_put_births(struct nlmsghdr *header, int map_fd)
{
	struct nlattr *nest = mnl_attr_nest_start(header, INET_DIAG_REQ_SK_BPF_STORAGES);

	mnl_attr_put_u32(header, SK_DIAG_BPF_STORAGE_REQ_MAP_FD, (uint32_t)map_fd);
	mnl_attr_nest_end(header, nest);
}

/* tcp_info grows at its end: that of an older kernel is shorter, that of a newer one longer. */
static void read_info(const struct nlattr *attribute, struct diag_connection *connection)
{
	struct tcp_info info = {0};
	size_t length = mnl_attr_get_payload_len(attribute);

	memcpy(&info, mnl_attr_get_payload(attribute),
	       length < sizeof(info) ? length : sizeof(info));
	connection->bytes_received = info.tcpi_bytes_received;
	connection->bytes_sent = info.tcpi_bytes_acked;
	connection->since_received_ms = info.tcpi_last_data_recv;
	connection->since_sent_ms = info.tcpi_last_data_sent;
	connection->idle_ms = info.tcpi_last_data_recv < info.tcpi_last_data_sent
				      ? info.tcpi_last_data_recv
				      : info.tcpi_last_data_sent;
}

/* Read the value from one SK_DIAG_BPF_STORAGE. */
static void read_birth(const struct nlattr *storage, struct diag_connection *connection)
{
	const void *end = (const char *)storage + storage->nla_len;

	for (const struct nlattr *attribute = mnl_attr_get_payload(storage);
	     diag_is_attribute(attribute, end); attribute = mnl_attr_next(attribute)) {
		if (mnl_attr_get_type(attribute) == SK_DIAG_BPF_STORAGE_MAP_VALUE &&
		    mnl_attr_get_payload_len(attribute) == sizeof(connection->born_ns))
			memcpy(&connection->born_ns, mnl_attr_get_payload(attribute),
			       sizeof(connection->born_ns));
	}
}

/* We asked for one map, so there is one storage; or none, if nobody has noted the birth. */
static void read_births(const struct nlattr *storages, struct diag_connection *connection)
{
	const void *end = (const char *)storages + storages->nla_len;

	for (const struct nlattr *storage = mnl_attr_get_payload(storages);
	     diag_is_attribute(storage, end); storage = mnl_attr_next(storage)) {
		if (mnl_attr_get_type(storage) == SK_DIAG_BPF_STORAGE)
			read_birth(storage, connection);
	}
}

void diag_read_details(const struct nlmsghdr *header, struct diag_connection *connection)
{
	const struct nlattr *attribute;

	for (attribute = mnl_nlmsg_get_payload_offset(header, sizeof(struct inet_diag_msg));
	     diag_is_attribute(attribute, mnl_nlmsg_get_payload_tail(header));
	     attribute = mnl_attr_next(attribute)) {
		switch (mnl_attr_get_type(attribute)) {
		case INET_DIAG_INFO:
			read_info(attribute, connection);
			break;
		case INET_DIAG_SK_BPF_STORAGES:
			read_births(attribute, connection);
			break;
		default:
			break;
		}
	}
}
