/* Shared buffers, and the heap as nghttp2 sees it: each block has its size in front and stands in a
 * list. */
#include "http2/context.h"

#include <string.h>

#include <nghttp2/nghttp2.h>

#include "base/mem.h"
#include "http2/conn.h"

enum { SPARE_UNIT = 64 }; /* sizes of small blocks are multiples of it */

struct block {
    struct list link;
    size_t n;
    _Alignas(16) char bytes[];
};

static void option_set(nghttp2_option *o)
{
    nghttp2_option_set_builtin_recv_extension_type(o, NGHTTP2_PRIORITY_UPDATE);
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_max_send_header_block_length(o, 4 * HEAD_BYTES_MAX);
    nghttp2_option_set_max_outbound_ack(o, HTTP2_ACKS_PENDING_MAX);
    nghttp2_option_set_max_settings(o, HTTP2_SETTINGS_ENTRIES_MAX);
    nghttp2_option_set_peer_max_concurrent_streams(o, 0); /* nothing is asked before it has said */
    /* The owner counts them: nghttp2 counts the pieces that their heads of 9 bytes come in. */
    nghttp2_option_set_max_continuations(o, 9 * (HTTP2_CONTINUATIONS_MAX + 1));
    /* Ours, in guard.c, comes first: it counts, and answers by another code. */
    nghttp2_option_set_stream_reset_rate_limit(o, 2 * HTTP2_RESETS_PER_SECOND,
                                               2 * HTTP2_RESETS_PER_SECOND);
}

enum err http2_context_init(struct http2_context *x, struct loop *loop,
                            const struct snap_settings *settings, struct http_budget *budget,
                            struct stats_page *stats)
{
    *x = (struct http2_context){
        .loop = loop,
        .settings = settings,
        .budget = budget,
        .stats = stats,
        .receive = mem_alloc(RECEIVE_BYTES),
        .head = mem_alloc(sizeof(struct http2_head)),
    };
    list_init(&x->gathers);
    http2_spares_init(&x->spares, &stats->http2_spare_blocks);
    list_init(&x->streams);
    if (x->receive == NULL || x->head == NULL || nghttp2_option_new(&x->option) != 0) {
        http2_context_fini(x);
        return E_NOMEM;
    }
    option_set(x->option);
    return E_OK;
}

/* A free one begins with its place in the list. */
char *http2_gather_take(struct http2_context *x)
{
    if (x->gather_n == 0) {
        return mem_alloc(HTTP2_GATHER_BYTES);
    }
    x->gather_n--;
    stats_sub(&x->stats->http2_spare_gathers, HTTP2_GATHER_BYTES);
    return (char *)list_pop(&x->gathers);
}

void http2_gather_give(struct http2_context *x, char *p)
{
    if (p == NULL) {
        return;
    }
    if (x->gather_n == HTTP2_GATHERS_KEPT) {
        mem_free(p);
        return;
    }
    x->gather_n++;
    stats_add(&x->stats->http2_spare_gathers, HTTP2_GATHER_BYTES);
    list_push(&x->gathers, (struct list *)(void *)p);
}

void http2_context_fini(struct http2_context *x)
{
    mem_free(x->receive);
    mem_free(x->head);
    nghttp2_option_del(x->option);
    http2_streams_fini(x);
    while (x->gather_n > 0) {
        mem_free(http2_gather_take(x));
    }
    http2_spares_fini(&x->spares);
    *x = (struct http2_context){0};
}

size_t http2_conn_max(const struct http2_context *x, size_t limit)
{
    uint64_t streams = x->settings->http2_max_concurrent_streams;
    return streams <= HTTP2_STREAMS_MAX ? limit : limit / HTTP2_STREAMS_MAX * (size_t)streams;
}

/* ---- small blocks ---- */

/* bytes: of the whole block. */
static bool is_small(const struct http2_memory *m, size_t bytes)
{
    return m->spares != NULL && bytes <= (size_t)HTTP2_SPARE_SIZES * SPARE_UNIT;
}

static size_t spare_bytes(size_t i)
{
    return (i + 1) * SPARE_UNIT;
}

static struct block *spare_pop(struct http2_spares *s, size_t i)
{
    s->n[i]--;
    stats_sub(s->bytes, spare_bytes(i));
    return container_of(list_pop(&s->blocks[i]), struct block, link);
}

static struct block *spare_take(struct http2_spares *s, size_t bytes)
{
    size_t i = (bytes - 1) / SPARE_UNIT;
    return s->n[i] == 0 ? mem_alloc(spare_bytes(i)) : spare_pop(s, i);
}

static void spare_give(struct http2_spares *s, struct block *b)
{
    size_t i = (b->n - 1) / SPARE_UNIT;
    if (MEM_IS_WATCHED || s->n[i] == HTTP2_SPARES_KEPT) {
        mem_free(b);
        return;
    }
    s->n[i]++;
    stats_add(s->bytes, spare_bytes(i));
    list_push(&s->blocks[i], &b->link);
}

void http2_spares_init(struct http2_spares *s, stats_value *bytes)
{
    *s = (struct http2_spares){.bytes = bytes};
    for (size_t i = 0; i < HTTP2_SPARE_SIZES; i++) {
        list_init(&s->blocks[i]);
    }
}

void http2_spares_fini(struct http2_spares *s)
{
    for (size_t i = 0; i < HTTP2_SPARE_SIZES; i++) {
        while (s->n[i] > 0) {
            mem_free(spare_pop(s, i));
        }
    }
}

/* ---- nghttp2's heap ---- */

void http2_memory_init(struct http2_memory *m, struct http_budget *budget, size_t max)
{
    *m = (struct http2_memory){.budget = budget, .max = max};
    list_init(&m->blocks);
}

void http2_memory_begin(struct http2_memory *m)
{
    m->pages = mem_pages_alloc(HTTP2_SESSION_BYTES); /* NULL: then the heap has to do */
}

void http2_memory_begun(struct http2_memory *m)
{
    m->pages_n = HTTP2_SESSION_BYTES;
}

static bool is_in_pages(const struct http2_memory *m, const struct block *b)
{
    return m->pages != NULL && (const char *)b >= m->pages &&
           (const char *)b < m->pages + HTTP2_SESSION_BYTES;
}

/* Room for n bytes, cleared; NULL: not in the pages. */
static struct block *block_of_pages(struct http2_memory *m, size_t n)
{
    size_t bytes = sizeof(struct block) + (n + 15) / 16 * 16;
    if (m->pages == NULL || n > HTTP2_SESSION_BYTES || bytes > HTTP2_SESSION_BYTES - m->pages_n) {
        return NULL;
    }
    struct block *b = (struct block *)(void *)(m->pages + m->pages_n);
    m->pages_n += bytes;
    return b;
}

static struct block *block_of(void *p)
{
    return container_of(p, struct block, bytes);
}

/* What a connection has without requests must not keep those of others from being served: their
 * number has a limit of its own. */
static size_t beyond_idle(size_t n)
{
    return n > HTTP2_CONN_IDLE_BYTES ? n - HTTP2_CONN_IDLE_BYTES : 0;
}

static void memory_set(struct http2_memory *m, size_t used)
{
    m->budget->used += beyond_idle(used);
    m->budget->used -= beyond_idle(m->used);
    m->used = used;
}

static void *block_given(struct http2_memory *m, struct block *b, size_t n)
{
    if (b == NULL) {
        m->has_failed = true;
        return NULL;
    }
    b->n = sizeof(*b) + n;
    list_push(&m->blocks, &b->link);
    memory_set(m, m->used + b->n);
    return b->bytes;
}

static void block_leaves(struct http2_memory *m, struct block *b)
{
    list_del(&b->link);
    memory_set(m, m->used - b->n);
}

/* What lies in pages stays there until the session ends. */
static void block_free(struct http2_memory *m, struct block *b)
{
    block_leaves(m, b);
    if (is_in_pages(m, b)) {
        return;
    }
    if (is_small(m, b->n)) {
        spare_give(m->spares, b);
    } else {
        mem_free(b);
    }
}

void http2_memory_clear(struct http2_memory *m)
{
    while (!list_is_empty(&m->blocks)) {
        block_free(m, container_of(m->blocks.next, struct block, link));
    }
    mem_pages_free(m->pages, HTTP2_SESSION_BYTES);
    m->pages = NULL;
}

void *http2_mem_alloc(size_t n, void *memory)
{
    struct http2_memory *m = memory;
    size_t bytes = sizeof(struct block) + n;
    struct block *b = block_of_pages(m, n);
    if (b == NULL) {
        b = is_small(m, bytes) ? spare_take(m->spares, bytes) : mem_alloc(bytes);
    }
    return block_given(m, b, n);
}

void *http2_mem_calloc(size_t n, size_t size, void *memory)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        return block_given(memory, NULL, 0);
    }
    if (is_small(memory, sizeof(struct block) + bytes)) {
        void *small = http2_mem_alloc(bytes, memory);
        return small == NULL ? NULL : memset(small, 0, bytes);
    }
    struct block *b = block_of_pages(memory, bytes);
    return block_given(memory, b != NULL ? b : mem_calloc(1, sizeof(struct block) + bytes), bytes);
}

/* Out of the pages, or to another size. */
static void *block_move(struct http2_memory *m, struct block *b, size_t n)
{
    size_t before = b->n - sizeof(*b);
    void *moved = http2_mem_alloc(n, m);
    if (moved != NULL) {
        mem_copy(moved, b->bytes, before < n ? before : n);
        block_free(m, b);
    }
    return moved;
}

void *http2_mem_resize(void *p, size_t n, void *memory)
{
    if (p == NULL) {
        return http2_mem_alloc(n, memory);
    }
    struct block *b = block_of(p);
    if (is_in_pages(memory, b) || is_small(memory, b->n) || is_small(memory, sizeof(*b) + n)) {
        return block_move(memory, b, n);
    }
    block_leaves(memory, b);
    struct block *larger = mem_resize(b, 1, sizeof(*b) + n);
    if (larger == NULL) {
        (void)block_given(memory, b, b->n - sizeof(*b)); /* it stays what it was */
    }
    return block_given(memory, larger, n);
}

void http2_mem_free(void *p, void *memory)
{
    if (p != NULL) {
        block_free(memory, block_of(p));
    }
}
