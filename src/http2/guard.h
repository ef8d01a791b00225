/* http2/guard.h: what a peer may do only so often within a second: frames that cost us work and it
 * nothing. Private to http2/. */
#pragma once

#include "base/clock.h"
#include "stats/stats.h"

enum http2_noise {
    HTTP2_NOISE_RESET,    /* RST_STREAM: streams opened to be given up (CVE-2023-44487) */
    HTTP2_NOISE_PROVOKED, /* resets of ours that it has caused (CVE-2025-8671) */
    HTTP2_NOISE_PING,
    HTTP2_NOISE_SETTINGS,
    HTTP2_NOISE_EMPTY, /* DATA without a byte that does not end anything */
    HTTP2_NOISE_OTHER, /* WINDOW_UPDATE, PRIORITY and unknown frames */
    HTTP2_NOISES_N
};

struct http2_guard {
    usec_t began; /* of the present second */
    uint32_t n[HTTP2_NOISES_N];
    uint32_t useful_n; /* frames in it that carried something, either way */
};

/* A HEADERS or DATA frame went or came. */
void http2_guard_useful(struct http2_guard *g);
/* False: that was once too often, which is counted. */
bool http2_guard_allows(struct http2_guard *g, enum http2_noise noise, usec_t now,
                        struct stats_page *stats);
