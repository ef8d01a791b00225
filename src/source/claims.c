/* An object's claims hang on its key, in the order of their files' paths; a file's claims hang on
 * its source, in the order they were first seen.
 *
 *   claim: live --not yielded by a clean file, or file gone--> given up --deadline--> freed
 *           ^--------------------- yielded again ------------------'
 *
 * key->winner is the claim whose file yielded the object that is in the store. It is NULL for a
 * short time after the winner went away and before the next file was read again (or for as long as
 * that file is broken): the object stays in the store meanwhile.
 * Invariant: the store holds an object of ours exactly while its key has claims. */
#include "source/claims.h"

#include "base/hash.h"
#include "base/mem.h"

struct key {
    enum object_kind kind;
    struct str namespace_name, name; /* in text */
    uint64_t hash;
    struct list claims; /* by path */
    struct claim *winner;
    char text[];
};

struct claim {
    struct key *key;
    struct claim_source *source;
    struct list in_key, in_source;
    struct list in_given_up; /* linked: given up */
    usec_t deadline;
    uint32_t line, duplicate_line; /* of its last duplicate in the same file; 0 = none */
    bool is_seen;                  /* by the reading under way */
};

struct claims {
    struct store *store;
    claims_reload_fn *on_reload;
    void *arg;
    struct map keys;
    struct list given_up; /* by deadline */
    size_t changes;
};

/* ---- keys ---- */

struct key_parts {
    enum object_kind kind;
    struct str namespace_name, name;
};

static uint64_t key_hash(const struct key_parts *parts)
{
    uint64_t hash = hash_str(parts->namespace_name) + (uint64_t)parts->kind;
    return hash * 0x9e3779b97f4a7c15U + hash_str(parts->name);
}

static bool key_eq(const void *value, const void *parts_arg)
{
    const struct key *key = value;
    const struct key_parts *parts = parts_arg;
    return key->kind == parts->kind && str_eq(key->name, parts->name) &&
           str_eq(key->namespace_name, parts->namespace_name);
}

static enum err key_new(struct claims *c, const struct key_parts *parts, uint64_t hash,
                        struct key **ret)
{
    TRY(map_reserve(&c->keys, 1));
    struct key *key = mem_alloc(sizeof(*key) + parts->namespace_name.n + parts->name.n);
    if (key == NULL) {
        return E_NOMEM;
    }
    *key = (struct key){.kind = parts->kind, .hash = hash};
    mem_copy(key->text, parts->namespace_name.p, parts->namespace_name.n);
    mem_copy(key->text + parts->namespace_name.n, parts->name.p, parts->name.n);
    key->namespace_name = str_make(key->text, parts->namespace_name.n);
    key->name = str_make(key->text + parts->namespace_name.n, parts->name.n);
    list_init(&key->claims);
    must(map_add(&c->keys, hash, key) == E_OK); /* room was made */
    *ret = key;
    return E_OK;
}

static enum err key_for(struct claims *c, const struct object *o, struct key **ret)
{
    struct key_parts parts = {o->kind, o->namespace_name, o->name};
    uint64_t hash = key_hash(&parts);
    struct key *key = map_get(&c->keys, hash, key_eq, &parts);
    if (key == NULL) {
        return key_new(c, &parts, hash, ret);
    }
    *ret = key;
    return E_OK;
}

static void key_drop_if_empty(struct claims *c, struct key *key)
{
    if (list_is_empty(&key->claims)) {
        must(map_del(&c->keys, key->hash, key));
        mem_free(key);
    }
}

/* ---- claims ---- */

static bool is_given_up(const struct claim *claim)
{
    return list_is_linked(&claim->in_given_up);
}

/* The last claim on key whose path is not behind path, or the head. From the back, because files
 * are mostly read in the order of their paths. */
static struct list *key_place(struct key *key, struct str path)
{
    struct list *at = key->claims.prev;
    while (at != &key->claims &&
           str_cmp(container_of(at, struct claim, in_key)->source->path, path) > 0) {
        at = at->prev;
    }
    return at;
}

static struct claim *claim_find(struct key *key, const struct claim_source *source)
{
    struct list *at = key_place(key, source->path);
    if (at == &key->claims) {
        return NULL;
    }
    struct claim *claim = container_of(at, struct claim, in_key);
    return claim->source == source ? claim : NULL;
}

static enum err claim_new(struct key *key, struct claim_source *source, struct claim **ret)
{
    struct claim *claim = mem_calloc(1, sizeof(*claim));
    if (claim == NULL) {
        return E_NOMEM;
    }
    claim->key = key;
    claim->source = source;
    list_init(&claim->in_given_up);
    list_push(key_place(key, source->path), &claim->in_key); /* right behind that place */
    list_append(&source->claims, &claim->in_source);
    *ret = claim;
    return E_OK;
}

static void claim_free(struct claim *claim)
{
    list_del(&claim->in_key);
    list_del(&claim->in_source);
    list_del(&claim->in_given_up);
    mem_free(claim);
}

static struct claim *first_live(struct key *key)
{
    list_each(it, &key->claims)
    {
        struct claim *claim = container_of(it, struct claim, in_key);
        if (!is_given_up(claim)) {
            return claim;
        }
    }
    return NULL;
}

/* Frees a claim that is over. The next in line takes its place in the store. */
static void claim_drop(struct claims *c, struct claim *claim)
{
    struct key *key = claim->key;
    bool is_winner = key->winner == claim;
    claim_free(claim);
    if (list_is_empty(&key->claims)) {
        c->changes += store_del(c->store, key->kind, key->namespace_name, key->name);
        key_drop_if_empty(c, key);
        return;
    }
    if (is_winner) {
        key->winner = NULL;
    }
    struct claim *next = key->winner == NULL ? first_live(key) : NULL;
    if (next != NULL) {
        c->on_reload(c->arg, next->source);
    }
}

/* ---- diagnostics ---- */

static void report_duplicate(const struct claim *loser, uint32_t line, struct str used_path,
                             uint32_t used_line, diag_fn *fn, void *arg)
{
    char text[512];
    struct wr w = wr_make(text, sizeof(text));
    wr_str(&w, STR("also stands in "));
    wr_str(&w, str_first(used_path, sizeof(text) - 64));
    if (used_line > 0) {
        wr_char(&w, ':');
        wr_u64(&w, used_line);
    }
    const struct key *key = loser->key;
    struct diag d = {.severity = DIAG_WARNING,
                     .reason = DIAG_DuplicateObject,
                     .file = loser->source->path,
                     .line = line,
                     .kind = str_from_cstr(object_kind_name(key->kind)),
                     .namespace_name = key->namespace_name,
                     .name = key->name,
                     .what = str_make(text, wr_n(&w)),
                     .why = STR("the first one, by path and line, is used"),
                     .mend = STR("remove one of the two")};
    fn(arg, &d);
}

static void report_loser(const struct claim *loser, diag_fn *fn, void *arg)
{
    const struct claim *winner = loser->key->winner;
    report_duplicate(loser, loser->line, winner->source->path, winner->line, fn, arg);
}

static void report_twin(const struct claim *claim, diag_fn *fn, void *arg)
{
    report_duplicate(claim, claim->duplicate_line, claim->source->path, claim->line, fn, arg);
}

void claims_each_duplicate(const struct claim_source *source, diag_fn *fn, void *arg)
{
    for (struct list *it = source->claims.next; it != &source->claims; it = it->next) {
        const struct claim *claim = container_of(it, struct claim, in_source);
        const struct claim *winner = claim->key->winner;
        if (winner != NULL && winner != claim && !is_given_up(claim) && !is_given_up(winner)) {
            report_loser(claim, fn, arg);
        }
        if (claim->duplicate_line != 0) {
            report_twin(claim, fn, arg);
        }
    }
}

/* ---- what files yield ---- */

/* Does claim's object belong into the store now? */
static bool claim_wins(const struct claim *claim)
{
    const struct claim *winner = claim->key->winner;
    return winner == NULL || winner == claim || is_given_up(winner) ||
           str_cmp(claim->source->path, winner->source->path) < 0;
}

static void claim_see(struct claim *claim, uint32_t line)
{
    claim->is_seen = true;
    claim->line = line;
    claim->duplicate_line = 0;
    list_del(&claim->in_given_up);
}

/* Takes o, on failure too. */
static enum err claim_win(struct claims *c, struct claim *claim, struct object *o, diag_fn *on_diag,
                          void *arg)
{
    uint32_t line = o->line;
    TRY(store_put(c->store, o));
    c->changes++;
    claim_see(claim, line);
    struct claim *loser = claim->key->winner;
    claim->key->winner = claim;
    if (loser != NULL && loser != claim && !is_given_up(loser)) {
        report_loser(loser, on_diag, arg);
    }
    return E_OK;
}

/* Frees o. */
static void claim_lose(struct claim *claim, struct object *o, diag_fn *on_diag, void *arg)
{
    claim_see(claim, o->line);
    object_free(o);
    report_loser(claim, on_diag, arg);
}

/* The same object once more in one file. Frees o. */
static void claim_twin(struct claim *claim, struct object *o, diag_fn *on_diag, void *arg)
{
    claim->duplicate_line = o->line;
    object_free(o);
    report_twin(claim, on_diag, arg);
}

/* Where o's claim hangs, made when there is none yet. */
static enum err claim_for(struct claims *c, struct claim_source *source, const struct object *o,
                          struct claim **ret)
{
    struct key *key;
    TRY(key_for(c, o, &key));
    struct claim *claim = claim_find(key, source);
    if (claim == NULL && claim_new(key, source, &claim) != E_OK) {
        key_drop_if_empty(c, key);
        return E_NOMEM;
    }
    *ret = claim;
    return E_OK;
}

/* Undoes claim_for() when the object could not be taken over. */
static void claim_undo(struct claims *c, struct claim *claim)
{
    struct key *key = claim->key;
    if (store_get(c->store, key->kind, key->namespace_name, key->name) == NULL) {
        claim_free(claim); /* it was the first one */
        key_drop_if_empty(c, key);
    }
}

enum err claims_put(struct claims *c, struct claim_source *source, struct object *o,
                    diag_fn *on_diag, void *arg)
{
    struct claim *claim;
    enum err error = claim_for(c, source, o, &claim);
    if (error != E_OK) {
        object_free(o);
        return error;
    }
    if (claim->is_seen) {
        claim_twin(claim, o, on_diag, arg);
        return E_OK;
    }
    if (!claim_wins(claim)) {
        claim_lose(claim, o, on_diag, arg);
        return E_OK;
    }
    error = claim_win(c, claim, o, on_diag, arg);
    if (error != E_OK) {
        claim_undo(c, claim);
    }
    return error;
}

static void claim_give_up(struct claims *c, struct claim *claim, usec_t deadline)
{
    if (!is_given_up(claim)) {
        claim->deadline = deadline;
        claim->duplicate_line = 0;
        list_append(&c->given_up, &claim->in_given_up);
    }
}

void claims_settle(struct claims *c, struct claim_source *source, bool is_broken, usec_t deadline)
{
    list_each(it, &source->claims)
    {
        struct claim *claim = container_of(it, struct claim, in_source);
        if (is_broken) {
            list_del(&claim->in_given_up); /* the file is there again, its last good state counts */
        } else if (!claim->is_seen) {
            claim_give_up(c, claim, deadline);
        }
        claim->is_seen = false;
    }
}

void claims_give_up(struct claims *c, struct claim_source *source, usec_t deadline)
{
    list_each(it, &source->claims)
    {
        claim_give_up(c, container_of(it, struct claim, in_source), deadline);
    }
}

void claims_postpone(struct claims *c, usec_t deadline)
{
    list_each(it, &c->given_up)
    {
        container_of(it, struct claim, in_given_up)->deadline = deadline;
    }
}

bool claims_expire(struct claims *c, usec_t now)
{
    bool is_any = false;
    while (!list_is_empty(&c->given_up)) {
        struct claim *claim = container_of(c->given_up.next, struct claim, in_given_up);
        if (claim->deadline > now) {
            break;
        }
        claim_drop(c, claim);
        is_any = true;
    }
    return is_any;
}

/* ---- life ---- */

enum err claims_new(struct store *store, claims_reload_fn *on_reload, void *arg,
                    struct claims **ret)
{
    struct claims *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    c->store = store;
    c->on_reload = on_reload;
    c->arg = arg;
    list_init(&c->given_up);
    *ret = c;
    return E_OK;
}

void claims_free(struct claims *c)
{
    if (c == NULL) {
        return;
    }
    map_each(slot, &c->keys)
    {
        struct key *key = slot->value;
        list_each(it, &key->claims)
        {
            claim_free(container_of(it, struct claim, in_key));
        }
        mem_free(key);
    }
    map_fini(&c->keys);
    mem_free(c);
}

void claim_source_init(struct claim_source *s, struct str path)
{
    s->path = path;
    list_init(&s->claims);
}

bool claim_source_is_empty(const struct claim_source *s)
{
    return list_is_empty(&s->claims);
}

usec_t claims_next_deadline(const struct claims *c)
{
    if (list_is_empty(&c->given_up)) {
        return 0;
    }
    return container_of(c->given_up.next, struct claim, in_given_up)->deadline;
}

size_t claims_changes(const struct claims *c)
{
    return c->changes;
}
