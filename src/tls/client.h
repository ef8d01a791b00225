/* tls/client.h: TLS towards servers: one way of speaking it (whom to trust, which name, which
 * certificate of our own), as an opener of transports over sockets that are connecting or
 * connected.
 *
 * The handshake happens inside receive(), as event/transport.h says. What fails is told three
 * times: by the error, by transport_ops.why() with a reason and words, and to on_failure for a log
 * line.
 *
 * Sessions: a server that offers them is spared its next full handshakes, for each address and port
 * on its own; a TLS 1.3 ticket is used once (RFC 8446 appendix C.4). They are made by handshakes of
 * this very client, so that what was verified is what would be; an hour after the last full
 * handshake there is another one, which looks at the certificate anew. No early data.
 *
 * Names: those of subjectAltName, else the common name, as X509_check_host() has it and nginx with
 * it; a wildcard stands for a whole label; an address is compared with addresses only.
 *
 * ALPN: offers what is asked for. A server that answers with none of it is taken to speak it all
 * the same, as many that do gRPC know nothing of ALPN; one that chooses something else is refused.
 * Source: RFC 8446, RFC 6066 section 3, RFC 7301, RFC 9525. */
#pragma once

#include "base/clock.h"
#include "base/list.h"
#include "stats/stats.h"
#include "tls/transport.h"
#include "wire/ip.h"

struct tls_client_options { /* all borrowed for tls_client_new() alone */
    /* Whom to trust, DER; each is an anchor, whether it is a root or not. None: nobody. */
    const struct str *authorities;
    uint32_t authority_n;
    const struct str *revocations; /* CRLs, DER; with one, each authority of a chain needs one */
    uint32_t revocation_n;
    bool is_verified; /* the server's certificate; false: any will do, and name is for SNI only */
    uint8_t depth;    /* certificates between the server's and an authority, at most; 0: any */
    bool sends_name;  /* SNI; never an address */
    struct str name;  /* that the certificate has to be for, a DNS name or an address, and that
                         is sent; empty: any, and none */
    const struct str *chain; /* our own certificate, DER, then those that signed it; none: none */
    uint32_t chain_n;
    struct str key;                   /* of the first one: PKCS #8 in DER, not encrypted */
    uint8_t min_version, max_version; /* 12, 13; 0: no limit of our own */
    struct str ciphers; /* of TLS 1.2, as OpenSSL writes them; empty: its own choice */
    unsigned alpn;      /* bits of enum tls_alpn */
};

struct tls_failure {
    struct ip ip; /* of the server; family 0: no such socket */
    uint16_t port;
    enum reason reason;
    const char *text; /* static: "a certificate has expired" */
};

struct tls_client {
    struct transport_opener opener; /* first: give it to http1_dialer.opener and the like */
    struct tls_shared *shared;
    struct stats_page *stats;
    struct ssl_ctx_st *context; /* OpenSSL's */
    unsigned alpn;
    bool is_name_sent;
    char name[TLS_NAME_BYTES_MAX + 1];
    struct list sessions; /* the newest in front: client_sessions.c */
    uint32_t session_n;
    uint32_t conn_n; /* connections: it has to stay as long as there is one */
    /* A handshake failed; set by the owner, may be NULL. Inside a receive(): only takes note. */
    void (*on_failure)(struct tls_client *c, const struct tls_failure *f);
    void *owner; /* the owner's */
};

/* Borrows shared and stats for its life. Errors: E_PROTO (*ret_why says what cannot be used: a
 * static text, "an authority cannot be read"), E_NOMEM. */
enum err tls_client_new(struct tls_shared *shared, struct stats_page *stats,
                        const struct tls_client_options *o, const char **ret_why,
                        struct tls_client **ret);
/* After its last connection; wipes its sessions. c may be NULL. */
void tls_client_free(struct tls_client *c);

/* True when ciphers is a list as tls_client_options.ciphers that leaves some cipher. */
bool tls_ciphers_are_known(struct str ciphers);
