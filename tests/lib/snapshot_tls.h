/* Shards of what handshakes are answered with, from short descriptions. What stands for DER may be
 * any bytes: nobody looks into them before they are decoded. */
#pragma once

#include <string.h>

#include "base/mem.h"
#include "snapshot_make.h"

enum { MAKE_TEXTS_MAX = 16, MAKE_KEY_NAME_BYTES = 64 };

struct make_site { /* in table "ingress"; NULL: empty */
    const char *pattern;
    const char *certificates[SNAP_TLS_CERTIFICATES_MAX + 1]; /* keys of shards; ended by NULL */
    enum snap_client_verify verify;
    uint8_t depth;
    bool is_denied, passes_certificate;
    const char *authority, *name_pattern, *error_page, *passthrough;
    uint64_t policy;
};

static inline struct str make_text(const char *text)
{
    return text == NULL ? STR_EMPTY : str_from_cstr(text);
}

static inline struct snap_named make_named(struct buf *b, const char *key)
{
    struct str s = make_text(key);
    return (struct snap_named){snap_add_str(b, s), s.n == 0 ? 0 : hash_str(s)};
}

/* Puts the filled root in place of the one that was begun. */
#define make_root(b, root)                                                                         \
    do {                                                                                           \
        if (!(b)->bad) {                                                                           \
            (root).shard = *snap_at(b, 0, struct snap_shard);                                      \
            mem_copy((b)->p, &(root), sizeof(root));                                               \
        }                                                                                          \
    } while (0)

static inline enum err make_site(struct buf *b, const struct make_site *s)
{
    char key[600];
    uint32_t n = 0;
    while (s->certificates[n] != NULL) {
        n++;
    }
    (void)snprintf(key, sizeof(key), "ingress/%s", s->pattern);
    struct snap_tls_host h = {.kind = make_host_kind(str_from_cstr(s->pattern)),
                              .verify = (uint8_t)s->verify,
                              .depth = s->depth,
                              .is_denied = s->is_denied,
                              .passes_certificate = s->passes_certificate,
                              .policy = s->policy};
    snap_shard_begin(b, SNAP_TLS_HOST, sizeof(h), str_from_cstr(key));
    h.table = snap_add_str(b, STR("ingress"));
    h.host = snap_add_str(b, str_from_cstr(s->pattern));
    h.authority = make_named(b, s->authority);
    h.name_pattern = snap_add_str(b, make_text(s->name_pattern));
    h.error_page = snap_add_str(b, make_text(s->error_page));
    h.passthrough = make_named(b, s->passthrough);
    h.certificates = snap_add_array(b, n, sizeof(struct snap_named));
    for (uint32_t i = 0; i < n; i++) {
        struct snap_named named = make_named(b, s->certificates[i]);
        if (!b->bad) {
            snap_at(b, h.certificates.offset, struct snap_named)[i] = named;
        }
    }
    make_root(b, h);
    return snap_shard_end(b);
}

static inline struct snap_array make_texts(struct buf *b, const struct str *texts, uint32_t n)
{
    struct snap_str added[MAKE_TEXTS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        added[i] = snap_add_str(b, texts[i]);
    }
    struct snap_array array = snap_add_array(b, n, sizeof(struct snap_str));
    for (uint32_t i = 0; i < n && !b->bad; i++) {
        snap_at(b, array.offset, struct snap_str)[i] = added[i];
    }
    return array;
}

struct make_secret { /* of namespace "shop" */
    const char *name;
    const struct str *texts; /* certificates */
    uint32_t text_n;
    const struct str *more; /* names; or revocation lists */
    uint32_t more_n;
    const char *key_name; /* MAKE_KEY_NAME_BYTES digits */
    enum snap_key_kind key_kind;
};

static inline enum err make_certificate(struct buf *b, const struct make_secret *s)
{
    char key[300];
    (void)snprintf(key, sizeof(key), "shop/%s", s->name);
    struct snap_certificate c = {.key_kind = (uint8_t)s->key_kind,
                                 .not_before = 1,
                                 .not_after = INT64_MAX,
                                 .key_hash = hash_str(str_from_cstr(s->key_name))};
    snap_shard_begin(b, SNAP_CERTIFICATE, sizeof(c), str_from_cstr(key));
    c.namespace_name = snap_add_str(b, STR("shop"));
    c.name = snap_add_str(b, str_from_cstr(s->name));
    c.key_name = snap_add_str(b, str_from_cstr(s->key_name));
    c.chain = make_texts(b, s->texts, s->text_n);
    c.names = make_texts(b, s->more, s->more_n);
    make_root(b, c);
    return snap_shard_end(b);
}

static inline enum err make_authority(struct buf *b, const struct make_secret *s)
{
    char key[300];
    (void)snprintf(key, sizeof(key), "shop/%s", s->name);
    struct snap_authority a = {0};
    snap_shard_begin(b, SNAP_AUTHORITY, sizeof(a), str_from_cstr(key));
    a.namespace_name = snap_add_str(b, STR("shop"));
    a.name = snap_add_str(b, str_from_cstr(s->name));
    a.certificates = make_texts(b, s->texts, s->text_n);
    a.revocations = make_texts(b, s->more, s->more_n);
    make_root(b, a);
    return snap_shard_end(b);
}

static inline enum err make_staple(struct buf *b, const char *key, struct str response)
{
    struct snap_staple s = {.until = INT64_MAX};
    snap_shard_begin(b, SNAP_STAPLE, sizeof(s), str_from_cstr(key));
    s.response = snap_add_str(b, response);
    make_root(b, s);
    return snap_shard_end(b);
}

static inline enum err make_key(struct buf *b, const char *key_name, struct str der)
{
    struct snap_key k = {0};
    snap_shard_begin(b, SNAP_KEY, sizeof(k), str_from_cstr(key_name));
    k.key = snap_add_str(b, der);
    make_root(b, k);
    return snap_shard_end(b);
}

/* Each key is made of its number alone; the first one makes tickets. */
static inline enum err make_tickets(struct buf *b, const uint8_t *keys, uint32_t n)
{
    struct snap_tickets t = {0};
    snap_shard_begin(b, SNAP_TICKETS, sizeof(t), STR_EMPTY);
    t.keys = snap_add_array(b, n, sizeof(struct snap_ticket_key));
    for (uint32_t i = 0; i < n && !b->bad; i++) {
        memset(&snap_at(b, t.keys.offset, struct snap_ticket_key)[i], keys[i],
               sizeof(struct snap_ticket_key));
    }
    make_root(b, t);
    return snap_shard_end(b);
}
