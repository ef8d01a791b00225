/* The Secrets that are wanted: each one a feed, watched while there are watches left, else fetched
 * again and again, one at a time, oldest first. */
#include "source/api_priv.h"

#include "base/mem.h"

struct wanted {
    struct feed feed;
    struct api *api;
    struct list in_all, in_polled;
    uint64_t hash;
    bool is_wanted, is_answered;
    usec_t fetched_at; /* 0: not yet */
    struct str namespace_name, name;
    char text[];
};

void api_secret_answered(struct feed *f)
{
    struct wanted *secret = container_of(f, struct wanted, feed);
    struct api *a = secret->api;
    if (secret->is_answered) {
        return;
    }
    secret->is_answered = true;
    a->secrets.pending_n--;
    if (a->options.on_secret != NULL) {
        a->options.on_secret(a->options.arg, secret->namespace_name, secret->name);
    }
    api_changed(a);
}

/* ---- fetching ---- */

static void on_poll(struct timer *t);

static void poll_arm(struct api *a, usec_t delay)
{
    loop_arm(a->loop, &a->secrets.poll, delay, on_poll);
}

static void on_fetched_object(struct fetch *fetch, const struct tree_node *object)
{
    struct secrets *s = container_of(fetch, struct secrets, fetch);
    feed_begin(&s->asking->feed);
    feed_take(&s->asking->feed, object);
}

static void on_fetched(struct fetch *fetch, enum fetch_result result, struct str why)
{
    (void)why; /* what is known stays in use; the next time comes */
    struct secrets *s = container_of(fetch, struct secrets, fetch);
    struct wanted *secret = s->asking;
    struct api *a = secret->api;
    if (result == FETCH_MISSING) {
        feed_begin(&secret->feed);
    }
    if (result == FETCH_FOUND || result == FETCH_MISSING) {
        feed_end(&secret->feed);
    }
    if (result == FETCH_REFUSED) {
        api_secret_answered(&secret->feed);
    }
    s->asking = NULL;
    secret->fetched_at = loop_now(a->loop);
    list_del(&secret->in_polled);
    list_append(&s->polled, &secret->in_polled);
    poll_arm(a, SECRET_POLL_PAUSE);
}

static void ask(struct api *a, struct wanted *secret)
{
    struct secrets *s = &a->secrets;
    char path[API_PATH_MAX];
    s->asking = secret;
    enum err e = fetch_start(
        &s->fetch, a->options.client,
        api_path(secret->feed.row->resource, secret->namespace_name, secret->name, path));
    if (e != E_OK) { /* no memory, or too many calls: a little later */
        s->asking = NULL;
        poll_arm(a, USEC_PER_SEC);
    }
}

static void on_poll(struct timer *t)
{
    struct secrets *s = container_of(t, struct secrets, poll);
    if (s->asking != NULL || list_is_empty(&s->polled)) {
        return;
    }
    struct wanted *first = container_of(s->polled.next, struct wanted, in_polled);
    struct api *a = first->api;
    usec_t due = first->fetched_at == 0 ? 0 : first->fetched_at + a->options.secret_poll_every;
    if (due > loop_now(a->loop)) {
        poll_arm(a, due - loop_now(a->loop));
        return;
    }
    ask(a, first);
}

static void polled_leave(struct wanted *secret)
{
    struct secrets *s = &secret->api->secrets;
    if (s->asking == secret) {
        fetch_cancel(&s->fetch);
        s->asking = NULL;
        poll_arm(secret->api, 0);
    }
    list_del(&secret->in_polled);
}

/* ---- the set ---- */

struct secret_key {
    struct str namespace_name, name;
};

static uint64_t key_hash(const struct secret_key *key)
{
    return hash_str(key->namespace_name) * 0x9e3779b97f4a7c15U + hash_str(key->name);
}

static bool secret_is(const void *value, const void *key_arg)
{
    const struct wanted *secret = value;
    const struct secret_key *key = key_arg;
    return str_eq(secret->name, key->name) && str_eq(secret->namespace_name, key->namespace_name);
}

static bool is_watched(const struct wanted *secret)
{
    return !list_is_linked(&secret->in_polled);
}

static void follow(struct wanted *secret)
{
    struct api *a = secret->api;
    if (a->secrets.watched_n < a->options.secret_watches_max) {
        polled_leave(secret);
        a->secrets.watched_n++;
        feed_open(&secret->feed);
        return;
    }
    list_push(&a->secrets.polled, &secret->in_polled);
    poll_arm(a, 0);
}

static enum err secret_new(struct api *a, const struct secret_key *key, struct wanted **ret)
{
    struct secrets *s = &a->secrets;
    TRY(s->map.n < KUBE_SECRETS_MAX ? E_OK : E_LIMIT);
    TRY(map_reserve(&s->map, 1));
    struct wanted *secret = mem_calloc(1, sizeof(*secret) + key->namespace_name.n + key->name.n);
    if (secret == NULL) {
        return E_NOMEM;
    }
    mem_copy(secret->text, key->namespace_name.p, key->namespace_name.n);
    mem_copy(secret->text + key->namespace_name.n, key->name.p, key->name.n);
    secret->namespace_name = str_make(secret->text, key->namespace_name.n);
    secret->name = str_make(secret->text + key->namespace_name.n, key->name.n);
    secret->hash = key_hash(key);
    secret->api = a;
    must(map_add(&s->map, secret->hash, secret) == E_OK); /* room was made */
    list_append(&s->all, &secret->in_all);
    s->pending_n++;
    feed_init(&secret->feed, &a->rows[API_SECRETS], secret->namespace_name, secret->name);
    follow(secret);
    *ret = secret;
    return E_OK;
}

static void secret_free(struct wanted *secret, bool is_dropped)
{
    struct secrets *s = &secret->api->secrets;
    s->watched_n -= is_watched(secret);
    s->pending_n -= !secret->is_answered;
    polled_leave(secret);
    feed_fini(&secret->feed, is_dropped);
    list_del(&secret->in_all);
    must(map_del(&s->map, secret->hash, secret));
    mem_free(secret);
}

void api_secrets_begin(struct api *a)
{
    list_each(it, &a->secrets.all)
    {
        container_of(it, struct wanted, in_all)->is_wanted = false;
    }
}

enum err api_secret_want(struct api *a, struct str namespace_name, struct str name)
{
    const struct secret_key key = {namespace_name, name};
    struct wanted *secret = map_get(&a->secrets.map, key_hash(&key), secret_is, &key);
    if (secret == NULL) {
        TRY(secret_new(a, &key, &secret));
    }
    secret->is_wanted = true;
    return E_OK;
}

void api_secrets_end(struct api *a)
{
    struct secrets *s = &a->secrets;
    list_each(it, &s->all)
    {
        struct wanted *secret = container_of(it, struct wanted, in_all);
        if (!secret->is_wanted) {
            secret_free(secret, true);
        }
    }
    while (s->watched_n < a->options.secret_watches_max && !list_is_empty(&s->polled)) {
        follow(container_of(s->polled.next, struct wanted, in_polled));
    }
}

bool api_secret_is_pending(const struct api *a, struct str namespace_name, struct str name)
{
    const struct secret_key key = {namespace_name, name};
    const struct wanted *secret = map_get(&a->secrets.map, key_hash(&key), secret_is, &key);
    return secret == NULL || !secret->is_answered;
}

size_t api_pending_n(const struct api *a)
{
    return a->secrets.pending_n;
}

size_t api_polled_n(const struct api *a)
{
    return a->secrets.map.n - a->secrets.watched_n;
}

void secrets_init(struct api *a)
{
    list_init(&a->secrets.all);
    list_init(&a->secrets.polled);
    a->secrets.fetch.on_object = on_fetched_object;
    a->secrets.fetch.on_done = on_fetched;
}

void secrets_fini(struct api *a)
{
    list_each(it, &a->secrets.all)
    {
        secret_free(container_of(it, struct wanted, in_all), false);
    }
    loop_disarm(a->loop, &a->secrets.poll);
    map_fini(&a->secrets.map);
}
