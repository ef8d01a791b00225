/* Sessions of the client: what is resumed and with whom, tickets that are used once, the bounds. */
#include "../../lib/durations.h"
#include "client_world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

#include "tls/tls_priv.h"

/* One request and its answer, so that tickets which follow the handshake have come. */
static void exchange(struct world *w)
{
    char p[8];
    size_t n;
    assert_int_equal(world_send(w, "ask"), E_OK);
    assert_int_equal(SSL_read(w->server, p, sizeof(p)), 3);
    assert_int_equal(SSL_write(w->server, "tell", 4), 4);
    assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_OK);
    assert_int_equal(n, 4);
}

static bool connect_once(struct world *w)
{
    world_shake(w);
    exchange(w);
    bool is_resumed = SSL_session_reused(w->server) == 1;
    world_disconnect(w);
    return is_resumed;
}

static void version_12(struct world *w, bool has_tickets)
{
    static const unsigned char id[] = "test";
    world_server(w);
    assert_int_equal(SSL_CTX_set_max_proto_version(w->server_context, TLS1_2_VERSION), 1);
    assert_int_equal(SSL_CTX_set_session_id_context(w->server_context, id, 4), 1);
    if (!has_tickets) {
        (void)SSL_CTX_set_options(w->server_context, SSL_OP_NO_TICKET);
    }
}

/* By ticket and by the server's own cache; one session serves any number of times. */
static void resumption_in_version_12(void **state)
{
    struct world *w = *state;
    for (int has_tickets = 0; has_tickets < 2; has_tickets++) {
        struct tls_client_options o = world_options(w);
        world_client(w, &o);
        version_12(w, has_tickets == 1);
        assert_false(connect_once(w));
        for (int i = 0; i < 3; i++) {
            assert_int_equal(w->client->session_n, 1);
            assert_true(connect_once(w));
        }
    }
    assert_int_equal(stats_get(&w->stats->upstream_handshakes), 2);
    assert_int_equal(stats_get(&w->stats->upstream_handshakes_resumed), 6);
    assert_int_equal(durations_n(&w->stats->upstream_shaken_full), 2);
    assert_int_equal(durations_n(&w->stats->upstream_shaken_resumed), 6);
}

static void resumption_in_version_13(void **state)
{
    struct world *w = *state;
    assert_false(connect_once(w));
    for (int i = 0; i < 5; i++) {
        assert_true(connect_once(w));
    }
    assert_int_equal(stats_get(&w->stats->upstream_handshakes_resumed), 5);
    assert_int_equal(stats_get(&w->stats->upstream_handshake_failures), 0);
}

/* RFC 8446 appendix C.4: a connection that takes a ticket leaves none for the next. */
static void a_ticket_is_used_once(void **state)
{
    struct world *w = *state;
    assert_int_equal(SSL_CTX_set_num_tickets(w->server_context, 1), 1);
    assert_false(connect_once(w));
    assert_int_equal(w->client->session_n, 1);
    assert_int_equal(SSL_CTX_set_num_tickets(w->server_context, 0), 1);
    assert_true(connect_once(w));
    assert_int_equal(w->client->session_n, 0);
    assert_false(connect_once(w));
}

static void a_server_without_sessions(void **state)
{
    struct world *w = *state;
    (void)SSL_CTX_set_options(w->server_context, SSL_OP_NO_TICKET);
    assert_int_equal(SSL_CTX_set_num_tickets(w->server_context, 0), 1);
    for (int i = 0; i < 2; i++) {
        assert_false(connect_once(w));
        assert_int_equal(w->client->session_n, 0);
    }
}

/* The server was started anew: it does not know the session, and nobody notices. */
static void a_server_that_forgot(void **state)
{
    struct world *w = *state;
    assert_false(connect_once(w));
    world_server(w);
    assert_false(connect_once(w));
    assert_true(connect_once(w));
}

static int refuse_hello(SSL *ssl, int *ret_alert, void *arg)
{
    (void)ssl;
    (void)arg;
    *ret_alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

/* It may be the session that the server cannot bear: it is not offered again. */
static void a_failure_forgets(void **state)
{
    struct world *w = *state;
    version_12(w, true);
    assert_false(connect_once(w));
    assert_int_equal(w->client->session_n, 1);
    SSL_CTX_set_client_hello_cb(w->server_context, refuse_hello, NULL);
    world_connect(w);
    world_serve(w);
    assert_int_equal(world_run(w), E_PROTO);
    assert_int_equal(w->failure_n, 1);
    world_disconnect(w);
    assert_int_equal(w->client->session_n, 0);
}

/* ---- whose they are ---- */

static int listen_anywhere(struct sockaddr_in *ret)
{
    socklen_t n = sizeof(*ret);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)ret, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &n), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static bool connect_to(struct world *w, int listener, const struct sockaddr_in *address)
{
    char p[8];
    size_t n;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (const struct sockaddr *)address, sizeof(*address)), 0);
    int server = accept(listener, NULL, NULL);
    assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(fcntl(server, F_SETFL, O_NONBLOCK), 0);
    world_open(w, client, server);
    world_serve(w);
    for (int i = 0; i < WORLD_STEPS_MAX && !SSL_is_init_finished(w->server); i++) {
        assert_int_equal(loop_step(w->loop, 1000), E_OK);
        assert_int_equal(world_receive(w, p, sizeof(p), &n), E_AGAIN);
        (void)SSL_do_handshake(w->server);
        ERR_clear_error();
    }
    assert_int_equal(SSL_write(w->server, "x", 1), 1);
    enum err e = E_AGAIN;
    for (int i = 0; i < WORLD_STEPS_MAX && e == E_AGAIN; i++) {
        assert_int_equal(loop_step(w->loop, 1000), E_OK);
        e = world_receive(w, p, sizeof(p), &n);
    }
    assert_int_equal(e, E_OK);
    bool is_resumed = SSL_session_reused(w->server) == 1;
    world_disconnect(w);
    return is_resumed;
}

static void each_endpoint_has_its_own(void **state)
{
    struct world *w = *state;
    struct sockaddr_in addresses[2];
    int listeners[] = {listen_anywhere(&addresses[0]), listen_anywhere(&addresses[1])};
    assert_false(connect_to(w, listeners[0], &addresses[0]));
    assert_false(connect_to(w, listeners[1], &addresses[1]));
    assert_true(connect_to(w, listeners[0], &addresses[0]));
    assert_true(connect_to(w, listeners[1], &addresses[1]));
    (void)close(listeners[0]);
    (void)close(listeners[1]);
}

/* A client made anew, for other options or another Secret, begins without any. */
static void each_client_has_its_own(void **state)
{
    struct world *w = *state;
    struct tls_client_options o = world_options(w);
    assert_false(connect_once(w));
    assert_true(connect_once(w));
    world_client(w, &o);
    assert_false(connect_once(w));
}

/* ---- bounds ---- */

/* A session as servers give them, of this version. */
static SSL_SESSION *session_get(struct world *w, int version)
{
    struct tls_peer nobody = {0};
    usec_t at;
    if (version == TLS1_2_VERSION) {
        version_12(w, true);
    }
    (void)connect_once(w);
    SSL_SESSION *session = client_sessions_take(w->client, &nobody, clock_monotonic(), &at);
    assert_non_null(session);
    assert_int_equal(SSL_SESSION_get_protocol_version(session), version);
    client_sessions_fini(w->client);
    assert_int_equal(w->client->session_n, 0);
    return session;
}

static struct tls_peer peer_number(uint32_t i)
{
    struct tls_peer peer = {
        .ip = {4, {10, 0, (uint8_t)(i >> 8), (uint8_t)i}},
          .port = 443
    };
    return peer;
}

static bool has_session(struct world *w, uint32_t i, usec_t now)
{
    struct tls_peer peer = peer_number(i);
    usec_t at;
    SSL_SESSION *session = client_sessions_take(w->client, &peer, now, &at);
    SSL_SESSION_free(session);
    return session != NULL;
}

static void how_many(void **state)
{
    struct world *w = *state;
    SSL_SESSION *session = session_get(w, TLS1_3_VERSION);
    for (uint32_t i = 0; i < TLS_SESSIONS_MAX; i++) {
        struct tls_peer peer = peer_number(i);
        client_sessions_add(w->client, &peer, session, 1000);
    }
    assert_int_equal(w->client->session_n, TLS_SESSIONS_MAX);
    assert_int_equal(stats_get(&w->stats->limit_upstream_sessions), 0);
    struct tls_peer peer = peer_number(TLS_SESSIONS_MAX);
    client_sessions_add(w->client, &peer, session, 1000);
    assert_int_equal(w->client->session_n, TLS_SESSIONS_MAX);
    assert_int_equal(stats_get(&w->stats->limit_upstream_sessions), 1);
    assert_false(has_session(w, 0, 2000)); /* the oldest */
    assert_true(has_session(w, 1, 2000));
    assert_true(has_session(w, TLS_SESSIONS_MAX, 2000));
    SSL_SESSION_free(session);
}

static void how_many_of_one_endpoint(void **state)
{
    struct world *w = *state;
    static const struct {
        int version;
        uint32_t max;
    } cases[] = {
        {TLS1_3_VERSION, TLS_SESSIONS_PER_PEER_MAX},
        {TLS1_2_VERSION, 1                        },
    };
    for (size_t k = 0; k < 2; k++) {
        SSL_SESSION *session = session_get(w, cases[k].version);
        struct tls_peer peer = peer_number(1), other = peer_number(2);
        usec_t at;
        client_sessions_add(w->client, &other, session, 1);
        for (uint32_t i = 1; i <= cases[k].max + 1; i++) {
            client_sessions_add(w->client, &peer, session, 1000 + i);
            uint32_t kept = i < cases[k].max ? i : cases[k].max;
            assert_int_equal(w->client->session_n, 1 + kept);
        }
        SSL_SESSION *newest = client_sessions_take(w->client, &peer, 2000, &at);
        assert_int_equal(at, 1000 + cases[k].max + 1);
        assert_true(has_session(w, 2, 2000));
        SSL_SESSION_free(newest);
        SSL_SESSION_free(session);
        client_sessions_fini(w->client);
    }
}

static void how_old(void **state)
{
    struct world *w = *state;
    SSL_SESSION *session = session_get(w, TLS1_2_VERSION);
    struct tls_peer peer = peer_number(1);
    client_sessions_add(w->client, &peer, session, 1000);
    assert_true(has_session(w, 1, 1000 + TLS_SESSION_AGE_MAX - 1));
    assert_false(has_session(w, 1, 1000 + TLS_SESSION_AGE_MAX));
    assert_int_equal(w->client->session_n, 0);
    SSL_SESSION_free(session);
}

/* What was resumed counts from the handshake that looked at the certificate. */
static void resuming_makes_nobody_younger(void **state)
{
    struct world *w = *state;
    struct tls_peer nobody = {0};
    usec_t first, second;
    assert_false(connect_once(w));
    SSL_SESSION *session = client_sessions_take(w->client, &nobody, clock_monotonic(), &first);
    SSL_SESSION_free(session);
    assert_true(connect_once(w)); /* by the other ticket; it brings another one */
    session = client_sessions_take(w->client, &nobody, clock_monotonic(), &second);
    assert_non_null(session);
    SSL_SESSION_free(session);
    assert_int_equal(first, second);
}

/* Large tickets: the certificate of the client is in them, most of all. */
static void how_large(void **state)
{
    struct world *w = *state;
    SSL_SESSION *session = session_get(w, TLS1_3_VERSION);
    struct tls_peer peer = peer_number(1);
    static unsigned char data[2 * TLS_CLIENT_SESSION_BYTES_MAX];
    int without = i2d_SSL_SESSION(session, NULL);
    for (size_t n = TLS_CLIENT_SESSION_BYTES_MAX - (size_t)without - 40; n < sizeof(data); n++) {
        assert_int_equal(SSL_SESSION_set1_ticket_appdata(session, data, n), 1);
        bool fits = i2d_SSL_SESSION(session, NULL) <= TLS_CLIENT_SESSION_BYTES_MAX;
        client_sessions_add(w->client, &peer, session, 1000);
        assert_int_equal(w->client->session_n, fits);
        assert_int_equal(stats_get(&w->stats->limit_upstream_sessions), !fits);
        client_sessions_fini(w->client);
        if (!fits) {
            SSL_SESSION_free(session);
            return;
        }
    }
    fail();
}

static void when_memory_is_out(void **state)
{
    struct world *w = *state;
    SSL_SESSION *session = session_get(w, TLS1_3_VERSION);
    struct tls_peer peer = peer_number(1);
    bool was_whole = false;
    for (size_t nth = 1; nth < 20000 && !was_whole; nth++) {
        usec_t at;
        mem_fail_from(nth);
        client_sessions_add(w->client, &peer, session, 1000);
        SSL_SESSION *again = client_sessions_take(w->client, &peer, 2000, &at);
        mem_fail_from(0);
        was_whole = again != NULL;
        SSL_SESSION_free(again);
        assert_int_equal(ERR_peek_error(), 0);
    }
    assert_true(was_whole);
    SSL_SESSION_free(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
        TEST(resumption_in_version_12),
        TEST(resumption_in_version_13),
        TEST(a_ticket_is_used_once),
        TEST(a_server_without_sessions),
        TEST(a_server_that_forgot),
        TEST(a_failure_forgets),
        TEST(each_endpoint_has_its_own),
        TEST(each_client_has_its_own),
        TEST(how_many),
        TEST(how_many_of_one_endpoint),
        TEST(how_old),
        TEST(resuming_makes_nobody_younger),
        TEST(how_large),
        TEST(when_memory_is_out),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the server */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
