/* Names, each with its timer, and the bridge between c-ares and the loop.
 *
 *   name: ready -> asking -> sleeping -> ready ...     (dropped while asking: freed on its answer)
 *
 * c-ares tells which of its descriptors it waits for (sock_state) and when it wants to be called
 * next (ares_timeout); at most RESOLVER_PARALLEL_MAX names are with it at a time. */
#include "source/resolver.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include <ares.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "source/resolver_answer.h"

enum {
    NAME_BYTES_MAX = 253, /* RFC 1035 section 2.3.4, without the last dot */
    DENIALS_BELIEVED = 2,
};

enum name_state { NAME_READY, NAME_ASKING, NAME_SLEEPING };

struct name {
    struct resolver *resolver;
    enum name_state state;
    bool is_wanted;
    uint32_t failures, denials; /* in a row */
    uint64_t hash;
    struct list in_ready;
    struct timer timer;
    struct str text;
    char bytes[]; /* with a NUL, for c-ares */
};

struct socket_watch { /* one descriptor of c-ares */
    struct resolver *resolver;
    struct list link;
    struct watch watch;
};

struct resolver {
    struct loop *loop;
    struct store *store;
    struct resolver_options options;
    ares_channel channel;
    bool has_library, has_channel, is_closing;
    struct map names;
    size_t wanted_n, asking_n;
    struct list ready;
    struct list sockets;
    struct timer timeout;
    struct deferred batch, pump;
};

/* ---- the store ---- */

static const struct resolution *resolution_of(const struct name *n)
{
    const struct object *o = store_get(n->resolver->store, OBJECT_RESOLUTION, STR_EMPTY, n->text);
    return (const void *)o; /* the object is its first member */
}

static void batch_run(struct deferred *deferred)
{
    struct resolver *r = container_of(deferred, struct resolver, batch);
    if (r->options.on_batch != NULL) {
        r->options.on_batch(r->options.arg);
    }
}

static bool is_known(const struct name *n, const struct resolver_answer *a)
{
    const struct resolution *old = resolution_of(n);
    if (old == NULL || old->address_n != a->address_n || old->is_refused != a->is_refused) {
        return false;
    }
    for (uint32_t i = 0; i < a->address_n; i++) {
        if (ip_cmp(&old->addresses[i], &a->addresses[i]) != 0) {
            return false;
        }
    }
    return true;
}

static struct object *resolution_new(struct str name, const struct resolver_answer *a)
{
    struct arena arena;
    size_t bytes = a->address_n * sizeof(*a->addresses);
    arena_init(&arena, MANIFEST_OBJECT_BYTES_MAX);
    struct resolution *resolution = arena_calloc(&arena, 1, sizeof(*resolution));
    struct ip *addresses = arena_calloc(&arena, a->address_n, sizeof(*addresses));
    if (resolution == NULL || addresses == NULL ||
        !arena_str(&arena, name, &resolution->object.name)) {
        arena_fini(&arena);
        return NULL;
    }
    mem_copy(addresses, a->addresses, bytes);
    resolution->object.kind = OBJECT_RESOLUTION;
    resolution->object.namespace_name = STR_EMPTY;
    resolution->object.created_s = INT64_MAX;
    resolution->addresses = addresses;
    resolution->address_n = a->address_n;
    resolution->is_refused = a->is_refused;
    resolution->object.arena = arena;
    return &resolution->object;
}

static enum err publish(struct name *n, const struct resolver_answer *a)
{
    struct resolver *r = n->resolver;
    if (is_known(n, a)) {
        return E_OK;
    }
    struct object *o = resolution_new(n->text, a);
    if (o == NULL) {
        return E_NOMEM;
    }
    TRY(store_put(r->store, o));
    loop_defer(r->loop, &r->batch, batch_run);
    return E_OK;
}

/* ---- names ---- */

static usec_t clamp(usec_t time, usec_t min, usec_t max)
{
    return time < min ? min : time > max ? max : time;
}

/* The shortest time that any part of the answer is good for. */
static usec_t time_to_live(const struct resolver *r, const struct ares_addrinfo *info)
{
    int seconds = INT_MAX;
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
        seconds = node->ai_ttl < seconds ? node->ai_ttl : seconds;
    }
    for (const struct ares_addrinfo_cname *name = info->cnames; name != NULL; name = name->next) {
        seconds = name->ttl < seconds ? name->ttl : seconds;
    }
    usec_t ttl = seconds < 0 ? 0 : (usec_t)seconds * USEC_PER_SEC;
    return clamp(ttl, r->options.ttl_min, r->options.ttl_max);
}

static bool name_eq(const void *value, const void *text)
{
    return str_eq(((const struct name *)value)->text, *(const struct str *)text);
}

static void name_free(struct name *n)
{
    struct resolver *r = n->resolver;
    must(map_del(&r->names, n->hash, n));
    list_del(&n->in_ready);
    loop_disarm(r->loop, &n->timer);
    mem_free(n);
}

static void pump_run(struct deferred *deferred);

static void name_ready(struct name *n)
{
    struct resolver *r = n->resolver;
    n->state = NAME_READY;
    list_append(&r->ready, &n->in_ready);
    loop_defer(r->loop, &r->pump, pump_run);
}

static void name_wake(struct timer *t)
{
    name_ready(container_of(t, struct name, timer));
}

static void name_sleep(struct name *n, usec_t time)
{
    n->state = NAME_SLEEPING;
    loop_arm(n->resolver->loop, &n->timer, time, name_wake);
}

static void name_failed(struct name *n)
{
    const struct resolver_options *o = &n->resolver->options;
    uint32_t doublings = n->failures < 16 ? n->failures : 16;
    n->failures += n->failures < UINT32_MAX;
    if (resolution_of(n) == NULL) {
        struct resolver_answer none = {0};
        (void)publish(n, &none); /* out of memory: at the next failure, or with the answer */
    }
    name_sleep(n, clamp(o->retry_min << doublings, o->retry_min, o->retry_max));
}

/* There is no such name, says a server: believed when it says so again. */
static void name_denied(struct name *n)
{
    struct resolver_answer none = {0};
    n->denials += n->denials < UINT32_MAX;
    if (n->denials >= DENIALS_BELIEVED) {
        (void)publish(n, &none); /* out of memory: at the next denial */
    }
    name_failed(n);
}

static void name_answered(struct name *n, const struct ares_addrinfo *info)
{
    struct resolver_answer answer;
    if (resolver_answer_make(info, &answer) != E_OK) {
        name_failed(n);
        return;
    }
    enum err error = publish(n, &answer);
    mem_free(answer.addresses);
    if (error != E_OK) {
        name_failed(n);
        return;
    }
    n->failures = n->denials = 0;
    name_sleep(n, time_to_live(n->resolver, info));
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    (void)timeouts;
    struct name *n = arg;
    struct resolver *r = n->resolver;
    r->asking_n--;
    n->state = NAME_SLEEPING;
    if (r->is_closing) {
        ;
    } else if (!n->is_wanted) {
        name_free(n);
    } else if (status == ARES_SUCCESS && info->nodes != NULL) {
        name_answered(n, info);
    } else if (status == ARES_SUCCESS || status == ARES_ENOTFOUND || status == ARES_ENODATA) {
        name_denied(n);
    } else {
        n->denials = 0;
        name_failed(n);
    }
    ares_freeaddrinfo(info);
    if (!r->is_closing) {
        loop_defer(r->loop, &r->pump, pump_run);
    }
}

/* ---- c-ares and the loop ---- */

static void timeout_arm(struct resolver *r);

static void on_timeout(struct timer *t)
{
    struct resolver *r = container_of(t, struct resolver, timeout);
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    timeout_arm(r);
}

static void timeout_arm(struct resolver *r)
{
    struct timeval left;
    if (ares_timeout(r->channel, NULL, &left) == NULL) {
        loop_disarm(r->loop, &r->timeout);
        return;
    }
    usec_t time = (usec_t)left.tv_sec * USEC_PER_SEC + (usec_t)left.tv_usec;
    loop_arm(r->loop, &r->timeout, time, on_timeout);
}

/* True when no server needs to be asked. Kubernetes: an IP address here is a name made of digits,
 * which does not exist. RFC 6761 section 6.3: localhost and what is below it is the loopback. */
static bool is_known_without_asking(struct str name, struct resolver_answer *ret)
{
    struct ip ip;
    bool is_local = str_eq(name, STR("localhost")) || str_has_suffix(name, STR(".localhost"));
    *ret = (struct resolver_answer){.is_refused = is_local};
    return is_local || ip_parse(name, &ip) == E_OK;
}

static void name_ask(struct name *n)
{
    struct resolver *r = n->resolver;
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT};
    struct resolver_answer answer;
    if (is_known_without_asking(n->text, &answer)) {
        enum err error = publish(n, &answer);
        name_sleep(n, error == E_OK ? r->options.ttl_max : r->options.retry_min);
        return;
    }
    n->state = NAME_ASKING;
    r->asking_n++;
    ares_getaddrinfo(r->channel, n->bytes, NULL, &hints, on_answer, n); /* may answer at once */
}

static void pump_run(struct deferred *deferred)
{
    struct resolver *r = container_of(deferred, struct resolver, pump);
    while (r->asking_n < RESOLVER_PARALLEL_MAX && !list_is_empty(&r->ready)) {
        name_ask(container_of(list_pop(&r->ready), struct name, in_ready));
    }
    timeout_arm(r);
}

static void on_socket(struct watch *w, uint32_t events)
{
    struct socket_watch *s = container_of(w, struct socket_watch, watch);
    struct resolver *r = s->resolver;
    int fd = w->fd;
    bool is_failed = (events & (EPOLLERR | EPOLLHUP)) != 0;
    ares_process_fd(r->channel, is_failed || (events & EPOLLIN) != 0 ? fd : ARES_SOCKET_BAD,
                    (events & EPOLLOUT) != 0 ? fd : ARES_SOCKET_BAD); /* s may be gone now */
    timeout_arm(r);
}

static struct socket_watch *socket_find(struct resolver *r, int fd)
{
    list_each(it, &r->sockets)
    {
        struct socket_watch *s = container_of(it, struct socket_watch, link);
        if (s->watch.fd == fd) {
            return s;
        }
    }
    return NULL;
}

static void socket_free(struct socket_watch *s)
{
    loop_unwatch(s->resolver->loop, &s->watch);
    list_del(&s->link);
    mem_free(s);
}

/* c-ares waits for fd; when that cannot be had, its timeout ends the question. */
static void socket_wanted(struct resolver *r, int fd, uint32_t events)
{
    struct socket_watch *s = socket_find(r, fd);
    if (s == NULL) {
        s = mem_calloc(1, sizeof(*s));
        if (s == NULL) {
            return;
        }
        s->resolver = r;
        s->watch.fd = -1;
        list_append(&r->sockets, &s->link);
    }
    if (loop_watch_level(r->loop, &s->watch, fd, events, on_socket) != E_OK) {
        socket_free(s);
    }
}

static void on_socket_state(void *arg, ares_socket_t fd, int is_read, int is_write)
{
    struct resolver *r = arg;
    if (is_read || is_write) {
        socket_wanted(r, fd, (is_read ? EPOLLIN : 0U) | (is_write ? EPOLLOUT : 0U));
        return;
    }
    struct socket_watch *s = socket_find(r, fd);
    if (s != NULL) {
        socket_free(s);
    }
}

/* ---- the set of names ---- */

/* Lower case, without trailing dot, into buf. Errors: E_PROTO. */
static enum err name_normalise(struct str name, char buf[NAME_BYTES_MAX + 1], struct str *ret)
{
    if (str_has_suffix(name, STR("."))) {
        name = str_first(name, name.n - 1);
    }
    if (name.n == 0 || !str_to_cstr(name, buf, NAME_BYTES_MAX + 1)) {
        return E_PROTO;
    }
    for (size_t i = 0; i < name.n; i++) {
        if ((unsigned char)buf[i] <= ' ' || (unsigned char)buf[i] >= 0x7f) {
            return E_PROTO;
        }
        buf[i] = ascii_lower(buf[i]);
    }
    *ret = str_make(buf, name.n);
    return E_OK;
}

static enum err name_new(struct resolver *r, struct str text, uint64_t hash, struct name **ret)
{
    TRY(map_reserve(&r->names, 1));
    struct name *n = mem_calloc(1, sizeof(*n) + text.n + 1);
    if (n == NULL) {
        return E_NOMEM;
    }
    mem_copy(n->bytes, text.p, text.n);
    n->text = str_make(n->bytes, text.n);
    n->hash = hash;
    n->resolver = r;
    must(map_add(&r->names, hash, n) == E_OK); /* room was made */
    name_ready(n);
    *ret = n;
    return E_OK;
}

void resolver_begin(struct resolver *r)
{
    map_each(slot, &r->names)
    {
        ((struct name *)slot->value)->is_wanted = false;
    }
    r->wanted_n = 0;
}

enum err resolver_want(struct resolver *r, struct str name)
{
    char buf[NAME_BYTES_MAX + 1];
    struct str text;
    TRY(name_normalise(name, buf, &text));
    uint64_t hash = hash_str(text);
    struct name *n = map_get(&r->names, hash, name_eq, &text);
    if (n != NULL && n->is_wanted) {
        return E_OK;
    }
    if (r->wanted_n >= RESOLVER_NAMES_MAX) {
        return E_LIMIT;
    }
    if (n == NULL) {
        TRY(name_new(r, text, hash, &n));
    }
    n->is_wanted = true;
    r->wanted_n++;
    return E_OK;
}

static struct name *find_unwanted(struct resolver *r, size_t *from)
{
    for (; *from < r->names.cap; ++*from) {
        struct name *n = r->names.slots[*from].value;
        bool is_asking = n != NULL && n->state == NAME_ASKING;
        if (n != NULL && !n->is_wanted && (!is_asking || resolution_of(n) != NULL)) {
            return n;
        }
    }
    return NULL;
}

/* One that is being asked for stays until its answer: c-ares holds it. Deleting moves others back
 * into the slot, so the walk stays at that slot. */
void resolver_end(struct resolver *r)
{
    size_t from = 0;
    for (struct name *n; (n = find_unwanted(r, &from)) != NULL;) {
        if (store_del(r->store, OBJECT_RESOLUTION, STR_EMPTY, n->text)) {
            loop_defer(r->loop, &r->batch, batch_run);
        }
        if (n->state != NAME_ASKING) {
            name_free(n);
        }
    }
}

size_t resolver_n(const struct resolver *r)
{
    return r->wanted_n;
}

/* ---- life ---- */

static void *hook_alloc(size_t size)
{
    return mem_alloc(size == 0 ? 1 : size);
}

static void *hook_resize(void *p, size_t size)
{
    return mem_resize(p, size == 0 ? 1 : size, 1);
}

static enum err err_of_ares(int status)
{
    return status == ARES_SUCCESS ? E_OK : status == ARES_ENOMEM ? E_NOMEM : E_SYS;
}

static enum err channel_open(struct resolver *r)
{
    char lookups[] = "b"; /* DNS, no hosts file */
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = (int)(r->options.timeout / USEC_PER_MS),
        .tries = r->options.tries,
        .lookups = lookups,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = r,
    };
    TRY(err_of_ares(ares_library_init_mem(ARES_LIB_INIT_ALL, hook_alloc, mem_free, hook_resize)));
    r->has_library = true;
    TRY(err_of_ares(ares_init_options(&r->channel, &options,
                                      ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                          ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB)));
    r->has_channel = true;
    if (r->options.servers != NULL) {
        int status = ares_set_servers_ports_csv(r->channel, r->options.servers);
        return status == ARES_EBADSTR ? E_PROTO : err_of_ares(status);
    }
    return E_OK;
}

static void options_fill(struct resolver_options *o)
{
    o->ttl_min = o->ttl_min == 0 ? RESOLVER_TTL_MIN : o->ttl_min;
    o->ttl_max = o->ttl_max == 0 ? RESOLVER_TTL_MAX : o->ttl_max;
    o->retry_min = o->retry_min == 0 ? RESOLVER_RETRY_MIN : o->retry_min;
    o->retry_max = o->retry_max == 0 ? RESOLVER_RETRY_MAX : o->retry_max;
    o->timeout = o->timeout == 0 ? RESOLVER_TIMEOUT : o->timeout;
    o->tries = o->tries == 0 ? RESOLVER_TRIES : o->tries;
}

enum err resolver_new(struct loop *loop, struct store *store,
                      const struct resolver_options *options, struct resolver **ret)
{
    struct resolver *r = mem_calloc(1, sizeof(*r));
    if (r == NULL) {
        return E_NOMEM;
    }
    r->loop = loop;
    r->store = store;
    r->options = *options;
    options_fill(&r->options);
    list_init(&r->ready);
    list_init(&r->sockets);
    enum err error = channel_open(r);
    if (error != E_OK) {
        resolver_free(r);
        return error;
    }
    *ret = r;
    return E_OK;
}

void resolver_free(struct resolver *r)
{
    if (r == NULL) {
        return;
    }
    r->is_closing = true;
    if (r->has_channel) {
        ares_destroy(r->channel); /* answers all that are being asked for */
    }
    if (r->has_library) {
        ares_library_cleanup();
    }
    list_each(it, &r->sockets)
    {
        socket_free(container_of(it, struct socket_watch, link));
    }
    map_each(slot, &r->names)
    {
        struct name *n = slot->value;
        loop_disarm(r->loop, &n->timer);
        mem_free(n);
    }
    map_fini(&r->names);
    loop_disarm(r->loop, &r->timeout);
    loop_undefer(&r->batch);
    loop_undefer(&r->pump);
    mem_free(r);
}
