/* What one connection may keep, at each limit and just beyond it. */
#include "world.h"

enum { FRAME_MAX = 16384, HEADERS = 1, DATA = 0, CONTINUATION = 9 };
enum { END_STREAM = 1, END_HEADERS = 4 };

static struct {
    struct http_stream *streams[HTTP2_STREAMS_KEPT + 1];
    size_t n, closed_n;
    enum reason why; /* of the last one that closed */
    char bytes[HTTP2_CONN_KEPT_BYTES];
} held;

static void on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    (void)s;
    assert_false(is_unsent);
    held.closed_n++;
    held.why = why;
}

static void on_body(struct http_stream *s, struct str data, bool is_end)
{
    (void)data;
    (void)is_end;
    s->ops->pull(s);
}

static void hold(struct world *w, struct http_stream *s)
{
    static const struct http_stream_events events = {.on_closed = on_closed, .on_body = on_body};
    (void)w;
    s->events = &events;
    held.streams[held.n++] = s;
}

static void holding_init(struct world *w)
{
    held.n = held.closed_n = 0;
    world_init(w, hold);
    assert_int_equal(world_take(w), E_OK);
    world_turn(w);
}

static void frame_add(struct buf *to, int type, int flags, uint32_t id, struct str payload)
{
    const char head[9] = {(char)(payload.n >> 16),
                          (char)(payload.n >> 8),
                          (char)payload.n,
                          (char)type,
                          (char)flags,
                          0,
                          (char)(id >> 16),
                          (char)(id >> 8),
                          (char)id};
    buf_add(to, head, sizeof(head));
    buf_add_str(to, payload);
}

/* A literal field of RFC 7541 section 6.2.2 that stays out of the tables: "x" and n bytes. */
static void pad_add(struct buf *to, size_t n)
{
    buf_add(to, "\0\1x", 3);
    if (n < 127) {
        buf_add_char(to, (char)n);
    } else {
        buf_add_char(to, 127);
        size_t rest = n - 127;
        for (; rest >= 128; rest >>= 7) {
            buf_add_char(to, (char)(rest % 128 + 128));
        }
        buf_add_char(to, (char)rest);
    }
    (void)buf_add_zero(to, n);
    for (size_t i = 0; i < n; i++) {
        to->p[to->n - n + i] = 'p';
    }
}

/* HEADERS and as many CONTINUATIONs as it takes. */
static void section_add(struct buf *to, uint32_t id, struct str block, int flags)
{
    int type = HEADERS;
    while (block.n > FRAME_MAX) {
        frame_add(to, type, flags & END_STREAM, id, str_first(block, FRAME_MAX));
        block = str_from(block, FRAME_MAX);
        type = CONTINUATION;
    }
    frame_add(to, type, flags, id, block);
}

static void request_add(struct buf *to, uint32_t id, size_t pad, int flags)
{
    struct buf block;
    buf_init(&block, 1 << 20);
    buf_add(&block,
            "\x82\x86\x84\x41\x06"
            "a.test",
            11);
    pad_add(&block, pad);
    section_add(to, id, buf_str(&block), flags);
    buf_fini(&block);
}

static void request_send(struct world *w, uint32_t id, size_t pad, int flags)
{
    struct buf bytes;
    buf_init(&bytes, 1 << 20);
    request_add(&bytes, id, pad, flags);
    world_send(w, buf_str(&bytes));
    buf_fini(&bytes);
}

static void answer(struct http_stream *s)
{
    struct http_response response = {.status = 204, .body = HTTP_BODY_NONE};
    assert_int_equal(s->ops->send_response(s, &response, STR_EMPTY, true), E_OK);
    s->ops->release(s);
}

/* The heads of requests in flight: up to HTTP2_CONN_HEADS_MAX. */
static void test_heads(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct world w;
        holding_init(&w);
        struct server_conn *c = world_conn(&w);
        uint32_t id = 1;
        request_send(&w, id, 0, END_STREAM | END_HEADERS);
        size_t bare = c->heads_n;
        for (id += 2; HTTP2_CONN_HEADS_MAX - c->heads_n > 32000; id += 2) {
            request_send(&w, id, 31000, END_STREAM | END_HEADERS);
        }
        size_t n = held.n;
        request_send(&w, id, HTTP2_CONN_HEADS_MAX - c->heads_n - bare + extra,
                     END_STREAM | END_HEADERS);
        assert_int_equal(held.n, n + 1 - extra);
        assert_int_equal(stats_get(&w.stats->limit_http2_heads), extra);
        answer(held.streams[1]);
        world_turn(&w);
        request_send(&w, id + 2, 1000, END_STREAM | END_HEADERS); /* room again */
        assert_int_equal(held.n, n + 2 - extra);
        assert_int_equal(held.closed_n, 0);
        world_fini(&w);
    }
}

/* One head alone is bounded by --max-header-bytes, not by what others have left. */
static void test_one_head(void **state)
{
    (void)state;
    struct world w;
    holding_init(&w);
    request_send(&w, 1, 30000, END_STREAM | END_HEADERS);
    assert_int_equal(held.n, 1);
    assert_in_range(world_conn(&w)->heads_n, 30000, 30100);
    answer(held.streams[0]);
    world_turn(&w);
    assert_int_equal(world_conn(&w)->heads_n, 0);
    world_fini(&w);
}

static void trailers_send(struct world *w, size_t bytes)
{
    struct buf block, out;
    buf_init(&block, 1 << 20);
    buf_init(&out, 1 << 20);
    pad_add(&block, bytes - 5); /* 1 and 4 for the line */
    section_add(&out, 1, buf_str(&block), END_STREAM | END_HEADERS);
    world_send(w, buf_str(&out));
    buf_fini(&block);
    buf_fini(&out);
}

static void test_trailers(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct world w;
        holding_init(&w);
        request_send(&w, 1, 0, END_HEADERS);
        trailers_send(&w, TRAILER_BYTES_MAX + extra);
        assert_int_equal(held.closed_n, extra);
        assert_int_equal(stats_get(&w.stats->limit_head_bytes), extra);
        if (extra == 0) {
            assert_int_equal(held.streams[0]->received.n, 1);
            assert_true(w.budget.used > TRAILER_BYTES_MAX); /* for as long as they are kept */
        } else {
            assert_int_equal(held.why, REASON_head_too_large);
        }
        world_fini(&w);
    }
}

/* What waits for the rest of a header section is counted, and no more once it is there. */
static void test_an_unfinished_head_is_counted(void **state)
{
    (void)state;
    struct world w;
    struct buf end;
    holding_init(&w);
    buf_init(&end, 100);
    frame_add(&end, CONTINUATION, END_HEADERS, 1, STR_EMPTY);
    request_send(&w, 1, 20000, END_STREAM);
    assert_true(w.budget.used > 20000);
    assert_int_equal(held.n, 0);
    world_send(&w, buf_str(&end));
    assert_int_equal(held.n, 1);
    assert_int_equal(w.budget.used, 0);
    buf_fini(&end);
    world_fini(&w);
}

/* Responses that the client does not take: the first ones as they come, then in small pieces. */
static void test_room(void **state)
{
    (void)state;
    struct world w;
    holding_init(&w);
    world_send(&w, STR("\0\0\6\4\0\0\0\0\0\0\4\0\0\0\0")); /* no window */
    request_send(&w, 1, 0, END_STREAM | END_HEADERS);
    request_send(&w, 3, 0, END_STREAM | END_HEADERS);
    struct http_stream *a = held.streams[0], *b = held.streams[1];
    struct http_response response = {.status = 200, .body = HTTP_BODY_STREAM};
    struct str body = str_make(held.bytes, HTTP2_CONN_KEPT_BYTES - 1);
    assert_int_equal(a->ops->room(a), RECEIVE_BYTES);
    assert_int_equal(a->ops->send_response(a, &response, body, false), E_AGAIN);
    assert_int_equal(a->ops->room(a), RECEIVE_BYTES);
    assert_int_equal(b->ops->send_response(b, &response, STR("x"), false), E_AGAIN);
    assert_int_equal(a->ops->room(a), HTTP2_PIECE_BYTES);
    assert_int_equal(b->ops->room(b), HTTP2_PIECE_BYTES);
    b->ops->release(b);
    assert_int_equal(a->ops->room(a), RECEIVE_BYTES);
    a->ops->release(a);
    world_fini(&w);
}

/* The socket is full in the middle of what an owner sends, and nobody does anything after that: the
 * connection has a time nevertheless. */
static void test_a_client_that_stops_reading(void **state)
{
    enum { SETTINGS_BYTES = 15, WINDOW_BYTES = 13 };
    static const char no_end[] = "\0\0\6\4\0\0\0\0\0\0\4\x7f\xff\xff\xff"
                                 "\0\0\4\x8\0\0\0\0\0\x7f\0\0\0";
    struct http_response response = {.status = 200, .body = HTTP_BODY_STREAM};
    (void)state;
    struct world w;
    holding_init(&w);
    w.settings.send_timeout = 1000;
    world_send(&w, str_make(no_end, SETTINGS_BYTES + WINDOW_BYTES));
    request_send(&w, 1, 0, END_STREAM | END_HEADERS);
    struct http_stream *s = held.streams[0];
    assert_int_equal(s->ops->send_response(s, &response, STR_EMPTY, false), E_OK);
    world_turn(&w);
    struct str body = str_make(held.bytes, sizeof(held.bytes)); /* more than a socket takes */
    assert_int_equal(s->ops->send_body(s, body, false), E_AGAIN);
    assert_true(world_conn(&w)->base.link.is_blocked);
    for (int i = 0; i < 100 && held.closed_n == 0; i++) {
        assert_int_equal(loop_step(w.loop, 1000), E_OK);
    }
    assert_int_equal(held.closed_n, 1);
    assert_int_equal(held.why, REASON_client_stalled);
    assert_int_equal(stats_get(&w.stats->timeout_client_write), 1);
    world_fini(&w);
}

/* Those that have ended serve the next ones; what is beyond the limit is freed. */
static void test_streams_kept(void **state)
{
    (void)state;
    struct world w;
    holding_init(&w);
    const stats_value *bytes = &w.stats->http2_spare_streams;
    for (size_t i = 0; i < HTTP2_STREAMS_KEPT + 1; i++) {
        request_send(&w, (uint32_t)(2 * i + 1), 0, END_STREAM | END_HEADERS);
    }
    assert_int_equal(held.n, HTTP2_STREAMS_KEPT + 1);
    for (size_t i = 0; i < held.n; i++) {
        world_hello(&w, held.streams[i]);
        world_turn(&w);
        size_t kept = i + 1 < HTTP2_STREAMS_KEPT ? i + 1 : HTTP2_STREAMS_KEPT;
        assert_int_equal(stats_get(bytes), kept * sizeof(struct http2_stream));
    }
    held.n = 0;
    request_send(&w, 2 * HTTP2_STREAMS_KEPT + 3, 0, END_STREAM | END_HEADERS);
    assert_int_equal(stats_get(bytes), (HTTP2_STREAMS_KEPT - 1) * sizeof(struct http2_stream));
    world_hello(&w, held.streams[0]);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),        cmocka_unit_test(test_one_head),
        cmocka_unit_test(test_trailers),     cmocka_unit_test(test_an_unfinished_head_is_counted),
        cmocka_unit_test(test_room),         cmocka_unit_test(test_a_client_that_stops_reading),
        cmocka_unit_test(test_streams_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
