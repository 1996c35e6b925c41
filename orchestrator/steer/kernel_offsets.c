/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/kernel_offsets.h"

#include <bpf/btf.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/log.h"

/* Structs in structs, without a name of their own; the kernel's are not nested deeper. */
#define DEPTH_MAX 4

static bool find_member(const struct btf *btf, const struct btf_type *type, const char *name,
			unsigned depth, const struct btf_type **ret_type, uint32_t *ret_bits);

/* The member @k itself, or one of the nameless struct or union that it is. */
static bool is_or_has(const struct btf *btf, const struct btf_type *type, uint32_t k,
		      const char *name, unsigned depth, const struct btf_type **ret_type,
		      uint32_t *ret_bits)
{
	const struct btf_member *member = &btf_members(type)[k];
	const char *own = btf__name_by_offset(btf, member->name_off);
	const struct btf_type *inner;

	*ret_bits = btf_member_bit_offset(type, k);
	inner = btf__type_by_id(btf, (uint32_t)btf__resolve_type(btf, member->type));
	if (!own || !inner)
		return false;
	if (own[0]) {
		*ret_type = inner;
		return strcmp(own, name) == 0 && btf_member_bitfield_size(type, k) == 0;
	}
	if (depth < DEPTH_MAX && btf_is_composite(inner)) {
		uint32_t bits;

		if (!find_member(btf, inner, name, depth + 1, ret_type, &bits))
			return false;
		*ret_bits += bits;
		return true;
	}
	return false;
}

static bool find_member(const struct btf *btf, const struct btf_type *type, const char *name,
			unsigned depth, const struct btf_type **ret_type, uint32_t *ret_bits)
{
	for (uint32_t k = 0; k < btf_vlen(type); k++)
		if (is_or_has(btf, type, k, name, depth, ret_type, ret_bits))
			return true;
	return false;
}

/*
 * The offset in bytes of a number or a pointer of @size bytes, at @path: names of members that end
 * with NULL.
 */
static bool find_field(const struct btf *btf, const char *of, const char *const *path, size_t size,
		       uint32_t *ret)
{
	int id = btf__find_by_name_kind(btf, of, BTF_KIND_STRUCT);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;
	uint32_t sum = 0;

	for (; type && *path; path++) {
		uint32_t bits;

		if (!btf_is_composite(type) || !find_member(btf, type, *path, 0, &type, &bits))
			return false;
		sum += bits;
	}
	if (!type || sum % 8)
		return false;
	if (btf_is_ptr(type) ? btf__pointer_size(btf) != size
			     : !btf_is_int(type) || type->size != size)
		return false;
	*ret = sum / 8;
	return true;
}

static void read_offsets(const struct btf *btf, struct tap_offsets *ret)
{
	static const char *const flags[] = {"flags", NULL};
	static const char *const error[] = {"inet_conn", "icsk_inet", "sk", "sk_err", NULL};
	static const char *const received[] = {"inet_conn", "icsk_ack", "lrcvtime", NULL};
	static const char *const sent[] = {"lsndtime", NULL};
	static const char *const heard[] = {"snd_wl1", NULL};
	static const char *const read[] = {"copied_seq", NULL};
	static const char *const socket[] = {"inet_conn", "icsk_inet", "sk", "sk_socket", NULL};
	const size_t word = sizeof(uint32_t), wide = sizeof(uint64_t);

	ret->known = find_field(btf, "task_struct", flags, word, &ret->task_flags) &&
		     find_field(btf, "tcp_sock", error, word, &ret->sk_err) &&
		     find_field(btf, "tcp_sock", received, word, &ret->received) &&
		     find_field(btf, "tcp_sock", sent, word, &ret->sent) &&
		     find_field(btf, "tcp_sock", heard, word, &ret->heard) &&
		     find_field(btf, "tcp_sock", read, word, &ret->read) &&
		     find_field(btf, "tcp_sock", socket, wide, &ret->sk_socket) &&
		     find_field(btf, "socket", flags, wide, &ret->socket_flags);
}

void kernel_offsets(struct tap_offsets *ret)
{
	static struct tap_offsets found;
	static bool looked;
	struct btf *btf = looked ? NULL : btf__load_vmlinux_btf();

	if (btf)
		read_offsets(btf, &found);
	btf__free(btf);
	if (!looked && !found.known)
		log_info("who ends a connection can be told in part only: this kernel does not "
			 "say where it keeps that (BTF)");
	looked = true;
	*ret = found;
}
