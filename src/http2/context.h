/* http2/context.h: what all HTTP/2 connections of one loop share, and the memory that nghttp2 takes
 * for one of them: counted and bounded. Private to http2/, but for whoever makes the context. */
#pragma once

#include "base/limits.h"
#include "event/loop.h"
#include "http/budget.h"
#include "snapshot/settings.h"
#include "stats/stats.h"

struct http2_head;
struct nghttp2_option;

enum { HTTP2_SPARE_SIZES = 16 };

/* Small blocks that nghttp2 has given back, by size: every stream takes a dozen, in bursts that are
 * too many for the quick lists of the heap. At most HTTP2_SPARES_KEPT of each size. */
struct http2_spares {
    struct list blocks[HTTP2_SPARE_SIZES];
    uint32_t n[HTTP2_SPARE_SIZES];
    stats_value *bytes; /* of all: a gauge */
};

/* Borrows bytes for its life. */
void http2_spares_init(struct http2_spares *s, stats_value *bytes);
void http2_spares_fini(struct http2_spares *s);

struct http2_context {
    struct loop *loop;
    char *receive;                        /* RECEIVE_BYTES: where every receive() goes first */
    struct http2_head *head;              /* the header section that is being decoded */
    const struct snap_settings *settings; /* as of now: they change with the configuration */
    struct http_budget *budget;
    struct stats_page *stats;
    struct nghttp2_option *option;
    struct list gathers; /* free buffers for frames that go out */
    struct list streams; /* free ones */
    uint32_t gather_n, stream_n;
    struct http2_spares spares;
};

/* Borrows everything for the context's life. Errors: E_NOMEM. */
enum err http2_context_init(struct http2_context *x, struct loop *loop,
                            const struct snap_settings *settings, struct http_budget *budget,
                            struct stats_page *stats);
/* After the last connection. */
void http2_context_fini(struct http2_context *x);

/* HTTP2_GATHER_BYTES; NULL: out of memory. */
char *http2_gather_take(struct http2_context *x);
/* p may be NULL. */
void http2_gather_give(struct http2_context *x, char *p);

/* What nghttp2 has for one connection. The maximum is looked at between calls, not
 * enforced inside of nghttp2: its ways out of missing memory are little trodden (1.52 frees a frame
 * twice). Where the heap itself fails, nghttp2 is not called again, and the blocks are freed as
 * they stand here.
 *
 * A session begins with 26 KB: itself, its tables, room for one frame of 16 KB, of which frames
 * that we send seldom fill more than a few hundred bytes. These blocks lie side by side in pages of
 * their own, so that what is never touched is never there: 12 KB stay. In a heap that has been used
 * for a while the room for the frame lies in pages that others have touched. */
struct http2_memory {
    struct http_budget *budget;  /* told of what is beyond HTTP2_CONN_IDLE_BYTES */
    struct http2_spares *spares; /* borrowed; NULL: the heap has to do */
    struct list blocks;
    size_t used, max; /* bytes */
    char *pages;      /* HTTP2_SESSION_BYTES, or NULL */
    size_t pages_n;   /* of them used */
    bool has_failed;
};

void http2_memory_init(struct http2_memory *m, struct http_budget *budget, size_t max);
/* Around the making of a session: its blocks go to pages, as far as there are any. */
void http2_memory_begin(struct http2_memory *m);
void http2_memory_begun(struct http2_memory *m);
/* Frees every block. */
void http2_memory_clear(struct http2_memory *m);
static inline bool http2_memory_is_over(const struct http2_memory *m)
{
    return m->used > m->max;
}

/* A connection's limit, which is meant for HTTP2_STREAMS_MAX streams, for as many as are allowed.
 */
size_t http2_conn_max(const struct http2_context *x, size_t limit);

/* For nghttp2_mem: user_data is the struct http2_memory. */
void *http2_mem_alloc(size_t n, void *memory);
void *http2_mem_calloc(size_t n, size_t size, void *memory);
void *http2_mem_resize(void *p, size_t n, void *memory);
void http2_mem_free(void *p, void *memory);
