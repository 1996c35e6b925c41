/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/grpc.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define PREFIX_SIZE 5 /* compressed or not; the length, big-endian */

/* https://protobuf.dev/programming-guides/encoding/: a tag is the field's number and its type. */
#define SERVICE_TAG (1 << 3 | 2) /* HealthCheckRequest.service: bytes with their length */
#define STATUS_TAG  (1 << 3 | 0) /* HealthCheckResponse.status: a varint */

size_t grpc_encode(const char *service, char ret[static GRPC_REQUEST_MAX])
{
	size_t length = strlen(service), n = PREFIX_SIZE;

	assert(length <= GRPC_SERVICE_MAX);
	memset(ret, 0, PREFIX_SIZE);
	if (length > 0) {
		ret[n++] = SERVICE_TAG;
		if (length > 0x7f)
			ret[n++] = (char)(length | 0x80);
		ret[n++] = (char)(length > 0x7f ? length >> 7 : length);
		memcpy(ret + n, service, length);
		n += length;
	}
	ret[3] = (char)((n - PREFIX_SIZE) >> 8);
	ret[4] = (char)(n - PREFIX_SIZE);
	return n;
}

struct reading {
	const unsigned char *at, *end;
};

static bool read_varint(struct reading *r, uint64_t *ret)
{
	*ret = 0;
	for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
		*ret |= (uint64_t)(*r->at & 0x7f) << shift;
		if (!(*r->at++ & 0x80))
			return true;
	}
	return false;
}

static bool skip(struct reading *r, uint64_t n)
{
	if (n > (uint64_t)(r->end - r->at))
		return false;
	r->at += n;
	return true;
}

/* A field that a later version may add. */
static bool skip_field(struct reading *r, unsigned type)
{
	uint64_t n;

	switch (type) {
	case 0:
		return read_varint(r, &n);
	case 1:
		return skip(r, 8);
	case 2:
		return read_varint(r, &n) && skip(r, n);
	case 5:
		return skip(r, 4);
	default:
		return false;
	}
}

int grpc_decode(const char *data, size_t length, uint64_t *ret_status)
{
	const unsigned char *bytes = (const unsigned char *)data;
	struct reading r = {bytes + PREFIX_SIZE, bytes + length};
	uint64_t tag, announced;

	*ret_status = 0;
	if (length < PREFIX_SIZE)
		return -EINVAL;
	if (bytes[0] == 1)
		return -EBADMSG;
	announced = (uint64_t)bytes[1] << 24 | (uint64_t)bytes[2] << 16 | (uint64_t)bytes[3] << 8 |
		    bytes[4];
	if (bytes[0] != 0 || announced != length - PREFIX_SIZE)
		return -EINVAL;
	while (r.at < r.end) {
		if (!read_varint(&r, &tag))
			return -EINVAL;
		if (tag == STATUS_TAG ? !read_varint(&r, ret_status) : !skip_field(&r, tag & 7))
			return -EINVAL;
	}
	return 0;
}

const char *grpc_serving_name(uint64_t status)
{
	static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};

	return status < sizeof(names) / sizeof(names[0]) ? names[status] : "?";
}

const char *grpc_status_name(unsigned status)
{
	static const char *const names[] = {
		"OK",
		"CANCELLED",
		"UNKNOWN",
		"INVALID_ARGUMENT",
		"DEADLINE_EXCEEDED",
		"NOT_FOUND",
		"ALREADY_EXISTS",
		"PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED",
		"FAILED_PRECONDITION",
		"ABORTED",
		"OUT_OF_RANGE",
		"UNIMPLEMENTED",
		"INTERNAL",
		"UNAVAILABLE",
		"DATA_LOSS",
		"UNAUTHENTICATED",
	};

	return status < sizeof(names) / sizeof(names[0]) ? names[status] : "?";
}
