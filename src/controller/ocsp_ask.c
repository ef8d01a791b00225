/* The line of those that wait, the few that are asked about, and what the answers change. */
#include "base/mem.h"
#include "controller/ocsp_priv.h"
#include "log/log.h"
#include "snapshot/write.h"

enum { LOOKS_PER_TICK = 8, CHAIN_MAX = 32 };

#define NOT_COMMITTED (1 * USEC_PER_SEC) /* then it should be */

/* ---- responses and the workers ---- */

enum err staple_publish(struct watched *w, struct str response, const struct tls_staple *s)
{
    struct ocsp *o = w->ocsp;
    struct buf *b = &o->shard;
    buf_reset(b);
    snap_shard_begin(b, SNAP_STAPLE, sizeof(struct snap_staple), w->key);
    struct snap_str at = snap_add_str(b, response);
    if (!b->bad) {
        snap_at(b, 0, struct snap_staple)->response = at;
        snap_at(b, 0, struct snap_staple)->until = s->until;
    }
    TRY(snap_shard_end(b));
    return publish_add(o->parts.publish, snap_at(b, 0, const struct snap_shard));
}

void staple_note(struct watched *w, const struct tls_staple *s)
{
    w->ocsp->stapled_n += w->until == 0;
    w->from = s->from;
    w->until = s->until;
    w->is_revoked = s->is_revoked;
}

enum err staple_drop(struct watched *w)
{
    struct ocsp *o = w->ocsp;
    struct buf *b = &o->shard;
    if (w->until == 0) {
        return E_OK;
    }
    buf_reset(b);
    snap_shard_deleted(b, SNAP_STAPLE, w->key);
    TRY(snap_shard_end(b));
    TRY(publish_add(o->parts.publish, snap_at(b, 0, const struct snap_shard)));
    o->stapled_n--;
    w->from = w->until = 0;
    w->is_revoked = false;
    return E_OK;
}

/* ---- when ---- */

static usec_t random_between(struct ocsp *o, usec_t min, usec_t max)
{
    o->random = hash_bytes(&o->random, sizeof(o->random));
    return min + o->random % (max - min + 1);
}

static void on_time(struct timer *t);

/* To whatever comes first: its turn, or the end of its response. */
static void watched_arm(struct watched *w)
{
    struct ocsp *o = w->ocsp;
    usec_t now = loop_now(o->parts.loop), delay = OCSP_LOOK;
    int64_t left = w->until - ocsp_now_s();
    if (w->is_due) {
        usec_t until_due = w->due_at > now ? w->due_at - now : 0;
        delay = until_due < delay ? until_due : delay;
    }
    if (w->until > 0) {
        usec_t until_end = left > 0 ? (usec_t)left * USEC_PER_SEC : USEC_PER_SEC;
        delay = until_end < delay ? until_end : delay;
    }
    if (w->is_due || w->until > 0) {
        loop_arm(o->parts.loop, &w->timer, delay, on_time);
    } else {
        loop_disarm(o->parts.loop, &w->timer);
    }
}

static void watched_later(struct watched *w, usec_t delay)
{
    w->is_due = true;
    w->due_at = loop_now(w->ocsp->parts.loop) + delay;
    watched_arm(w);
}

/* At half of its time; of one that is older than that already, at half of what is left. A little
 * earlier at random, so that replicas do not all ask at once. */
static usec_t refresh_delay(struct ocsp *o, int64_t from, int64_t until)
{
    int64_t now = ocsp_now_s(), half = from + (until - from) / 2;
    int64_t left_s = half > now ? half - now : (until - now) / 2;
    usec_t delay = (usec_t)(left_s > 0 ? left_s : 0) * USEC_PER_SEC;
    delay = delay > OCSP_REFRESH_MAX ? OCSP_REFRESH_MAX : delay;
    delay -= random_between(o, 0, delay / 10);
    return delay < OCSP_REFRESH_MIN ? OCSP_REFRESH_MIN : delay;
}

static usec_t again_delay(struct ocsp *o, uint32_t round)
{
    usec_t most = OCSP_AGAIN_MIN;
    for (uint32_t i = 0; i < round && most < OCSP_AGAIN_MAX; i++) {
        most *= 2;
    }
    return random_between(o, OCSP_AGAIN_MIN / 2, most < OCSP_AGAIN_MAX ? most : OCSP_AGAIN_MAX);
}

/* ---- the line ---- */

static void on_pump(struct deferred *d);

static void line_leave(struct watched *w)
{
    struct ocsp *o = w->ocsp;
    o->waiting_n -= list_is_linked(&w->link) && w->question == NULL ? 1 : 0;
    list_del(&w->link);
}

static void line_join(struct watched *w)
{
    struct ocsp *o = w->ocsp;
    w->is_due = false;
    if (!list_is_linked(&w->link)) {
        list_append(&o->waiting, &w->link);
        o->waiting_n++;
    }
    loop_defer(o->parts.loop, &o->pump, on_pump);
    watched_arm(w);
}

/* ---- what came back ---- */

static void watched_failed(struct watched *w, const char *why)
{
    struct ocsp *o = w->ocsp;
    o->failed++;
    w->failures++;
    if (w->failures == 1) {
        watched_later(w, random_between(o, OCSP_RETRY_MIN, OCSP_RETRY_MAX));
        return;
    }
    w->trouble = TROUBLE_FAILED;
    w->why = why;
    watched_tell(w);
    watched_later(w, again_delay(o, w->failures - 2));
}

/* An older one than workers have may be a replay, or come from a responder that is behind: that
 * something was revoked must not be forgotten by it. */
static bool is_older(const struct watched *w, const struct tls_staple *s)
{
    return w->until > ocsp_now_s() && s->from < w->from;
}

static void watched_answered(struct watched *w, struct str response, const struct tls_staple *s)
{
    struct ocsp *o = w->ocsp;
    bool was_revoked = w->is_revoked;
    if (is_older(w, s)) {
        o->older++;
    } else if (staple_publish(w, response, s) == E_OK) {
        staple_note(w, s);
        o->answered++;
        o->parts.on_due(o->parts.arg);
    } else {
        watched_failed(w, "memory is short");
        return;
    }
    w->failures = 0;
    w->trouble = TROUBLE_NONE;
    if (w->is_revoked && !was_revoked) {
        watched_tell(w);
    }
    watched_later(w, refresh_delay(o, w->from, w->until));
}

/* Diagnostics are for tenants, too: what they tell of addresses that somebody asked for by a
 * certificate shall not be more than that it did not work. The log has more. */
static const char *failure_text(enum err e)
{
    return e == E_REFUSED ? "it is at an address that may not be asked" : "it gives no response";
}

static void on_answer(void *arg, enum err e, struct str body, const char *detail)
{
    struct watched *w = arg;
    struct ocsp *o = w->ocsp;
    struct tls_ocsp *about = w->about;
    struct tls_staple staple;
    const char *why = failure_text(e);
    line_leave(w);
    w->question = NULL;
    w->about = NULL;
    loop_defer(o->parts.loop, &o->pump, on_pump);
    if (e == E_OK) {
        e = tls_ocsp_verify(about, body, ocsp_now_s(), &staple, &why);
        detail = why;
    }
    tls_ocsp_free(about);
    if (e == E_OK) {
        watched_answered(w, body, &staple);
        return;
    }
    log_line(LOG_DEBUG, "no OCSP response secret=%.*s error=\"%s\" detail=\"%s\"", STR_ARG(w->key),
             err_text(e), detail);
    watched_failed(w, e == E_NOMEM ? "memory is short" : why);
}

/* ---- asking ---- */

enum err about_make(const struct snap_shard *shard, const char **ret_why, struct tls_ocsp **ret)
{
    const struct snap_certificate *c = (const struct snap_certificate *)(const void *)shard;
    const struct snap_str *from = snap_array_get(c, c->chain);
    struct str chain[CHAIN_MAX];
    uint32_t n = c->chain.n < CHAIN_MAX ? c->chain.n : CHAIN_MAX;
    for (uint32_t i = 0; i < n; i++) {
        chain[i] = snap_str_get(c, from[i]);
    }
    return tls_ocsp_new(chain, n, ret_why, ret);
}

/* False: there are too many already. */
bool watched_follow(struct watched *w)
{
    struct ocsp *o = w->ocsp;
    if (!w->is_followed && o->followed_n < OCSP_CERTIFICATES_MAX) {
        w->is_followed = true;
        o->followed_n++;
    }
    return w->is_followed;
}

void watched_unfollow(struct watched *w)
{
    w->ocsp->followed_n -= w->is_followed;
    w->is_followed = false;
}

static enum err question_put(struct watched *w)
{
    struct ocsp *o = w->ocsp;
    const struct tls_ocsp_responder *r = tls_ocsp_responder(w->about);
    struct question_text q = {.host = r->host,
                              .port = r->port,
                              .authority = r->authority,
                              .target = r->target,
                              .turn = w->failures};
    buf_reset(&o->text);
    TRY(tls_ocsp_emit_request(w->about, &o->text));
    q.body = buf_str(&o->text);
    TRY(question_ask(o->responders, &q, on_answer, w, &w->question));
    list_append(&o->asked, &w->link);
    return E_OK;
}

static void watched_unaskable(struct watched *w, enum trouble trouble, const char *why)
{
    w->trouble = trouble;
    w->why = why;
    watched_tell(w);
}

static void watched_ask_about(struct watched *w, const struct snap_shard *shard)
{
    const char *why = NULL;
    enum err e = about_make(shard, &why, &w->about);
    if (e == E_REFUSED) {
        watched_unaskable(w, TROUBLE_UNASKABLE, why);
    } else if (e == E_OK && !watched_follow(w)) {
        watched_unaskable(w, TROUBLE_OVER, NULL);
        watched_later(w, OCSP_AGAIN_MAX);
    } else if (e == E_OK && question_put(w) == E_OK) {
        return;
    } else if (e != E_NOTFOUND && e != E_PROTO) { /* E_PROTO: the compiler has told of it */
        watched_later(w, OCSP_AGAIN_MIN);         /* memory is short */
    }
    tls_ocsp_free(w->about);
    w->about = NULL;
}

static void watched_ask(struct watched *w)
{
    const struct snapshot_entry *e =
        snapshot_find(publish_state(w->ocsp->parts.publish), SNAP_CERTIFICATE, w->key, w->hash);
    if (e != NULL && hash_bytes(e->shard, e->shard->bytes) == w->content) {
        watched_ask_about(w, e->shard);
    } else {
        watched_later(w, NOT_COMMITTED);
    }
}

static bool may_ask(const struct ocsp *o, const struct watched *w)
{
    size_t n = 0;
    list_each(it, &o->asked)
    {
        n += str_eq(container_of(it, struct watched, link)->namespace_name, w->namespace_name);
    }
    return n < OCSP_QUESTIONS_PER_NAMESPACE;
}

/* Most certificates have no responder: finding that out takes a while for all of them. */
static void on_pump(struct deferred *d)
{
    struct ocsp *o = container_of(d, struct ocsp, pump);
    int budget = LOOKS_PER_TICK;
    list_each(it, &o->waiting)
    {
        struct watched *w = container_of(it, struct watched, link);
        if (budget == 0 || responders_n(o->responders) >= OCSP_QUESTIONS_MAX) {
            break;
        }
        if (may_ask(o, w)) {
            budget--;
            line_leave(w);
            watched_ask(w);
        }
    }
    if (budget == 0) {
        loop_defer(o->parts.loop, &o->pump, on_pump);
    }
}

static void on_time(struct timer *t)
{
    struct watched *w = container_of(t, struct watched, timer);
    struct ocsp *o = w->ocsp;
    bool has_ended = w->until > 0 && w->until <= ocsp_now_s() && staple_drop(w) == E_OK;
    if (has_ended) {
        o->parts.on_due(o->parts.arg);
        watched_tell(w);
    }
    if (w->is_due && w->due_at <= loop_now(o->parts.loop)) {
        line_join(w);
    } else {
        watched_arm(w);
    }
}

/* ---- begin and end ---- */

void watched_begin(struct watched *w)
{
    if (w->until > 0) {
        watched_later(w, refresh_delay(w->ocsp, w->from, w->until));
    } else {
        line_join(w);
    }
}

void watched_stop(struct watched *w)
{
    line_leave(w);
    question_cancel(w->question);
    tls_ocsp_free(w->about);
    w->question = NULL;
    w->about = NULL;
    w->is_due = false;
    watched_arm(w);
}
