/* The client's side of TLS: the contract of event/transport.h from the first flight on, what fails
 * and in which words, names, versions, certificates of our own, ALPN. Sessions: test_sessions.c. */
#include "client_world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

static void assert_failed(struct world *w, enum reason reason, const char *text)
{
    enum reason why;
    assert_string_equal(world_why(w, &why), text);
    assert_int_equal(why, reason);
    assert_int_equal(w->failure_n, 1);
    assert_int_equal(w->failure.reason, reason);
    assert_string_equal(w->failure.text, text);
    w->failure_n = 0;
}

/* The handshake fails with these words. */
static void assert_refused(struct world *w, enum reason reason, const char *text)
{
    world_connect(w);
    world_serve(w);
    enum err e = world_run(w);
    if (e == E_AGAIN) {
        fail_msg("not refused: %s", text);
    }
    assert_true(e == E_PROTO || e == E_SYS);
    assert_false(w->transport.is_open);
    assert_failed(w, reason, text);
    w->is_readable = true;
    char p[8];
    size_t n;
    assert_int_equal(world_receive(w, p, sizeof(p), &n), e); /* and stays so */
    assert_int_equal(world_send(w, "x"), E_CLOSED);
    world_disconnect(w);
}

static void assert_accepted(struct world *w)
{
    world_shake(w);
    world_disconnect(w);
}

/* ---- the plain contract ---- */

static void both_ways(void **state)
{
    struct world *w = *state;
    char p[100];
    size_t n = 99;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_int_equal(SSL_CTX_set_max_proto_version(w->server_context, version), 1);
        world_shake(w);
        assert_int_equal(SSL_version(w->server), version);
        assert_int_equal(world_send(w, "hello"), E_OK);
        assert_int_equal(SSL_read(w->server, p, sizeof(p)), 5);
        assert_memory_equal(p, "hello", 5);
        assert_int_equal(SSL_write(w->server, "welcome", 7), 7);
        assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_OK);
        assert_int_equal(n, 7);
        assert_memory_equal(p, "welcome", 7);
        enum reason why;
        assert_null(world_why(w, &why));
        assert_int_equal(why, REASON_none);
        world_disconnect(w);
    }
    assert_int_equal(stats_get(&w->stats->upstream_handshakes), 2);
    assert_int_equal(stats_get(&w->stats->upstream_handshake_failures), 0);
    assert_int_equal(w->client->conn_n, 0);
}

/* The owner is told to receive once the socket stands, and not a moment before. */
static void the_first_flight(void **state)
{
    struct world *w = *state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_n = sizeof(address);
    char p[8];
    size_t n;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, address_n), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &address_n), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
    (void)connect(client, (struct sockaddr *)&address, address_n);
    world_open(w, client, -1);
    assert_int_equal(w->transport.sent_n, 0);
    for (int i = 0; i < 100 && w->events == 0; i++) {
        assert_int_equal(loop_step(w->loop, 10000), E_OK);
    }
    assert_int_equal(w->events, EPOLLIN | EPOLLOUT);
    assert_int_equal(w->transport.sent_n, 0);
    assert_int_equal(world_receive(w, p, sizeof(p), &n), E_AGAIN);
    assert_true(w->transport.sent_n > 0);
    w->fd = accept(listener, NULL, NULL);
    assert_int_equal(fcntl(w->fd, F_SETFL, O_NONBLOCK), 0);
    world_serve(w);
    assert_int_equal(world_run(w), E_AGAIN);
    assert_true(w->transport.is_open);
    (void)close(listener);
}

/* The server's first words come with its Finished, which is the last one in TLS 1.2. */
static void a_server_that_speaks_first(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n = 99;
    assert_int_equal(SSL_CTX_set_max_proto_version(w->server_context, TLS1_2_VERSION), 1);
    world_connect(w);
    world_serve(w);
    for (int i = 0; i < 2; i++) {
        world_step(w);
        assert_int_equal(world_receive(w, p, sizeof(p), &n), E_AGAIN);
        (void)SSL_do_handshake(w->server);
        ERR_clear_error();
    }
    assert_int_equal(SSL_write(w->server, "hello", 5), 5);
    assert_false(w->transport.is_open);
    assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_OK);
    assert_true(w->transport.is_open);
    assert_int_equal(n, 5);
    assert_memory_equal(p, "hello", 5);
}

static void relay_pass(int from, int to, size_t piece)
{
    char p[65536];
    ssize_t n = recv(from, p, piece < sizeof(p) ? piece : sizeof(p), 0);
    if (n > 0) {
        assert_int_equal(send(to, p, (size_t)n, 0), n);
    }
}

/* The same handshake, whether its bytes come whole or one by one. */
static void fragments(void **state)
{
    struct world *w = *state;
    static const size_t pieces[] = {1, 2, 5, 6, 100, 16384};
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_int_equal(SSL_CTX_set_max_proto_version(w->server_context, version), 1);
        for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
            char p[8];
            size_t n = 0;
            int pair[2];
            bool has_spoken = false;
            world_connect(w);
            int client = w->fd;
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
            w->fd = pair[0];
            world_serve(w);
            for (int i = 0; i < 20000 && n == 0; i++) {
                world_step(w);
                enum err e = world_receive(w, p, sizeof(p), &n);
                assert_true(e == E_OK || e == E_AGAIN);
                relay_pass(client, pair[1], pieces[k]);
                relay_pass(pair[1], client, pieces[k]);
                if (SSL_do_handshake(w->server) == 1 && !has_spoken) {
                    has_spoken = SSL_write(w->server, "hello", 5) == 5;
                }
                ERR_clear_error();
            }
            assert_int_equal(n, 5);
            assert_memory_equal(p, "hello", 5);
            (void)close(client);
            (void)close(pair[1]);
            world_disconnect(w);
        }
    }
}

/* There is no room for the hello: it goes when there is. */
static void a_hello_without_room(void **state)
{
    struct world *w = *state;
    int pair[2];
    char p[4096];
    size_t n;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    while (send(pair[0], p, sizeof(p), MSG_NOSIGNAL) > 0) {
    }
    world_open(w, pair[0], pair[1]);
    for (int i = 0; i < 10; i++) {
        world_step(w);
        assert_int_equal(world_receive(w, p, sizeof(p), &n), E_AGAIN);
    }
    assert_int_equal(w->transport.sent_n, 0);
    while (recv(w->fd, p, sizeof(p), 0) > 0) { /* room again */
    }
    world_serve(w);
    assert_int_equal(world_run(w), E_AGAIN);
    assert_true(w->transport.is_open);
}

/* ---- whom to trust ---- */

static void certificates(void **state)
{
    struct world *w = *state;
    struct pki other = pki_make(&(struct pki_options){.name = "other", .is_authority = true}, NULL);
    struct pki fake = pki_make(&(struct pki_options){.name = "root", .is_authority = true}, NULL);
    static const struct {
        struct pki_options site;
        enum { BY_ROOT, BY_OTHER, BY_FAKE, BY_ITSELF } by;
        const char *text; /* NULL: it is accepted */
    } cases[] = {
        {{"a", "DNS:a.example", "serverAuth", false, 0, 0},         BY_ROOT, NULL                                                                           },
        {{"a", "DNS:a.example", NULL, false, 0, 0},                 BY_ROOT, NULL                                                                           },
        {{"a", "DNS:a.example", "serverAuth", false, -7200, -3600},
         BY_ROOT,                                                            "a certificate has expired"                                                    },
        {{"a", "DNS:a.example", "serverAuth", false, 3600, 7200},
         BY_ROOT,                                                            "a certificate is not valid yet"                                               },
        {{"a", "DNS:a.example", "serverAuth", false, 0, 0},
         BY_OTHER,                                                           "the certificate was signed by none of the authorities, or the chain has a gap"},
        {{"a", "DNS:a.example", "serverAuth", false, 0, 0},
         BY_FAKE,                                                            "a certificate's signature is wrong"                                           },
        {{"a", "DNS:a.example", "serverAuth", false, 0, 0},
         BY_ITSELF,                                                          "the certificate is self-signed and not one of the authorities"                },
        {{"a", "DNS:a.example", "clientAuth", false, 0, 0},
         BY_ROOT,                                                            "the certificate is not for servers"                                           },
        {{"a", "DNS:b.example", "serverAuth", false, 0, 0},
         BY_ROOT,                                                            "the certificate is for another name"                                          },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct pki *by[] = {&w->root, &other, &fake, NULL};
        struct pki site = pki_make(&cases[i].site, by[cases[i].by]);
        world_server(w);
        world_site(w, &site);
        if (cases[i].text == NULL) {
            assert_accepted(w);
        } else {
            assert_refused(w, REASON_upstream_certificate, cases[i].text);
        }
        pki_free(&site);
    }
    assert_int_equal(stats_get(&w->stats->upstream_handshakes), 2);
    assert_int_equal(stats_get(&w->stats->upstream_handshake_failures), 7);
    pki_free(&other);
    pki_free(&fake);
}

/* Each of those that were refused is accepted when nobody asked for verification. */
static void without_verification(void **state)
{
    struct world *w = *state;
    struct tls_client_options o = {.name = STR("c.example"), .sends_name = true};
    struct pki site = pki_make(&(struct pki_options){.name = "x",
                                                     .alternatives = "DNS:x.example",
                                                     .uses = "clientAuth",
                                                     .begins_s = -7200,
                                                     .ends_s = -3600},
                               NULL);
    world_client(w, &o);
    world_site(w, &site);
    assert_accepted(w);
    o.is_verified = true; /* whom nobody is trusted by */
    world_client(w, &o);
    assert_refused(w, REASON_upstream_certificate,
                   "the certificate is self-signed and not one of the authorities");
    pki_free(&site);
}

/* An anchor need not be a root: the very certificate, or one between. */
static void anchors(void **state)
{
    struct world *w = *state;
    struct pki middle =
        pki_make(&(struct pki_options){.name = "middle", .is_authority = true}, &w->root);
    struct pki site = pki_make(
        &(struct pki_options){.name = "x", .alternatives = "DNS:a.example", .uses = "serverAuth"},
        &middle);
    struct pki self = pki_make(
        &(struct pki_options){.name = "x", .alternatives = "DNS:a.example", .uses = "serverAuth"},
        NULL);
    struct tls_client_options o = world_options(w);
    const struct pki *cases[][2] = {
        {&middle, &site},
        {&site,   &site},
        {&self,   &self},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str der = pki_der(cases[i][0]);
        o.authorities = &der;
        world_client(w, &o);
        world_server(w);
        world_site(w, cases[i][1]);
        assert_accepted(w);
        pki_der_free(&der);
    }
    pki_free(&middle);
    pki_free(&site);
    pki_free(&self);
}

/* A chain of root, two between, and the site; depth counts those between. */
static void depth(void **state)
{
    struct world *w = *state;
    struct pki upper =
        pki_make(&(struct pki_options){.name = "upper", .is_authority = true}, &w->root);
    struct pki lower =
        pki_make(&(struct pki_options){.name = "lower", .is_authority = true}, &upper);
    struct pki site = pki_make(
        &(struct pki_options){.name = "x", .alternatives = "DNS:a.example", .uses = "serverAuth"},
        &lower);
    struct tls_client_options o = world_options(w);
    STACK_OF(X509) *chain = sk_X509_new_null();
    assert_int_equal(sk_X509_push(chain, lower.x), 1);
    assert_int_equal(sk_X509_push(chain, upper.x), 2);
    assert_int_equal(SSL_CTX_use_cert_and_key(w->server_context, site.x, site.key, chain, 1), 1);
    for (uint8_t i = 0; i < 4; i++) {
        o.depth = i;
        world_client(w, &o);
        if (i == 1) {
            assert_refused(w, REASON_upstream_certificate,
                           "the chain is longer than the depth allows");
        } else {
            assert_accepted(w);
        }
    }
    assert_int_equal(SSL_CTX_use_cert_and_key(w->server_context, site.x, site.key, NULL, 1), 1);
    assert_int_equal(SSL_CTX_clear_chain_certs(w->server_context), 1);
    world_client(w, &o); /* without the sessions */
    assert_refused(w, REASON_upstream_certificate,
                   "the certificate was signed by none of the authorities, or the chain has a gap");
    sk_X509_free(chain);
    pki_free(&upper);
    pki_free(&lower);
    pki_free(&site);
}

static void revocation(void **state)
{
    struct world *w = *state;
    struct pki other = pki_make(&(struct pki_options){.name = "other", .is_authority = true}, NULL);
    static const struct {
        long begins_s, ends_s;
        bool is_revoked, is_of_other;
        const char *text;
    } cases[] = {
        {-3600, 3600,  false, false, NULL                                              },
        {-3600, 3600,  true,  false, "a certificate was revoked"                       },
        {-7200, -3600, false, false, "a revocation list has expired"                   },
        {3600,  7200,  false, false, "a revocation list is not valid yet"              },
        {-3600, 3600,  false, true,  "an authority of the chain has no revocation list"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_client_options o = world_options(w);
        X509_CRL *list =
            pki_revoke(cases[i].is_of_other ? &other : &w->root,
                       cases[i].is_revoked ? &w->site : NULL, cases[i].begins_s, cases[i].ends_s);
        struct str der = pki_der_revocations(list);
        o.revocations = &der;
        o.revocation_n = 1;
        world_client(w, &o);
        if (cases[i].text == NULL) {
            assert_accepted(w);
        } else {
            assert_refused(w, REASON_upstream_certificate, cases[i].text);
        }
        pki_der_free(&der);
        X509_CRL_free(list);
    }
    pki_free(&other);
}

/* ---- names ---- */

static void names(void **state)
{
    struct world *w = *state;
    struct tls_client_options o = world_options(w);
    struct pki old =
        pki_make(&(struct pki_options){.name = "old.example", .uses = "serverAuth"}, &w->root);
    struct pki partial = pki_make(
        &(struct pki_options){.name = "x", .alternatives = "DNS:f*.example", .uses = "serverAuth"},
        &w->root);
    const char *other_name = "the certificate is for another name";
    const char *other_address = "the certificate is for another address";
    const struct {
        const char *name;
        const struct pki *site;
        const char *text; /* NULL: accepted */
    } cases[] = {
        {"a.example",      &w->site, NULL         },
        {"A.Example",      &w->site, NULL         },
        {"a.example.",     &w->site, NULL         },
        {"a.example:8443", &w->site, NULL         },
        {"x.b.example",    &w->site, NULL         },
        {"",               &w->site, NULL         },
        {"b.example",      &w->site, other_name   },
        {"x.y.b.example",  &w->site, other_name   },
        {"aa.example",     &w->site, other_name   },
        {"10.0.0.1",       &w->site, NULL         },
        {"fd00::1",        &w->site, NULL         },
        {"FD00:0::1",      &w->site, NULL         },
        {"[fd00::1]",      &w->site, NULL         },
        {"10.0.0.2",       &w->site, other_address},
        {"fd00::2",        &w->site, other_address},
        {"old.example",    &old,     NULL         }, /* its common name, as there is no other */
        {"older.example",  &old,     other_name   },
        {"foo.example",    &partial, other_name   }, /* RFC 9525 section 6.3: a whole label */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        o.name = str_from_cstr(cases[i].name);
        world_client(w, &o);
        world_site(w, cases[i].site);
        if (cases[i].text == NULL) {
            assert_accepted(w);
        } else {
            assert_refused(w, REASON_upstream_certificate, cases[i].text);
        }
    }
    pki_free(&old);
    pki_free(&partial);
}

static void server_name(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *name;
        bool sends_name;
        const char *sent;
    } cases[] = {
        {"a.example",  true,  "a.example"},
        {"A.EXAMPLE.", true,  "a.example"},
        {"a.example",  false, NULL       },
        {"10.0.0.1",   true,  NULL       }, /* RFC 6066 section 3 */
        {"[fd00::1]",  true,  NULL       },
        {"",           true,  NULL       },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_client_options o = world_options(w);
        o.name = str_from_cstr(cases[i].name);
        o.sends_name = cases[i].sends_name;
        world_client(w, &o);
        world_shake(w);
        const char *sent = SSL_get_servername(w->server, TLSEXT_NAMETYPE_host_name);
        if (cases[i].sent == NULL) {
            assert_null(sent);
        } else {
            assert_string_equal(sent, cases[i].sent);
        }
        world_disconnect(w);
    }
}

/* ---- versions, ciphers, protocols ---- */

static void versions(void **state)
{
    struct world *w = *state;
    static const struct {
        uint8_t min, max;
        int server_min, server_max, chosen; /* 0: none */
    } cases[] = {
        {0,  0,  TLS1_2_VERSION, TLS1_3_VERSION, TLS1_3_VERSION},
        {12, 13, TLS1_2_VERSION, TLS1_3_VERSION, TLS1_3_VERSION},
        {0,  12, TLS1_2_VERSION, TLS1_3_VERSION, TLS1_2_VERSION},
        {12, 12, TLS1_2_VERSION, TLS1_3_VERSION, TLS1_2_VERSION},
        {13, 0,  TLS1_2_VERSION, TLS1_3_VERSION, TLS1_3_VERSION},
        {13, 0,  TLS1_2_VERSION, TLS1_2_VERSION, 0             },
        {12, 12, TLS1_3_VERSION, TLS1_3_VERSION, 0             },
        {0,  0,  TLS1_VERSION,   TLS1_1_VERSION, 0             },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_client_options o = world_options(w);
        o.min_version = cases[i].min;
        o.max_version = cases[i].max;
        world_client(w, &o);
        SSL_CTX_set_security_level(w->server_context, 0);
        assert_int_equal(SSL_CTX_set_min_proto_version(w->server_context, cases[i].server_min), 1);
        assert_int_equal(SSL_CTX_set_max_proto_version(w->server_context, cases[i].server_max), 1);
        if (cases[i].chosen == 0) {
            assert_refused(w, REASON_upstream_tls,
                           "the peer speaks no version of TLS that is allowed");
            continue;
        }
        world_shake(w);
        assert_int_equal(SSL_version(w->server), cases[i].chosen);
        world_disconnect(w);
    }
}

static void ciphers(void **state)
{
    struct world *w = *state;
    struct tls_client_options o = world_options(w);
    o.ciphers = STR("ECDHE-ECDSA-AES256-GCM-SHA384");
    o.max_version = 12;
    world_client(w, &o);
    world_shake(w);
    assert_string_equal(SSL_get_cipher_name(w->server), "ECDHE-ECDSA-AES256-GCM-SHA384");
    world_disconnect(w);
    world_client(w, &o); /* without the sessions */
    assert_int_equal(SSL_CTX_set_cipher_list(w->server_context, "ECDHE-ECDSA-AES128-GCM-SHA256"),
                     1);
    assert_refused(w, REASON_upstream_tls, "the peer finds no cipher or certificate acceptable");
    assert_true(tls_ciphers_are_known(o.ciphers));
    assert_true(tls_ciphers_are_known(STR("DEFAULT")));
    assert_true(tls_ciphers_are_known(STR("HIGH:!aNULL:!MD5")));
    assert_false(tls_ciphers_are_known(STR("NO-SUCH-CIPHER")));
    assert_false(tls_ciphers_are_known(STR("")));
    assert_false(tls_ciphers_are_known(STR("HIGH\0:LOW")));
}

static int choose(SSL *ssl, const unsigned char **ret, unsigned char *ret_n,
                  const unsigned char *list, unsigned list_n, void *arg)
{
    (void)ssl;
    (void)list;
    (void)list_n;
    if (arg == NULL) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *ret = arg;
    *ret_n = (unsigned char)strlen(arg);
    return SSL_TLSEXT_ERR_OK;
}

static void alpn(void **state)
{
    struct world *w = *state;
    static const struct {
        unsigned offered;
        const char *answer; /* "": none */
        unsigned chosen;
        const char *text; /* it is refused */
    } cases[] = {
        {TLS_ALPN_HTTP2,                  "h2",       TLS_ALPN_HTTP2, NULL                                                   },
        {TLS_ALPN_HTTP2 | TLS_ALPN_HTTP1, "http/1.1", TLS_ALPN_HTTP1, NULL                                                   },
        {TLS_ALPN_HTTP2,                  "",         0,              NULL                                                   },
        {0,                               "h2",       0,              NULL                                                   }, /* not asked */
        {TLS_ALPN_HTTP2,                  "http/1.1", 0,              "the peer chose what was not offered"                  },
        {TLS_ALPN_HTTP2,                  "h3",       0,              "the peer chose what was not offered"                  },
        {TLS_ALPN_HTTP2,                  NULL,       0,              "the peer does not speak the protocol that was offered"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_client_options o = world_options(w);
        o.alpn = cases[i].offered;
        world_client(w, &o);
        world_server(w);
        if (cases[i].answer == NULL || cases[i].answer[0] != '\0') {
            SSL_CTX_set_alpn_select_cb(w->server_context, choose,
                                       (void *)(uintptr_t)cases[i].answer);
        }
        if (cases[i].text != NULL) {
            assert_refused(w, REASON_upstream_tls, cases[i].text);
            continue;
        }
        world_shake(w);
        assert_int_equal(tls_transport_alpn(&w->transport), cases[i].chosen);
        world_disconnect(w);
    }
}

/* ---- our own certificate ---- */

static void asks_for_certificate(struct world *w)
{
    assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(w->server_context), w->root.x), 1);
    SSL_CTX_set_verify(w->server_context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static void our_certificate(void **state)
{
    struct world *w = *state;
    struct pki middle =
        pki_make(&(struct pki_options){.name = "middle", .is_authority = true}, &w->root);
    struct pki ours =
        pki_make(&(struct pki_options){.name = "lintel", .uses = "clientAuth"}, &middle);
    struct str chain[] = {pki_der(&ours), pki_der(&middle)};
    struct tls_client_options o = world_options(w);
    o.chain = chain;
    o.chain_n = 2;
    o.key = pki_der_key(&ours);
    asks_for_certificate(w);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        world_client(w, &o);
        assert_int_equal(SSL_CTX_set_max_proto_version(w->server_context, version), 1);
        world_shake(w);
        assert_int_equal(X509_cmp(SSL_get0_peer_certificate(w->server), ours.x), 0);
        world_disconnect(w);
    }
    pki_der_free(&chain[0]);
    pki_der_free(&chain[1]);
    pki_der_free(&o.key);
    pki_free(&middle);
    pki_free(&ours);
}

/* TLS 1.3 tells of it when the client takes the handshake for complete; what was sent by then was
 * seen by nobody. */
static void a_certificate_is_missing(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    asks_for_certificate(w);
    assert_int_equal(SSL_CTX_set_max_proto_version(w->server_context, TLS1_2_VERSION), 1);
    assert_refused(w, REASON_upstream_tls, "the peer finds no cipher or certificate acceptable");
    assert_int_equal(SSL_CTX_set_max_proto_version(w->server_context, TLS1_3_VERSION), 1);
    world_connect(w);
    world_serve(w);
    world_step(w);
    assert_int_equal(world_receive(w, p, sizeof(p), &n), E_AGAIN);
    (void)SSL_do_handshake(w->server);
    assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_AGAIN);
    assert_true(w->transport.is_open);
    assert_int_equal(world_send(w, "hello"), E_OK);
    assert_true(SSL_do_handshake(w->server) <= 0);
    ERR_clear_error();
    assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_PROTO);
    assert_failed(w, REASON_upstream_tls, "the peer wants a client certificate");
}

/* ---- bad peers ---- */

static void no_tls_at_all(void **state)
{
    struct world *w = *state;
    static const char *const texts[] = {"HTTP/1.1 400 Bad Request\r\n\r\n", "220 ready\r\n",
                                        "\x16\x03\x03\xff\xff-"};
    char p[8];
    size_t n;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        world_connect(w);
        assert_int_equal(write(w->fd, texts[i], strlen(texts[i])), strlen(texts[i]));
        assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_PROTO);
        assert_failed(w, REASON_upstream_tls, "the peer does not speak TLS");
        world_disconnect(w);
    }
}

/* A server that ends the connection after n bytes of its own, in each way that there is. */
static void an_end_in_the_handshake(void **state)
{
    struct world *w = *state;
    static const size_t cuts[] = {0, 1, 5, 100, 500};
    char p[4096];
    size_t n;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        int pair[2];
        world_connect(w);
        int client = w->fd;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        w->fd = pair[0];
        world_serve(w);
        world_step(w);
        assert_int_equal(world_receive(w, p, sizeof(p), &n), E_AGAIN);
        relay_pass(client, pair[1], sizeof(p));
        (void)SSL_do_handshake(w->server);
        ERR_clear_error();
        if (cuts[i] > 0) {
            relay_pass(pair[1], client, cuts[i]);
        }
        assert_int_equal(shutdown(client, SHUT_WR), 0);
        assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_SYS);
        assert_true(w->transport.is_at_end);
        assert_failed(w, REASON_upstream_tls, "the peer closed the connection in the handshake");
        (void)close(client);
        (void)close(pair[1]);
        world_disconnect(w);
    }
}

static void an_alert_in_the_handshake(void **state)
{
    struct world *w = *state;
    static const struct {
        unsigned char level, alert;
        const char *text;
    } cases[] = {
        {2, SSL_AD_UNRECOGNIZED_NAME, "the peer does not know the server name"         },
        {2, SSL_AD_INTERNAL_ERROR,    "the peer reports an error inside it"            },
        {2, SSL_AD_DECODE_ERROR,      "the peer broke the handshake off with an alert" },
        {1, SSL_AD_CLOSE_NOTIFY,      "the peer closed the connection in the handshake"},
    };
    char p[8];
    size_t n;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const unsigned char record[] = {21, 3, 3, 0, 2, cases[i].level, cases[i].alert};
        world_connect(w);
        world_step(w);
        assert_int_equal(world_receive(w, p, sizeof(p), &n), E_AGAIN);
        assert_int_equal(write(w->fd, record, sizeof(record)), sizeof(record));
        assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_PROTO);
        assert_failed(w, REASON_upstream_tls, cases[i].text);
        world_disconnect(w);
    }
}

/* Nothing comes: that is for the owner's timeout, and closing is quiet. */
static void a_peer_that_stalls(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    world_connect(w);
    for (int i = 0; i < 10; i++) {
        world_step(w);
        assert_int_equal(world_receive(w, p, sizeof(p), &n), E_AGAIN);
    }
    enum reason why;
    assert_null(world_why(w, &why));
    assert_int_equal(why, REASON_none);
    world_disconnect(w);
    assert_int_equal(w->failure_n, 0);
    assert_int_equal(w->client->conn_n, 0);
}

/* RFC 8446 section 4.6.3: new keys as often as the peer likes; here not without a byte between. */
static void new_keys_without_end(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    world_shake(w);
    assert_int_equal(SSL_write(w->server, "x", 1), 1); /* behind the tickets */
    assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_OK);
    for (int i = 0; i < TLS_NEWS_MAX; i++) {
        assert_int_equal(SSL_key_update(w->server, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(w->server), 1);
    }
    assert_int_equal(SSL_write(w->server, "x", 1), 1);
    assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_OK);
    for (int i = 0; i < TLS_NEWS_MAX + 1; i++) {
        assert_int_equal(SSL_key_update(w->server, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(w->server), 1);
    }
    assert_int_equal(SSL_write(w->server, "x", 1), 1);
    assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_PROTO);
    assert_int_equal(stats_get(&w->stats->limit_upstream_tls_messages), 1);
    assert_int_equal(w->failure_n, 0); /* the handshake was good */
}

static void no_renegotiation(void **state)
{
    struct world *w = *state;
    char p[8];
    size_t n;
    assert_int_equal(SSL_CTX_set_max_proto_version(w->server_context, TLS1_2_VERSION), 1);
    world_shake(w);
    assert_int_equal(SSL_renegotiate(w->server), 1);
    assert_int_equal(SSL_do_handshake(w->server), 1); /* it has asked for it */
    assert_int_equal(world_receive_soon(w, p, sizeof(p), &n), E_AGAIN);
    assert_int_equal(SSL_read(w->server, p, sizeof(p)), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_NO_RENEGOTIATION);
    ERR_clear_error();
    assert_int_equal(stats_get(&w->stats->upstream_handshakes), 1);
}

/* ---- what cannot be used ---- */

static void bad_options(void **state)
{
    struct world *w = *state;
    struct str broken = STR("\x30\x03\x02\x01"), cut = str_first(w->root_der, w->root_der.n - 1);
    struct str site = pki_der(&w->site), key = pki_der_key(&w->root),
               site_key = pki_der_key(&w->site);
    const struct tls_client_options good = world_options(w);
    struct tls_client_options o[10];
    for (size_t i = 0; i < 10; i++) {
        o[i] = good;
    }
    char padded[2000];
    mem_copy(padded, w->root_der.p, w->root_der.n);
    padded[w->root_der.n] = 0;
    struct str longer = str_make(padded, w->root_der.n + 1);
    o[0].authorities = &broken;
    o[1].authorities = &cut;
    o[2].authorities = &longer;
    o[3].revocations = &site;
    o[3].revocation_n = 1;
    o[4].name = STR("a..example");
    o[5].name = STR("*.example");
    o[6].chain = &site;
    o[6].chain_n = 1;
    o[6].key = key; /* another one's */
    o[7].chain = &broken;
    o[7].chain_n = 1;
    o[7].key = site_key;
    o[8].min_version = 13;
    o[8].max_version = 12;
    o[9].ciphers = STR("NO-SUCH-CIPHER");
    static const char *const texts[] = {
        "an authority cannot be read",
        "an authority cannot be read",
        "an authority cannot be read",
        "a revocation list cannot be read",
        "the server name is none",
        "the server name is none",
        "our certificate cannot be read, is too weak, or its key is of another",
        "our certificate cannot be read, is too weak, or its key is of another",
        "no version of TLS is left",
        "no cipher that is known",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct tls_client *client = NULL;
        const char *why = "";
        assert_int_equal(tls_client_new(&w->shared, w->stats, &o[i], &why, &client), E_PROTO);
        assert_string_equal(why, texts[i]);
        assert_null(client);
        assert_int_equal(ERR_peek_error(), 0);
    }
    pki_der_free(&site);
    pki_der_free(&key);
    pki_der_free(&site_key);
}

/* ---- memory ---- */

enum { NTH_MAX = 20000, CLOSE = 64 }; /* the first ones are tried one by one, then ever fewer */

/* Allocations fail from the n-th on, those of OpenSSL too: never a crash, never a leak. */
static void when_memory_is_out_for_a_client(void **state)
{
    struct world *w = *state;
    struct str chain = pki_der(&w->site);
    X509_CRL *list = pki_revoke(&w->root, NULL, -PKI_HOUR, PKI_HOUR);
    struct str lists = pki_der_revocations(list);
    struct tls_client_options o = world_options(w);
    struct tls_client *client = NULL;
    o.chain = &chain;
    o.chain_n = 1;
    o.key = pki_der_key(&w->site);
    o.revocations = &lists;
    o.revocation_n = 1;
    o.alpn = TLS_ALPN_HTTP2;
    enum err e = E_NOMEM;
    for (size_t nth = 1; nth < NTH_MAX && e != E_OK; nth += 1 + nth / CLOSE) {
        const char *why;
        mem_fail_from(nth);
        e = tls_client_new(&w->shared, w->stats, &o, &why, &client);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM || e == E_PROTO);
        ERR_clear_error();
    }
    assert_int_equal(e, E_OK);
    tls_client_free(client);
    pki_der_free(&chain);
    pki_der_free(&lists);
    pki_der_free(&o.key);
    X509_CRL_free(list);
}

/* In each of its steps. What OpenSSL remembers of a failure (that an authority is none, for one)
 * must not outlive it: once there is memory again, the same client works. */
static void when_memory_is_out_in_the_handshake(void **state)
{
    struct world *w = *state;
    bool was_whole = false;
    for (size_t nth = 1; nth < NTH_MAX && !was_whole; nth += 1 + nth / CLOSE) {
        int pair[2];
        char p[8];
        size_t n;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        w->fd = pair[1];
        world_serve(w);
        w->is_readable = false;
        mem_fail_from(nth);
        enum err e = w->client->opener.open(&w->client->opener, &w->transport, w->loop, pair[0],
                                            world_on_event);
        for (int i = 0; i < 4 && (e == E_OK || e == E_AGAIN); i++) {
            mem_fail_from(nth);
            world_step(w);
            e = world_receive(w, p, sizeof(p), &n);
            mem_fail_from(0); /* the server's memory is not what is tested */
            (void)SSL_do_handshake(w->server);
            ERR_clear_error();
        }
        mem_fail_from(0);
        was_whole = e == E_AGAIN && w->transport.is_open;
        assert_true(e == E_AGAIN || e == E_NOMEM || e == E_PROTO || e == E_SYS);
        if (w->transport.own == NULL) {
            w->transport.ops = NULL; /* it was refused, and the socket closed */
        }
        world_disconnect(w);
        w->transport = (struct transport){.watch = {.fd = -1}};
        assert_int_equal(w->client->conn_n, 0);
    }
    assert_true(was_whole);
    assert_accepted(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
        TEST(both_ways),
        TEST(the_first_flight),
        TEST(a_server_that_speaks_first),
        TEST(fragments),
        TEST(a_hello_without_room),
        TEST(certificates),
        TEST(without_verification),
        TEST(anchors),
        TEST(depth),
        TEST(revocation),
        TEST(names),
        TEST(server_name),
        TEST(versions),
        TEST(ciphers),
        TEST(alpn),
        TEST(our_certificate),
        TEST(a_certificate_is_missing),
        TEST(no_tls_at_all),
        TEST(an_end_in_the_handshake),
        TEST(an_alert_in_the_handshake),
        TEST(a_peer_that_stalls),
        TEST(new_keys_without_end),
        TEST(no_renegotiation),
        TEST(bad_options),
        TEST(when_memory_is_out_for_a_client),
        TEST(when_memory_is_out_in_the_handshake),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the server */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
