/* One call for each request: body in, answer out, gone. */
#include "admission/handler.h"

#include "base/limits.h"
#include "base/mem.h"
#include "wire/date.h"

enum { ANSWER_BYTES_MAX = 128 << 10, DATE_BYTES = 40 };

const usec_t admission_buckets[ADMISSION_BUCKETS_N - 1] = {100,  250,   500,   1000,   2500,
                                                           5000, 10000, 25000, 100000, 1000000};

struct call {
    struct admission_handler *handler;
    struct http_stream *stream;
    struct buf body;
    size_t held_n; /* of the budget */
};

/* ---- life ---- */

static void call_free(struct call *c)
{
    c->handler->budget->used -= c->held_n;
    buf_fini(&c->body);
    mem_free(c);
}

static void call_end(struct call *c)
{
    struct http_stream *s = c->stream;
    call_free(c);
    s->ops->release(s);
}

/* ---- answering ---- */

static void call_send(struct call *c, uint16_t status, struct str type, struct str body)
{
    char date[DATE_BYTES];
    struct wr w = wr_make(date, sizeof(date));
    date_emit_http(&w, (int64_t)(clock_wall() / USEC_PER_SEC));
    const struct field fields[] = {
        {.name = STR("date"),         .value = {date, wr_n(&w)}, .id = field_name_id(STR("date"))        },
        {.name = STR("content-type"), .value = type,             .id = field_name_id(STR("content-type"))},
    };
    const struct http_response response = {
        .status = status,
        .fields = fields,
        .field_n = sizeof(fields) / sizeof(fields[0]),
        .body = HTTP_BODY_LENGTH,
        .body_n = body.n,
        .is_last = status != 200 && status != 400, /* the rest of the body is not read */
    };
    if (c->stream->ops->send_response(c->stream, &response, body, true) != E_AGAIN) {
        call_end(c); /* complete, or broken: then release cuts it */
    }
}

static void call_fail(struct call *c, uint16_t status, const char *why)
{
    struct buf text;
    buf_init(&text, ANSWER_BYTES_MAX);
    buf_addf(&text, "%s\n", why);
    c->handler->counters.failed++;
    call_send(c, status, STR("text/plain; charset=utf-8"), buf_str(&text));
    buf_fini(&text);
}

static void note_time(struct admission_counters *counters, usec_t took)
{
    size_t i = 0;
    while (i < ADMISSION_BUCKETS_N - 1 && took > admission_buckets[i]) {
        i++;
    }
    counters->took[i]++;
    counters->took_sum += took;
}

static void call_answer(struct call *c)
{
    struct admission_counters *counters = &c->handler->counters;
    enum review_verdict verdict;
    const char *why = NULL;
    struct buf out;
    usec_t began = clock_monotonic();
    buf_init(&out, ANSWER_BYTES_MAX);
    enum err e = review_answer(c->handler->judge, buf_str(&c->body), &out, &verdict, &why);
    if (e == E_OK) {
        counters->reviews[verdict]++;
        note_time(counters, clock_monotonic() - began);
        call_send(c, 200, STR("application/json"), buf_str(&out));
    } else if (e == E_PROTO) {
        call_fail(c, 400, why);
    } else if (e == E_LIMIT) {
        call_fail(c, 413, "the review has too many values");
    } else {
        call_fail(c, 500, "out of memory");
    }
    buf_fini(&out);
}

/* ---- the request ---- */

/* True when the call goes on. */
static bool body_add(struct call *c, struct str data)
{
    buf_add_str(&c->body, data);
    c->handler->budget->used += data.n;
    c->held_n += data.n;
    if (!c->body.bad) {
        return true;
    }
    if (data.n > c->body.max - c->body.n) {
        call_fail(c, 413, "the review is too large");
    } else {
        call_fail(c, 500, "out of memory");
    }
    return false;
}

static void take(struct call *c, struct str data, bool is_end)
{
    if (!body_add(c, data)) {
        return;
    }
    if (is_end) {
        call_answer(c);
    } else {
        c->stream->ops->pull(c->stream);
    }
}

static void on_body(struct http_stream *s, struct str data, bool is_end)
{
    take(s->owner, data, is_end);
}

static void on_writable(struct http_stream *s)
{
    call_end(s->owner);
}

static void on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    (void)why;
    (void)is_unsent;
    call_free(s->owner);
}

static const struct http_stream_events call_events = {
    .on_body = on_body,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

static void call_begin(struct call *c, const struct http_request *r, struct str body, bool is_end)
{
    if (!str_eq(r->method, STR("POST"))) {
        call_fail(c, 405, "reviews come by POST");
    } else if (r->body == HTTP_BODY_LENGTH && r->body_n > ADMISSION_BODY_BYTES_MAX) {
        call_fail(c, 413, "the review is too large");
    } else if (http_budget_is_spent(c->handler->budget)) {
        call_fail(c, 503, "too many reviews at a time");
    } else {
        take(c, body, is_end);
    }
}

static void on_request(struct http_handler *h, struct http_stream *s, const struct http_request *r,
                       struct str body, bool is_end)
{
    struct call *c = mem_calloc(1, sizeof(*c));
    s->events = &call_events;
    s->owner = c;
    if (c == NULL) {
        s->ops->release(s); /* out of memory: the connection is cut */
        return;
    }
    c->handler = container_of(h, struct admission_handler, http);
    c->stream = s;
    buf_init(&c->body, ADMISSION_BODY_BYTES_MAX);
    call_begin(c, r, body, is_end);
}

static void on_rejected(struct http_handler *h, const struct http_peer *peer, struct str start,
                        enum reason why)
{
    struct admission_handler *handler = container_of(h, struct admission_handler, http);
    (void)peer;
    (void)start;
    (void)why;
    handler->counters.rejected++;
}

void admission_handler_init(struct admission_handler *h, const struct admission_judge *judge,
                            struct http_budget *budget)
{
    *h = (struct admission_handler){
        .http = {.on_request = on_request, .on_rejected = on_rejected},
        .judge = judge,
        .budget = budget
    };
}
