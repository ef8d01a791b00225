/* TLS that goes on to the endpoints as it is: ingress-nginx' annotation ssl-passthrough, for
 * whoever runs with --enable-ssl-passthrough. Each host of the Ingress has all its TLS connections
 * led to the backend of its path "/": there are no other paths before TLS has ended.
 *
 * As in ingress-nginx the oldest Ingress of a host decides for it, also when it says nothing of
 * passthrough, so that nobody takes over the TLS of a host that was there before; and a wildcard
 * host is not passed through. The routes stay for plain HTTP. Other than there, the backend is
 * always the deciding Ingress' own, endpoints are chosen one by one, and a PROXY header may be sent
 * ahead.
 * Source: docs/passthrough.md. */
#include "compile/compile_priv.h"

#include "base/mem.h"

#define ANNOTATION "nginx.ingress.kubernetes.io/ssl-passthrough"
#define HEADER     "lintel.dev/passthrough-proxy-protocol"

static const struct finding switched_off = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "passthrough is off, so TLS of the hosts of this Ingress ends here",
    "run Lintel with --enable-ssl-passthrough, or drop the annotation"};
static const struct finding bad_header = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "the version of a PROXY header is v1 or v2; none is sent to the endpoints",
    "write one of these, or drop the annotation"};
static const struct finding idle_header = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "without ssl-passthrough it has no effect: endpoints get PROXY headers ahead of TLS only",
    "set " ANNOTATION " too, or drop the annotation"};
static const struct finding no_host = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "TLS is passed through by the name that a client asks for; for every other name it ends here",
    "write the host into the rule"};
static const struct finding wildcard = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "as in ingress-nginx only hosts without a star are passed through; TLS of this one ends here",
    "write a rule for each of its hosts"};
static const struct finding no_root = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "TLS is passed through to the backend of the path \"/\"; where no rule of the host has one, it "
    "ends here",
    "add the path \"/\" to the host"};
static const struct finding idle_path = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "TLS that is passed through has no paths, everything goes to the backend of \"/\"; requests "
    "for this path get here by plain HTTP only",
    "give it a host of its own, or an Ingress without passthrough"};
static const struct finding idle_auth = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "TLS of the hosts that are passed through ends at their endpoints, so nobody asks for "
    "certificates of clients here",
    "let the endpoints ask for them, and drop the annotation"};

/* ---- what an Ingress says ---- */

static bool is_asked_for(const struct ingress *in)
{
    bool is_on = false;
    return annotation_flag(in, ANNOTATION, &is_on) && is_on;
}

static struct str variant_of(const struct ingress *in)
{
    struct str value = annotation_get(in, HEADER);
    if (str_eq(value, STR("v1"))) {
        return STR("tcp,proxy1");
    }
    return str_eq(value, STR("v2")) ? STR("tcp,proxy2") : STR("tcp");
}

bool passthrough_is_on(const struct compile *c, const struct ingress *in)
{
    return c->options->has_passthrough && is_asked_for(in);
}

bool passthrough_has_variant(const struct ingress *in, struct str variant)
{
    return is_asked_for(in) && str_eq(variant_of(in), variant);
}

bool passthrough_speech(struct str variant, struct speech *ret)
{
    static const struct {
        struct str variant;
        struct speech speech;
    } ways[] = {
        {STR_INIT("tcp"),        {.protocol = SNAP_TCP}                     },
        {STR_INIT("tcp,proxy1"), {.protocol = SNAP_TCP, .proxy_protocol = 1}},
        {STR_INIT("tcp,proxy2"), {.protocol = SNAP_TCP, .proxy_protocol = 2}},
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        if (str_eq(ways[i].variant, variant)) {
            *ret = ways[i].speech;
            return true;
        }
    }
    return false;
}

/* ---- rules ---- */

static bool is_wildcard(struct str host)
{
    return str_has_prefix(host, STR("*."));
}

/* Its TLS can be told from that of other hosts. */
static bool is_host(struct str host)
{
    return host.n > 0 && !is_wildcard(host) && host_is_usable(host);
}

static bool is_root(struct str path)
{
    return path.n == 0 || str_eq(path, STR("/"));
}

/* A rule without paths has its Ingress' default backend for all of them. */
static bool root_find(const struct ingress *in, uint32_t rule, struct place *ret)
{
    const struct ingress_rule *r = &in->rules[rule];
    for (uint32_t i = 0; i < r->path_n; i++) {
        if (is_root(r->paths[i].path)) {
            *ret = (struct place){rule, i};
            return true;
        }
    }
    if (r->path_n > 0 || in->default_backend.type == BACKEND_NONE) {
        return false;
    }
    *ret = (struct place){rule, SNAP_DEFAULT_RULE};
    return true;
}

/* ---- the Service ports that get the bytes ---- */

bool passthrough_key(const struct compile *c, const struct ingress *in, uint32_t rule,
                     char digits[U16_DIGITS], struct place *ret_place, struct key *ret)
{
    if (!passthrough_is_on(c, in) || !is_host(in->rules[rule].host) ||
        !root_find(in, rule, ret_place)) {
        return false;
    }
    const struct ingress_backend *b = place_backend(in, *ret_place);
    if (!backend_is_service(b)) {
        return false;
    }
    *ret = (struct key){
        {in->object.namespace_name, b->service, backend_port(b, digits), variant_of(in)}
    };
    return true;
}

/* ---- who decides for a host ---- */

void passthrough_touch(struct compile *c, struct str host)
{
    struct tls_node *tls = c->options->has_passthrough && is_host(host)
                               ? node_find(&c->tls, &(struct key){{host}})
                               : NULL;
    if (tls != NULL) {
        node_mark(&c->dirty_tls, &tls->node);
    }
}

/* NULL: nobody has the host. */
static const struct ingress_node *oldest_of(const struct compile *c, struct str host)
{
    const struct host_node *node = node_find(&c->hosts, &(struct key){{host}});
    const struct ingress_node *oldest = NULL;
    if (node == NULL) {
        return NULL;
    }
    for (const struct list *it = node->links.next; it != &node->links; it = it->next) {
        const struct link *link = (const void *)((const char *)it - offsetof(struct link, in_host));
        if (oldest == NULL || ingress_cmp(link->ingress, oldest) < 0) {
            oldest = link->ingress;
        }
    }
    return oldest;
}

static bool key_eq(const struct key *a, const struct key *b)
{
    for (int i = 0; i < KEY_PARTS; i++) {
        if (!str_eq(a->part[i], b->part[i])) {
            return false;
        }
    }
    return true;
}

/* What an Ingress says about one host: its links stand side by side. */
struct part {
    const struct tls_link *const *links;
    size_t n;
    const struct ingress *in;
    bool has_rule; /* and not only an entry of spec.tls */
    bool is_passed;
    char digits[U16_DIGITS];
    struct key key; /* with is_passed */
};

/* The part that begins with the link of that index. */
static void part_get(const struct compile *c, size_t first, struct part *ret)
{
    const struct tls_work *w = &c->tls_work;
    const struct ingress *in = w->links[first]->ingress->object;
    *ret = (struct part){.links = w->links + first, .in = in};
    for (; first + ret->n < w->link_n && ret->links[ret->n]->ingress->object == in; ret->n++) {
        const struct tls_link *link = ret->links[ret->n];
        struct place place;
        if (link->entry == TLS_OF_RULE) {
            ret->has_rule = true;
            ret->is_passed = ret->is_passed ||
                             passthrough_key(c, in, link->host, ret->digits, &place, &ret->key);
        }
    }
}

/* False: it says nothing. */
static bool part_of(const struct compile *c, const struct ingress *in, struct part *ret)
{
    for (size_t i = 0; i < c->tls_work.link_n; i += ret->n) {
        part_get(c, i, ret);
        if (ret->in == in) {
            return true;
        }
    }
    return false;
}

static void tell_conflict(struct compile *c, struct diag_batch *batch, const struct part *part,
                          const struct ingress *oldest, bool is_passed)
{
    annotation_field(c, ANNOTATION);
    buf_addf(what_begin(c), "Ingress %.*s/%.*s has host \"%.*s\" %s",
             STR_ARG(oldest->object.namespace_name), STR_ARG(oldest->object.name),
             STR_ARG(part->links[0]->tls->node.key.part[0]),
             is_passed ? "passed through to a backend of its own" : "without passthrough");
    finding_add(c, batch, &part->in->object, part->in->object.line,
                &conflict_findings[CONFLICT_passthrough]);
}

static void tell_idle_secrets(struct compile *c, struct diag_batch *batch, const struct part *part)
{
    for (size_t i = 0; i < part->n; i++) {
        const struct tls_link *link = part->links[i];
        if (link->entry == TLS_OF_RULE || part->in->tls[link->entry].secret.n == 0) {
            continue;
        }
        buf_reset(&c->field);
        buf_addf(&c->field, "spec.tls[%u].secretName", link->entry);
        buf_addf(what_begin(c), "is \"%.*s\", but host \"%.*s\" is passed through",
                 STR_ARG(shown(part->in->tls[link->entry].secret)),
                 STR_ARG(link->tls->node.key.part[0]));
        finding_add(c, batch, &part->in->object, part->in->object.line,
                    &conflict_findings[CONFLICT_idle_secret]);
    }
}

/* passed: what the host's TLS goes to; NULL: it ends here. */
static void tell_parts(struct compile *c, struct diag_batch *batch, const struct ingress *oldest,
                       const struct key *passed)
{
    struct part part;
    for (size_t i = 0; i < c->tls_work.link_n; i += part.n) {
        part_get(c, i, &part);
        bool is_same =
            passed == NULL ? !part.is_passed : part.is_passed && key_eq(passed, &part.key);
        if (part.has_rule && part.in != oldest && !is_same) {
            tell_conflict(c, batch, &part, oldest, passed != NULL);
        } else if (passed != NULL) {
            tell_idle_secrets(c, batch, &part);
        }
    }
}

bool passthrough_decide(struct compile *c, struct diag_batch *batch,
                        const struct ingress_node *oldest, char digits[U16_DIGITS], struct key *ret)
{
    struct part part;
    bool is_passed = part_of(c, oldest->object, &part) && part.is_passed;
    if (is_passed) {
        bool is_number = part.key.part[2].p == part.digits;
        mem_copy(digits, part.digits, U16_DIGITS);
        *ret = part.key;
        ret->part[2].p = is_number ? digits : part.key.part[2].p;
    }
    tell_parts(c, batch, oldest->object, is_passed ? ret : NULL);
    return is_passed;
}

bool passthrough_is_for(const struct compile *c, struct str host)
{
    return c->options->has_passthrough && is_host(host);
}

bool passthrough_find(struct compile *c, struct diag_batch *batch, const struct tls_node *tls,
                      char digits[U16_DIGITS], struct key *ret)
{
    struct str host = tls->node.key.part[0];
    const struct ingress_node *oldest = passthrough_is_for(c, host) ? oldest_of(c, host) : NULL;
    /* Without one, only spec.tls has it. */
    return oldest != NULL && passthrough_decide(c, batch, oldest, digits, ret);
}

/* ---- what is wrong with an Ingress by itself ---- */

static void tell_value(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                       const char *annotation, const struct finding *f)
{
    annotation_field(c, annotation);
    buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(annotation_get(in, annotation))));
    finding_add(c, batch, &in->object, in->object.line, f);
}

static void tell_host(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                      uint32_t rule, const struct finding *f)
{
    struct place place = {rule, SNAP_DEFAULT_RULE};
    place_field(c, place, ".host");
    buf_addf(what_begin(c), "is \"%.*s\", and the Ingress has ssl-passthrough",
             STR_ARG(shown(in->rules[rule].host)));
    finding_add(c, batch, &in->object, place_line(in, place), f);
}

static void check_paths(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                        uint32_t rule)
{
    const struct ingress_rule *r = &in->rules[rule];
    for (uint32_t i = 0; i < r->path_n; i++) {
        struct place place = {rule, i};
        if (!is_root(r->paths[i].path)) {
            place_field(c, place, ".path");
            buf_addf(what_begin(c), "is \"%.*s\", and the Ingress has ssl-passthrough",
                     STR_ARG(shown(r->paths[i].path)));
            finding_add(c, batch, &in->object, place_line(in, place), &idle_path);
        }
    }
}

static void check_rule(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                       uint32_t rule)
{
    struct str host = in->rules[rule].host;
    struct place place;
    if (host.n == 0) {
        tell_host(c, batch, in, rule, &no_host);
    } else if (is_wildcard(host)) {
        tell_host(c, batch, in, rule, &wildcard);
    } else if (host_is_usable(host) && !root_find(in, rule, &place)) {
        tell_host(c, batch, in, rule, &no_root);
    } else {
        check_paths(c, batch, in, rule);
    }
}

static void check_header(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    struct str value = annotation_get(in, HEADER);
    if (value.n == 0) {
        return;
    }
    if (!is_asked_for(in)) {
        tell_value(c, batch, in, HEADER, &idle_header);
    } else if (!str_eq(value, STR("v1")) && !str_eq(value, STR("v2"))) {
        tell_value(c, batch, in, HEADER, &bad_header);
    }
}

void passthrough_check(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    annotation_flag_check(c, batch, in, ANNOTATION);
    check_header(c, batch, in);
    if (!is_asked_for(in)) {
        return;
    }
    if (!c->options->has_passthrough) {
        tell_value(c, batch, in, ANNOTATION, &switched_off);
        return;
    }
    if (in->rule_n == 0) {
        tell_value(c, batch, in, ANNOTATION, &no_host);
    }
    for (uint32_t i = 0; i < in->rule_n; i++) {
        check_rule(c, batch, in, i);
    }
    if (annotation_get(in, CLIENT_AUTH_SECRET).n > 0) {
        tell_value(c, batch, in, CLIENT_AUTH_SECRET, &idle_auth);
    }
}
