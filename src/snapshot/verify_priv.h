/* snapshot/verify_priv.h: how the files of verification describe what a shard may hold: tables of
 * fields and, for what ties them together, functions. Private to snapshot/.
 *
 *   verify.c        the pieces, and any shard
 *   verify_host.c   routes: SNAP_GLOBAL, SNAP_HOST, SNAP_SERVICE
 *   verify_tls.c    certificates and keys */
#pragma once

#include "snapshot/filters.h"
#include "snapshot/path.h"
#include "snapshot/verify.h"

#include <stddef.h>

/* Arrays that ranges point into. */
enum range_array { IN_ROUTES, IN_CONDITIONS, IN_FILTERS, IN_BACKENDS, RANGE_ARRAYS_N };

struct verify { /* one shard being looked at */
    const char *shard;
    uint32_t bytes;
    uint64_t work;                    /* bytes of text looked at */
    uint64_t range_n[RANGE_ARRAYS_N]; /* sum of the ranges into each array */
    const char *what;                 /* the first fault */
};

enum verify_type {
    FIELD_STR,    /* struct snap_str */
    FIELD_ZERO,   /* arg bytes */
    FIELD_ENUM8,  /* 1..arg */
    FIELD_UPTO8,  /* 0..arg */
    FIELD_ENUM32, /* 1..arg */
    FIELD_BOOL8,
    FIELD_RANGE, /* arg: enum range_array */
    FIELD_ARRAY  /* of items */
};

struct verify_layout;

struct verify_field {
    enum verify_type type;
    size_t offset;
    uint32_t arg;
    const struct verify_layout *items;
};

/* at: the struct; i: its index in an array that starts at items. */
typedef bool verify_fn(struct verify *c, const void *items, uint32_t i);

struct verify_layout {
    size_t bytes;
    const struct verify_field *fields;
    size_t field_n;
    verify_fn *check; /* NULL = nothing more to check */
};

#define FIELDS(table) (table), sizeof(table) / sizeof(*(table))
#define STR_AT(type, name)                                                                         \
    {                                                                                              \
        FIELD_STR, offsetof(type, name), 0, NULL                                                   \
    }
#define ZERO_AT(type, name)                                                                        \
    {                                                                                              \
        FIELD_ZERO, offsetof(type, name), sizeof(((type *)0)->name), NULL                          \
    }
#define RANGE_AT(type, name)                                                                       \
    {                                                                                              \
        FIELD_RANGE, offsetof(type, name), 0, NULL                                                 \
    }

/* ---- verify.c ---- */

/* Notes what is wrong; false. */
bool verify_fail(struct verify *c, const char *what);
static inline const void *verify_at(const struct verify *c, size_t offset)
{
    return c->shard + offset;
}
static inline struct str verify_text(const struct verify *c, struct snap_str s)
{
    return snap_str_get(c->shard, s);
}
/* Text is about to be compared or hashed: false when that has become too much. */
bool verify_charge(struct verify *c, size_t bytes);
bool verify_region(struct verify *c, uint32_t offset, uint64_t bytes);
bool verify_zero(struct verify *c, const uint8_t *p, size_t n);
/* A struct and everything in its arrays. */
bool verify_root(struct verify *c, const void *root, const struct verify_layout *l);
/* True when whole is the parts with '/' between them. */
bool verify_is_joined(struct str whole, const struct str *parts, size_t n);
/* True when hash is that of key, which may be empty with hash 0. */
bool verify_named(struct verify *c, struct snap_str key, uint64_t hash);

/* ---- verify_host.c ---- */

extern const struct verify_layout verify_layout_global, verify_layout_host, verify_layout_service;
/* The name of a route table; a host pattern of that kind. */
bool verify_table(struct verify *c, struct str table);
bool verify_pattern(struct verify *c, uint8_t kind, struct str pattern);

/* ---- verify_tls.c ---- */

extern const struct verify_layout verify_layout_tls_host, verify_layout_certificate,
    verify_layout_authority, verify_layout_staple, verify_layout_key, verify_layout_tickets;
