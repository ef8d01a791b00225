/* http2/guard.h: what a peer may do only so often within a second: frames that cost us work and it
 * nothing. Private to http2/. */
#pragma once

#include "base/clock.h"
#include "base/str.h"
#include "stats/stats.h"

enum http2_noise {
    HTTP2_NOISE_RESET,    /* RST_STREAM: streams opened to be given up (CVE-2023-44487) */
    HTTP2_NOISE_PROVOKED, /* resets of ours that it has caused (CVE-2025-8671) */
    HTTP2_NOISE_PING,
    HTTP2_NOISE_SETTINGS,
    HTTP2_NOISE_EMPTY, /* DATA without a byte that does not end anything */
    HTTP2_NOISE_OTHER, /* WINDOW_UPDATE, PRIORITY, CONTINUATION and unknown frames */
    HTTP2_NOISES_N
};

struct http2_guard {
    usec_t began; /* of the present second */
    uint32_t n[HTTP2_NOISES_N];
    uint32_t useful_n; /* frames in it that carried something, either way */
};

/* A HEADERS or DATA frame went or came. */
void http2_guard_useful(struct http2_guard *g);
/* False: that was once too often. */
bool http2_guard_allows(struct http2_guard *g, enum http2_noise noise, usec_t now);
/* Where a client's excess is counted. */
stats_value *http2_guard_counter(struct stats_page *stats, enum http2_noise noise);

/* The heads of frames as they come in, in whatever pieces: nghttp2 passes over some without a word.
 */
struct http2_walk {
    size_t left;     /* bytes of the present frame still to come */
    uint8_t head[9]; /* RFC 9113 section 4.1 */
    uint8_t head_n;
};

struct http2_frame_head {
    uint8_t type;
    uint32_t stream;
    size_t payload_n;
};

/* Takes bytes from *p up to the end of the next frame head; false: there is none in *p, which is
 * used up. */
bool http2_walk_next(struct http2_walk *w, struct str *p, struct http2_frame_head *ret);
