/* The configuration of all that is not said by an Ingress: options, and over their defaults what
 * the ConfigMap of --configmap says. What was given on the command line stands, whatever the
 * ConfigMap says. A key is named as its option is, and means the same.
 *
 * Each change of the ConfigMap is read whole. Nothing of it is refused as a whole: a key that
 * cannot be used is told and left out. See docs/configmap.md. */
#include "compile/compile_priv.h"

#include "base/mem.h"
#include "base/nearest.h"
#include "tls/context.h"
#include "wire/quantity.h"
#include "wire/uri.h"

/* ---- keys that have an effect ---- */

typedef bool take_fn(struct config *to, struct str value);

static bool take_ssl_redirect(struct config *to, struct str value)
{
    return switch_parse(value, &to->https.is_redirecting) == E_OK;
}

static bool take_force_ssl_redirect(struct config *to, struct str value)
{
    return switch_parse(value, &to->https.is_forcing) == E_OK;
}

static bool take_preserve_trailing_slash(struct config *to, struct str value)
{
    return switch_parse(value, &to->https.keeps_slash) == E_OK;
}

static bool take_use_port_in_redirects(struct config *to, struct str value)
{
    return switch_parse(value, &to->https.tells_port) == E_OK;
}

/* No redirect of Lintel's could be relative: docs/filters/ssl_redirect.md. */
static bool take_relative_redirects(struct config *to, struct str value)
{
    bool flag;
    (void)to;
    return switch_parse(value, &flag) == E_OK;
}

static bool take_hsts(struct config *to, struct str value)
{
    return switch_parse(value, &to->https.has_hsts) == E_OK;
}

static bool take_hsts_preload(struct config *to, struct str value)
{
    return switch_parse(value, &to->https.has_hsts_preload) == E_OK;
}

static bool take_hsts_include_subdomains(struct config *to, struct str value)
{
    bool flag;
    if (switch_parse(value, &flag) != E_OK) {
        return false;
    }
    to->https.hsts_subdomains = flag ? HSTS_SUBDOMAINS_ON : HSTS_SUBDOMAINS_OFF;
    return true;
}

static bool take_hsts_max_age(struct config *to, struct str value)
{
    return str_to_u64(value, UINT32_MAX, &to->https.hsts_max_age_s);
}

static bool take_http_redirect_code(struct config *to, struct str value)
{
    uint64_t code;
    if (!str_to_u64(value, 308, &code) || !https_is_redirect(code)) {
        return false;
    }
    to->https.redirect_status = (uint16_t)code;
    return true;
}

static bool take_no_tls_redirect_locations(struct config *to, struct str value)
{
    struct str paths[PLAIN_PATHS_MAX];
    uint32_t n;
    if (uri_paths_parse(value, paths, PLAIN_PATHS_MAX, &n) != E_OK) {
        return false;
    }
    mem_copy(to->https.plain_paths, paths, n * sizeof(*paths));
    to->https.plain_path_n = n;
    return true;
}

static bool take_proxy_real_ip_cidr(struct config *to, struct str value)
{
    struct ip_prefix prefixes[TRUSTED_PREFIXES_MAX];
    uint32_t n;
    if (ip_prefixes_parse(value, prefixes, TRUSTED_PREFIXES_MAX, &n) != E_OK) {
        return false;
    }
    mem_copy(to->trusted, prefixes, n * sizeof(*prefixes));
    to->trusted_n = n;
    return true;
}

static bool take_ssl_protocols(struct config *to, struct str value)
{
    struct tls_protocols protocols;
    if (!tls_protocols_parse(value, &protocols)) {
        return false;
    }
    to->ssl_min_version = protocols.has_12 ? 12 : 13;
    to->ssl_max_version = protocols.has_13 ? 13 : 12;
    return true;
}

static bool take_ssl_ciphers(struct config *to, struct str value)
{
    if (!tls_ciphers_are_usable(value)) {
        return false;
    }
    to->ssl_ciphers = value;
    return true;
}

/* "auto" is the library's choice in nginx, and ours here. */
static bool take_ssl_ecdh_curve(struct config *to, struct str value)
{
    struct str groups = str_eq(value, STR("auto")) ? STR_EMPTY : value;
    if (!tls_words_are_known(STR_EMPTY, groups)) {
        return false;
    }
    to->ssl_groups = groups;
    return true;
}

#define IGNORED    "; the key is ignored"
#define WHY_SWITCH "it is neither true nor false" IGNORED
#define WHY_AGE    "it is a number of seconds up to 4294967295" IGNORED
#define WHY_CODE   "it is 301, 302, 307 or 308" IGNORED
#define WHY_PATHS                                                                                  \
    "paths are written as /a,/b/c, without escapes, \"//\", \".\" or \"..\", at most 32 of "       \
    "them" IGNORED
#define WHY_CIDR                                                                                   \
    "address prefixes are written as 10.0.0.0/8,2001:db8::/32, at most 64 of them" IGNORED
#define WHY_PROTOCOLS                                                                              \
    "versions are written as TLSv1.2 TLSv1.3, and it has to have one of these" IGNORED
#define WHY_CIPHERS "it is no list of ciphers that OpenSSL knows" IGNORED
#define WHY_CURVES  "it is neither auto nor a list of groups that OpenSSL knows" IGNORED
#define MEND_SWITCH "write \"true\" or \"false\", in quotes"

static const struct taken {
    const char *name;
    take_fn *take;
    const char *why, *mend; /* when it cannot be used */
} taken_keys[] = {
    {"ssl-redirect",              take_ssl_redirect,              WHY_SWITCH,    MEND_SWITCH                     },
    {"force-ssl-redirect",        take_force_ssl_redirect,        WHY_SWITCH,    MEND_SWITCH                     },
    {"preserve-trailing-slash",   take_preserve_trailing_slash,   WHY_SWITCH,    MEND_SWITCH                     },
    {"use-port-in-redirects",     take_use_port_in_redirects,     WHY_SWITCH,    MEND_SWITCH                     },
    {"relative-redirects",        take_relative_redirects,        WHY_SWITCH,    MEND_SWITCH                     },
    {"hsts",                      take_hsts,                      WHY_SWITCH,    MEND_SWITCH                     },
    {"hsts-preload",              take_hsts_preload,              WHY_SWITCH,    MEND_SWITCH                     },
    {"hsts-include-subdomains",   take_hsts_include_subdomains,   WHY_SWITCH,    MEND_SWITCH                     },
    {"hsts-max-age",              take_hsts_max_age,              WHY_AGE,       "write it like \"31536000\""    },
    {"http-redirect-code",        take_http_redirect_code,        WHY_CODE,      "write one of these"            },
    {"no-tls-redirect-locations", take_no_tls_redirect_locations, WHY_PATHS,
     "write them like that"                                                                                      },
    {"proxy-real-ip-cidr",        take_proxy_real_ip_cidr,        WHY_CIDR,      "write them like that"          },
    {"ssl-protocols",             take_ssl_protocols,             WHY_PROTOCOLS, "write them like that"          },
    {"ssl-ciphers",               take_ssl_ciphers,               WHY_CIPHERS,
     "write it like \"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256\""                               },
    {"ssl-ecdh-curve",            take_ssl_ecdh_curve,            WHY_CURVES,    "write it like \"X25519:P-256\""},
};

enum { TAKEN_N = sizeof(taken_keys) / sizeof(taken_keys[0]) };

/* ---- settings ---- */

#define WHY_DURATION                                                                               \
    "it is a time in the range of the option of that name: a number of seconds, or with units "    \
    "(us, "                                                                                        \
    "ms, s, m, h)" IGNORED
#define WHY_SIZE                                                                                   \
    "it is a size in the range of the option of that name: a number of bytes, or of k, m or "      \
    "g" IGNORED
#define WHY_COUNT "it is a number in the range of the option of that name" IGNORED
#define BAD(why, mend)                                                                             \
    {                                                                                              \
        DIAG_ERROR, DIAG_InvalidSetting, why, mend                                                 \
    }

static const struct finding bad_settings[] = {
    [SNAP_SETTING_DURATION] = BAD(WHY_DURATION, "write it like \"60\" or \"1m30s\""),
    [SNAP_SETTING_SIZE] = BAD(WHY_SIZE, "write it like \"8k\" or \"1m\""),
    [SNAP_SETTING_COUNT] = BAD(WHY_COUNT, "write it in decimal digits, in quotes"),
    [SNAP_SETTING_FLAG] = BAD(WHY_SWITCH, MEND_SWITCH),
};

static bool setting_parse(const struct snap_setting *s, struct str value, uint64_t *ret)
{
    bool flag;
    switch (s->type) {
    case SNAP_SETTING_DURATION:
        return duration_parse(value, ret) == E_OK;
    case SNAP_SETTING_SIZE:
        return size_parse(value, ret) == E_OK;
    case SNAP_SETTING_COUNT:
        return str_to_u64(value, UINT64_MAX, ret);
    case SNAP_SETTING_FLAG:
        if (switch_parse(value, &flag) != E_OK) {
            return false;
        }
        *ret = flag;
        return true;
    }
    return false;
}

static bool setting_take(struct config *to, const struct snap_setting *s, struct str value)
{
    uint64_t number;
    if (!setting_parse(s, value, &number) || number < s->low || number > s->high) {
        return false;
    }
    mem_copy((char *)&to->settings + s->offset, &number, sizeof(number));
    return true;
}

static const struct snap_setting *setting_find(struct str name)
{
    for (size_t i = 0; i < SNAP_SETTINGS_N; i++) {
        if (str_eq(name, str_from_cstr(snap_setting_table[i].name))) {
            return &snap_setting_table[i];
        }
    }
    return NULL;
}

/* ---- keys that have none ---- */

enum idle { IDLE_MISSING, IDLE_GUARD, IDLE_NGINX, IDLE_SNIPPET, IDLE_START, IDLE_SECRET };

static const struct {
    struct str name;
    enum idle kind;
} idle_keys[] = {
#define KEY(name, kind) {STR_INIT(name), IDLE_##kind},
#include "compile/config_keys.def"
#undef KEY
};

enum { IDLE_N = sizeof(idle_keys) / sizeof(idle_keys[0]) };

#define WHY_MISSING "Lintel does not have this setting of ingress-nginx yet" IGNORED
#define WHY_GUARD                                                                                  \
    "Lintel does not have this setting of ingress-nginx yet: what it keeps out there is let in "   \
    "here"
#define WHY_NGINX "it tunes the inside of nginx, and here is none" IGNORED
#define WHY_SNIPPET                                                                                \
    "it is configuration of nginx, or of what runs in it, and here is none: what it does there "   \
    "is "                                                                                          \
    "not done here"
#define IDLE(severity, why, mend)                                                                  \
    {                                                                                              \
        severity, DIAG_SettingWithoutEffect, why, mend                                             \
    }

static const struct finding idle_findings[] = {
    [IDLE_MISSING] = IDLE(DIAG_WARNING, WHY_MISSING, "drop the key, or see docs/configmap.md"),
    [IDLE_GUARD] = IDLE(DIAG_ERROR, WHY_GUARD, "keep it out in front of Lintel, or behind it"),
    [IDLE_NGINX] = IDLE(DIAG_WARNING, WHY_NGINX, "drop the key"),
    [IDLE_START] = IDLE(DIAG_WARNING, "it is decided when Lintel starts" IGNORED,
                        "give --ssl-session-cache-size on the command line; 0 keeps no sessions"),
    [IDLE_SECRET] = IDLE(DIAG_WARNING, "a key is no business of a ConfigMap" IGNORED,
                         "put it into a Secret and give --ssl-session-ticket-secret"),
    [IDLE_SNIPPET] = IDLE(DIAG_ERROR, WHY_SNIPPET, "use other settings, or annotations"),
};
static const struct finding unknown_key = {DIAG_WARNING, DIAG_UnknownSetting,
                                           "it is none of ingress-nginx either" IGNORED,
                                           "correct the name, or drop the key"};
static const struct finding overruled_key =
    IDLE(DIAG_WARNING, "the option of that name was given on the command line, which counts",
         "set it in one place");

static bool idle_is(struct str pattern, struct str name)
{
    struct str start = str_first(pattern, pattern.n - 1);
    return str_has_suffix(pattern, STR("*")) ? str_has_prefix(name, start) : str_eq(pattern, name);
}

/* NULL: it is none of them. */
static const struct finding *idle_find(struct str name)
{
    for (size_t i = 0; i < IDLE_N; i++) {
        if (idle_is(idle_keys[i].name, name)) {
            return &idle_findings[idle_keys[i].kind];
        }
    }
    return NULL;
}

/* Empty or "false" asks for nothing. */
static bool is_wanted(struct str value)
{
    bool flag;
    return value.n > 0 && (switch_parse(value, &flag) != E_OK || flag);
}

static struct str name_like(struct str name)
{
    struct nearest n = nearest_make(name);
    for (size_t i = 0; i < SNAP_SETTINGS_N; i++) {
        nearest_offer(&n, str_from_cstr(snap_setting_table[i].name));
    }
    for (size_t i = 0; i < TAKEN_N; i++) {
        nearest_offer(&n, str_from_cstr(taken_keys[i].name));
    }
    return n.best;
}

/* ---- one key ---- */

struct reading {
    struct compile *c;
    struct diag_batch *batch;
    const struct config_map *map;
    struct config *to;
};

/* With r->c->what. */
static void tell(const struct reading *r, const struct string_pair *item, const struct finding *f)
{
    buf_reset(&r->c->field);
    buf_addf(&r->c->field, "data[%.*s]", STR_ARG(shown(item->key)));
    finding_add(r->c, r->batch, &r->map->object, r->map->object.line, f);
}

/* Only of keys that have an effect: others may be secret, as ssl-session-ticket-key. */
static void tell_value(const struct reading *r, const struct string_pair *item,
                       const struct finding *f)
{
    buf_addf(what_begin(r->c), "is \"%.*s\"", STR_ARG(shown(item->value)));
    tell(r, item, f);
}

static void tell_unknown(const struct reading *r, const struct string_pair *item)
{
    struct str like = name_like(item->key);
    buf_add_str(what_begin(r->c), STR("is no setting"));
    if (like.n > 0) {
        buf_addf(&r->c->what, ", but %.*s is", STR_ARG(like));
    }
    tell(r, item, &unknown_key);
}

static bool is_overruled(const struct reading *r, const struct string_pair *item)
{
    const struct compile_options *o = r->c->options;
    if (o->is_given == NULL || !o->is_given(o->given_arg, item->key)) {
        return false;
    }
    tell_value(r, item, &overruled_key);
    return true;
}

static const struct taken *taken_find(struct str name)
{
    for (size_t i = 0; i < TAKEN_N; i++) {
        if (str_eq(name, str_from_cstr(taken_keys[i].name))) {
            return &taken_keys[i];
        }
    }
    return NULL;
}

static void key_without_effect(const struct reading *r, const struct string_pair *item)
{
    const struct finding *f = idle_find(item->key);
    if (f == NULL) {
        tell_unknown(r, item);
    } else if (f->severity == DIAG_WARNING || is_wanted(item->value)) {
        buf_add_str(what_begin(r->c), STR("is set"));
        tell(r, item, f);
    }
}

static void key_read(const struct reading *r, const struct string_pair *item)
{
    const struct snap_setting *setting = setting_find(item->key);
    const struct taken *taken = taken_find(item->key);
    struct str value = value_trim(item->value);
    if (setting == NULL && taken == NULL) {
        key_without_effect(r, item);
    } else if (is_overruled(r, item)) {
        return;
    } else if (setting != NULL && !setting_take(r->to, setting, value)) {
        tell_value(r, item, &bad_settings[setting->type]);
    } else if (taken != NULL && !taken->take(r->to, value)) {
        struct finding bad = BAD(taken->why, taken->mend);
        tell_value(r, item, &bad);
    }
}

/* ---- the whole ---- */

static void config_begin(const struct compile *c, struct config *to)
{
    const struct compile_options *o = c->options;
    *to = (struct config){
        .settings = o->has_settings ? o->settings : snap_settings_default,
        .https = o->has_https ? o->https : https_policy_default,
        .trusted_n = o->trusted_n,
        .ssl_ciphers = o->ssl_ciphers,
        .ssl_groups = o->ssl_groups,
        .ssl_min_version = o->ssl_min_version == 0 ? 12 : o->ssl_min_version,
        .ssl_max_version = o->ssl_max_version == 0 ? 13 : o->ssl_max_version,
    };
    mem_copy(to->trusted, o->trusted, o->trusted_n * sizeof(*o->trusted));
}

static enum err config_read(struct compile *c, struct config *to, struct diag_batch *batch)
{
    const struct compile_options *o = c->options;
    const struct object *object =
        o->config_map.n == 0
            ? NULL
            : store_get(c->store, OBJECT_CONFIG_MAP, o->config_namespace, o->config_map);
    struct reading r = {c, batch, (const struct config_map *)(const void *)object, to};
    config_begin(c, to);
    for (uint32_t i = 0; object != NULL && i < r.map->data.n; i++) {
        key_read(&r, &r.map->data.items[i]);
    }
    return batch->err;
}

/* Of what the filters of hosts are made. */
static bool is_same_for_hosts(const struct https_policy *a, const struct https_policy *b)
{
    return a->is_redirecting == b->is_redirecting && a->is_forcing == b->is_forcing &&
           a->keeps_slash == b->keeps_slash && a->tells_port == b->tells_port &&
           a->redirect_status == b->redirect_status && a->has_hsts == b->has_hsts &&
           a->has_hsts_preload == b->has_hsts_preload && a->hsts_subdomains == b->hsts_subdomains &&
           a->hsts_max_age_s == b->hsts_max_age_s;
}

static void hosts_mark(struct compile *c)
{
    map_each(slot, &c->hosts)
    {
        node_mark(&c->dirty_hosts, slot->value);
    }
}

void config_changed(struct compile *c, const struct object *o)
{
    if (str_eq(o->name, c->options->config_map) &&
        str_eq(o->namespace_name, c->options->config_namespace)) {
        c->is_config_dirty = true;
    }
}

enum err config_refresh(struct compile *c)
{
    struct config fresh;
    struct diag_batch batch;
    if (!c->is_config_dirty) {
        return E_OK;
    }
    diag_batch_init(&batch);
    enum err e = config_read(c, &fresh, &batch);
    if (e != E_OK) {
        diag_batch_drop(&batch);
        return e;
    }
    diag_batch_commit(&batch, c->book, &c->config_diags);
    if (!is_same_for_hosts(&c->config.https, &fresh.https)) {
        hosts_mark(c);
    }
    c->config = fresh; /* its strs point into the options and the ConfigMap */
    c->is_config_dirty = false;
    c->is_global_dirty = true;
    return E_OK;
}
