/* kube/reflector_priv.h: what the parts of the reflector share.
 *
 * reflector.c          the steps: which call comes next
 * reflector_trouble.c  what an unexpected end means: back-off, health
 * reflector_url.c      the URLs of the calls */
#pragma once

#include "base/buf.h"
#include "base/limits.h"
#include "kube/reader.h"
#include "kube/reflector.h"

enum step {
    STEP_LIST,
    STEP_CHECK, /* is the server's version not behind ours? */
    STEP_WATCH,
};

struct kube_reflector {
    struct kube_client *client;
    struct loop *loop;
    const struct kube_reflector_events *events;
    void *arg;
    struct arena memory;
    struct str path, label_selector, field_selector, name;
    uint32_t page_n;
    usec_t silence;

    enum step step;
    struct kube_call *call; /* of the step; NULL: waiting */
    struct kube_reader *reader;
    struct kube_call *fetch; /* GET of the object by name, beside its watch */
    struct kube_reader *fetch_reader;
    struct timer timer;
    struct deferred batch;

    char version[KUBE_VERSION_BYTES_MAX]; /* that we are at */
    size_t version_n;                     /* 0: none */
    struct buf next;                      /* token to continue the list with */
    bool is_unpaged;                      /* a token expired: the whole list at once */
    bool is_token_new;                    /* a 401 was answered with another try */
    bool has_told;   /* something about the object by name since its watch stands */
    uint32_t status; /* of the last failure; 0: none, or it works */
    bool is_synced;
    bool is_unwell; /* and the owner was told so */
    uint64_t why;   /* hash of what it was told */
    bool is_busy;   /* in a callback, which sees to freeing */
    bool is_closed;
    unsigned failures;           /* in a row */
    usec_t opened_at, asked_for; /* of the watch */
    usec_t lost_at;              /* 0: not lost */
    uint64_t random;
    struct kube_reflector_counters counters;
};

bool reflector_has_name(const struct kube_reflector *r);
usec_t reflector_random(struct kube_reflector *r, usec_t min, usec_t max);
void reflector_stop_calls(struct kube_reflector *r);
void reflector_on_wait_over(struct timer *t);
void reflector_begin(struct kube_reflector *r);

struct trouble {
    const char *verb;
    enum step step;     /* to go on with */
    bool is_lasting;    /* people have to do something */
    usec_t retry_after; /* 0: the back-off alone */
    uint32_t status;
    struct str text;
};

/* Forgets what was under way and tries again later. */
void reflector_fail(struct kube_reflector *r, const struct trouble *t);
void reflector_fail_with(struct kube_reflector *r, const char *verb, enum step step,
                         struct str text);
/* A call ended otherwise than it should. */
void reflector_fail_by(struct kube_reflector *r, const char *verb, enum step step,
                       const struct kube_result *result);
/* What came was not what an API server writes. */
void reflector_fail_read(struct kube_reflector *r, const char *verb, enum err e);
/* What we have is too old, or too new, to go on from. */
bool reflector_is_expired(uint32_t status, struct str reason);
void reflector_tell_well(struct kube_reflector *r);

/* Each is to be given to buf_fini(); bad: no memory. */
void reflector_url_page(const struct kube_reflector *r, struct buf *url);
void reflector_url_check(const struct kube_reflector *r, struct buf *url);
void reflector_url_fetch(const struct kube_reflector *r, struct buf *url);
void reflector_url_watch(const struct kube_reflector *r, struct buf *url);
