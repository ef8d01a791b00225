/* What clients have to show: ingress-nginx' annotations auth-tls-*. They guard something, so a
 * value that cannot be used lets nobody in instead of everybody. See docs/tls.md. */
#include "compile/compile_priv.h"

#include "regex/regex.h"
#include "wire/uri.h"

#define PREFIX "nginx.ingress.kubernetes.io/auth-tls-"

static const struct {
    struct str word;
    enum snap_client_verify verify;
} words[] = {
    {STR_INIT("on"),             SNAP_VERIFY_REQUIRED      },
    {STR_INIT("off"),            SNAP_VERIFY_OFF           },
    {STR_INIT("optional"),       SNAP_VERIFY_OPTIONAL      },
    {STR_INIT("optional_no_ca"), SNAP_VERIFY_OPTIONAL_NO_CA},
};

enum { WORDS_N = sizeof(words) / sizeof(words[0]), DEPTH_DEFAULT = 1, DEPTH_MAX = 100 };

static const char denied[] = "every request to the hosts of this Ingress is answered with 403";

static const struct finding bad_secret = {
    DIAG_ERROR, DIAG_InvalidAnnotation, denied,
    "write NAMESPACE/NAME of a Secret with ca.crt in the namespace of the Ingress"};
static const struct finding bad_verify = {DIAG_ERROR, DIAG_InvalidAnnotation, denied,
                                          "write on, off, optional or optional_no_ca"};
static const struct finding bad_depth = {DIAG_WARNING, DIAG_InvalidAnnotation,
                                         "a depth is a number from 0 to 100; 1 is used",
                                         "write such a number"};
static const struct finding bad_name = {
    DIAG_ERROR, DIAG_InvalidAnnotation, denied,
    "write CN= and a regular expression, which is looked for in the subject"};
static const struct finding bad_page = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "an error page is a http:// or https:// URL without variables; clients without a good "
    "certificate get 400",
    "write a whole URL like https://example.com/certificate"};
static const struct finding no_secret = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "without auth-tls-secret nobody is asked for a certificate, and the other annotations of the "
    "kind have no effect",
    "name the Secret with the authorities"};

/* ---- reading ---- */

static bool verify_parse(struct str text, enum snap_client_verify *ret)
{
    for (size_t i = 0; i < WORDS_N; i++) {
        if (str_eq(text, words[i].word)) {
            *ret = words[i].verify;
            return true;
        }
    }
    return false;
}

/* NAMESPACE/NAME, where the namespace is that of the Ingress: others belong to others. */
static bool secret_parse(const struct ingress *in, struct str text, struct client_auth *ret)
{
    struct str namespace_name, name;
    if (!str_cut(text, '/', &namespace_name, &name) || !dns_subdomain_is_valid(name) ||
        !str_eq(namespace_name, in->object.namespace_name)) {
        return false;
    }
    ret->namespace_name = namespace_name;
    ret->name = name;
    return true;
}

/* "CN=..." as ingress-nginx wants it: a regular expression that is looked for in the whole subject.
 * fault, of REGEX_FAULT_BYTES or NULL, gets what PCRE2 has to say. */
static bool name_is_usable(struct str name, char *fault)
{
    char ignored[REGEX_FAULT_BYTES];
    struct regex *regex = NULL;
    if (name.n == 0) {
        return true;
    }
    bool is_usable = str_has_prefix(name, STR("CN=")) &&
                     regex_new(name, fault == NULL ? ignored : fault, &regex) == E_OK;
    regex_free(regex);
    return is_usable;
}

static bool page_is_usable(struct str url)
{
    struct str authority, path, query;
    return url.n <= REDIRECT_BYTES_MAX && str_find(url, '$') == url.n &&
           str_find(url, '#') == url.n && uri_split(url, &authority, &path, &query) == E_OK &&
           authority.n > 0;
}

bool client_auth_get(const struct ingress *in, struct client_auth *ret)
{
    struct str secret = annotation_get(in, CLIENT_AUTH_SECRET);
    struct str verify = annotation_get(in, PREFIX "verify-client");
    struct str depth = annotation_get(in, PREFIX "verify-depth");
    struct str name = annotation_get(in, PREFIX "match-cn");
    uint64_t number = DEPTH_DEFAULT;
    if (secret.n == 0) {
        return false;
    }
    *ret = (struct client_auth){.namespace_name = STR_EMPTY,
                                .name = STR_EMPTY,
                                .verify = SNAP_VERIFY_REQUIRED,
                                .name_pattern = STR_EMPTY,
                                .error_page = annotation_get(in, PREFIX "error-page")};
    ret->is_denied = !secret_parse(in, secret, ret);
    ret->is_denied = ret->is_denied || (verify.n > 0 && !verify_parse(verify, &ret->verify));
    (void)(depth.n > 0 && str_to_u64(depth, DEPTH_MAX, &number)); /* else the default */
    ret->depth = (uint8_t)number;
    (void)annotation_flag(in, PREFIX "pass-certificate-to-upstream", &ret->passes_certificate);
    ret->is_denied = ret->is_denied || !name_is_usable(name, NULL);
    ret->name_pattern = name;
    if (!page_is_usable(ret->error_page)) {
        ret->error_page = STR_EMPTY;
    }
    return ret->is_denied || ret->verify != SNAP_VERIFY_OFF;
}

/* ---- what is wrong ---- */

static void tell(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                 const char *annotation, const struct finding *f)
{
    annotation_field(c, annotation);
    buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(annotation_get(in, annotation))));
    finding_add(c, batch, &in->object, in->object.line, f);
}

static void check_name(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                       struct str name)
{
    char fault[REGEX_FAULT_BYTES] = "";
    if (name_is_usable(name, fault)) {
        return;
    }
    annotation_field(c, PREFIX "match-cn");
    struct buf *what = what_begin(c);
    buf_addf(what, "is \"%.*s\"", STR_ARG(shown(name)));
    if (fault[0] != '\0') {
        buf_addf(what, ", which is no regular expression (%s)", fault);
    }
    finding_add(c, batch, &in->object, in->object.line, &bad_name);
}

static void check_values(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    struct client_auth auth;
    uint64_t number;
    struct str verify = annotation_get(in, PREFIX "verify-client");
    struct str depth = annotation_get(in, PREFIX "verify-depth");
    struct str name = annotation_get(in, PREFIX "match-cn");
    struct str page = annotation_get(in, PREFIX "error-page");
    if (!secret_parse(in, annotation_get(in, CLIENT_AUTH_SECRET), &auth)) {
        tell(c, batch, in, CLIENT_AUTH_SECRET, &bad_secret);
    }
    if (verify.n > 0 && !verify_parse(verify, &auth.verify)) {
        tell(c, batch, in, PREFIX "verify-client", &bad_verify);
    }
    if (depth.n > 0 && !str_to_u64(depth, DEPTH_MAX, &number)) {
        tell(c, batch, in, PREFIX "verify-depth", &bad_depth);
    }
    annotation_flag_check(c, batch, in, PREFIX "pass-certificate-to-upstream");
    check_name(c, batch, in, name);
    if (page.n > 0 && !page_is_usable(page)) {
        tell(c, batch, in, PREFIX "error-page", &bad_page);
    }
}

void client_auth_check(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    if (annotation_get(in, CLIENT_AUTH_SECRET).n > 0) {
        check_values(c, batch, in);
        return;
    }
    struct str verify = annotation_get(in, PREFIX "verify-client");
    if (verify.n > 0 && !str_eq(verify, STR("off"))) {
        tell(c, batch, in, PREFIX "verify-client", &no_secret);
    }
}
