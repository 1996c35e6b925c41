/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grpc: the messages of a gRPC health check, as they are in the bodies of HTTP/2
 * (https://grpc.io/docs/guides/health-checking/, grpc/health/v1/health.proto; the frame is that of
 * "gRPC over HTTP2", Length-Prefixed-Message). Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define GRPC_PATH        "/grpc.health.v1.Health/Check"
#define GRPC_SERVICE_MAX 255
#define GRPC_REQUEST_MAX (5 + 1 + 2 + GRPC_SERVICE_MAX)

/* A HealthCheckRequest for @service, "" for the server as a whole. Returns its length. */
size_t grpc_encode(const char *service, char ret[static GRPC_REQUEST_MAX]);

/*
 * The status of a HealthCheckResponse (0 if it says none: that is its default). -EINVAL: it is
 * none, or not the whole of one; -EBADMSG: it is compressed, which was not asked for.
 */
int grpc_decode(const char *data, size_t length, uint64_t *ret_status);

/* "SERVING" of a HealthCheckResponse, "NOT_FOUND" of a grpc-status; "?" */
const char *grpc_serving_name(uint64_t status);
const char *grpc_status_name(unsigned status);
