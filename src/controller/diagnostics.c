/* Diagnostics in the log, once each. */
#include "controller/diagnostics.h"

#include "base/mem.h"
#include "log/log.h"

enum { TEXT_BYTES_MAX = 16 * 1024 };

struct known {
    uint64_t hash;
    uint64_t sweep; /* in which it was last seen */
    size_t n;
    char text[]; /* n bytes */
};

static bool known_eq(const void *value, const void *key)
{
    const struct known *k = value;
    const struct str *text = key;
    return str_eq(str_make(k->text, k->n), *text);
}

void diagnostics_init(struct diagnostics *d)
{
    *d = (struct diagnostics){.sweep = 1};
    map_init(&d->known);
    buf_init(&d->text, TEXT_BYTES_MAX);
}

void diagnostics_fini(struct diagnostics *d)
{
    map_each(slot, &d->known)
    {
        mem_free(slot->value);
    }
    map_fini(&d->known);
    buf_fini(&d->text);
}

static bool may_log(struct diagnostics *d)
{
    if (d->logged == DIAGNOSTICS_LOGGED_MAX) {
        d->not_logged++;
        return false;
    }
    d->logged++;
    return true;
}

/* Without memory it is logged again next time: better than not at all. */
static void remember(struct diagnostics *d, struct str text, uint64_t hash)
{
    if (d->known.n >= DIAGNOSTICS_KEPT_MAX) {
        return;
    }
    struct known *k = mem_alloc(sizeof(*k) + text.n);
    if (k == NULL) {
        return;
    }
    *k = (struct known){.hash = hash, .sweep = d->sweep, .n = text.n};
    mem_copy(k->text, text.p, text.n);
    if (map_add(&d->known, hash, k) != E_OK) {
        mem_free(k);
    }
}

void diagnostics_add(void *diagnostics, const struct diag *diag)
{
    struct diagnostics *d = diagnostics;
    buf_reset(&d->text);
    diag_emit_text(&d->text, diag);
    struct str text = buf_str(&d->text);
    uint64_t hash = hash_str(text);
    struct known *k = map_get(&d->known, hash, known_eq, &text);
    if (k != NULL) {
        k->sweep = d->sweep;
        return;
    }
    d->total++;
    if (may_log(d)) {
        log_line(diag->severity == DIAG_ERROR ? LOG_ERROR : LOG_WARN, "%.*s", STR_ARG(text));
    }
    remember(d, text, hash);
    if (d->on_new != NULL) {
        d->on_new(d->on_new_arg, diag);
    }
}

void diagnostics_on_new(struct diagnostics *d, diag_fn *fn, void *arg)
{
    d->on_new = fn;
    d->on_new_arg = arg;
}

static void forget(struct diagnostics *d, struct known *k)
{
    if (may_log(d)) {
        log_line(LOG_INFO, "mended: %.*s", (int)k->n, k->text);
    }
    mem_free(k);
}

/* Moves what is still there to a new table; without memory for one, everything stays for now. */
static void drop_gone(struct diagnostics *d)
{
    struct map kept;
    map_init(&kept);
    if (map_reserve(&kept, d->known.n) != E_OK) {
        return;
    }
    map_each(slot, &d->known)
    {
        struct known *k = slot->value;
        if (k->sweep != d->sweep) {
            forget(d, k);
        } else {
            must(map_add(&kept, k->hash, k) == E_OK); /* reserved */
        }
    }
    map_fini(&d->known);
    d->known = kept;
}

void diagnostics_sweep(struct diagnostics *d, diagnostics_each_fn *each, void *arg)
{
    d->sweep++;
    if (each(arg, diagnostics_add, d) == E_OK) {
        drop_gone(d);
    }
    if (d->not_logged > 0) {
        log_line(LOG_WARN, "%llu more diagnostics; /debug/diagnostics has them all",
                 (unsigned long long)d->not_logged);
    }
    d->logged = d->not_logged = 0;
}
