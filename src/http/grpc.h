/* http/grpc.h: what a proxy has to say in gRPC: the status that belongs to a reason.
 * Sources: grpc/doc/PROTOCOL-HTTP2.md, grpc/doc/http-grpc-status-mapping.md. */
#pragma once

#include "base/reason.h"
#include "http/message.h"
#include "wire/grpc.h"

enum grpc_code {
    GRPC_OK,
    GRPC_CANCELLED,
    GRPC_UNKNOWN,
    GRPC_INVALID_ARGUMENT,
    GRPC_DEADLINE_EXCEEDED,
    GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED,
    GRPC_RESOURCE_EXHAUSTED,
    GRPC_FAILED_PRECONDITION,
    GRPC_ABORTED,
    GRPC_OUT_OF_RANGE,
    GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL,
    GRPC_UNAVAILABLE,
    GRPC_DATA_LOSS,
    GRPC_UNAUTHENTICATED,
    GRPC_CODES_N
};

/* True for a request of gRPC or gRPC-Web; *ret_type is its content-type, in the fields. */
bool http_is_grpc(const struct field *fields, uint32_t n, struct str *ret_type);
/* The code of a response of ours that would have this status. */
enum grpc_code http_grpc_code(enum reason why, uint16_t status);
/* What a response says, in its head or behind its body; false: nothing. */
bool http_grpc_status(const struct field *fields, uint32_t n, uint8_t *ret);
