/* Every filter's compile half, in order of execution. */
#include "compile/compile_priv.h"

#include "base/vec.h"

static const struct {
    enum snap_filter_kind kind;
    filter_check_fn *check;
    filter_write_fn *write;
} filters[] = {
#define FILTER(name, number, halves)                                                               \
    {SNAP_FILTER_##name, filter_##name##_check, filter_##name##_write},
#include "snapshot/filters.def"
#undef FILTER
};

enum { FILTERS_N = sizeof(filters) / sizeof(filters[0]) };

void filters_check(struct compile *c, struct diag_batch *batch, const struct ingress *ingress)
{
    for (size_t i = 0; i < FILTERS_N; i++) {
        filters[i].check(c, batch, ingress);
    }
}

enum err filters_write(struct compile *c, const struct ingress *ingress)
{
    struct host_work *w = &c->host;
    for (size_t i = 0; i < FILTERS_N; i++) {
        uint32_t offset = filters[i].write(c, ingress);
        if (offset != 0) {
            TRY(VEC_ROOM(w->filters, w->filter_n, w->filter_cap, UINT32_MAX));
            w->filters[w->filter_n++] = (struct snap_filter){filters[i].kind, offset};
        }
    }
    return E_OK;
}
