/* The health port as an HTTP handler: makes the whole answer at once, then sends it in pieces that
 * never exceed what one connection may hold back. Only the series of /metrics are made piece by
 * piece, one in each tick, when the one before has been taken; and the page of certificates, which
 * is sent when it is whole: however many clients ask for it, one of them has its turn in a tick. A
 * request body is not read: it ends the connection. */
#include "admin/handler.h"

#include "base/limits.h"
#include "base/mem.h"
#include "wire/date.h"

enum { PIECE_BYTES = 64 * 1024, FIELDS_MAX = 6, DATE_BYTES = 40 };

struct answer { /* one for each request that is being answered */
    struct admin_handler *admin;
    struct http_stream *stream;
    struct admin_response response;
    struct deferred more; /* the next piece of a scrape is made then */
    struct list making;   /* in admin->making, while its page is being made */
    bool is_head;
    size_t sent;      /* of the body */
    bool has_scrape;  /* counted in admin->scrape_n */
    bool is_finished; /* the last piece was handed over */
};

static void answer_free(struct answer *a)
{
    a->admin->scrape_n -= a->has_scrape;
    loop_undefer(&a->more);
    list_del(&a->making);
    if (list_is_empty(&a->admin->making)) {
        loop_undefer(&a->admin->turn);
    }
    admin_response_drop_rest(&a->response);
    buf_fini(&a->response.body);
    mem_free(a);
}

static void answer_end(struct answer *a)
{
    struct http_stream *s = a->stream;
    answer_free(a);
    s->ops->release(s);
}

static void answer_go_on(struct answer *a, enum err e);

/* The body was sent: what comes next takes its place. */
static void answer_refill(struct answer *a)
{
    struct admin_response *r = &a->response;
    buf_reset(&r->body);
    a->sent = 0;
    if (!metrics_scrape_step(r->scrape, &r->body, METRICS_PIECE_BYTES)) {
        admin_response_drop_rest(r);
    }
    answer_go_on(a, r->body.bad ? E_NOMEM : E_OK);
}

static void on_more(struct deferred *d)
{
    answer_refill(container_of(d, struct answer, more));
}

static struct str answer_piece(struct answer *a)
{
    struct str piece = str_first(str_from(buf_str(&a->response.body), a->sent), PIECE_BYTES);
    a->sent += piece.n;
    a->is_finished = a->sent == a->response.body.n && a->response.scrape == NULL;
    return piece;
}

/* Sends pieces until all is sent, or the client is slow. */
static void answer_go_on(struct answer *a, enum err e)
{
    while (e == E_OK && !a->is_finished) {
        if (a->sent == a->response.body.n && a->response.scrape != NULL) {
            loop_defer(a->admin->views->loop, &a->more, on_more);
            return;
        }
        struct str piece = answer_piece(a);
        e = a->stream->ops->send_body(a->stream, piece, a->is_finished);
    }
    if (e != E_AGAIN) {
        answer_end(a); /* complete, or broken: then release cuts it */
    }
}

static void on_body(struct http_stream *s, struct str data, bool is_end)
{
    (void)s;
    (void)data;
    (void)is_end; /* never pulled */
}

static void on_writable(struct http_stream *s)
{
    answer_go_on(s->owner, E_OK);
}

static void on_closed(struct http_stream *s, enum reason why, bool is_unsent)
{
    (void)why;
    (void)is_unsent;
    answer_free(s->owner);
}

static const struct http_stream_events answer_events = {
    .on_body = on_body,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

static void add_field(struct http_response *r, struct field *fields, struct str name,
                      const char *value)
{
    fields[r->field_n++] =
        (struct field){.name = name, .value = str_from_cstr(value), .id = field_name_id(name)};
}

static void answer_start(struct answer *a)
{
    struct field fields[FIELDS_MAX];
    char date[DATE_BYTES] = "";
    struct wr w = wr_make(date, sizeof(date) - 1);
    struct http_response head = {.status = a->response.status, .fields = fields};

    date_emit_http(&w, (int64_t)(clock_wall() / USEC_PER_SEC));
    add_field(&head, fields, STR("date"), date);
    add_field(&head, fields, STR("content-type"), a->response.type);
    add_field(&head, fields, STR("cache-control"), "no-store");
    if (a->response.status == 405) {
        add_field(&head, fields, STR("allow"), "GET, HEAD");
    }
    if (a->response.outcome != NULL) {
        add_field(&head, fields, STR("x-lintel-outcome"), a->response.outcome);
    }
    head.body = a->response.scrape != NULL ? HTTP_BODY_STREAM : HTTP_BODY_LENGTH;
    head.body_n = a->response.body.n;
    if (a->is_head) {
        admin_response_drop_rest(&a->response);
        buf_reset(&a->response.body);
    }
    struct str piece = answer_piece(a);
    answer_go_on(a, a->stream->ops->send_response(a->stream, &head, piece, a->is_finished));
}

/* ---- pages that are made in turns ---- */

static void on_turn(struct deferred *d);

static void turn_next(struct admin_handler *admin)
{
    if (!list_is_empty(&admin->making)) {
        loop_defer(admin->views->loop, &admin->turn, on_turn);
    }
}

static void answer_make(struct answer *a)
{
    const struct admin_views *v = a->admin->views;
    struct admin_response *r = &a->response;
    struct certs_world world = v->certs(v->arg);
    bool is_more;
    if (certs_page_step(r->page, &world, CERTS_TURN, &r->body, &is_more) != E_OK) {
        admin_response_fail(r);
    } else if (is_more) {
        list_append(&a->admin->making, &a->making); /* behind the others */
        return;
    }
    admin_response_drop_rest(r);
    answer_start(a);
}

static void on_turn(struct deferred *d)
{
    struct admin_handler *admin = container_of(d, struct admin_handler, turn);
    struct answer *a = container_of(admin->making.next, struct answer, making);
    list_del(&a->making);
    answer_make(a);
    turn_next(admin);
}

/* Each holds a list of all series. */
static void limit_scrapes(struct answer *a)
{
    if (a->response.scrape == NULL) {
        return;
    }
    if (a->admin->scrape_n < METRICS_SCRAPES_MAX) {
        a->has_scrape = true;
        a->admin->scrape_n++;
        return;
    }
    admin_response_drop_rest(&a->response);
    buf_reset(&a->response.body);
    buf_add_str(&a->response.body, STR("too many scrapes at a time\n"));
    a->response.status = 503;
    a->response.type = "text/plain; charset=utf-8";
}

static void on_request(struct http_handler *h, struct http_stream *s, const struct http_request *r,
                       struct str body, bool is_end)
{
    struct admin_handler *admin = container_of(h, struct admin_handler, http);
    struct answer *a = mem_calloc(1, sizeof(*a));
    (void)body;
    (void)is_end;
    s->events = &answer_events;
    s->owner = a;
    if (a == NULL) {
        s->ops->release(s); /* out of memory: the connection is cut */
        return;
    }
    a->admin = admin;
    a->stream = s;
    buf_init(&a->response.body, ADMIN_BODY_BYTES_MAX);
    admin_respond(admin->views, r, &a->response);
    limit_scrapes(a);
    a->is_head = r->is_head;
    if (a->response.page != NULL) {
        list_append(&admin->making, &a->making);
        turn_next(admin);
    } else {
        answer_start(a);
    }
}

static void on_rejected(struct http_handler *h, const struct http_peer *peer, struct str start,
                        enum reason why)
{
    (void)h;
    (void)peer;
    (void)start;
    (void)why; /* a scraper's mistake is its own affair */
}

void admin_handler_init(struct admin_handler *h, const struct admin_views *views)
{
    *h = (struct admin_handler){
        .http = {.on_request = on_request, .on_rejected = on_rejected},
          .views = views
    };
    list_init(&h->making);
}
