/* model/store.h: every object there is, whatever source it came from, with the look-ups that the
 * compiler needs. One writer (the controller's loop); listeners are told after each change.
 * Context: controller and the offline commands; never blocks. */
#pragma once

#include "base/list.h"
#include "model/object.h"

struct store;

/* old is NULL for a new object, new for a deleted one. Both stay valid during the call. */
typedef void store_change_fn(void *arg, const struct object *old_object,
                             const struct object *new_object);

enum err store_new(struct store **ret);
void store_free(struct store *s); /* frees the objects; s may be NULL */

struct store_listener { /* embedded in its owner; zeroed memory does not listen */
    struct list link;
    store_change_fn *on_change;
    void *arg;
};

/* l is told of each change from now on, in the order of listening. A listener changes nothing in
 * the store. */
void store_listen(struct store *s, struct store_listener *l, store_change_fn *on_change, void *arg);
/* While the store is there; safe on one that does not listen. */
void store_unlisten(struct store_listener *l);

/* Takes o and puts it in place of the one with the same kind, namespace and name. When they are
 * object_is_equal(), the old one stays, o is freed and nobody is told. Errors: E_NOMEM (o is freed,
 * the old one stays). */
enum err store_put(struct store *s, struct object *o);
/* False when there was none. */
bool store_del(struct store *s, enum object_kind kind, struct str namespace_name, struct str name);

/* The same, and the object is the caller's; NULL when there was none. */
struct object *store_take(struct store *s, enum object_kind kind, struct str namespace_name,
                          struct str name);

/* Borrowed; NULL when there is none. */
const struct object *store_get(const struct store *s, enum object_kind kind,
                               struct str namespace_name, struct str name);
size_t store_n(const struct store *s, enum object_kind kind);
/* In no particular order: whoever needs one sorts. */
typedef void store_each_fn(void *arg, const struct object *o);
void store_each(const struct store *s, enum object_kind kind, store_each_fn *fn, void *arg);
/* The slices of a service, EndpointSlices and Endpoints subsets alike, in no particular order. When
 * the Service has any EndpointSlice, its Endpoints are left out: they are mirrors. O(slices). */
typedef void store_slice_fn(void *arg, const struct endpoint_slice *slice);
void store_each_slice(const struct store *s, struct str namespace_name, struct str service,
                      store_slice_fn *fn, void *arg);
