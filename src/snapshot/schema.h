/* snapshot/schema.h: the bytes that go from the controller to the workers.
 *
 *   segment   header | table of shard references, sorted by (kind, key) | shards
 *   shard     struct snap_shard, then the struct of its kind, then what these refer to
 *
 * A segment holds what changed between two generations: it turns any state from base_generation on
 * into the state of generation. base_generation 0 = the whole state; it replaces everything.
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
    SNAP_VERSION = 4,
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
    SNAP_GLOBAL = 1, /* key "": struct snap_global */
    SNAP_HOST = 2,   /* key "<table>/<host pattern>": struct snap_host */
    SNAP_SERVICE = 3 /* key "<namespace>/<service>/<port>": struct snap_service */
};

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
    struct snap_array listeners; /* struct snap_listener */
    struct snap_array trusted;   /* struct snap_prefix: whose X-Forwarded-* are believed */
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
    SNAP_SERVICE_OK = 1,        /* endpoints may still be empty */
    SNAP_SERVICE_MISSING = 2,   /* no such Service */
    SNAP_SERVICE_NO_PORT = 3,   /* the Service has no such port */
    SNAP_SERVICE_REFUSED = 4,   /* ExternalName switched off, or its address refused */
    SNAP_SERVICE_UNRESOLVED = 5 /* ExternalName: no address yet */
};

enum snap_protocol { SNAP_HTTP1 = 1 };

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
    uint8_t status;   /* enum snap_service_status; endpoints are empty unless OK */
    uint8_t protocol; /* enum snap_protocol */
    uint8_t balance;  /* enum snap_balance */
    uint8_t zero[5];
    struct snap_array
        endpoints; /* struct snap_endpoint, sorted by (family, address, port), unique */
};

/* ---- reading a verified shard ---- */

static inline struct str snap_str_get(const void *shard, struct snap_str s)
{
    return (struct str){(const char *)shard + s.offset, s.n};
}

static inline const void *snap_array_get(const void *shard, struct snap_array a)
{
    return (const char *)shard + a.offset;
}
