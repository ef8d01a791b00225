/* What an exchange of gRPC says in the end. */
#include "proxy/exchange.h"

#include "http/grpc.h"

void exchange_grpc_note(struct exchange *x, const struct field *fields, uint32_t n)
{
    uint8_t status;
    if (x->is_grpc && http_grpc_status(fields, n, &status)) {
        x->has_grpc_status = true;
        x->grpc_status = status;
    }
}

void exchange_grpc_count(const struct exchange *x)
{
    static const size_t counters[GRPC_CODES_N] = {
        [GRPC_OK] = offsetof(struct stats_page, grpc_ok),
        [GRPC_CANCELLED] = offsetof(struct stats_page, grpc_cancelled),
        [GRPC_UNKNOWN] = offsetof(struct stats_page, grpc_unknown),
        [GRPC_INVALID_ARGUMENT] = offsetof(struct stats_page, grpc_invalid_argument),
        [GRPC_DEADLINE_EXCEEDED] = offsetof(struct stats_page, grpc_deadline_exceeded),
        [GRPC_NOT_FOUND] = offsetof(struct stats_page, grpc_not_found),
        [GRPC_ALREADY_EXISTS] = offsetof(struct stats_page, grpc_already_exists),
        [GRPC_PERMISSION_DENIED] = offsetof(struct stats_page, grpc_permission_denied),
        [GRPC_RESOURCE_EXHAUSTED] = offsetof(struct stats_page, grpc_resource_exhausted),
        [GRPC_FAILED_PRECONDITION] = offsetof(struct stats_page, grpc_failed_precondition),
        [GRPC_ABORTED] = offsetof(struct stats_page, grpc_aborted),
        [GRPC_OUT_OF_RANGE] = offsetof(struct stats_page, grpc_out_of_range),
        [GRPC_UNIMPLEMENTED] = offsetof(struct stats_page, grpc_unimplemented),
        [GRPC_INTERNAL] = offsetof(struct stats_page, grpc_internal),
        [GRPC_UNAVAILABLE] = offsetof(struct stats_page, grpc_unavailable),
        [GRPC_DATA_LOSS] = offsetof(struct stats_page, grpc_data_loss),
        [GRPC_UNAUTHENTICATED] = offsetof(struct stats_page, grpc_unauthenticated),
    };
    struct stats_page *stats = x->proxy->stats;
    char *page = (char *)stats;
    stats_add(x->has_grpc_status ? (stats_value *)(void *)(page + counters[x->grpc_status])
                                 : &stats->grpc_none,
              1);
}
