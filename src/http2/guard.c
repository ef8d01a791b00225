/* A table of rates. Time goes in whole seconds, each with a new count. */
#include "http2/guard.h"

#include <stddef.h>

#include "base/limits.h"
#include "base/mem.h"

static const struct {
    uint32_t per_second;
    uint32_t per_useful; /* more for each frame that carried something: acknowledgements */
    size_t counter;      /* offset of the stats_value in struct stats_page */
} noises[HTTP2_NOISES_N] = {
    [HTTP2_NOISE_RESET] = {HTTP2_RESETS_PER_SECOND,   0,
                           offsetof(struct stats_page, limit_http2_resets)  },
    [HTTP2_NOISE_PROVOKED] = {HTTP2_PROVOKED_PER_SECOND, 0,
                           offsetof(struct stats_page, limit_http2_provoked)},
    [HTTP2_NOISE_PING] = {HTTP2_PINGS_PER_SECOND,    1,
                           offsetof(struct stats_page, limit_http2_pings)   },
    [HTTP2_NOISE_SETTINGS] = {HTTP2_SETTINGS_PER_SECOND, 0,
                           offsetof(struct stats_page, limit_http2_settings)},
    [HTTP2_NOISE_EMPTY] = {HTTP2_EMPTY_PER_SECOND,    1,
                           offsetof(struct stats_page, limit_http2_empty)   },
    [HTTP2_NOISE_OTHER] = {HTTP2_OTHER_PER_SECOND,    4,
                           offsetof(struct stats_page, limit_http2_other)   },
};

void http2_guard_useful(struct http2_guard *g)
{
    g->useful_n++;
}

bool http2_guard_allows(struct http2_guard *g, enum http2_noise noise, usec_t now)
{
    if (now - g->began >= USEC_PER_SEC) {
        *g = (struct http2_guard){.began = now};
    }
    uint64_t most = noises[noise].per_second + (uint64_t)noises[noise].per_useful * g->useful_n;
    return ++g->n[noise] <= most;
}

stats_value *http2_guard_counter(struct stats_page *stats, enum http2_noise noise)
{
    return (stats_value *)(void *)((char *)stats + noises[noise].counter);
}

bool http2_walk_next(struct http2_walk *w, struct str *p, struct http2_frame_head *ret)
{
    size_t skip = w->left < p->n ? w->left : p->n;
    w->left -= skip;
    *p = str_from(*p, skip);
    struct str piece = str_first(*p, sizeof(w->head) - w->head_n);
    mem_copy(w->head + w->head_n, piece.p, piece.n);
    w->head_n = (uint8_t)(w->head_n + piece.n);
    *p = str_from(*p, piece.n);
    if (w->head_n < sizeof(w->head)) {
        return false;
    }
    const uint8_t *h = w->head;
    w->head_n = 0;
    w->left = ret->payload_n = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
    ret->type = h[3];
    ret->stream = (uint32_t)(h[5] & 0x7f) << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8];
    return true;
}
