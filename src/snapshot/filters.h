/* snapshot/filters.h: what each filter's compile half writes and its worker half reads. */
#pragma once

#include "snapshot/schema.h"

enum snap_filter_kind {
#define FILTER(name, number, halves) SNAP_FILTER_##name = (number),
#include "snapshot/filters.def"
#undef FILTER
};

enum { SNAP_FILTER_NUMBERS = 100 };

/* Answers with a fixed redirect. Source: ingress-nginx permanent-redirect, temporal-redirect. */
struct snap_filter_redirect {
    uint32_t status; /* 300..308 */
    uint32_t zero;
    struct snap_str location; /* not empty; printable ASCII without blanks */
};

/* Why plain requests are sent to https. */
enum snap_ssl_cause {
    SNAP_SSL_BY_TLS = 1,             /* the host has TLS; --ssl-redirect */
    SNAP_SSL_BY_TLS_ANNOTATION = 2,  /* the host has TLS; annotation ssl-redirect */
    SNAP_SSL_BY_FORCE = 3,           /* --force-ssl-redirect */
    SNAP_SSL_BY_FORCE_ANNOTATION = 4 /* annotation force-ssl-redirect */
};

/* Sends plain requests to https, except below snap_global.plain_paths. Source: ingress-nginx
 * ssl-redirect, force-ssl-redirect. */
struct snap_filter_ssl_redirect {
    uint32_t status;      /* 301, 302, 307 or 308 */
    uint8_t cause;        /* enum snap_ssl_cause */
    uint8_t drops_slash;  /* 1: a '/' as the last byte of the target is left out */
    uint8_t tells_port;   /* 1: the Location has our https port */
    uint8_t is_by_prefix; /* 1: plain_paths are any prefixes; 0: whole elements */
};

/* Sets Strict-Transport-Security on responses to clients that use https. Source: RFC 6797, and
 * ingress-nginx hsts. */
struct snap_filter_hsts {
    struct snap_str value; /* not empty; printable ASCII */
};
