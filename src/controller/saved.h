/* controller/saved.h: the snapshot file: served after a start until the objects are read, written
 * some time after each change.
 *
 * Its time of modification is when its content was last known to be true, not when it changed last:
 * while all is well it is set anew every SAVED_CONFIRM, so that its age after a start says how much
 * trust it deserves, also in a cluster where nothing has happened for weeks. */
#pragma once

#include "event/loop.h"
#include "publish/publish.h"

#define SAVED_DELAY   (1 * USEC_PER_SEC)         /* after a commit: write the file */
#define SAVED_CONFIRM (600 * USEC_PER_SEC)       /* what it holds is still true */
#define SAVED_OLD     (24 * 3600 * USEC_PER_SEC) /* too old to be trusted: say so in the log */

/* The state of publish is what the source says at this moment. */
typedef bool saved_true_fn(void *arg);

struct saved {
    struct loop *loop;
    struct publish *publish;
    const char *file; /* NULL: none is kept */
    saved_true_fn *is_true;
    void *arg;
    struct timer save, confirm;
    usec_t true_at;  /* wall clock: age of what was loaded; 0: nothing was */
    bool has_failed; /* to write it; told once */
};

/* Borrows all. file may be NULL. */
void saved_init(struct saved *s, struct loop *loop, struct publish *publish, const char *file,
                saved_true_fn *is_true, void *arg);
/* Commits what the file holds, if it can be used. Errors: E_CLOSED (the supervisor is gone). */
enum err saved_load(struct saved *s);
/* A new generation was committed. */
void saved_changed(struct saved *s);
/* For how long what was loaded may not be true any more; 0: nothing was loaded. */
usec_t saved_age(const struct saved *s);
/* Writes the file if that is due. s may be zeroed. */
void saved_fini(struct saved *s);
