/* The redirect filter's compile half: ingress-nginx' permanent-redirect and temporal-redirect.
 * A value that cannot be used is told and then ignored, as if the annotation were not there: a
 * redirect guards nothing, and ingress-nginx does the same. See docs/filters/redirect.md. */
#include "compile/compile_priv.h"

#include "base/limits.h"
#include "wire/uri.h"

#define PREFIX "nginx.ingress.kubernetes.io/"

static const struct kind {
    const char *url, *code; /* annotations */
    uint32_t code_max, code_default;
} kinds[] = {
  /* in order of precedence */
    {PREFIX "temporal-redirect",  PREFIX "temporal-redirect-code",  307, 302},
    {PREFIX "permanent-redirect", PREFIX "permanent-redirect-code", 308, 301},
};

enum { KINDS_N = sizeof(kinds) / sizeof(kinds[0]), CODE_MIN = 300 };

static const struct finding invalid_url = {
    DIAG_ERROR, DIAG_InvalidAnnotation,
    "a redirect goes to a http:// or https:// URL of printable ASCII without blanks, at most 2048 "
    "bytes; the annotation is ignored",
    "write a whole URL like https://example.com/path"};
static const struct finding variable_url = {
    DIAG_ERROR, DIAG_InvalidAnnotation,
    "variables are not expanded in redirect URLs; the annotation is ignored",
    "write the URL out, or %24 for a dollar sign"};
static const struct finding invalid_code = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "temporal-redirect-code is a number from 300 to 307, permanent-redirect-code one from 300 to "
    "308; the default is used (302, 301)",
    "write a status code in that range, or none"};

/* "$name" or "${": what nginx would put something else in place of. */
static bool has_variable(struct str url)
{
    for (size_t at = str_find(url, '$'); at + 1 < url.n;
         at += 1 + str_find(str_from(url, at + 1), '$')) {
        char c = ascii_lower(url.p[at + 1]);
        if (c == '{' || c == '_' || (c >= 'a' && c <= 'z')) {
            return true;
        }
    }
    return false;
}

static bool is_url(struct str url)
{
    struct str target, fragment, authority, path, query;
    if (url.n > REDIRECT_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < url.n; i++) {
        if (url.p[i] <= ' ' || url.p[i] > '~') {
            return false;
        }
    }
    (void)str_cut(url, '#', &target, &fragment);
    return uri_split(target, &authority, &path, &query) == E_OK && authority.n > 0;
}

/* The kind whose URL counts; NULL: no redirect. */
static const struct kind *kind_find(const struct ingress *in, struct str *ret_url)
{
    for (size_t i = 0; i < KINDS_N; i++) {
        struct str url = annotation_get(in, kinds[i].url);
        if (url.n > 0 && is_url(url) && !has_variable(url)) {
            *ret_url = url;
            return &kinds[i];
        }
    }
    return NULL;
}

static bool code_parse(const struct kind *kind, struct str text, uint32_t *ret)
{
    uint64_t code;
    if (!str_to_u64(text, kind->code_max, &code) || code < CODE_MIN) {
        return false;
    }
    *ret = (uint32_t)code;
    return true;
}

static void tell(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                 const char *annotation, const struct finding *f)
{
    annotation_field(c, annotation);
    buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(annotation_get(in, annotation))));
    finding_add(c, batch, &in->object, in->object.line, f);
}

void filter_redirect_check(struct compile *c, struct diag_batch *batch,
                           const struct ingress *ingress)
{
    for (size_t i = 0; i < KINDS_N; i++) {
        struct str url = annotation_get(ingress, kinds[i].url);
        struct str code = annotation_get(ingress, kinds[i].code);
        uint32_t status;
        if (has_variable(url)) {
            tell(c, batch, ingress, kinds[i].url, &variable_url);
        } else if (url.n > 0 && !is_url(url)) {
            tell(c, batch, ingress, kinds[i].url, &invalid_url);
        }
        if (code.n > 0 && !code_parse(&kinds[i], code, &status)) {
            tell(c, batch, ingress, kinds[i].code, &invalid_code);
        }
    }
}

bool redirect_is_set(const struct ingress *ingress)
{
    struct str url;
    return kind_find(ingress, &url) != NULL;
}

uint32_t filter_redirect_write(struct compile *c, const struct ingress *ingress)
{
    struct buf *shard = &c->shard;
    struct str url;
    const struct kind *kind = kind_find(ingress, &url);
    if (kind == NULL) {
        return 0;
    }
    uint32_t status = kind->code_default;
    (void)code_parse(kind, annotation_get(ingress, kind->code), &status); /* keeps the default */
    struct snap_array at = snap_add_array(shard, 1, sizeof(struct snap_filter_redirect));
    struct snap_str location = snap_add_str(shard, url);
    if (shard->bad) {
        return 0;
    }
    struct snap_filter_redirect *f = snap_at(shard, at.offset, struct snap_filter_redirect);
    f->status = status;
    f->location = location;
    return at.offset;
}
