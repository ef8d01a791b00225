/* Whole exchanges: the input is a script of lines that plays clients and endpoints against the data
 * path of a worker, under a clock that only the script moves. Each line is a letter, for most a
 * digit that names a client or an upstream connection (modulo those there are), and a payload:
 *
 *   n            a new client                   u1 BYTES     upstream connection 1 sends
 *   c0 BYTES     client 0 sends                 a BYTES      so does the one with the newest
 * request h0 / H1      ends its sending side          x0 / X1      closes s0 / S1      stops or
 * resumes reading       k1           endpoint 1 refuses, or accepts again e2           the first 2
 * endpoints are left d            draining begins t3           time passes (see delays)       f23
 * fault 2 at the third system call m4           allocations fail from the fourth on; m0: no more #
 * a comment
 *
 * In BYTES, | is CRLF, @ the tag of the client (for upstreams: of the client whose request they
 * answer), \n \r \0 \| \\ are what they seem, \z is 4 KB and \Z is 64 KB of z. A brace becomes a
 * parenthesis, so that nobody can write another's tag.
 *
 * Judged: see exchange_judge.c; besides, without further input every exchange ends by its timeouts,
 * every gauge returns to zero, and no descriptor stays open. */
#include "../unit/proxy/rig_net.h"

#include "base/mem.h"
#include "exchange_judge.h"
#include "stats/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum {
    SCRIPT_MAX = 16 * 1024,
    OPS_MAX = 120,
    PAYLOADS_MAX = 1 << 20, /* bytes sent in one run */
    BUFFER_BYTES = 4096,    /* of sockets: small, so that backpressure is met */
    GENERATIONS_MAX = 24
};

struct world {
    struct rig *rig;
    struct record record;
    struct bytes payload;
    size_t sent_n;
    int generation_n;
    bool is_refusing[RIG_ENDPOINTS];
};

static const usec_t delays[] = {
    10 * USEC_PER_MS,   100 * USEC_PER_MS,   USEC_PER_SEC,      3 * USEC_PER_SEC,
    6 * USEC_PER_SEC,   31 * USEC_PER_SEC,   61 * USEC_PER_SEC, 76 * USEC_PER_SEC,
    241 * USEC_PER_SEC, 3601 * USEC_PER_SEC,
};

/* ---- what comes out ---- */

static bool drain(int fd, struct bytes *into, bool *is_over)
{
    char p[16 * 1024];
    bool has_moved = false;
    while (fd >= 0 && !*is_over) {
        ssize_t n = recv(fd, p, sizeof(p), MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        has_moved = true;
        if (n <= 0) {
            *is_over = true;
        } else {
            bytes_add(into, p, (size_t)n);
        }
    }
    return has_moved;
}

/* Lists the requests that have come since the last call. */
static void upstream_scan(struct record *r, struct upstream *u)
{
    while (u->parsed_n < u->received.n && u->seen_n < SEEN_MAX) {
        struct message m;
        struct str rest = str_make(u->received.p + u->parsed_n, u->received.n - u->parsed_n);
        enum err e = message_parse(rest, true, false, &m);
        bool is_listed = u->seen_n > 0 && u->seen[u->seen_n - 1].begin == u->parsed_n;
        if (m.has_head && !is_listed) {
            size_t answer = u->seen_n == 0 ? 0 : u->sent.n;
            u->seen[u->seen_n++] = (struct seen){m.client, r->order++, u->parsed_n, answer};
        }
        u->parsed_n += m.is_complete ? m.n : 0;
        message_fini(&m);
        if (e != E_OK) {
            return;
        }
    }
}

static void accept_all(struct world *w)
{
    struct record *r = &w->record;
    for (int i = 0; i < RIG_ENDPOINTS; i++) {
        for (int fd; r->upstream_n < UPSTREAMS_MAX && (fd = net_accept(i)) >= 0;) {
            r->upstreams[r->upstream_n++] = (struct upstream){.fd = fd};
        }
    }
}

static bool drain_all(struct world *w, bool with_slow)
{
    struct record *r = &w->record;
    bool has_moved = false;
    for (int i = 0; i < r->client_n; i++) {
        struct client *c = &r->clients[i];
        if (with_slow || !c->is_slow) {
            has_moved = drain(c->fd, &c->received, &c->is_over) || has_moved;
        }
    }
    for (int i = 0; i < r->upstream_n; i++) {
        struct upstream *u = &r->upstreams[i];
        if (with_slow || !u->is_slow) {
            has_moved = drain(u->fd, &u->received, &u->is_over) || has_moved;
            upstream_scan(r, u);
        }
    }
    return has_moved;
}

/* Ticks until nothing moves. */
static void settle(struct world *w)
{
    for (int quiet = 0, i = 0; quiet < 2 && i < 200; i++) {
        rig_tick(w->rig);
        rig_tick(w->rig);
        accept_all(w);
        quiet = drain_all(w, false) ? 0 : quiet + 1;
    }
}

/* ---- what goes in ---- */

static void fill(struct bytes *b, size_t n)
{
    static const char zs[] = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";
    for (; n > 0; n -= 64) {
        bytes_add(b, zs, 64);
    }
}

/* client < 0: no tag. */
static void payload_make(struct bytes *b, struct str s, int client)
{
    char tag[] = {'{', 'k', (char)('0' + client), '}'};
    b->n = 0;
    for (size_t i = 0; i < s.n && b->n < PAYLOADS_MAX / 4; i++) {
        char c = s.p[i];
        if (c == '\\' && i + 1 < s.n) {
            c = s.p[++i];
            c = c == 'n' ? '\n' : c == 'r' ? '\r' : c == '0' ? '\0' : c;
            if (c == 'z' || c == 'Z') {
                fill(b, c == 'z' ? 4096 : 65536);
                continue;
            }
        } else if (c == '|') {
            bytes_add(b, "\r", 1);
            c = '\n';
        } else if (c == '@') {
            bytes_add(b, tag, client < 0 ? 0 : sizeof(tag));
            continue;
        }
        c = c == '{' ? '(' : c;
        bytes_add(b, &c, 1);
    }
}

static void send_all(struct world *w, int fd, struct bytes *sent)
{
    const char *p = w->payload.p;
    size_t n = w->payload.n;
    for (int refusals = 0; fd >= 0 && n > 0 && refusals < 3;) {
        ssize_t went = w->sent_n < PAYLOADS_MAX ? send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT) : -1;
        if (went > 0) {
            bytes_add(sent, p, (size_t)went);
            w->sent_n += (size_t)went;
            p += went;
            n -= (size_t)went;
            refusals = 0;
        } else if (w->sent_n >= PAYLOADS_MAX || errno != EAGAIN) {
            return;
        } else {
            refusals++;
        }
        if (n > 0) {
            settle(w);
        }
    }
}

static void client_new(struct world *w)
{
    struct record *r = &w->record;
    if (r->client_n < CLIENTS_MAX) {
        static const uint8_t network[] = {198, 51, 100}; /* nobody trusts it: X-Real-IP is ours */
        int fd = rig_client_from(w->rig, network, (uint8_t)(r->client_n + 1), BUFFER_BYTES);
        if (fd >= 0) {
            r->clients[r->client_n++] = (struct client){.fd = fd};
        }
    }
}

static void client_send(struct world *w, int i, struct str text)
{
    struct client *c = &w->record.clients[i];
    payload_make(&w->payload, text, i);
    send_all(w, c->fd, &c->sent);
}

static void upstream_send(struct world *w, int i, struct str text)
{
    struct upstream *u = &w->record.upstreams[i];
    payload_make(&w->payload, text, u->seen_n == 0 ? -1 : u->seen[u->seen_n - 1].client - 1);
    send_all(w, u->fd, &u->sent);
}

/* The upstream connection whose newest request is the newest of all; -1 when none has any. */
static int upstream_newest(const struct record *r)
{
    int best = -1;
    unsigned order = 0;
    for (int i = 0; i < r->upstream_n; i++) {
        const struct upstream *u = &r->upstreams[i];
        if (u->seen_n > 0 && u->fd >= 0 && (best < 0 || u->seen[u->seen_n - 1].order > order)) {
            best = i;
            order = u->seen[u->seen_n - 1].order;
        }
    }
    return best;
}

static void fd_close(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static void endpoints_set(struct world *w, int n)
{
    if (w->generation_n++ < GENERATIONS_MAX) {
        mem_fail_from(0); /* what the test itself needs does not fail */
        rig_prepare_endpoints(w->rig, n % (RIG_ENDPOINTS + 1));
        (void)rig_apply_endpoints(w->rig); /* when memory runs out: as it was */
    }
}

/* ---- the script ---- */

static void run_client_op(struct world *w, char op, int digit, struct str text)
{
    struct record *r = &w->record;
    if (r->client_n == 0) {
        return;
    }
    int i = digit % r->client_n;
    struct client *c = &r->clients[i];
    switch (op) {
    case 'c':
        client_send(w, i, text);
        return;
    case 'h':
        (void)shutdown(c->fd, SHUT_WR); /* it may be closed */
        return;
    case 's':
        c->is_slow = !c->is_slow;
        return;
    default: /* x */
        fd_close(&c->fd);
    }
}

static void run_upstream_op(struct world *w, char op, int digit, struct str text)
{
    struct record *r = &w->record;
    int i = op == 'a' ? upstream_newest(r) : r->upstream_n == 0 ? -1 : digit % r->upstream_n;
    if (i < 0) {
        return;
    }
    struct upstream *u = &r->upstreams[i];
    switch (op) {
    case 'a':
    case 'u':
        upstream_send(w, i, text);
        return;
    case 'H':
        (void)shutdown(u->fd, SHUT_WR); /* it may be closed */
        u->has_ended = true;
        return;
    case 'S':
        u->is_slow = !u->is_slow;
        return;
    default: /* X */
        u->has_ended = true;
        fd_close(&u->fd);
    }
}

static void run_op(struct world *w, char op, int digit, struct str text)
{
    switch (op) {
    case 'n':
        client_new(w);
        break;
    case 'c':
    case 'h':
    case 's':
    case 'x':
        run_client_op(w, op, digit, text);
        break;
    case 'a':
    case 'u':
    case 'H':
    case 'S':
    case 'X':
        run_upstream_op(w, op, digit, text);
        break;
    case 'k':
        digit %= RIG_ENDPOINTS;
        w->is_refusing[digit] = !w->is_refusing[digit];
        net_refuse(digit, w->is_refusing[digit]);
        break;
    case 'e':
        endpoints_set(w, digit);
        break;
    case 'd':
        rig_drain(w->rig);
        break;
    case 't':
        net_advance(delays[digit]);
        break;
    case 'f':
        net_fail_at((enum net_fault)(digit % NET_FAULTS_N),
                    text.n > 0 && text.p[0] >= '0' ? (size_t)(text.p[0] - '0') % 10 : 1);
        w->record.has_fault = true;
        break;
    case 'm':
        mem_fail_from((size_t)digit);
        break;
    default:
        return;
    }
    settle(w);
}

static void run_line(struct world *w, struct str line)
{
    if (line.n == 0) {
        return;
    }
    char op = line.p[0];
    struct str text = str_from(line, 1);
    int digit = 0;
    if (op != 'a' && text.n > 0 && text.p[0] >= '0' && text.p[0] <= '9') {
        digit = text.p[0] - '0';
        text = str_from(text, 1);
    }
    if (text.n > 0 && text.p[0] == ' ') {
        text = str_from(text, 1);
    }
    run_op(w, op, digit, text);
}

/* ---- the end ---- */

static void must_be_zero(const stats_value *gauge, const char *what)
{
    if (stats_get(gauge) != 0) {
        (void)fprintf(stderr, "\nfuzz_exchange: %s is %lld after every timeout has passed\n", what,
                      (long long)stats_get(gauge));
        abort();
    }
}

/* Nobody does anything any more: timeouts alone end everything. */
static void wait_for_the_end(struct world *w)
{
    struct stats_page *stats = rig_stats(w->rig);
    net_fail_at(NET_AGAIN, 0);
    mem_fail_from(0);
    settle(w);
    for (int i = 0; i < 40; i++) {
        net_advance(i < 20 ? 77 * USEC_PER_SEC : 3700 * USEC_PER_SEC);
        settle(w);
    }
    must_be_zero(&stats->requests_in_flight, "requests_in_flight");
    must_be_zero(&stats->conns_active, "conns_active");
    must_be_zero(&stats->conns_idle, "conns_idle");
    must_be_zero(&stats->upstream_busy, "upstream_busy");
    must_be_zero(&stats->upstream_idle, "upstream_idle");
    w->record.retries = stats_get(&stats->upstream_retries);
}

static void world_fini(struct world *w)
{
    struct record *r = &w->record;
    for (int i = 0; i < r->client_n; i++) {
        fd_close(&r->clients[i].fd);
        bytes_fini(&r->clients[i].sent);
        bytes_fini(&r->clients[i].received);
    }
    for (int i = 0; i < r->upstream_n; i++) {
        fd_close(&r->upstreams[i].fd);
        bytes_fini(&r->upstreams[i].sent);
        bytes_fini(&r->upstreams[i].received);
    }
    bytes_fini(&w->payload);
    rig_free(w->rig);
    net_stop();
}

/* The lowest free descriptor. */
static int next_fd(void)
{
    int fd = dup(STDERR_FILENO);
    (void)close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct world w; /* large */
    if (n > SCRIPT_MAX) {
        return 0;
    }
    int fd = next_fd();
    w = (struct world){.rig = rig_new()};
    net_start(w.rig, BUFFER_BYTES);
    struct str line, rest = n == 0 ? STR_EMPTY : str_make((const char *)data, n);
    for (int i = 0; i < OPS_MAX && rest.n > 0; i++) {
        (void)str_cut(rest, '\n', &line, &rest); /* the last line may have no end */
        run_line(&w, line);
    }
    wait_for_the_end(&w);
    (void)drain_all(&w, true);
    judge(&w.record);
    world_fini(&w);
    must(next_fd() == fd);
    return 0;
}
