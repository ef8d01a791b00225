/* Handshakes and nothing else: opens TLS connections, a fixed number at a time, and closes each
 * when the server has surely done its part. One thread; the measure is what the server spends
 * meanwhile.
 *
 *   handshake [-r] [-v 1.2|1.3] [-c AT_A_TIME] [-n COUNT] [-t SECONDS] PORT NAME
 *
 * -r resumes: one full handshake comes first and is not counted; from then on each connection
 * offers the session that the one before it was given, and one that the server does not resume has
 * failed.
 *
 * A TLS 1.3 client is done before its server is: so a connection ends with a NewSessionTicket (RFC
 * 8446 section 4.6.1), which the server makes behind the client's Finished. That needs servers that
 * let sessions be resumed; from others every handshake of TLS 1.3 fails by time. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { AT_A_TIME_MAX = 1000, COUNT_MAX = 1000 * 1000, TIMEOUT_US = 5 * 1000 * 1000, WAIT_MS = 100 };

struct options {
    bool resumes;
    int version;
    long at_a_time, count, seconds, port;
    const char *name;
};

struct client {
    const struct options *options;
    SSL_CTX *context;
    int epoll_fd;
    long begun, done, resumed, failed;
    bool is_over;       /* nothing new is begun */
    uint32_t *times_us; /* of those that are done */
};

struct slot {
    struct client *client;
    int fd; /* -1: none */
    SSL *ssl;
    SSL_SESSION *session; /* of the connection before, or of this one once it was given */
    bool has_session;     /* this one was given one */
    uint64_t began_us;
};

static uint64_t now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- one connection ---- */

/* The session is ours from here on. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct slot *s = SSL_get_app_data(ssl);
    SSL_SESSION_free(s->session);
    s->session = session;
    s->has_session = true;
    return 1;
}

static void slot_close(struct slot *s)
{
    if (s->ssl != NULL) { /* else what ends without a notice takes its session with it */
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(s->ssl);
    s->ssl = NULL;
    if (s->fd >= 0) {
        (void)close(s->fd);
        s->fd = -1;
    }
}

/* The first failure is told, so that nobody has to guess. */
static void why(const struct slot *s, const char *otherwise)
{
    unsigned long code = ERR_peek_error();
    if (s->client->failed == 0) {
        (void)fprintf(stderr, "handshake: %s\n",
                      code != 0 ? ERR_reason_error_string(code) : otherwise);
    }
}

/* Connections take turns at 200 addresses: ports that rest (TIME_WAIT) never run out. */
static int socket_open(const struct options *o, long number)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(number % 200));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)o->port);
    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
        (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static bool slot_prepare(struct slot *s)
{
    s->ssl = SSL_new(s->client->context);
    if (s->ssl == NULL) {
        return false;
    }
    SSL_set_connect_state(s->ssl);
    return SSL_set_fd(s->ssl, s->fd) == 1 && SSL_set_app_data(s->ssl, s) == 1 &&
           SSL_set_tlsext_host_name(s->ssl, s->client->options->name) == 1 &&
           (s->session == NULL || !s->client->options->resumes ||
            SSL_set_session(s->ssl, s->session) == 1);
}

static void slot_begin(struct slot *s)
{
    struct client *c = s->client;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = s};
    if (c->is_over || c->begun == c->options->count) {
        return;
    }
    s->began_us = now_us();
    s->has_session = false;
    s->fd = socket_open(c->options, c->begun++);
    if (s->fd < 0 || !slot_prepare(s) ||
        epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, s->fd, &event) != 0) {
        die("a connection");
    }
}

static void slot_end(struct slot *s, bool is_good)
{
    struct client *c = s->client;
    if (is_good) {
        c->resumed += SSL_session_reused(s->ssl);
        c->times_us[c->done++] = (uint32_t)(now_us() - s->began_us);
        (void)SSL_shutdown(s->ssl); /* close_notify; nobody waits for the other's */
    } else {
        c->failed++;
    }
    slot_close(s);
    slot_begin(s);
}

static bool is_blocked(const struct slot *s, int ret)
{
    int error = SSL_get_error(s->ssl, ret);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static void slot_step(struct slot *s)
{
    const struct options *o = s->client->options;
    char p[256];
    ERR_clear_error();
    int ret = SSL_do_handshake(s->ssl);
    bool is_shaken = ret == 1;
    if (is_shaken) { /* there is nothing to read but what the server tells behind the handshake */
        ret = SSL_read(s->ssl, p, sizeof(p));
    }
    bool waits = is_blocked(s, ret);
    bool is_done = is_shaken && (o->version == TLS1_2_VERSION || s->has_session);
    if (waits && !is_done) {
        return;
    }
    bool is_good = waits && is_done && (!o->resumes || SSL_session_reused(s->ssl) == 1);
    if (!is_good) {
        why(s, is_done ? "not resumed" : "the connection ended");
    }
    slot_end(s, is_good);
}

/* ---- all of them ---- */

static SSL_CTX *context_new(const struct options *o)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_set_min_proto_version(context, o->version) != 1 ||
        SSL_CTX_set_max_proto_version(context, o->version) != 1 ||
        SSL_CTX_set1_groups_list(context, "X25519:P-256") != 1) {
        die("OpenSSL");
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    (void)SSL_CTX_set_session_cache_mode(context,
                                         SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

static void slots_expire(struct slot *slots, long n)
{
    for (long i = 0; i < n; i++) {
        if (slots[i].fd >= 0 && now_us() - slots[i].began_us > TIMEOUT_US) {
            why(&slots[i], "no session in time");
            slot_end(&slots[i], false);
        }
    }
}

static bool is_busy(const struct slot *slots, long n)
{
    for (long i = 0; i < n; i++) {
        if (slots[i].fd >= 0) {
            return true;
        }
    }
    return false;
}

static void client_run(struct client *c, struct slot *slots, long n)
{
    struct epoll_event events[AT_A_TIME_MAX];
    uint64_t until = now_us() + (uint64_t)c->options->seconds * 1000000;
    for (long i = 0; i < n; i++) {
        slot_begin(&slots[i]);
    }
    while (is_busy(slots, n)) {
        int got = epoll_wait(c->epoll_fd, events, AT_A_TIME_MAX, WAIT_MS);
        c->is_over = c->is_over || now_us() >= until;
        for (int i = 0; i < got; i++) {
            slot_step(events[i].data.ptr);
        }
        slots_expire(slots, n);
    }
}

/* One full handshake, whose session all begin with. */
static void slots_warm(struct client *c, struct slot *slots, long n)
{
    struct options once = *c->options;
    struct client first = *c;
    once.resumes = false;
    once.count = 1;
    first.options = &once;
    slots[0].client = &first;
    client_run(&first, slots, 1);
    if (first.done != 1 || slots[0].session == NULL) {
        (void)fputs("the server gives no session\n", stderr);
        exit(1);
    }
    slots[0].client = c;
    for (long i = 1; i < n; i++) {
        slots[i].session = SSL_SESSION_dup(slots[0].session); /* OpenSSL offers each just once */
    }
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void report(const struct client *c, uint64_t took_us)
{
    long n = c->done;
    qsort(c->times_us, (size_t)n, sizeof(c->times_us[0]), compare);
    (void)printf(
        "%ld handshakes in %.3f s, %.0f/s, %ld resumed, %ld failed, p50 %u us, p99 %u us\n", n,
        (double)took_us / 1e6, (double)n * 1e6 / (double)(took_us + 1), c->resumed, c->failed,
        n == 0 ? 0 : c->times_us[n / 2], n == 0 ? 0 : c->times_us[n * 99 / 100]);
}

static long number(const char *text, long most)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end != '\0' || n < 1 || n > most) {
        (void)fprintf(stderr, "%s: not from 1 to %ld\n", text, most);
        exit(2);
    }
    return n;
}

static struct options parse(int argc, char **argv)
{
    struct options o = {
        .version = TLS1_3_VERSION, .at_a_time = 64, .count = COUNT_MAX, .seconds = 3};
    int letter;
    while ((letter = getopt(argc, argv, "rv:c:n:t:")) != -1) {
        o.resumes = o.resumes || letter == 'r';
        if (letter == 'v') {
            o.version = strcmp(optarg, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
        } else if (letter == 'c') {
            o.at_a_time = number(optarg, AT_A_TIME_MAX);
        } else if (letter == 'n') {
            o.count = number(optarg, COUNT_MAX);
        } else if (letter == 't') {
            o.seconds = number(optarg, 3600);
        } else if (letter == '?') {
            optind = argc;
        }
    }
    if (optind + 2 != argc) {
        (void)fputs("usage: handshake [-r] [-v 1.2|1.3] [-c AT_A_TIME] [-n COUNT] [-t SECONDS] "
                    "PORT NAME\n",
                    stderr);
        exit(2);
    }
    o.port = number(argv[optind], 65535);
    o.name = argv[optind + 1];
    return o;
}

int main(int argc, char **argv)
{
    const struct options o = parse(argc, argv);
    struct client c = {.options = &o, .context = context_new(&o)};
    struct slot *slots = calloc((size_t)o.at_a_time, sizeof(*slots));
    c.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    c.times_us = calloc((size_t)o.count, sizeof(*c.times_us));
    if (slots == NULL || c.times_us == NULL || c.epoll_fd < 0) {
        die("memory");
    }
    for (long i = 0; i < o.at_a_time; i++) {
        slots[i] = (struct slot){.client = &c, .fd = -1};
    }
    if (o.resumes) {
        slots_warm(&c, slots, o.at_a_time);
    }
    uint64_t began = now_us();
    client_run(&c, slots, o.at_a_time);
    report(&c, now_us() - began);
    for (long i = 0; i < o.at_a_time; i++) {
        SSL_SESSION_free(slots[i].session);
    }
    free(slots);
    free(c.times_us);
    SSL_CTX_free(c.context);
    (void)close(c.epoll_fd);
    return 0;
}
