/* The hsts filter's compile half: hosts with TLS have it, with one value for all of them. What is
 * different between the classes is whether hosts below are included when nobody says so: RFC 6797
 * section 14.4 warns of what that does to hosts which are not even served here. See
 * docs/filters/hsts.md. */
#include "compile/compile_priv.h"

enum { VALUE_BYTES = 64 };

void filter_hsts_check(struct compile *c, struct diag_batch *batch, const struct ingress *ingress)
{
    (void)c, (void)batch, (void)ingress; /* no annotation is about it */
}

static bool includes_subdomains(const struct compile *c, const struct https_policy *policy)
{
    switch (policy->hsts_subdomains) {
    case HSTS_SUBDOMAINS_OFF:
        return false;
    case HSTS_SUBDOMAINS_ON:
        return true;
    case HSTS_SUBDOMAINS_BY_CLASS:
        break;
    }
    return class_is_nginx(c);
}

static struct str value_make(const struct compile *c, char room[VALUE_BYTES])
{
    const struct https_policy *policy = https_policy(c);
    struct wr w = wr_make(room, VALUE_BYTES);
    wr_str(&w, STR("max-age="));
    wr_u64(&w, policy->hsts_max_age_s);
    wr_str(&w, includes_subdomains(c, policy) ? STR("; includeSubDomains") : STR_EMPTY);
    wr_str(&w, policy->has_hsts_preload ? STR("; preload") : STR_EMPTY);
    must(!w.bad); /* a number has at most 20 digits */
    return str_make(room, wr_n(&w));
}

uint32_t filter_hsts_write(struct compile *c, const struct ingress *ingress)
{
    char room[VALUE_BYTES];
    (void)ingress; /* the host has it or has it not */
    if (!c->host.has_tls || !https_policy(c)->has_hsts) {
        return 0;
    }
    struct snap_array at = snap_add_array(&c->shard, 1, sizeof(struct snap_filter_hsts));
    struct snap_str value = snap_add_str(&c->shard, value_make(c, room));
    if (c->shard.bad) {
        return 0;
    }
    snap_at(&c->shard, at.offset, struct snap_filter_hsts)->value = value;
    return at.offset;
}
