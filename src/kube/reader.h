/* kube/reader.h: the bodies of lists, watches and single objects, read as they come, in pieces of
 * any size; the memory it takes is that of the largest object. */
#pragma once

#include "document/tree.h"
#include "kube/status.h"

struct kube_reader;

enum kube_body {
    KUBE_BODY_LIST,   /* one page */
    KUBE_BODY_WATCH,  /* events, one after the other */
    KUBE_BODY_OBJECT, /* one object */
};

enum kube_entry_kind {
    KUBE_ENTRY_OBJECT,   /* it is there: an item, ADDED or MODIFIED, the object */
    KUBE_ENTRY_GONE,     /* DELETED; object is its last state */
    KUBE_ENTRY_BOOKMARK, /* only the version counts */
    KUBE_ENTRY_PAGE,     /* the page is complete: version and where to go on */
    KUBE_ENTRY_ERROR,    /* the watch is over: status says why */
};

struct kube_entry { /* all borrowed for the call */
    enum kube_entry_kind kind;
    const struct tree_node *object; /* NULL: none */
    struct str version; /* resourceVersion of the object or list; may be empty for items */
    struct str next;    /* token to continue a list with; empty: it was the last page */
    struct kube_status status;
};

/* What it returns but E_OK ends the reading. */
typedef enum err kube_entry_fn(void *arg, const struct kube_entry *entry);

/* Errors: E_NOMEM. */
enum err kube_reader_new(enum kube_body body, kube_entry_fn *fn, void *arg,
                         struct kube_reader **ret);
void kube_reader_free(struct kube_reader *r); /* r may be NULL; not from inside fn */
/* Errors: E_PROTO (not what the API writes), E_LIMIT (KUBE_EVENT_BYTES_MAX, counted in pieces),
 * E_NOMEM, what fn returns. After one only kube_reader_free() may follow. */
enum err kube_reader_feed(struct kube_reader *r, struct str piece);
/* The body ended. Errors: as above; E_PROTO also when it was cut in the middle. */
enum err kube_reader_end(struct kube_reader *r);
