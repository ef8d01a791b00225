/* Bytes of a client at a server of TLS that has certificates by name, as a worker has it. First
 * byte: in which pieces they come (0: at once). Whatever it is, the handshake neither completes nor
 * leaves anything behind, and the name that is looked up is the one that passthrough would see. */
#include "tls/server.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/snapshot_make.h"
#include "../lib/snapshot_tls.h"
#include "base/mem.h"
#include "snapshot/settings.h"
#include "wire/client_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { NAME_MAX_N = SERVER_NAME_BYTES_MAX, STEPS_MAX = 64, INPUT_MAX = 8192 };

static struct fixture {
    struct loop *loop;
    struct tls_shared shared;
    struct stats_page stats;
    struct snapshot routes, secrets;
    struct buf bytes[2];
    struct snap_settings settings;
    struct tls_served *served;
    struct tls_sites sites;
    struct tls_context *context;
    struct tls_server server;
    char name[NAME_MAX_N]; /* the first one that was looked up */
    size_t name_n;
    bool is_asked;
} fixture;

/* ---- what is served ---- */

static enum err copy_der(void *arg, struct str der)
{
    struct buf *b = arg;
    buf_add_str(b, der);
    return E_OK;
}

static void apply(struct snapshot *s, struct make_set *set, struct buf *bytes)
{
    struct snapshot_fault fault;
    buf_init(bytes, 1 << 20);
    must(make_segment(set, bytes, 0, 1) == E_OK);
    make_clear(set);
    struct snapshot_segment *segment = make_open(bytes->p, bytes->n, &fault);
    must(segment != NULL && snapshot_apply(s, segment, NULL, NULL) == E_OK);
    snapshot_segment_unref(segment);
}

static void certificate_add(struct fixture *f, const struct tls_certificate *c)
{
    static struct make_set set;
    static const uint8_t keys[] = {1};
    struct buf der, key;
    char name[TLS_KEY_NAME_BYTES + 1] = "";
    buf_init(&der, 1 << 16);
    buf_init(&key, 1 << 16);
    must(tls_certificate_key_name(c, name) == E_OK);
    must(tls_certificate_each_der(c, copy_der, &der) == E_OK);
    must(tls_certificate_emit_key(c, &key) == E_OK);
    const struct str text = buf_str(&der);
    const struct make_secret s = {
        .name = "s", .texts = &text, .text_n = 1, .key_name = name, .key_kind = SNAP_KEY_EC};
    must(make_certificate(make_next(&set), &s) == E_OK);
    must(make_authority(make_next(&set), &s) == E_OK);
    must(make_site(make_next(&set), &(struct make_site){.pattern = "",
                                                        .certificates = {"shop/s"},
                                                        .verify = SNAP_VERIFY_OPTIONAL,
                                                        .authority = "shop/s",
                                                        .policy = 1}) == E_OK);
    apply(&f->routes, &set, &f->bytes[0]);
    must(make_key(make_next(&set), name, buf_str(&key)) == E_OK);
    must(make_tickets(make_next(&set), keys, 1) == E_OK);
    apply(&f->secrets, &set, &f->bytes[1]);
    buf_fini(&der);
    buf_fini(&key);
}

static void certificate_make(struct fixture *f)
{
    const struct str names[] = {STR("a.test")};
    const struct tls_make make = {.common_name = "a.test",
                                  .names = names,
                                  .name_n = 1,
                                  .not_before = 1000000000,
                                  .not_after = 4000000000};
    struct buf ca, chain, key;
    struct tls_certificate *c;
    enum tls_fault fault;
    buf_init(&ca, 1 << 16);
    buf_init(&chain, 1 << 16);
    buf_init(&key, 1 << 16);
    must(tls_certificate_make(&make, &ca, &chain, &key) == E_OK);
    must(tls_certificate_parse(buf_str(&chain), buf_str(&key), &fault, &c) == E_OK);
    certificate_add(f, c);
    tls_certificate_free(c);
    buf_fini(&ca);
    buf_fini(&chain);
    buf_wipe(&key);
}

static const struct snap_tls_host *on_find(void *arg, struct str name)
{
    struct fixture *f = arg;
    const struct snapshot_entry *e =
        snapshot_find(&f->routes, SNAP_TLS_HOST, STR("ingress/"), hash_str(STR("ingress/")));
    if (!f->is_asked) {
        mem_copy(f->name, name.p, name.n);
        f->name_n = name.n;
        f->is_asked = true;
    }
    return (const struct snap_tls_host *)(const void *)e->shard;
}

static void fixture_init(struct fixture *f)
{
    enum tls_fault fault;
    must(loop_new(&f->loop) == E_OK && tls_shared_init(&f->shared) == E_OK);
    snapshot_init(&f->routes);
    snapshot_init(&f->secrets);
    certificate_make(f);
    f->settings = snap_settings_default;
    f->settings.ssl_session_tickets = 1;
    must(tls_served_new(&f->routes, &f->secrets, 4, &f->served) == E_OK);
    f->sites = (struct tls_sites){.find = on_find,
                                  .arg = f,
                                  .served = f->served,
                                  .secrets = &f->secrets,
                                  .settings = &f->settings,
                                  .stats = &f->stats};
    const struct tls_context_options o = {.sites = &f->sites,
                                          .alpn = TLS_ALPN_HTTP1 | TLS_ALPN_HTTP2};
    must(tls_context_new(&o, &fault, &f->context) == E_OK);
    tls_server_init(&f->server, &f->shared);
    f->server.context = f->context;
    f->server.stats = &f->stats;
}

/* ---- one connection ---- */

struct conn {
    struct transport transport;
    enum err last;
};

static void on_event(struct watch *w, uint32_t events)
{
    struct conn *c = container_of(w, struct conn, transport.watch);
    char got[256];
    size_t n;
    (void)events;
    do {
        c->last = c->transport.ops->receive(&c->transport, got, sizeof(got), &n);
    } while (c->last == E_OK);
    must(c->last != E_NOMEM && c->last != E_LIMIT);
}

static void drain(int fd)
{
    char got[4096];
    while (recv(fd, got, sizeof(got), MSG_DONTWAIT) > 0) {
    }
}

static void feed(struct fixture *f, struct conn *c, int fd, struct str bytes, size_t piece)
{
    for (int i = 0; i < STEPS_MAX && c->last == E_AGAIN; i++) {
        struct str part = str_first(bytes, piece == 0 || i + 1 == STEPS_MAX ? bytes.n : piece);
        if (part.n > 0) {
            must(send(fd, part.p, part.n, MSG_NOSIGNAL) == (ssize_t)part.n);
        }
        bytes = str_from(bytes, part.n);
        must(loop_step(f->loop, 0) == E_OK);
        drain(fd);
        if (bytes.n == 0 && part.n == 0) {
            return;
        }
    }
}

/* Of a hello that OpenSSL has understood. */
static void check_name(const struct fixture *f, struct str bytes)
{
    static char scratch[CLIENT_HELLO_BYTES_MAX];
    struct client_hello hello;
    size_t need;
    must(client_hello_parse(bytes, scratch, &hello, &need) == E_OK);
    must(str_eq(str_make(hello.name, hello.name_n), str_make(f->name, f->name_n)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fixture *f = &fixture;
    struct conn c = {.last = E_AGAIN};
    int pair[2];
    if (n == 0 || n > INPUT_MAX) {
        return 0;
    }
    if (f->loop == NULL) {
        fixture_init(f);
    }
    struct str bytes = {(const char *)data + 1, n - 1};
    f->is_asked = false;
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    must(f->server.opener.open(&f->server.opener, &c.transport, f->loop, pair[0], on_event) ==
         E_OK);
    feed(f, &c, pair[1], bytes, data[0]);
    must(!c.transport.is_open); /* nobody guesses a Finished */
    if (f->is_asked) {
        check_name(f, bytes);
    }
    c.transport.ops->close(&c.transport, false);
    (void)close(pair[1]);
    must(f->server.shaking_n == 0 && list_is_empty(&f->server.waiting));
    return 0;
}
