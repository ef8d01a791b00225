/* TLS to endpoints as an Ingress asks for it: ingress-nginx' annotations proxy-ssl-*, which count
 * only together with proxy-ssl-secret, there and here. That endpoints are spoken to over TLS at all
 * is said by backend-protocol, which is read elsewhere.
 *
 * What guards something is not given up for a typing mistake: a value of proxy-ssl-verify that is
 * none means on, and where verification lacks something, no connection is opened. What only chooses
 * among good ways falls back to the usual one. See docs/upstreams.md. */
#include "compile/compile_priv.h"

#include "base/hash.h"
#include "tls/client.h"
#include "wire/uri.h"

#define PREFIX "nginx.ingress.kubernetes.io/proxy-ssl-"

static const char secret_annotation[] = UPSTREAM_TLS_SECRET_ANNOTATION;
static const char verify_annotation[] = PREFIX "verify";
static const char depth_annotation[] = PREFIX "verify-depth";
static const char name_annotation[] = PREFIX "name";
static const char server_name_annotation[] = PREFIX "server-name";
static const char protocols_annotation[] = PREFIX "protocols";
static const char ciphers_annotation[] = PREFIX "ciphers";

static const char *const dependents[] = {
    verify_annotation,      depth_annotation,     name_annotation,
    server_name_annotation, protocols_annotation, ciphers_annotation,
};

enum { DEPTH_DEFAULT = 1, DEPTH_MAX = 100 };

static const char refused[] = "requests to the backends of this Ingress are answered with 503";

static const struct finding no_secret = {DIAG_WARNING, DIAG_InvalidAnnotation,
                                         "without proxy-ssl-secret it has no effect, as in "
                                         "ingress-nginx: endpoints are not verified, and "
                                         "no name is sent to them",
                                         "name a Secret with ca.crt in proxy-ssl-secret"};
static const struct finding no_tls = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "the backends of this Ingress are spoken to without TLS, so it has no effect",
    "set backend-protocol to HTTPS or GRPCS, or drop the annotation"};
static const struct finding bad_secret = {
    DIAG_ERROR, DIAG_InvalidAnnotation, refused,
    "write NAMESPACE/NAME of a Secret in the namespace of the Ingress"};
static const struct finding bad_verify = {
    DIAG_ERROR, DIAG_InvalidAnnotation,
    "it is on or off; endpoints are verified, as nobody says off (ingress-nginx would not verify "
    "them)",
    "write on or off"};
static const struct finding bad_depth = {DIAG_WARNING, DIAG_InvalidAnnotation,
                                         "a depth is a number from 1 to 100; 1 is used",
                                         "write such a number"};
static const struct finding bad_name = {
    DIAG_ERROR, DIAG_InvalidAnnotation,
    "it is a DNS name or an address, without wildcard or variable; with proxy-ssl-verify requests "
    "to "
    "the backends of this Ingress are answered with 503, without it no name is sent",
    "write the name that the endpoints' certificate is for"};
static const struct finding bad_server_name = {DIAG_WARNING, DIAG_InvalidAnnotation,
                                               "it is on or off; no name is sent",
                                               "write on, and the name itself in proxy-ssl-name"};
static const struct finding no_name_to_send = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "there is no name to send to endpoints (ingress-nginx sends \"upstream_balancer\")",
    "write the name in proxy-ssl-name"};
static const struct finding no_name_to_expect = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "without a name any certificate will do that the authorities in the Secret have signed "
    "(ingress-nginx expects \"upstream_balancer\", which none is for)",
    "write the name that the endpoints' certificate is for in proxy-ssl-name"};
static const struct finding bad_protocols = {DIAG_WARNING, DIAG_InvalidAnnotation,
                                             "it is TLSv1.2, TLSv1.3 or both; both are used",
                                             "write one or both, apart by a blank"};
static const struct finding old_protocols = {
    DIAG_WARNING, DIAG_DiffersFromNginx, "nothing older than TLSv1.2 is spoken; the rest is used",
    "drop what is older"};
static const struct finding bad_ciphers = {
    DIAG_ERROR, DIAG_InvalidAnnotation,
    "it is a list of ciphers of TLS 1.2 as OpenSSL writes it, at least one of them known and good; "
    "the usual ones are used",
    "see openssl ciphers, or drop the annotation"};

/* ---- reading ---- */

/* The namespace of others belongs to others. */
static bool secret_parse(const struct ingress *in, struct str text, struct upstream_tls *ret)
{
    struct str namespace_name, name;
    if (!str_cut(text, '/', &namespace_name, &name) || !dns_label_is_valid(namespace_name) ||
        !dns_subdomain_is_valid(name) || !str_eq(namespace_name, in->object.namespace_name)) {
        return false;
    }
    ret->namespace_name = namespace_name;
    ret->name = name;
    return true;
}

static bool switch_parse(struct str text, bool *ret)
{
    *ret = str_eq(text, STR("on"));
    return *ret || str_eq(text, STR("off"));
}

static bool depth_parse(struct str text, uint8_t *ret)
{
    uint64_t number;
    if (!str_to_u64(text, DEPTH_MAX, &number) || number == 0) {
        return false;
    }
    *ret = (uint8_t)number;
    return true;
}

/* In lower case, without port and trailing dot; an address in its canonical form. */
static bool server_name_parse(struct str text, struct upstream_tls *ret)
{
    struct str host;
    uint16_t port;
    struct ip ip;
    if (text.n > TLS_NAME_BYTES_MAX) {
        return false;
    }
    bool is_address = ip_parse(text, &ip) == E_OK;
    if (!is_address && host_parse(text, ret->server_name, &host, &port) != E_OK) {
        return false;
    }
    if (is_address || ip_parse(host, &ip) == E_OK) { /* that one had brackets */
        struct wr w = wr_make(ret->server_name, sizeof(ret->server_name));
        ip_emit(&w, &ip);
        ret->server_name_n = (uint8_t)wr_n(&w);
    } else {
        ret->server_name_n = (uint8_t)host.n;
    }
    return true;
}

bool tls_protocols_parse(struct str text, struct tls_protocols *ret)
{
    static const struct str old[] = {STR_INIT("SSLv2"), STR_INIT("SSLv3"), STR_INIT("TLSv1"),
                                     STR_INIT("TLSv1.1")};
    struct str word;
    *ret = (struct tls_protocols){0};
    while (text.n > 0) {
        (void)str_cut(text, ' ', &word, &text);
        bool is_known = word.n == 0 || str_eq(word, STR("TLSv1.2")) || str_eq(word, STR("TLSv1.3"));
        ret->has_12 = ret->has_12 || str_eq(word, STR("TLSv1.2"));
        ret->has_13 = ret->has_13 || str_eq(word, STR("TLSv1.3"));
        for (size_t i = 0; i < sizeof(old) / sizeof(old[0]); i++) {
            ret->has_old = ret->has_old || str_eq(word, old[i]);
            is_known = is_known || str_eq(word, old[i]);
        }
        if (!is_known) {
            return false;
        }
    }
    return ret->has_12 || ret->has_13;
}

bool tls_ciphers_are_usable(struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = ascii_lower(text.p[i]);
        bool is_good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == ':' ||
                       c == '_' || c == '-' || c == '!';
        if (!is_good) { /* '@' and '=', most of all: security levels are not for sale */
            return false;
        }
    }
    return tls_ciphers_are_known(text);
}

/* What says nothing is left out, so that two that mean the same are the same. */
static void settle(struct upstream_tls *t)
{
    if (t->is_broken) {
        *t = (struct upstream_tls){.namespace_name = t->namespace_name,
                                   .name = t->name,
                                   .ciphers = STR_EMPTY,
                                   .is_broken = true};
        return;
    }
    t->sends_name = t->sends_name && t->server_name_n > 0;
    t->depth = t->is_verified ? t->depth : 0;
    t->server_name_n = t->is_verified || t->sends_name ? t->server_name_n : 0;
}

static void versions_read(const struct ingress *in, struct upstream_tls *ret)
{
    struct tls_protocols protocols;
    if (tls_protocols_parse(annotation_get(in, protocols_annotation), &protocols) &&
        protocols.has_12 != protocols.has_13) {
        ret->min_version = protocols.has_13 ? 13 : 0;
        ret->max_version = protocols.has_13 ? 0 : 12;
    }
}

void upstream_tls_get(const struct ingress *in, struct upstream_tls *ret)
{
    struct str secret = annotation_get(in, secret_annotation);
    *ret =
        (struct upstream_tls){.namespace_name = STR_EMPTY, .name = STR_EMPTY, .ciphers = STR_EMPTY};
    if (secret.n == 0) {
        return;
    }
    struct str verify = annotation_get(in, verify_annotation);
    struct str name = annotation_get(in, name_annotation);
    struct str ciphers = annotation_get(in, ciphers_annotation);
    ret->is_broken = !secret_parse(in, secret, ret);
    if (verify.n > 0 && !switch_parse(verify, &ret->is_verified)) {
        ret->is_verified = true;
    }
    ret->depth = DEPTH_DEFAULT;
    (void)depth_parse(annotation_get(in, depth_annotation), &ret->depth); /* else the default */
    (void)switch_parse(annotation_get(in, server_name_annotation), &ret->sends_name); /* else off */
    if (name.n > 0 && !server_name_parse(name, ret)) {
        ret->is_broken = ret->is_broken || ret->is_verified;
    }
    versions_read(in, ret);
    if (!str_eq(ciphers, STR("DEFAULT")) && tls_ciphers_are_usable(ciphers)) {
        ret->ciphers = ciphers;
    }
    settle(ret);
}

/* ---- what is wrong ---- */

static void tell(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                 const char *annotation, const struct finding *f)
{
    annotation_field(c, annotation);
    buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(annotation_get(in, annotation))));
    finding_add(c, batch, &in->object, in->object.line, f);
}

static void check_names(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    struct upstream_tls t = {0};
    struct str name = annotation_get(in, name_annotation);
    struct str server_name = annotation_get(in, server_name_annotation);
    struct str verify = annotation_get(in, verify_annotation);
    bool is_name_good = name.n > 0 && server_name_parse(name, &t);
    if (name.n > 0 && !is_name_good) {
        tell(c, batch, in, name_annotation, &bad_name);
    }
    if (server_name.n > 0 && !switch_parse(server_name, &t.sends_name)) {
        tell(c, batch, in, server_name_annotation, &bad_server_name);
    } else if (name.n == 0 && t.sends_name) {
        tell(c, batch, in, server_name_annotation, &no_name_to_send);
    }
    if (name.n == 0 && verify.n > 0 && !str_eq(verify, STR("off"))) {
        tell(c, batch, in, verify_annotation, &no_name_to_expect);
    }
}

static void check_protocols(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    struct tls_protocols protocols;
    struct str text = annotation_get(in, protocols_annotation);
    if (text.n == 0) {
        return;
    }
    if (!tls_protocols_parse(text, &protocols)) {
        tell(c, batch, in, protocols_annotation, &bad_protocols);
    } else if (protocols.has_old) {
        tell(c, batch, in, protocols_annotation, &old_protocols);
    }
}

static void check_values(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    struct upstream_tls t;
    struct str verify = annotation_get(in, verify_annotation);
    struct str depth = annotation_get(in, depth_annotation);
    struct str ciphers = annotation_get(in, ciphers_annotation);
    if (!secret_parse(in, annotation_get(in, secret_annotation), &t)) {
        tell(c, batch, in, secret_annotation, &bad_secret);
    }
    if (verify.n > 0 && !switch_parse(verify, &t.is_verified)) {
        tell(c, batch, in, verify_annotation, &bad_verify);
    }
    if (depth.n > 0 && !depth_parse(depth, &t.depth)) {
        tell(c, batch, in, depth_annotation, &bad_depth);
    }
    check_names(c, batch, in);
    check_protocols(c, batch, in);
    if (ciphers.n > 0 && !tls_ciphers_are_usable(ciphers)) {
        tell(c, batch, in, ciphers_annotation, &bad_ciphers);
    }
}

void upstream_tls_check(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                        bool speaks_tls)
{
    bool has_secret = annotation_get(in, secret_annotation).n > 0;
    if (has_secret && speaks_tls) {
        check_values(c, batch, in);
    } else if (has_secret) {
        tell(c, batch, in, secret_annotation, &no_tls);
    }
    for (size_t i = 0; !has_secret && i < sizeof(dependents) / sizeof(dependents[0]); i++) {
        if (annotation_get(in, dependents[i]).n > 0) {
            tell(c, batch, in, dependents[i], &no_secret);
        }
    }
}

/* ---- the Secret ---- */

static const struct finding lack_secret = {DIAG_ERROR, DIAG_SecretNotFound, refused,
                                           "create the Secret or correct the name"};
static const struct finding lack_authority = {
    DIAG_ERROR, DIAG_InvalidCertificate, refused,
    "put the authorities of the endpoints into ca.crt, or set proxy-ssl-verify to off"};
static const struct finding lack_certificate = {DIAG_ERROR, DIAG_InvalidCertificate, refused,
                                                "mend tls.crt and tls.key, or leave both out"};

static const struct {
    const char *before, *after; /* its name */
    const struct finding *finding;
} lacks[] = {
    [UPSTREAM_TLS_SECRET] = {"there is no Secret", "",                                              &lack_secret   },
    [UPSTREAM_TLS_AUTHORITY] = {"Secret",             " has no ca.crt that can be used",               &lack_authority},
    [UPSTREAM_TLS_CERTIFICATE] = {"Secret",             " has a tls.crt or tls.key that cannot be used",
                             &lack_certificate                                                                     },
};

enum upstream_tls_lack upstream_tls_lacks(const struct upstream_tls *t,
                                          const struct upstream_tls_secret *s)
{
    if (t->is_broken || t->name.n == 0) {
        return UPSTREAM_TLS_NOTHING;
    }
    if (!s->is_there) {
        return UPSTREAM_TLS_SECRET;
    }
    if (t->is_verified && !s->has_authority) {
        return UPSTREAM_TLS_AUTHORITY;
    }
    return s->is_certificate_broken ? UPSTREAM_TLS_CERTIFICATE : UPSTREAM_TLS_NOTHING;
}

void upstream_tls_tell_lack(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                            const struct upstream_tls *t, enum upstream_tls_lack lack)
{
    must(lack != UPSTREAM_TLS_NOTHING);
    annotation_field(c, secret_annotation);
    buf_addf(what_begin(c), "%s %.*s/%.*s%s", lacks[lack].before, STR_ARG(t->namespace_name),
             STR_ARG(t->name), lacks[lack].after);
    finding_add(c, batch, &in->object, in->object.line, lacks[lack].finding);
}

/* ---- writing ---- */

void upstream_tls_emit_variant(const struct upstream_tls *t, struct str word, struct buf *out)
{
    buf_add_str(out, word);
    if (t->is_broken) {
        buf_add_str(out, STR(",broken"));
        return;
    }
    if (t->name.n > 0) {
        buf_addf(out, ",secret=%.*s", STR_ARG(t->name));
    }
    if (t->is_verified) {
        buf_addf(out, ",verify=%u", t->depth);
    }
    if (t->server_name_n > 0) {
        buf_addf(out, ",%s=%.*s", t->sends_name ? "sni" : "name", t->server_name_n, t->server_name);
    }
    if (t->min_version != 0 || t->max_version != 0) {
        buf_addf(out, ",only=%u", t->min_version != 0 ? t->min_version : t->max_version);
    }
    if (t->ciphers.n > 0) {
        buf_addf(out, ",ciphers=%016llx", (unsigned long long)hash_str(t->ciphers));
    }
}

void upstream_tls_add(struct buf *shard, const struct upstream_tls *t,
                      const struct upstream_tls_secret *s, struct upstream_tls_texts *ret)
{
    char key[512];
    struct wr w = wr_make(key, sizeof(key));
    wr_str(&w, t->namespace_name);
    wr_char(&w, '/');
    wr_str(&w, t->name);
    must(!w.bad); /* a DNS label and a DNS name */
    struct str secret = str_make(key, wr_n(&w));
    bool is_used = !t->is_broken && t->name.n > 0;
    ret->server_name = snap_add_str(shard, str_make(t->server_name, t->server_name_n));
    ret->ciphers = snap_add_str(shard, t->ciphers);
    ret->authority = snap_add_str(shard, is_used && t->is_verified ? secret : STR_EMPTY);
    ret->certificate = snap_add_str(shard, is_used && s->has_certificate ? secret : STR_EMPTY);
}

void upstream_tls_fill(struct snap_service *root, const struct upstream_tls *t,
                       enum upstream_tls_lack lack, const struct upstream_tls_texts *texts,
                       uint64_t stamp)
{
    root->is_tls = 1;
    root->is_verified = t->is_verified;
    root->depth = t->depth;
    root->sends_name = t->sends_name;
    root->is_broken = t->is_broken || lack != UPSTREAM_TLS_NOTHING;
    root->min_version = t->min_version;
    root->max_version = t->max_version;
    root->tls_name = texts->server_name;
    root->ciphers = texts->ciphers;
    root->authority = texts->authority;
    root->certificate = texts->certificate;
    root->stamp = stamp;
}
