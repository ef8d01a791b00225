/* controller/ocsp_priv.h: what the parts of OCSP stapling share.
 *
 * ocsp.c       certificates come and go; it is switched on and off
 * ocsp_ask.c   when a responder is asked, and what its answer changes
 * ocsp_tell.c  diagnostics and metrics */
#pragma once

#include "base/buf.h"
#include "base/hash.h"
#include "controller/ocsp.h"
#include "controller/responders.h"
#include "tls/ocsp.h"

enum trouble {
    TROUBLE_NONE,
    TROUBLE_FAILED,    /* no answer that counts; why says it */
    TROUBLE_UNASKABLE, /* there is a responder, but no way to ask it */
    TROUBLE_OVER,      /* OCSP_CERTIFICATES_MAX */
};

struct watched {
    struct list link; /* in waiting or asked; or in neither */
    struct ocsp *ocsp;
    struct timer timer;
    uint64_t hash;
    struct str key; /* behind the struct: "<namespace>/<secret>" */
    struct str namespace_name, name;
    uint64_t content;          /* hash of the certificate's shard */
    struct question *question; /* NULL: not asked now */
    struct tls_ocsp *about;    /* while it is */
    bool is_followed;          /* it has a responder */
    bool is_due;               /* to be asked, at due_at */
    bool is_revoked;
    usec_t due_at;
    int64_t from, until; /* of the response that workers have; until 0: none */
    uint32_t failures;   /* in a row */
    enum trouble trouble;
    const char *why; /* static */
};

struct ocsp {
    struct ocsp_parts parts;
    struct responders *responders; /* since it was first switched on */
    struct map certificates;       /* of struct watched, by hash of the key */
    struct list waiting, asked;
    size_t waiting_n, followed_n, stapled_n;
    bool is_wanted; /* by the configuration to be committed */
    bool is_on;
    bool is_broken; /* nobody can be asked, ever */
    uint64_t random;
    uint64_t answered, older, failed;
    struct deferred pump;
    struct buf shard, text; /* scratch */
};

static inline int64_t ocsp_now_s(void)
{
    return (int64_t)(clock_wall() / USEC_PER_SEC);
}

/* ---- ocsp.c ---- */

/* key: "<namespace>/<secret>"; NULL: there is none. */
struct watched *watched_find(const struct ocsp *o, struct str key);

/* ---- ocsp_ask.c ---- */

/* The certificate of a shard and its issuer. As tls_ocsp_new(). */
enum err about_make(const struct snap_shard *shard, const char **ret_why, struct tls_ocsp **ret);
/* Counts it among those that have a responder. False: there are too many already. */
bool watched_follow(struct watched *w);
void watched_unfollow(struct watched *w);
/* From now on its responder is asked when it is time. */
void watched_begin(struct watched *w);
/* It is neither asked about nor waits; its timer is armed for the end of its response, if at all.
 */
void watched_stop(struct watched *w);
/* Publishes a response, or that there is none any more. Errors: E_NOMEM. */
enum err staple_publish(struct watched *w, struct str response, const struct tls_staple *s);
void staple_note(struct watched *w, const struct tls_staple *s); /* it is published */
enum err staple_drop(struct watched *w);

/* ---- ocsp_tell.c ---- */

/* What is wrong with it now; nothing, if nothing is. */
void watched_tell(const struct watched *w);
