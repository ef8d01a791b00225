/* One struct watched for each certificate in service; its timer says what comes next. */
#include "controller/ocsp.h"

#include <sys/random.h>

#include "base/mem.h"
#include "controller/ocsp_priv.h"
#include "log/log.h"

enum { TEXT_BYTES_MAX = 2048 };

/* ---- certificates come and go ---- */

static bool watched_is(const void *value, const void *key)
{
    const struct watched *w = value;
    return str_eq(w->key, *(const struct str *)key);
}

struct watched *watched_find(const struct ocsp *o, struct str key)
{
    return map_get(&o->certificates, hash_str(key), watched_is, &key);
}

static struct watched *watched_new(struct ocsp *o, struct str key)
{
    struct watched *w = mem_calloc(1, sizeof(*w) + key.n + 1);
    if (w == NULL) {
        return NULL;
    }
    char *text = (char *)(w + 1);
    mem_copy(text, key.p, key.n);
    w->ocsp = o;
    w->key = str_make(text, key.n);
    w->hash = hash_str(w->key);
    (void)str_cut(w->key, '/', &w->namespace_name, &w->name); /* keys are made so */
    list_init(&w->link);
    if (map_add(&o->certificates, w->hash, w) != E_OK) {
        mem_free(w);
        return NULL;
    }
    return w;
}

/* As if it had never been asked about. */
static enum err watched_reset(struct watched *w)
{
    TRY(staple_drop(w));
    watched_stop(w);
    watched_unfollow(w);
    w->trouble = TROUBLE_NONE;
    w->failures = 0;
    return E_OK;
}

static void watched_free(struct watched *w)
{
    struct ocsp *o = w->ocsp;
    watched_stop(w);
    watched_unfollow(w);
    loop_disarm(o->parts.loop, &w->timer);
    o->stapled_n -= w->until > 0;
    (void)map_del(&o->certificates, w->hash, w); /* it is there */
    mem_free(w);
}

/* Of the saved snapshot. Whether it is wanted at all is known when everything was seen. */
static enum err watched_restore(struct watched *w, const struct snap_shard *shard)
{
    const struct snapshot_entry *e =
        snapshot_find(publish_state(w->ocsp->parts.publish), SNAP_STAPLE, w->key, w->hash);
    const char *why;
    struct tls_ocsp *about;
    struct tls_staple staple;
    if (e == NULL || about_make(shard, &why, &about) != E_OK) {
        return E_OK;
    }
    const struct snap_staple *saved = (const struct snap_staple *)(const void *)e->shard;
    enum err err =
        tls_ocsp_verify(about, snap_str_get(saved, saved->response), ocsp_now_s(), &staple, &why);
    tls_ocsp_free(about);
    if (err == E_OK && watched_follow(w)) {
        TRY(staple_publish(w, snap_str_get(saved, saved->response), &staple));
        staple_note(w, &staple);
    }
    return E_OK;
}

static enum err certificate_see(struct ocsp *o, const struct snap_shard *shard)
{
    struct str key = snap_str_get(shard, shard->key);
    struct watched *w = watched_find(o, key);
    bool is_new = w == NULL;
    w = is_new ? watched_new(o, key) : w;
    if (w == NULL) {
        return E_NOMEM;
    }
    TRY(is_new ? watched_restore(w, shard) : watched_reset(w));
    w->content = hash_bytes(shard, shard->bytes);
    if (o->is_on) {
        watched_begin(w);
    }
    return E_OK;
}

static enum err certificate_gone(struct ocsp *o, const struct snap_shard *shard)
{
    struct watched *w = watched_find(o, snap_str_get(shard, shard->key));
    if (w != NULL) {
        TRY(staple_drop(w));
        watched_free(w);
    }
    return E_OK;
}

enum err ocsp_see(void *ocsp, const struct snap_shard *shard)
{
    struct ocsp *o = ocsp;
    if (shard->kind == SNAP_CERTIFICATE) {
        return shard->is_deleted ? certificate_gone(o, shard) : certificate_see(o, shard);
    }
    if (shard->kind == SNAP_GLOBAL && shard->is_deleted == 0) {
        const struct snap_global *global = (const struct snap_global *)(const void *)shard;
        o->is_wanted = global->settings.enable_ocsp != 0;
    }
    return E_OK;
}

/* ---- on and off ---- */

static enum err responders_start(struct ocsp *o)
{
    const struct responders_options options = {.allowed = o->parts.options->responders,
                                               .allowed_n = o->parts.options->responder_n};
    if (o->responders != NULL || o->is_broken) {
        return E_OK;
    }
    enum err e = responders_new(o->parts.loop, &options, &o->responders);
    if (e != E_OK && e != E_NOMEM) {
        o->is_broken = true;
        log_line(LOG_ERROR, "no OCSP responder can be asked; nothing is stapled error=\"%s\"",
                 err_text(e));
        return E_OK;
    }
    return e;
}

static enum err switch_on(struct ocsp *o)
{
    TRY(responders_start(o));
    if (o->is_broken) {
        return E_OK;
    }
    o->is_on = true;
    map_each(slot, &o->certificates)
    {
        watched_begin(slot->value);
    }
    return E_OK;
}

static enum err switch_off(struct ocsp *o)
{
    o->is_on = false;
    map_each(slot, &o->certificates)
    {
        TRY(watched_reset(slot->value)); /* what is still stapled calls for another try */
    }
    return E_OK;
}

enum err ocsp_settle(struct ocsp *o)
{
    if (o->is_wanted && !o->is_on) {
        return switch_on(o);
    }
    return !o->is_wanted && (o->is_on || o->stapled_n > 0) ? switch_off(o) : E_OK;
}

/* ---- the whole ---- */

enum err ocsp_new(const struct ocsp_parts *parts, struct ocsp **ret)
{
    struct ocsp *o = mem_calloc(1, sizeof(*o));
    if (o == NULL) {
        return E_NOMEM;
    }
    o->parts = *parts;
    map_init(&o->certificates);
    list_init(&o->waiting);
    list_init(&o->asked);
    buf_init(&o->shard, SNAPSHOT_SHARD_BYTES_MAX);
    buf_init(&o->text, TEXT_BYTES_MAX);
    if (getrandom(&o->random, sizeof(o->random), GRND_NONBLOCK) < 0) {
        o->random = (uint64_t)(uintptr_t)o ^ clock_wall(); /* just after boot */
    }
    *ret = o;
    return E_OK;
}

void ocsp_free(struct ocsp *o)
{
    if (o == NULL) {
        return;
    }
    map_each(slot, &o->certificates)
    {
        struct watched *w = slot->value;
        watched_stop(w);
        loop_disarm(o->parts.loop, &w->timer);
        mem_free(w);
    }
    map_fini(&o->certificates);
    responders_free(o->responders);
    loop_undefer(&o->pump);
    buf_fini(&o->shard);
    buf_fini(&o->text);
    mem_free(o);
}
