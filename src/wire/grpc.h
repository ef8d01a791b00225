/* wire/grpc.h: the texts of gRPC over HTTP/2 in header fields.
 * Source: grpc/doc/PROTOCOL-HTTP2.md. */
#pragma once

#include "base/buf.h"
#include "base/clock.h"

enum { GRPC_STATUS_MAX = 16 };

/* grpc-timeout: up to eight digits and one of H M S m u n. What is below a microsecond counts as
 * one. Errors: E_PROTO. */
enum err grpc_timeout_parse(struct str text, usec_t *ret);
/* grpc-status: a code of the protocol, 0..GRPC_STATUS_MAX. Errors: E_PROTO. */
enum err grpc_status_parse(struct str text, uint8_t *ret);
/* application/grpc, with whatever may stand behind it ("+proto", "-web", ";..."). */
bool grpc_is_type(struct str content_type);
/* grpc-message: percent-encoded. */
void grpc_message_emit(struct wr *w, struct str text);
