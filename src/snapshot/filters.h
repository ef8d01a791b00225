/* snapshot/filters.h: what each filter's compile half writes and its worker half reads. */
#pragma once

#include "snapshot/schema.h"

enum snap_filter_kind {
#define FILTER(name, number) SNAP_FILTER_##name = (number),
#include "snapshot/filters.def"
#undef FILTER
};

/* Answers with a fixed redirect. Source: ingress-nginx permanent-redirect, temporal-redirect. */
struct snap_filter_redirect {
    uint32_t status; /* 300..308 */
    uint32_t zero;
    struct snap_str location; /* not empty; printable ASCII without blanks */
};
