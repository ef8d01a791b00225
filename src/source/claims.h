/* source/claims.h: which file an object comes from, when several have it or had it.
 * Each file claims the objects it yields. Of the claims on one object the first by path wins and
 * its object is in the store; a claim that was given up goes away some time later, and the next one
 * takes over. The store is changed here and nowhere else in directory. For source/directory only.
 */
#pragma once

#include "base/clock.h"
#include "base/list.h"
#include "document/diag.h"
#include "model/store.h"

struct claims;

/* A file, embedded in its owner. Zeroed but for path is one without claims. */
struct claim_source {
    struct str path; /* borrowed, stays the same */
    struct list claims;
};

/* The object that source holds in second place is needed now: read the file again. */
typedef void claims_reload_fn(void *arg, struct claim_source *source);

/* Borrows store. Errors: E_NOMEM. */
enum err claims_new(struct store *store, claims_reload_fn *on_reload, void *arg,
                    struct claims **ret);
/* c may be NULL. Sources lose their claims, the store keeps its objects. */
void claims_free(struct claims *c);

void claim_source_init(struct claim_source *s, struct str path);
bool claim_source_is_empty(const struct claim_source *s);

/* An object that source's content yields; takes o. Loses or wins against claims of other files,
 * on_diag hears of the loser. Errors: E_NOMEM (o is freed, nothing changed). */
enum err claims_put(struct claims *c, struct claim_source *source, struct object *o,
                    diag_fn *on_diag, void *arg);
/* The content of source is at its end. What it has not yielded is given up, to go away at the
 * deadline; is_broken: it is kept instead. */
void claims_settle(struct claims *c, struct claim_source *source, bool is_broken, usec_t deadline);
/* The file is gone: all is given up. */
void claims_give_up(struct claims *c, struct claim_source *source, usec_t deadline);
/* Drops what was given up and is due. True when there was any. Deadlines only grow. */
bool claims_expire(struct claims *c, usec_t now);
/* Moves all that is given up to a later deadline. */
void claims_postpone(struct claims *c, usec_t deadline);
/* When the next one is due; 0 = nothing is given up. */
usec_t claims_next_deadline(const struct claims *c);
/* Store changes so far. */
size_t claims_changes(const struct claims *c);
/* A DuplicateObject for each claim of source that lost. */
void claims_each_duplicate(const struct claim_source *source, diag_fn *fn, void *arg);
