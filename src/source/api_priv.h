/* source/api_priv.h: the parts of an API source.
 *
 *   row ── feeds: one list-and-watch each ── records: the objects that the server has
 *
 * api.c puts the rows together and answers questions, api_feed.c follows one feed, api_secrets.c
 * keeps the set of Secrets, api_fetch.c reads a single object. */
#pragma once

#include "base/hash.h"
#include "document/json.h"
#include "kube/reflector.h"
#include "model/decode.h"
#include "source/api.h"

/* ---- api_feed.c ---- */

struct record { /* an object that the server has, decoded or not */
    struct list in_all, in_troubled;
    uint64_t hash;
    uint64_t list;                   /* number of the last list that it was in, or came after */
    struct diag_list *diags;         /* NULL: nothing is wrong with it */
    struct str namespace_name, name; /* in text */
    char text[];
};

struct feed {
    struct row *row; /* NULL: not begun */
    struct list in_row;
    struct kube_reflector *reflector; /* NULL: none, or waiting to be opened again */
    struct str namespace_name, name;  /* empty: every one */
    struct map records;
    struct list all, troubled;
    uint64_t list;      /* number of the present one */
    bool is_synced;     /* a list was complete */
    bool is_forgone;    /* it is forbidden and not needed: done without */
    bool is_open;       /* to be listed and watched, else somebody else feeds it */
    bool is_sick;       /* its reflector says that it does not work */
    bool is_incomplete; /* out of memory: what was told has been lost */
    struct timer again;
};

/* What the rows have in common. */
struct resource {
    const char *plural, *group; /* "ingresses", "/apis/networking.k8s.io/v1" */
    struct str api_version, kind;
    enum object_kind object_kind;
    bool is_cluster_scoped;
    bool is_needed; /* for routes */
};

struct row {
    struct api *api;
    const struct resource *resource;
    const struct decode_kind *kind;
    struct list feeds;
    size_t feed_n, sick_n;
    usec_t lost_at;                        /* when the first of its feeds fell sick */
    struct kube_reflector_counters closed; /* of feeds that are gone */
    char why[API_WHY_MAX + 1];             /* of the last one that fell sick; or empty */
};

/* In its row, not yet begun. The strings are borrowed. */
void feed_init(struct feed *f, struct row *row, struct str namespace_name, struct str name);
/* Begins to list and watch; out of memory: API_AGAIN later. */
void feed_open(struct feed *f);
/* No more comes; its objects leave the store if they are to be dropped. */
void feed_fini(struct feed *f, bool are_dropped);
/* What a reflector tells: a list begins, an object of it or of an event, its end. */
void feed_begin(struct feed *f);
void feed_take(struct feed *f, const struct tree_node *object);
void feed_end(struct feed *f);
/* Adds what its reflector has counted. */
void feed_counters(const struct feed *f, struct kube_reflector_counters *sum);
/* The objects of that namespace go from one store to the other. */
void feed_move(struct feed *f, struct str namespace_name, struct store *from, struct store *to);

/* ---- api_fetch.c ---- */

enum fetch_result { FETCH_FOUND, FETCH_MISSING, FETCH_REFUSED, FETCH_FAILED };

struct fetch {
    struct kube_call *call; /* NULL: nothing is under way */
    struct json_reader *reader;
    enum err error;
    /* One object of the answer; then the end. */
    void (*on_object)(struct fetch *fetch, const struct tree_node *object);
    void (*on_done)(struct fetch *fetch, enum fetch_result result, struct str why);
};

/* Zeroed but for the callbacks, and none is under way. Errors: E_NOMEM, E_LIMIT. */
enum err fetch_start(struct fetch *fetch, struct kube_client *client, struct str path);
void fetch_cancel(struct fetch *fetch);

/* ---- api_secrets.c ---- */

struct secrets {
    struct map map; /* of struct wanted */
    struct list all;
    size_t watched_n;
    struct list polled;    /* those that are not watched; the next one to be fetched first */
    struct wanted *asking; /* whose fetch is under way, or NULL */
    struct fetch fetch;
    struct timer poll;
    size_t pending_n; /* not answered yet */
};

/* The feed of a Secret has told something for the first time, even if only that it may not. */
void api_secret_answered(struct feed *f);
void secrets_init(struct api *a);
void secrets_fini(struct api *a);

/* ---- api.c ---- */

struct node_reading {
    struct fetch fetch;
    struct timer again;
};

struct api {
    struct loop *loop;
    struct store *store;
    struct store *shelf; /* objects of namespaces that are not selected; NULL: all are */
    struct api_options options;
    struct row rows[API_RESOURCES_N];
    struct feed feeds[API_SECRETS]; /* of the rows before Secrets: one each */
    struct secrets secrets;
    struct node_reading node;
    struct deferred batch;
    struct timer away;
    bool is_away_told;
};

/* What a path is made of; ret has room for API_PATH_MAX. */
enum { API_PATH_MAX = 1024 };
struct str api_path(const struct resource *resource, struct str namespace_name, struct str name,
                    char ret[API_PATH_MAX]);
/* Where an object of that namespace belongs now. */
struct store *api_store_for(const struct api *a, const struct resource *resource,
                            struct str namespace_name);
/* Some feed has told something; on_batch follows when all is there. */
void api_changed(struct api *a);
void api_tell(struct api *a, const struct diag *d);
/* A Namespace was selected, or is not any more. */
void api_namespace_changed(struct api *a, struct str name, bool is_selected);
/* The first complete list of a feed. */
void api_feed_synced(struct api *a, struct feed *f);
/* A feed stopped working, or works again. */
void api_feed_health(struct api *a, struct feed *f, bool is_ok, struct str why);
