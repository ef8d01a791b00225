/* Keys come at once and go later. */
#include "controller/keyring.h"

#include "base/limits.h"
#include "base/mem.h"
#include "snapshot/write.h"

#include <string.h>

#define WIPE_PERIOD (10 * USEC_PER_SEC)

struct retired {
    struct list link;
    usec_t due;
    enum snap_kind kind;
    struct str key; /* behind the struct */
};

static struct str key_of(const struct snap_shard *shard)
{
    return snap_str_get(shard, shard->key);
}

static void retired_free(struct retired *r)
{
    list_del(&r->link);
    mem_free(r);
}

/* It is named again, or was told twice. */
static void retired_cancel(struct keyring *k, const struct snap_shard *shard)
{
    list_each(it, &k->retired)
    {
        struct retired *r = container_of(it, struct retired, link);
        if (r->kind == (enum snap_kind)shard->kind && str_eq(r->key, key_of(shard))) {
            retired_free(r);
        }
    }
}

static enum err retired_add(struct keyring *k, const struct snap_shard *shard)
{
    struct str key = key_of(shard);
    struct retired *r = mem_alloc(sizeof(*r) + key.n);
    if (r == NULL) {
        return E_NOMEM;
    }
    char *text = (char *)(r + 1);
    mem_copy(text, key.p, key.n);
    *r = (struct retired){.due = loop_now(k->loop) + SECRET_KEPT,
                          .kind = (enum snap_kind)shard->kind,
                          .key = str_make(text, key.n)};
    list_init(&r->link);
    list_append(&k->retired, &r->link);
    return E_OK;
}

/* ---- tickets ---- */

static enum err tickets_add(struct keyring *k)
{
    struct buf b;
    if (k->tickets.n == 0) {
        return E_OK;
    }
    buf_init(&b, SNAPSHOT_SHARD_BYTES_MAX);
    enum err e = ticket_keys_emit(&b, k->tickets.keys, k->tickets.n);
    e = e == E_OK ? publish_add(k->publish, snap_at(&b, 0, const struct snap_shard)) : e;
    buf_wipe(&b);
    return e;
}

/* True when there are new ones to be committed. */
static bool tickets_are_due(struct keyring *k)
{
    bool is_new = false;
    if (k->has_tickets || tickets_renew(&k->tickets, loop_now(k->loop), &is_new) != E_OK) {
        return false;
    }
    k->are_tickets_missed = k->are_tickets_missed || is_new;
    if (!k->are_tickets_missed || tickets_add(k) != E_OK) {
        return false; /* or with the next tick of the timer */
    }
    k->are_tickets_missed = false;
    return true;
}

/* Those of a Secret come, change, or leave the place to ours. */
static enum err tickets_take(struct keyring *k, const struct snap_shard *shard)
{
    TRY(shard->is_deleted ? tickets_add(k) : publish_add(k->publish, shard));
    k->has_tickets = !shard->is_deleted;
    return E_OK;
}

enum err keyring_add(struct keyring *k, const struct snap_shard *shard)
{
    if (shard->kind == SNAP_TICKETS) {
        return tickets_take(k, shard);
    }
    retired_cancel(k, shard);
    return shard->is_deleted ? retired_add(k, shard) : publish_add(k->publish, shard);
}

/* ---- time passes ---- */

static enum err take_away(struct keyring *k, const struct retired *r)
{
    struct buf b;
    buf_init(&b, SNAPSHOT_SHARD_BYTES_MAX);
    snap_shard_deleted(&b, r->kind, r->key);
    enum err e = snap_shard_end(&b);
    if (e == E_OK) {
        e = publish_add(k->publish, snap_at(&b, 0, const struct snap_shard));
    }
    buf_fini(&b);
    return e;
}

static void on_timer(struct timer *t)
{
    struct keyring *k = container_of(t, struct keyring, timer);
    bool is_due = tickets_are_due(k);
    list_each(it, &k->retired)
    {
        struct retired *r = container_of(it, struct retired, link);
        if (r->due > loop_now(k->loop) || take_away(k, r) != E_OK) {
            break; /* later */
        }
        retired_free(r);
        is_due = true;
    }
    publish_wipe(k->publish, clock_monotonic());
    loop_arm(k->loop, &k->timer, WIPE_PERIOD, on_timer);
    if (is_due) {
        k->on_due(k->arg);
    }
}

/* ---- life ---- */

enum err keyring_commit(struct keyring *k, bool is_whole)
{
    bool is_new;
    return publish_commit(k->publish, is_whole, &is_new);
}

enum err keyring_init(struct keyring *k, struct loop *loop, const struct publish_options *options,
                      void (*on_due)(void *arg), void *arg)
{
    struct publish_options o = *options;
    *k = (struct keyring){.loop = loop, .on_due = on_due, .arg = arg};
    list_init(&k->retired);
    o.is_secret = true;
    TRY(publish_new(&o, &k->publish));
    (void)tickets_are_due(k); /* else with the next tick of the timer */
    loop_arm(loop, &k->timer, WIPE_PERIOD, on_timer);
    return E_OK;
}

void keyring_fini(struct keyring *k)
{
    if (k->publish == NULL) {
        return;
    }
    list_each(it, &k->retired)
    {
        retired_free(container_of(it, struct retired, link));
    }
    loop_disarm(k->loop, &k->timer);
    explicit_bzero(&k->tickets, sizeof(k->tickets));
    publish_free(k->publish);
    k->publish = NULL;
}
