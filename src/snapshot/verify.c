/* One shard of foreign bytes against schema.h.
 * What a struct's fields may hold is a table (struct verify_layout); what ties fields and items
 * together is the layout's check. The root's own fields come first, so that every array lies inside
 * the shard before its items are read, and arrays come before those that point into them.
 *
 * Cost: each byte of an array is read once. Where text is compared or hashed, and one text may be
 * named many times, the work is counted and bounded by a multiple of the shard's size. */
#include "base/hash.h"
#include "snapshot/verify_priv.h"

/* Bytes of text looked at for each byte of the shard. Honest shards need about 2. */
enum { WORK_PER_BYTE = 64 };

static const size_t range_arrays[] = {
    [IN_ROUTES] = offsetof(struct snap_host, routes),
    [IN_CONDITIONS] = offsetof(struct snap_host, conditions),
    [IN_FILTERS] = offsetof(struct snap_host, filters),
    [IN_BACKENDS] = offsetof(struct snap_host, backends),
};

/* ---- the pieces ---- */

bool verify_fail(struct verify *c, const char *what)
{
    c->what = what;
    return false;
}

bool verify_charge(struct verify *c, size_t bytes)
{
    c->work += bytes;
    return c->work <= (uint64_t)c->bytes * WORK_PER_BYTE ||
           verify_fail(c, "too much work to check");
}

static bool check_str(struct verify *c, const struct snap_str *s)
{
    if ((uint64_t)s->offset + s->n >= c->bytes) {
        return verify_fail(c, "text outside the shard");
    }
    return c->shard[s->offset + s->n] == '\0' || verify_fail(c, "text without NUL");
}

bool verify_region(struct verify *c, uint32_t offset, uint64_t bytes)
{
    if (offset % SNAP_ALIGN != 0) {
        return verify_fail(c, "not aligned");
    }
    return offset + bytes <= c->bytes || verify_fail(c, "array outside the shard");
}

bool verify_zero(struct verify *c, const uint8_t *p, size_t n)
{
    uint8_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        bits |= p[i];
    }
    return bits == 0 || verify_fail(c, "reserved bytes are not zero");
}

static bool check_range(struct verify *c, const struct snap_range *r, uint32_t which)
{
    const struct snap_array *a = verify_at(c, range_arrays[which]);
    if (r->first > a->n || r->n > a->n - r->first) {
        return verify_fail(c, "range outside its array");
    }
    c->range_n[which] += r->n;
    return c->range_n[which] <= a->n || verify_fail(c, "ranges share items");
}

static bool check_field(struct verify *c, const char *p, const struct verify_field *f)
{
    const void *v = p + f->offset;
    switch (f->type) {
    case FIELD_STR:
        return check_str(c, v);
    case FIELD_ZERO:
        return verify_zero(c, v, f->arg);
    case FIELD_ENUM8:
        return (*(const uint8_t *)v >= 1 && *(const uint8_t *)v <= f->arg) ||
               verify_fail(c, "unknown number");
    case FIELD_UPTO8:
        return *(const uint8_t *)v <= f->arg || verify_fail(c, "unknown number");
    case FIELD_ENUM32:
        return (*(const uint32_t *)v >= 1 && *(const uint32_t *)v <= f->arg) ||
               verify_fail(c, "unknown number");
    case FIELD_BOOL8:
        return *(const uint8_t *)v <= 1 || verify_fail(c, "neither 0 nor 1");
    case FIELD_RANGE:
        return check_range(c, v, f->arg);
    case FIELD_ARRAY: {
        const struct snap_array *a = v;
        return verify_region(c, a->offset, (uint64_t)a->n * f->items->bytes);
    }
    }
    return verify_fail(c, "unknown field type");
}

static bool check_fields(struct verify *c, const void *p, const struct verify_layout *l)
{
    for (size_t i = 0; i < l->field_n; i++) {
        if (!check_field(c, p, &l->fields[i])) {
            return false;
        }
    }
    return true;
}

static bool check_items(struct verify *c, const struct snap_array *a, const struct verify_layout *l)
{
    const char *items = verify_at(c, a->offset);
    for (uint32_t i = 0; i < a->n; i++) {
        if (!check_fields(c, items + i * l->bytes, l) ||
            (l->check != NULL && !l->check(c, items, i))) {
            return false;
        }
    }
    return true;
}

bool verify_root(struct verify *c, const void *root, const struct verify_layout *l)
{
    if (!check_fields(c, root, l) || (l->check != NULL && !l->check(c, root, 0))) {
        return false;
    }
    for (size_t i = 0; i < l->field_n; i++) {
        const struct verify_field *f = &l->fields[i];
        if (f->type == FIELD_ARRAY &&
            !check_items(c, (const void *)((const char *)root + f->offset), f->items)) {
            return false;
        }
    }
    return true;
}

bool verify_is_joined(struct str whole, const struct str *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool is_last = i + 1 == n;
        if (!str_has_prefix(whole, parts[i])) {
            return false;
        }
        whole = str_from(whole, parts[i].n);
        if (is_last ? whole.n != 0 : whole.n == 0 || whole.p[0] != '/') {
            return false;
        }
        whole = str_from(whole, is_last ? 0 : 1);
    }
    return true;
}

bool verify_named(struct verify *c, struct snap_str key, uint64_t hash)
{
    struct str name = verify_text(c, key);
    if (name.n == 0) {
        return hash == 0 || verify_fail(c, "hash of nothing");
    }
    return verify_charge(c, name.n) &&
           (hash == hash_str(name) || verify_fail(c, "wrong hash of a name"));
}

/* ---- any shard ---- */

static const struct verify_layout *const kind_layouts[] = {
    [SNAP_GLOBAL] = &verify_layout_global,           [SNAP_HOST] = &verify_layout_host,
    [SNAP_SERVICE] = &verify_layout_service,         [SNAP_TLS_HOST] = &verify_layout_tls_host,
    [SNAP_CERTIFICATE] = &verify_layout_certificate, [SNAP_AUTHORITY] = &verify_layout_authority,
    [SNAP_STAPLE] = &verify_layout_staple,           [SNAP_KEY] = &verify_layout_key,
    [SNAP_TICKETS] = &verify_layout_tickets,
};

static bool check_shard(struct verify *c, const struct snap_shard *shard)
{
    if (shard->kind == 0 || shard->kind >= sizeof(kind_layouts) / sizeof(*kind_layouts)) {
        return verify_fail(c, "unknown kind");
    }
    if (shard->is_deleted > 1) {
        return verify_fail(c, "neither deleted nor not");
    }
    if (!check_str(c, &shard->key)) {
        return false;
    }
    if (shard->key_hash != hash_str(verify_text(c, shard->key))) {
        return verify_fail(c, "wrong hash of the key");
    }
    if (shard->is_deleted) {
        return true;
    }
    const struct verify_layout *l = kind_layouts[shard->kind];
    return c->bytes < l->bytes ? verify_fail(c, "too short for its kind")
                               : verify_root(c, shard, l);
}

const char *snap_shard_verify(const struct snap_shard *shard, uint32_t bytes)
{
    struct verify c = {.shard = (const char *)shard, .bytes = bytes};
    return check_shard(&c, shard) ? NULL : c.what;
}
