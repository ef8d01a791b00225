/* A connection to an endpoint: when requests go, what becomes of them when it ends, and what it
 * keeps. With whole programs: tests/system/test_http2_upstream.py. */
#include "peer.h"

static const char ok[] = "\x88"; /* :status 200; RFC 7541 appendix A */

/* ---- the beginning ---- */

/* Nothing is asked before the peer has said how much it takes: a server that does not speak HTTP/2
 * costs no request. */
static void test_requests_wait_for_settings(void **state)
{
    struct world w;
    char text[TEXT];
    (void)state;
    world_init(&w);
    assert_int_equal(dial(&w), E_OK);
    struct owner *o = ask(&w, 0);
    take(&w);
    assert_int_equal(frames_n(&w, SETTINGS), 1);
    assert_memory_equal(w.got, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    assert_int_equal(frames_n(&w, HEADERS), 0);
    assert_int_equal(w.connected_n, 0);
    settings_send(&w, 0, 0);
    assert_int_equal(w.connected_n, 1);
    assert_int_not_equal(o->stream->connected, 0);
    head_got(&w, 0, text);
    assert_string_equal(text, ":method=GET;:scheme=http;:path=/;:authority=a.test;");
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 1, ok);
    assert_true(o->status == 200 && o->is_complete);
    assert_int_equal(w.free_n, 1);
    assert_int_equal(w.conn->stream_n, 0);
    world_fini(&w);
}

/* A request with a body is not pulled before it can go, so that it can still go elsewhere. */
static void test_bodies_wait_too(void **state)
{
    struct world w;
    struct http_request r = request_make(STR("POST"), NULL, 0);
    (void)state;
    r.body = HTTP_BODY_STREAM;
    world_init(&w);
    assert_int_equal(dial(&w), E_OK);
    struct owner *o = stream_open(&w, 0);
    assert_int_equal(o->stream->ops->send_request(o->stream, &r, STR_EMPTY, false), E_AGAIN);
    take(&w);
    assert_false(o->is_writable);
    settings_send(&w, 0, 0);
    assert_true(o->is_writable);
    assert_int_equal(o->stream->ops->send_body(o->stream, STR("hello"), true), E_OK);
    assert_int_equal(frames_n(&w, DATA), 1);
    owner_release(o);
    world_fini(&w);
}

static void test_refused(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    (void)close(w.listener);
    assert_int_equal(dial(&w), E_OK);
    struct owner *o = ask(&w, 0);
    turn(&w);
    assert_true(o->is_closed && o->is_unsent && o->why == REASON_connect_refused);
    assert_true(w.is_conn_closed && !w.has_connected);
    assert_int_equal(stats_get(&w.stats->upstream_connect_failures), 1);
    world_fini(&w);
}

static void test_connect_times_out(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    w.settings.proxy_connect_timeout = USEC_PER_MS;
    assert_int_equal(dial(&w), E_OK);
    struct owner *o = ask(&w, 0);
    take(&w); /* accepted, but it never greets */
    for (int i = 0; i < 100 && !o->is_closed; i++) {
        turn(&w);
    }
    assert_true(o->is_unsent && o->why == REASON_connect_timeout);
    assert_int_equal(stats_get(&w.stats->timeout_upstream_connect), 1);
    world_fini(&w);
}

static void test_not_http2(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    assert_int_equal(dial(&w), E_OK);
    struct owner *o = ask(&w, 0);
    take(&w);
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
    raw_send(&w, answer, sizeof(answer) - 1);
    turn(&w);
    assert_true(o->is_closed && o->is_unsent && o->why == REASON_upstream_invalid);
    assert_true(w.is_conn_closed && !w.has_connected);
    world_fini(&w);
}

/* ---- messages ---- */

static void test_fields(void **state)
{
    static const struct field fields[] = {
        {STR_INIT("Host"),              STR_INIT("b.test"),     FIELD_host,              0},
        {STR_INIT("X-A"),               STR_INIT("1"),          FIELD_OTHER,             0},
        {STR_INIT("Connection"),        STR_INIT("keep-alive"), FIELD_connection,        0},
        {STR_INIT("Transfer-Encoding"), STR_INIT("chunked"),    FIELD_transfer_encoding, 0},
        {STR_INIT("TE"),                STR_INIT("trailers"),   FIELD_te,                0},
        {STR_INIT("Content-Length"),    STR_INIT("3"),          FIELD_content_length,    0},
    };
    struct http_request r = request_make(STR("POST"), fields, 6);
    struct world w;
    char text[TEXT];
    size_t n;
    (void)state;
    r.body = HTTP_BODY_LENGTH;
    r.body_n = 3;
    world_open(&w);
    struct owner *o = ask_with(&w, 0, &r, STR("abc"), true);
    head_got(&w, 0, text);
    assert_string_equal(text, ":method=POST;:scheme=http;:path=/;:authority=b.test;x-a=1;"
                              "te=trailers;content-length=3;");
    const uint8_t *data = frame_got(&w, DATA, 0, &n);
    assert_true(n == 3 && (data[4] & END_STREAM) != 0);
    SEND(&w, HEADERS, END_HEADERS, 1,
         "\x88\x0f\x0d\x01"
         "5");
    SEND(&w, DATA, END_STREAM, 1, "hello");
    assert_true(o->status == 200 && o->kind == HTTP_BODY_LENGTH && o->length == 5);
    assert_string_equal(o->fields, "content-length=5;");
    assert_memory_equal(o->body, "hello", 5);
    world_fini(&w);
}

static void test_trailers(void **state)
{
    static const struct field trailer = {STR_INIT("X-T"), STR_INIT("up"), FIELD_OTHER, 0};
    struct http_request r = request_make(STR("POST"), NULL, 0);
    struct world w;
    char text[TEXT];
    (void)state;
    r.body = HTTP_BODY_STREAM;
    world_open(&w);
    struct owner *o = ask_with(&w, 0, &r, STR("abc"), false);
    o->stream->to_send = (struct http_trailers){&trailer, 1};
    assert_int_equal(o->stream->ops->send_body(o->stream, STR("def"), true), E_OK);
    head_got(&w, 0, text);
    head_got(&w, 1, text);
    assert_string_equal(text, "x-t=up;");
    o->stream->ops->pull(o->stream);
    SEND(&w, HEADERS, END_HEADERS, 1, ok);
    SEND(&w, DATA, 0, 1, "hi");
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 1,
         "\x40\x03x-t\x04"
         "down");
    assert_true(o->is_complete);
    assert_string_equal(o->trailers, "x-t=down;");
    world_fini(&w);
}

static void test_bodiless(void **state)
{
    struct world w;
    struct http_request head = request_make(STR("HEAD"), NULL, 0);
    (void)state;
    world_open(&w);
    struct owner *o = ask_with(&w, 0, &head, STR_EMPTY, true);
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 1,
         "\x88\x0f\x0d\x01"
         "5");
    assert_true(o->is_complete && o->kind == HTTP_BODY_NONE);
    assert_string_equal(o->fields, "content-length=5;");
    o = ask(&w, 1);
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 3, "\x89"); /* 204 */
    assert_true(o->is_complete && o->status == 204 && o->kind == HTTP_BODY_NONE);
    o = ask(&w, 2);
    SEND(&w, HEADERS, END_HEADERS, 5, "\x8b"); /* 304, its end by itself */
    SEND(&w, DATA, END_STREAM, 5, "");
    assert_true(o->is_complete && o->status == 304 && o->kind == HTTP_BODY_NONE);
    world_fini(&w);
}

static void test_interim(void **state)
{
    struct world w;
    (void)state;
    world_open(&w);
    struct owner *o = ask(&w, 0), *flooded = ask(&w, 1);
    SEND(&w, HEADERS, END_HEADERS, 1,
         "\x08\x03"
         "100");
    assert_int_equal(o->interim, 0);
    SEND(&w, HEADERS, END_HEADERS, 1,
         "\x08\x03"
         "103");
    assert_int_equal(o->interim, 103);
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 1, ok);
    assert_int_equal(o->status, 200);
    for (int i = 0; i < HTTP2_INTERIM_MAX; i++) {
        SEND(&w, HEADERS, END_HEADERS, 3,
             "\x08\x03"
             "103");
        assert_false(flooded->is_closed);
    }
    SEND(&w, HEADERS, END_HEADERS, 3,
         "\x08\x03"
         "103");
    assert_true(flooded->is_closed && flooded->why == REASON_upstream_invalid);
    assert_non_null(w.conn);
    world_fini(&w);
}

/* ---- streams that end early ---- */

struct reset {
    uint8_t code;
    enum reason before, amid; /* the response's head */
    bool is_unsent;
};

static void test_resets(void **state)
{
    static const struct reset rows[] = {
        {NGHTTP2_REFUSED_STREAM,    REASON_upstream_refused,  REASON_upstream_cut,      true },
        {NGHTTP2_CANCEL,            REASON_upstream_canceled, REASON_upstream_canceled, false},
        {NGHTTP2_INTERNAL_ERROR,    REASON_upstream_reset,    REASON_upstream_cut,      false},
        {NGHTTP2_NO_ERROR,          REASON_upstream_reset,    REASON_upstream_cut,      false},
        {NGHTTP2_ENHANCE_YOUR_CALM, REASON_upstream_reset,    REASON_upstream_cut,      false},
    };
    struct world w;
    uint32_t id = 1;
    (void)state;
    world_open(&w);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char code[4] = {0, 0, 0, (char)rows[i].code};
        for (int is_amid = 0; is_amid < 2; is_amid++, id += 2) {
            struct owner *o = &w.owners[0];
            *o = (struct owner){0};
            (void)ask(&w, 0);
            if (is_amid) {
                SEND(&w, HEADERS, END_HEADERS, id, ok);
            }
            frame_send(&w, RST_STREAM, 0, id, code, sizeof(code));
            turn(&w);
            assert_true(o->is_closed);
            assert_int_equal(o->why, is_amid ? rows[i].amid : rows[i].before);
            assert_int_equal(o->is_unsent, !is_amid && rows[i].is_unsent);
        }
    }
    assert_int_equal(w.conn->stream_n, 0);
    world_fini(&w);
}

/* The response is whole; what is left of the request is not wanted, and taken all the same. */
static void test_early_response(void **state)
{
    struct world w;
    struct http_request r = request_make(STR("POST"), NULL, 0);
    (void)state;
    r.body = HTTP_BODY_STREAM;
    world_open(&w);
    struct owner *o = ask_with(&w, 0, &r, STR("abc"), false);
    o->is_kept = true;
    o->stream->ops->pull(o->stream);
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 1, ok);
    SEND(&w, RST_STREAM, 0, 1, "\0\0\0\0");
    assert_true(o->is_complete && !o->is_closed);
    assert_int_equal(o->stream->ops->send_body(o->stream, STR("more"), false), E_OK);
    owner_release(o);
    turn(&w);
    assert_int_equal(w.conn->stream_n, 0);
    world_fini(&w);
}

static void test_release_cancels(void **state)
{
    struct world w;
    size_t n;
    (void)state;
    world_open(&w);
    owner_release(ask(&w, 0));
    turn(&w);
    const uint8_t *reset = frame_got(&w, RST_STREAM, 0, &n);
    assert_int_equal(u32_of(reset + 9), NGHTTP2_CANCEL);
    assert_int_equal(w.free_n, 1);
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 1, ok); /* it was on its way */
    assert_non_null(w.conn);
    world_fini(&w);
}

/* ---- capacity ---- */

static void test_capacity(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    assert_int_equal(dial(&w), E_OK);
    for (size_t i = 0; i < 3; i++) {
        (void)ask(&w, i);
    }
    take(&w);
    settings_send(&w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    assert_int_equal(w.conn->stream_max, 1);
    assert_int_equal(w.conn->stream_n, 1);
    assert_false(w.owners[0].is_closed);
    for (size_t i = 1; i < 3; i++) { /* the others go elsewhere */
        assert_true(w.owners[i].is_unsent && w.owners[i].why == REASON_upstream_refused);
    }
    settings_send(&w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000);
    assert_int_equal(w.conn->stream_max, HTTP2_UPSTREAM_STREAMS_MAX);
    assert_int_equal(w.capacity_n, 2);
    assert_int_equal(frames_n(&w, HEADERS), 1);
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 1, ok);
    settings_send(&w, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0);
    assert_true(w.is_conn_closed); /* idle, and of no use */
    world_fini(&w);
}

/* RFC 9113 section 6.8: what is above the last stream was not processed; the others are answered
 * yet, and the connection takes no more. */
static void test_goaway(void **state)
{
    struct world w;
    (void)state;
    world_open(&w);
    struct owner *first = ask(&w, 0), *second = ask(&w, 1);
    SEND(&w, GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0");
    assert_true(second->is_closed && second->is_unsent && second->why == REASON_upstream_goaway);
    assert_false(first->is_closed);
    assert_int_equal(w.conn->stream_max, 0);
    assert_false(w.is_conn_closed);
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 1, ok);
    assert_true(first->is_complete);
    assert_true(w.is_conn_closed && w.has_connected);
    world_fini(&w);
}

static void test_goaway_when_idle(void **state)
{
    struct world w;
    (void)state;
    world_open(&w);
    SEND(&w, GOAWAY, 0, 0, "\x7f\xff\xff\xff\0\0\0\0");
    assert_true(w.is_conn_closed);
    world_fini(&w);
}

/* ---- the connection ends ---- */

static void test_cut(void **state)
{
    struct world w;
    (void)state;
    world_open(&w);
    struct owner *before = ask(&w, 0), *amid = ask(&w, 1), *whole = stream_open(&w, 2);
    struct http_request r = request_make(STR("GET"), NULL, 0);
    whole->is_patient = true;
    assert_int_equal(whole->stream->ops->send_request(whole->stream, &r, STR_EMPTY, true), E_OK);
    turn(&w);
    SEND(&w, HEADERS, END_HEADERS, 3, ok);
    SEND(&w, HEADERS, END_HEADERS, 5, ok);
    SEND(&w, DATA, END_STREAM, 5, "all of it");
    (void)close(w.fd);
    w.fd = -1;
    turn(&w);
    assert_true(before->is_closed && before->why == REASON_upstream_reset && !before->is_unsent);
    assert_true(amid->is_closed && amid->why == REASON_upstream_cut);
    assert_false(whole->is_closed || whole->is_complete); /* it has not asked for it yet */
    assert_false(w.is_conn_closed);
    assert_int_equal(w.conn->stream_max, 0);
    whole->stream->ops->pull(whole->stream);
    turn(&w);
    assert_true(whole->is_complete);
    assert_memory_equal(whole->body, "all of it", 9);
    assert_true(w.is_conn_closed);
    world_fini(&w);
}

static void test_closed_by_the_pool(void **state)
{
    struct world w;
    size_t n;
    (void)state;
    world_open(&w);
    struct owner *o = ask(&w, 0);
    w.conn->ops->close(w.conn);
    w.conn = NULL;
    assert_true(o->is_closed && o->why == REASON_none && !o->is_unsent);
    assert_false(w.is_conn_closed);
    assert_non_null(frame_got(&w, GOAWAY, 0, &n));
    world_fini(&w);
}

static void test_idle_times_out(void **state)
{
    struct world w;
    size_t n;
    (void)state;
    world_init(&w);
    w.settings.upstream_keepalive_timeout = USEC_PER_MS;
    assert_int_equal(dial(&w), E_OK);
    take(&w);
    settings_send(&w, 0, 0);
    for (int i = 0; i < 100 && !w.is_conn_closed; i++) {
        turn(&w);
    }
    assert_non_null(frame_got(&w, GOAWAY, 0, &n));
    assert_true(w.is_conn_closed);
    world_fini(&w);
}

/* A response that never comes; then the peer is asked whether it is there, and meanwhile it gets
 * nothing more. */
static void test_silence(void **state)
{
    struct world w;
    size_t n;
    (void)state;
    world_init(&w);
    assert_int_equal(dial(&w), E_OK);
    take(&w);
    settings_send(&w, 0, 0);
    struct owner *other = ask(&w, 1);
    w.settings.proxy_read_timeout = USEC_PER_MS;
    struct owner *o = ask(&w, 0);
    for (int i = 0; i < 100 && !o->is_closed; i++) {
        turn(&w);
    }
    turn(&w);
    assert_true(o->why == REASON_upstream_timeout && !o->is_unsent);
    assert_int_equal(stats_get(&w.stats->timeout_upstream_head), 1);
    const uint8_t *ping = frame_got(&w, PING, 0, &n);
    assert_non_null(ping);
    assert_int_equal(w.conn->stream_max, 0);
    frame_send(&w, PING, ACK, 0, ping + 9, 8);
    turn(&w);
    assert_int_equal(w.conn->stream_max, HTTP2_UPSTREAM_STREAMS_MAX);
    assert_false(other->is_closed);
    owner_release(other);
    world_fini(&w);
}

/* ---- WebSocket: RFC 8441 ---- */

static const struct field handshake[] = {
    {STR_INIT("Sec-WebSocket-Key"),     STR_INIT("dGhlIHNhbXBsZSBub25jZQ=="), FIELD_OTHER,   0},
    {STR_INIT("Sec-WebSocket-Version"), STR_INIT("13"),                       FIELD_OTHER,   0},
    {STR_INIT("Upgrade"),               STR_INIT("websocket"),                FIELD_upgrade, 0},
};

static void test_websocket(void **state)
{
    struct world w;
    struct http_request r = request_make(STR("GET"), handshake, 3);
    char text[TEXT];
    size_t n;
    (void)state;
    r.upgrade = STR("websocket");
    world_init(&w);
    assert_int_equal(dial(&w), E_OK);
    take(&w);
    settings_send(&w, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
    struct owner *o = ask_with(&w, 0, &r, STR_EMPTY, true);
    head_got(&w, 0, text);
    assert_string_equal(text, ":method=CONNECT;:protocol=websocket;:scheme=http;:path=/;"
                              ":authority=a.test;sec-websocket-version=13;");
    assert_int_equal(frame_got(&w, HEADERS, 0, &n)[4] & END_STREAM, 0);
    SEND(&w, HEADERS, END_HEADERS, 1, ok);
    assert_true(o->is_tunnel && o->status == 101);
    assert_string_equal(o->fields,
                        "upgrade=websocket;sec-websocket-accept=s3pPLMBiTxaQ9kYGzzhZRbK+xOo=;");
    assert_int_equal(o->stream->ops->send_body(o->stream, STR("up"), true), E_OK);
    SEND(&w, DATA, END_STREAM, 1, "down");
    assert_true(o->is_complete);
    assert_memory_equal(o->body, "down", 4);
    const uint8_t *data = frame_got(&w, DATA, 0, &n);
    assert_true(n == 2 && (data[4] & END_STREAM) != 0);
    world_fini(&w);
}

/* An endpoint that does not take it, asked before and after it has said so. */
static void test_websocket_not_offered(void **state)
{
    struct world w;
    struct http_request r = request_make(STR("GET"), handshake, 3);
    (void)state;
    r.upgrade = STR("websocket");
    world_init(&w);
    assert_int_equal(dial(&w), E_OK);
    struct owner *early = ask_with(&w, 0, &r, STR_EMPTY, true);
    take(&w);
    settings_send(&w, 0, 0);
    struct owner *late = ask_with(&w, 1, &r, STR_EMPTY, true);
    assert_true(early->is_closed && early->why == REASON_upgrade_not_supported);
    assert_true(late->is_closed && late->why == REASON_upgrade_not_supported);
    assert_false(early->is_unsent || late->is_unsent);
    assert_int_equal(frames_n(&w, HEADERS), 0);
    r.upgrade = STR("something"); /* passed over: RFC 9110 section 7.8 */
    struct owner *other = ask_with(&w, 2, &r, STR_EMPTY, true);
    SEND(&w, HEADERS, END_HEADERS | END_STREAM, 3, ok);
    assert_int_equal(other->status, 200);
    world_fini(&w);
}

/* ---- what it costs ---- */

static void test_an_idle_connection_keeps_little(void **state)
{
    struct world w;
    (void)state;
    world_open(&w);
    struct owner *o = ask(&w, 0);
    SEND(&w, HEADERS, END_HEADERS, 1, ok);
    SEND(&w, DATA, END_STREAM, 1, "hello");
    assert_true(o->is_complete);
    assert_int_equal(w.budget.used, 0); /* beyond what every connection may have */
    world_fini(&w);
}

/* What is not pulled is kept, and no more of it comes than the stream's window. */
static void test_nobody_pulls(void **state)
{
    static char data[16384];
    struct world w;
    struct http_request r = request_make(STR("GET"), NULL, 0);
    (void)state;
    world_open(&w);
    struct owner *o = stream_open(&w, 0);
    o->is_patient = true;
    assert_int_equal(o->stream->ops->send_request(o->stream, &r, STR_EMPTY, true), E_OK);
    turn(&w);
    SEND(&w, HEADERS, END_HEADERS, 1, ok);
    size_t windows = frames_n(&w, WINDOW_UPDATE);
    for (size_t n = 0; n < HTTP2_STREAM_WINDOW_BYTES; n += sizeof(data)) {
        frame_send(&w, DATA, 0, 1, data, sizeof(data));
        turn(&w);
    }
    assert_int_equal(frames_n(&w, WINDOW_UPDATE), windows);
    assert_true(w.budget.used >= HTTP2_STREAM_WINDOW_BYTES);
    frame_send(&w, DATA, 0, 1, data, 1); /* beyond it: RFC 9113 section 6.9.1 */
    turn(&w);
    assert_true(o->is_closed && o->why == REASON_upstream_invalid);
    world_fini(&w);
}

/* The n-th allocation and all behind it fail: an error, a broken stream or a broken connection, and
 * nothing is lost. */
static void test_without_memory(void **state)
{
    static const struct field trailer = {STR_INIT("X-T"), STR_INIT("up"), FIELD_OTHER, 0};
    bool is_done = false;
    (void)state;
    for (size_t nth = 1; !is_done; nth++) {
        struct world w;
        struct http_request r = request_make(STR("POST"), NULL, 0);
        struct owner *o = NULL;
        assert_true(nth < 500);
        r.body = HTTP_BODY_STREAM;
        world_init(&w);
        mem_fail_from(nth);
        if (dial(&w) == E_OK && (o = stream_open(&w, 0)) != NULL) {
            o->stream->to_send = (struct http_trailers){&trailer, 1};
            enum err e = o->stream->ops->send_request(o->stream, &r, STR("abc"), true);
            if (e != E_OK && e != E_AGAIN) {
                owner_release(o);
            } else {
                o->stream->ops->pull(o->stream);
            }
            take(&w);
            static const char greeting[] = "\0\0\0\4\0\0\0\0\0";
            static const char response[] = "\0\0\1\1\4\0\0\0\1\x88"
                                           "\0\0\2\0\1\0\0\0\1hi";
            (void)send(w.fd, greeting, sizeof(greeting) - 1, MSG_NOSIGNAL); /* may be closed */
            turn(&w);
            (void)send(w.fd, response, sizeof(response) - 1, MSG_NOSIGNAL); /* the same */
            turn(&w);
        }
        mem_fail_from(0);
        turn(&w);
        is_done = w.owners[0].is_complete;
        if (w.owners[0].stream != NULL) {
            owner_release(&w.owners[0]);
        }
        world_fini(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_wait_for_settings),
        cmocka_unit_test(test_bodies_wait_too),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_connect_times_out),
        cmocka_unit_test(test_not_http2),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_bodiless),
        cmocka_unit_test(test_interim),
        cmocka_unit_test(test_resets),
        cmocka_unit_test(test_early_response),
        cmocka_unit_test(test_release_cancels),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_goaway_when_idle),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_closed_by_the_pool),
        cmocka_unit_test(test_idle_times_out),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_websocket),
        cmocka_unit_test(test_websocket_not_offered),
        cmocka_unit_test(test_an_idle_connection_keeps_little),
        cmocka_unit_test(test_nobody_pulls),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
