/* source/api.h: a Kubernetes API server as the source of objects: listed, watched, followed.
 *
 * What is followed: Ingresses, Services and EndpointSlices of every namespace, of one, or of those
 * that a label selector names; IngressClasses; one ConfigMap by its name; Secrets by their names,
 * just those that are wanted. Our own Node is read once, for its zone.
 *
 * The last good state stays when things go wrong:
 *  - While a list is incomplete or the server is away, everything stays. What a complete list does
 *    not have goes.
 *  - An object that cannot be decoded keeps its last good version, with a diagnostic; a new object
 *    of that name (another uid) does not inherit it.
 *  - When memory runs out over an object, its resource is listed again API_AGAIN later.
 * Whether the store is worth compiling says api_is_synced(): before, routes would lack endpoints.
 *
 * With one namespace a Role may be all that Lintel has. IngressClasses belong to no namespace:
 * where they are forbidden, the source is complete without them (api_are_classes_hidden()).
 *
 * SECRET_WATCHES_MAX Secrets are watched at most, each with a stream of its own; those beyond are
 * fetched one after the other, every SECRET_POLL_EVERY. */
#pragma once

#include "event/loop.h"
#include "kube/client.h"
#include "model/store.h"

#define API_AGAIN         (2 * USEC_PER_SEC)   /* after memory ran out: list again */
#define API_NODE_AGAIN    (30 * USEC_PER_SEC)  /* our Node could not be read */
#define API_AWAY_TOLD     (300 * USEC_PER_SEC) /* without contact: say so in the log */
#define SECRET_POLL_EVERY (60 * USEC_PER_SEC)
#define SECRET_POLL_PAUSE (20 * USEC_PER_MS) /* between two fetches, at least */

enum {
    KUBE_SECRET_WATCHES_MAX = 1000,
    KUBE_SECRETS_MAX = 100 * 1000, /* wanted */
    API_WHY_MAX = 500,             /* bytes of a reason that are kept */
};

struct api;

/* Something has changed, or may have, and everything needed is there: the time to compile. Called
 * once for the changes of one tick, from the loop. */
typedef void api_batch_fn(void *arg);

struct api_options {
    struct kube_client *client;
    struct str namespace_name;                   /* --watch-namespace; empty = every one */
    struct str namespace_selector;               /* --watch-namespace-selector; empty = every one */
    struct str config_map_namespace, config_map; /* --configmap; empty = none */
    struct str node_name;                        /* ours; empty = do not read it */
    diag_fn *on_diag;       /* each time an object is found to be wrong; or NULL */
    api_batch_fn *on_batch; /* or NULL */
    /* The server has told for the first time whether there is a wanted Secret, or that we must not
     * know. on_batch follows. Or NULL. */
    void (*on_secret)(void *arg, struct str namespace_name, struct str name);
    void *arg;
    size_t secret_watches_max; /* 0: KUBE_SECRET_WATCHES_MAX */
    usec_t secret_poll_every;  /* 0: SECRET_POLL_EVERY */
};

/* Begins at once, and goes on until api_close(). Borrows loop, store and all of options; one store
 * takes the objects of one struct api. Errors: E_NOMEM. Context: controller and offline commands.
 */
enum err api_open(struct loop *loop, struct store *store, const struct api_options *options,
                  struct api **ret);
/* The objects stay in the store. a may be NULL. Not from inside a callback. */
void api_close(struct api *a);

/* Every list that routes need was complete, once. */
bool api_is_synced(const struct api *a);
/* We may not read IngressClasses, and need not. */
bool api_are_classes_hidden(const struct api *a);
/* Why something that is needed does not come: "cannot list ingresses (403): ..."; NULL when all is
 * well. Borrowed until the next tick. */
const char *api_trouble(const struct api *a);

/* The set of Secrets wanted from now on: begin, want each one, end. Those that are not wanted any
 * more leave the store at the end. */
void api_secrets_begin(struct api *a);
/* Errors: E_LIMIT (KUBE_SECRETS_MAX), E_NOMEM. */
enum err api_secret_want(struct api *a, struct str namespace_name, struct str name);
void api_secrets_end(struct api *a);
/* Nobody knows yet whether there is such a Secret: it is wanted and not answered, or not wanted. */
bool api_secret_is_pending(const struct api *a, struct str namespace_name, struct str name);
/* Wanted ones that are pending. */
size_t api_pending_n(const struct api *a);

/* What is wrong with objects at present, by resource. */
void api_each_diag(const struct api *a, diag_fn *fn, void *arg);

/* ---- figures, for metrics ---- */

enum api_resource {
    API_NAMESPACES,
    API_INGRESS_CLASSES,
    API_INGRESSES,
    API_SERVICES,
    API_ENDPOINT_SLICES,
    API_CONFIG_MAPS,
    API_SECRETS,
    API_RESOURCES_N
};

struct api_figures {
    const char *resource; /* "ingresses" */
    bool is_followed;     /* else all is 0 */
    bool is_healthy;
    uint64_t objects, lists, watches, relists, failures;
    usec_t silence; /* since the server was last heard; 0 while all is well */
};

void api_figures(const struct api *a, enum api_resource resource, struct api_figures *ret);
/* Secrets that are fetched now and then, for want of watches. */
size_t api_polled_n(const struct api *a);
