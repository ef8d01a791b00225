/* Reasons and statuses to gRPC codes. Clients retry UNAVAILABLE by themselves, so it is said where
 * the call has surely not been carried out, or where gRPC itself says it (a connection that broke);
 * what an endpoint may have done meanwhile is DEADLINE_EXCEEDED, which nobody repeats unasked. */
#include "http/grpc.h"

/* Where the code says more than the status would. 0: it does not. */
static const uint8_t by_reason[REASONS_N] = {
    [REASON_client_timeout] = GRPC_DEADLINE_EXCEEDED,
    [REASON_client_abort] = GRPC_CANCELLED,
    [REASON_client_stalled] = GRPC_CANCELLED,
    [REASON_expectation_failed] = GRPC_FAILED_PRECONDITION,
    [REASON_upstream_timeout] = GRPC_DEADLINE_EXCEEDED, /* connect_timeout: 504, UNAVAILABLE */
    [REASON_upstream_stalled] = GRPC_DEADLINE_EXCEEDED,
    [REASON_deadline_exceeded] = GRPC_DEADLINE_EXCEEDED,
    [REASON_upstream_canceled] = GRPC_CANCELLED,
    [REASON_upstream_invalid] = GRPC_INTERNAL,
    [REASON_upstream_cut] = GRPC_UNAVAILABLE,
};

/* As clients read a status without a grpc-status, and beyond. */
static const struct {
    uint16_t status;
    uint8_t code;
} by_status[] = {
    {400, GRPC_INTERNAL          },
    {401, GRPC_UNAUTHENTICATED   },
    {403, GRPC_PERMISSION_DENIED },
    {404, GRPC_UNIMPLEMENTED     },
    {413, GRPC_RESOURCE_EXHAUSTED},
    {414, GRPC_RESOURCE_EXHAUSTED},
    {429, GRPC_RESOURCE_EXHAUSTED},
    {431, GRPC_RESOURCE_EXHAUSTED},
    {500, GRPC_INTERNAL          },
    {501, GRPC_UNIMPLEMENTED     },
    {502, GRPC_UNAVAILABLE       },
    {503, GRPC_UNAVAILABLE       },
    {504, GRPC_UNAVAILABLE       },
    {505, GRPC_INTERNAL          },
};

bool http_is_grpc(const struct field *fields, uint32_t n, struct str *ret_type)
{
    return http_field_get(fields, n, FIELD_content_type, ret_type) && grpc_is_type(*ret_type);
}

enum grpc_code http_grpc_code(enum reason why, uint16_t status)
{
    if (by_reason[why] != 0) {
        return (enum grpc_code)by_reason[why];
    }
    for (size_t i = 0; i < sizeof(by_status) / sizeof(by_status[0]); i++) {
        if (by_status[i].status == status) {
            return (enum grpc_code)by_status[i].code;
        }
    }
    return GRPC_UNKNOWN;
}

bool http_grpc_status(const struct field *fields, uint32_t n, uint8_t *ret)
{
    struct str text;
    return http_field_find(fields, n, STR("grpc-status"), &text) &&
           grpc_status_parse(text, ret) == E_OK;
}
