/* snapshot/schema.h: the bytes that go from the controller to the workers.
 *
 *   segment   header | table of shard references, sorted by (kind, key) | shards
 *   shard     struct snap_shard, then the struct of its kind, then what these refer to
 *
 * A segment holds what changed between two generations: it turns any state from base_generation on
 * into the state of generation. base_generation 0 = the whole state; it replaces everything.
 * There are two streams of segments, each with generations of its own: what requests are served by,
 * and secrets (SNAP_SECRET_FIRST and above), which are never written to a disk, dumped or shown. A
 * certificate names its private key by a hash of the public one.
 * A shard is the unit of change and of identity: a host of a route table, or a service port.
 * It is position-independent: every offset counts from the shard's own start, so that a shard is
 * copied from one segment to another as it is. Little-endian, naturally aligned, shards 8-aligned.
 * Shards follow the table and each other in the table's order, without a gap.
 * Made by a pure function: the same objects give the same bytes.
 *
 * After snapshot_segment_verify() every offset lies inside its shard, is aligned, every index is in
 * range, every enum known and every string ends in NUL (not counted in n): readers never check.
 * Both executables come from one build, so a layout change only needs a new SNAP_VERSION. */
#pragma once

#include "base/str.h"
#include "snapshot/settings.h"

#define SNAP_MAGIC "LINTELSN"
enum {
    SNAP_VERSION = 7,
    SNAP_ALIGN = 8,
    SNAP_TABLE_BYTES_MAX = 255, /* name of a route table; holds no '/' */
    SNAP_HOST_BYTES_MAX = 256   /* host pattern: a DNS name and "**." */
};

struct snap_header {
    char magic[8];
    uint64_t checksum; /* snapshot_checksum() of everything behind this field */
    uint32_t version;
    uint32_t shard_n;
    uint64_t bytes;           /* of the whole segment */
    uint64_t generation;      /* >= 1 */
    uint64_t base_generation; /* < generation */
};

enum snap_kind {
    SNAP_GLOBAL = 1,   /* key "": struct snap_global */
    SNAP_HOST = 2,     /* key "<table>/<host pattern>": struct snap_host */
    SNAP_SERVICE = 3,  /* key "<namespace>/<service>/<port>", and "/<variant>" behind it when it has
                          one: struct snap_service */
    SNAP_TLS_HOST = 4, /* key "<table>/<host pattern>": struct snap_tls_host */
    SNAP_CERTIFICATE = 5, /* key "<namespace>/<secret>": struct snap_certificate */
    SNAP_AUTHORITY = 6,   /* key "<namespace>/<secret>": struct snap_authority */
    SNAP_STAPLE = 7,      /* key of the certificate: struct snap_staple */
    SNAP_KEY = 8,         /* key: snap_certificate.key_name: struct snap_key */
    SNAP_TICKETS = 9,     /* key "": struct snap_tickets */
};
enum { SNAP_SECRET_FIRST = SNAP_KEY };

struct snap_ref {
    uint64_t key_hash; /* hash_bytes() of the key */
    uint32_t offset;   /* from the segment's start */
    uint32_t bytes;
};

struct snap_str { /* n bytes and a NUL behind them */
    uint32_t offset, n;
};

struct snap_array { /* n structs; the field's comment names the type */
    uint32_t offset, n;
};

/* n items of an array of the same shard, from index first. No item is in two ranges: the n of all
 * ranges into an array add up to at most its n, which bounds what one request can cost. */
struct snap_range {
    uint32_t first, n;
};

struct snap_shard {
    uint32_t bytes;      /* same as in the reference */
    uint16_t kind;       /* enum snap_kind */
    uint16_t is_deleted; /* 1: the shard ends after its key; only with base_generation > 0 */
    struct snap_str key;
    uint64_t key_hash;
};

/* ---- SNAP_GLOBAL ---- */

/* Which route table the requests of an inherited listening socket use. */
struct snap_listener {
    struct snap_str name;  /* as in struct heritage_listener: "http" */
    struct snap_str table; /* "ingress" for everything that Ingresses say */
};

struct snap_prefix { /* of IP addresses; host bits are zero */
    uint8_t family;  /* 4 or 6 */
    uint8_t bits;
    uint8_t zero[6];
    uint8_t address[16]; /* as in struct snap_endpoint */
};

struct snap_global {
    struct snap_shard shard;
    struct snap_array listeners;   /* struct snap_listener */
    struct snap_array trusted;     /* struct snap_prefix: whose X-Forwarded-* are believed */
    struct snap_array plain_paths; /* struct snap_str: what stays without https below these */
    struct snap_str ssl_ciphers;   /* of TLS 1.2, as OpenSSL writes them; empty: ours */
    struct snap_str ssl_groups;    /* of the key exchange; empty: ours */
    uint8_t ssl_min_version;       /* 12 or 13 */
    uint8_t ssl_max_version;       /* 12 or 13, not below */
    uint8_t zero[6];
    struct snap_settings settings;
};

/* ---- SNAP_HOST ---- */

enum snap_host_kind {
    SNAP_HOST_EXACT = 1,  /* foo.example.com */
    SNAP_HOST_LABEL = 2,  /* *.example.com: exactly one label in place of the star (Ingress) */
    SNAP_HOST_SUFFIX = 3, /* **.example.com: one or more labels (Gateway API) */
    SNAP_HOST_ANY = 4     /* empty: every host */
};

/* Which of several matching paths of a host wins. */
enum snap_path_order {
    SNAP_ORDER_STRICT = 1 /* Kubernetes: Exact, then the longest element-wise prefix */
};

/* One node for each distinct path of the host, whatever its type. Sorted by path with '/' as the
 * lowest character, so that everything below a path follows it directly. A request's candidates:
 * the greatest node <= its path, then up the parents; exact applies when the paths are equal,
 * prefix when node.path is an element-wise prefix. "/" is the prefix of all and is written "". */
struct snap_path {
    struct snap_str path; /* "" or begins with '/'; no trailing '/' on prefixes; an exact path as it
                             was given, never "" */
    uint32_t parent;      /* index + 1 of the longest other node that is an element-wise prefix of
                             this one; 0 = none. Smaller than the node's own index + 1. */
    uint32_t zero;
    struct snap_range exact;  /* routes, in order of precedence */
    struct snap_range prefix; /* routes, in order of precedence */
};

enum snap_condition_kind { SNAP_IF_METHOD = 1, SNAP_IF_HEADER = 2, SNAP_IF_QUERY = 3 };

struct snap_condition { /* all of a route's conditions must hold */
    uint32_t kind;      /* enum snap_condition_kind */
    uint32_t zero;
    struct snap_str name;  /* header (lower case) or query parameter; empty for a method */
    struct snap_str value; /* equal to this */
};

struct snap_backend {
    struct snap_str service; /* key of its SNAP_SERVICE shard */
    uint64_t service_hash;   /* hash_bytes() of that key */
    uint32_t weight;         /* 0 = never picked */
    uint32_t zero;
    struct snap_str log_name; /* "<namespace>-<service>-<port>", as logs and metrics show it */
    struct snap_str secure;   /* as service, for requests that came over TLS; most often the same */
    uint64_t secure_hash;
};

struct snap_filter { /* see snapshot/filters.def */
    uint32_t kind;   /* enum snap_filter_kind */
    uint32_t offset; /* of the filter's configuration struct, from the shard's start */
};

struct snap_route {
    struct snap_str owner_namespace, owner_name; /* the Ingress, for logs, metrics and explain */
    struct snap_str path;                        /* the rule's path as written; may be empty */
    uint32_t rule, path_index;    /* spec.rules[rule].http.paths[path_index]; SNAP_DEFAULT_RULE for
                                     spec.defaultBackend */
    struct snap_range conditions; /* in snap_host.conditions */
    struct snap_range filters;    /* in snap_host.filters, in order of execution */
    struct snap_range backends;   /* in snap_host.backends; n = 0: answered with no_endpoints */
    uint32_t weight_sum;          /* of the backends */
    uint32_t zero;
};
#define SNAP_DEFAULT_RULE UINT32_MAX

struct snap_host {
    struct snap_shard shard;
    struct snap_str table; /* "ingress" */
    struct snap_str host;  /* pattern in lower case: "a.b", "*.a.b", "**.a.b" or "" */
    uint8_t kind;          /* enum snap_host_kind */
    uint8_t order;         /* enum snap_path_order */
    uint8_t falls_through; /* 1: when no path matches, less specific hosts are asked */
    uint8_t zero[5];
    struct snap_array paths;      /* struct snap_path */
    struct snap_array routes;     /* struct snap_route */
    struct snap_array conditions; /* struct snap_condition */
    struct snap_array filters;    /* struct snap_filter */
    struct snap_array backends;   /* struct snap_backend */
    uint32_t default_route;       /* index + 1: used when no path of any matching host matches; the
                                     most specific matching host that has one; 0 = none.
                                     It has no conditions. */
    uint32_t zero2;
};

/* ---- SNAP_SERVICE ---- */

enum snap_service_status {
    SNAP_SERVICE_OK = 1,         /* endpoints may still be empty */
    SNAP_SERVICE_MISSING = 2,    /* no such Service */
    SNAP_SERVICE_NO_PORT = 3,    /* the Service has no such port */
    SNAP_SERVICE_REFUSED = 4,    /* ExternalName switched off, or its address refused */
    SNAP_SERVICE_UNRESOLVED = 5, /* ExternalName: no address yet */
    SNAP_SERVICE_UNSUPPORTED = 6 /* its endpoints do not speak what Lintel speaks */
};

enum snap_protocol {
    SNAP_HTTP1 = 1,
    SNAP_HTTP2 = 2, /* by prior knowledge; over TLS by ALPN */
    SNAP_TCP = 3,   /* bytes as they come: TLS passthrough */
};

/* How a service's requests are spread. 0 so that segments from before it say what they did. */
enum snap_balance {
    SNAP_BALANCE_ROUND_ROBIN = 0, /* by weight */
    SNAP_BALANCE_LEAST_CONN = 1,  /* the fewest requests under way */
    SNAP_BALANCE_LATENCY = 2      /* ewma: of two at random, the one that answers sooner */
};

struct snap_endpoint {
    uint8_t family; /* 4 or 6 */
    uint8_t zero;
    uint16_t port;       /* host byte order, 1..65535 */
    uint32_t weight;     /* >= 1; those of one service add up to less than 2^32 */
    uint8_t address[16]; /* network byte order; IPv4 in the first four, the rest zero */
};

struct snap_service {
    struct snap_shard shard;
    struct snap_str namespace_name, name, port; /* port as the Ingress says it: number or name */
    struct snap_str variant; /* how its endpoints are spoken to, where an Ingress says so: each such
                                way has connections of its own; empty: as the Service says */
    uint8_t status;          /* enum snap_service_status; endpoints are empty unless OK */
    uint8_t protocol;        /* enum snap_protocol */
    uint8_t balance;         /* enum snap_balance */
    uint8_t proxy_protocol;  /* version of the header that connections begin with; 0 = none */
    /* TLS to the endpoints; the rest says nothing without is_tls. */
    uint8_t is_tls;
    uint8_t is_verified; /* the endpoint's certificate, against authority */
    uint8_t depth;       /* of the chain, at most; 0: any */
    uint8_t sends_name;  /* SNI: tls_name, if that is a DNS name */
    uint8_t is_broken;   /* what TLS needs is not there: no connection is opened */
    uint8_t min_version; /* 0: 1.2; 13: 1.3 */
    uint8_t max_version; /* 0: 1.3; 12: 1.2 */
    uint8_t zero[5];
    struct snap_str tls_name;    /* that the certificate has to be for; empty: any */
    struct snap_str ciphers;     /* of TLS 1.2, as OpenSSL writes them; empty: the usual ones */
    struct snap_str authority;   /* key of a SNAP_AUTHORITY; empty: those of the system */
    struct snap_str certificate; /* ours, key of a SNAP_CERTIFICATE; empty: none */
    uint64_t stamp; /* of the content of both: another one when they change, so that this shard
                       changes with them */
    struct snap_array
        endpoints; /* struct snap_endpoint, sorted by (family, address, port), unique */
};

/* ---- SNAP_TLS_HOST: how a handshake for a name is answered ---- */

enum snap_client_verify {
    SNAP_VERIFY_OFF = 0,
    SNAP_VERIFY_REQUIRED = 1,
    SNAP_VERIFY_OPTIONAL = 2,      /* but one that is sent must be good */
    SNAP_VERIFY_OPTIONAL_NO_CA = 3 /* who signed it does not matter */
};

struct snap_named { /* names a shard */
    struct snap_str key;
    uint64_t hash; /* hash_bytes() of key */
};

struct snap_tls_host {
    struct snap_shard shard;
    struct snap_str table;
    struct snap_str host; /* as in struct snap_host; "": names that nobody else has, and none */
    uint8_t kind;         /* enum snap_host_kind */
    uint8_t verify;       /* enum snap_client_verify */
    uint8_t depth;        /* of the client's chain, at most */
    uint8_t is_denied; /* what client authentication needs is not there: every request gets 403 */
    uint8_t passes_certificate; /* to the endpoint, in ssl-client-cert */
    uint8_t zero[3];
    struct snap_array certificates; /* struct snap_named of SNAP_CERTIFICATEs, at most
                                       SNAP_TLS_CERTIFICATES_MAX, no two with keys of one kind;
                                       none: those of the host "" */
    struct snap_named authority;    /* SNAP_AUTHORITY; key is empty without client certificates */
    struct snap_str name_pattern;  /* regular expression for the client's common name; empty: any */
    struct snap_str error_page;    /* where to a client without a good certificate is sent; empty:
                                      it gets 400 */
    struct snap_named passthrough; /* SNAP_SERVICE that gets the bytes as they are; key is empty:
                                      TLS ends here */
    uint64_t policy; /* hash of what is said about client certificates; 0: nothing. A connection for
                        one name serves another one only with the same policy */
};
enum { SNAP_TLS_CERTIFICATES_MAX = 4 };

/* ---- SNAP_CERTIFICATE, SNAP_AUTHORITY, SNAP_STAPLE ---- */

enum snap_key_kind { SNAP_KEY_RSA = 1, SNAP_KEY_EC = 2, SNAP_KEY_ED25519 = 3, SNAP_KEY_ED448 = 4 };

struct snap_certificate {
    struct snap_shard shard;
    struct snap_str namespace_name, name; /* of the Secret */
    struct snap_str key_name; /* SHA-256 of the public key (SubjectPublicKeyInfo), 64 hex digits */
    uint64_t key_hash;        /* hash_bytes() of key_name */
    int64_t not_before, not_after; /* seconds since 1970 */
    uint8_t key_kind;              /* enum snap_key_kind */
    uint8_t zero[7];
    struct snap_array
        chain; /* struct snap_str: DER, the server's certificate first; at least one */
    struct snap_array names; /* struct snap_str: lower case; "*.a.b" covers one label */
};

struct snap_authority {
    struct snap_shard shard;
    struct snap_str namespace_name, name;
    struct snap_array certificates; /* struct snap_str: DER */
    struct snap_array revocations;  /* struct snap_str: CRLs in DER */
};

struct snap_staple { /* an OCSP response: RFC 6960 */
    struct snap_shard shard;
    struct snap_str response; /* DER */
    int64_t until;            /* seconds since 1970: not served after that */
};

/* ---- SNAP_KEY, SNAP_TICKETS: secret ---- */

struct snap_key {
    struct snap_shard shard;
    struct snap_str key; /* PKCS #8 in DER, not encrypted */
};

struct snap_ticket_key {
    uint8_t name[16];
    uint8_t cipher[32], mac[32]; /* AES-256, HMAC-SHA-256 */
};

struct snap_tickets {
    struct snap_shard shard;
    struct snap_array keys; /* struct snap_ticket_key; the first one makes tickets, all open them */
};
enum { SNAP_TICKET_KEYS_MAX = 8 };

/* ---- reading a verified shard ---- */

static inline struct str snap_str_get(const void *shard, struct snap_str s)
{
    return (struct str){(const char *)shard + s.offset, s.n};
}

/* How its endpoints are spoken to, in one word: "http", "https", "h2c", "h2" (RFC 9113
 * section 3.1), "tcp". */
const char *snap_service_speech(const struct snap_service *s);
/* What is asked of TLS to them, in words: "verified by default/ca for api.example, shows
 * default/s". Nothing without TLS. */
struct buf;
void snap_service_emit_tls(const struct snap_service *s, struct buf *out);

static inline const void *snap_array_get(const void *shard, struct snap_array a)
{
    return (const char *)shard + a.offset;
}
