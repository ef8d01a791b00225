/* What users of ingress-nginx trip over: told as warnings when an Ingress is admitted, so that a
 * migration is no surprise. Nothing here changes what is served. */
#include "compile/compile_priv.h"

#define PREFIX "nginx.ingress.kubernetes.io/"

#define REGEX_WHY                                                                                  \
    "in ingress-nginx this makes every path of the host, in all its Ingresses, a regular "         \
    "expression without regard to case, of which the beginning of a path needs to match; the "     \
    "rules of Kubernetes, which hold for Lintel's own class, match paths as they are written"
#define SNIPPET_WHY                                                                                \
    "snippets are nginx configuration, and here is none; it has no effect, and ingress-nginx "     \
    "refuses it unless it is told otherwise"

static const struct {
    const char *annotation;
    const char *value; /* NULL: any */
    struct finding finding;
} quirks[] = {
    {PREFIX "use-regex",
     "true", {DIAG_WARNING, DIAG_DiffersFromNginx, REGEX_WHY, "write paths that mean the same both ways"}},
    {PREFIX "rewrite-target",
     NULL,   {DIAG_WARNING, DIAG_DiffersFromNginx, REGEX_WHY, "write paths that mean the same both ways"}},
    {PREFIX "configuration-snippet",
     NULL,   {DIAG_WARNING, DIAG_DiffersFromNginx, SNIPPET_WHY, "use annotations that say what you want"}},
    {PREFIX "server-snippet",
     NULL,   {DIAG_WARNING, DIAG_DiffersFromNginx, SNIPPET_WHY, "use annotations that say what you want"}},
    {PREFIX "auth-snippet",
     NULL,   {DIAG_WARNING, DIAG_DiffersFromNginx, SNIPPET_WHY, "use annotations that say what you want"}},
    {PREFIX "modsecurity-snippet",
     NULL,   {DIAG_WARNING, DIAG_DiffersFromNginx, SNIPPET_WHY, "use annotations that say what you want"}},
    {PREFIX "stream-snippet",
     NULL,   {DIAG_WARNING, DIAG_DiffersFromNginx, SNIPPET_WHY, "use annotations that say what you want"}},
};

static const struct finding odd_path = {
    DIAG_WARNING, DIAG_DiffersFromNginx,
    "ingress-nginx refuses Exact and Prefix paths with other characters than letters, digits, "
    "'.', '_', '/' and '-'; here they are matched as they are written, never as a regular "
    "expression",
    "use ImplementationSpecific if a regular expression is meant"};
static const struct finding slash_at_end = {
    DIAG_WARNING, DIAG_DiffersFromNginx,
    "ingress-nginx answers requests without the slash at the end with a redirect (301) to the path "
    "with it; by the rules of Kubernetes a Prefix serves both, and an Exact path neither redirects "
    "nor matches",
    "drop the slash, or see to it that the redirect is not needed"};

static const struct finding host_without_tls = {
    DIAG_WARNING, DIAG_DiffersFromNginx,
    "in ingress-nginx an entry of spec.tls counts for every host of its Ingress: plain requests "
    "are "
    "sent to https; by the rules of Kubernetes it counts for the hosts that it lists",
    "list the host in spec.tls too, or set force-ssl-redirect"};

static bool is_plain(struct str path)
{
    for (size_t i = 0; i < path.n; i++) {
        char c = ascii_lower(path.p[i]);
        bool is_good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                       c == '/' || c == '-';
        if (!is_good) {
            return false;
        }
    }
    return true;
}

/* Made for ingress-nginx, by the look of it. */
static bool is_migrant(const struct ingress *in)
{
    const struct string_map *annotations = &in->object.annotations;
    for (uint32_t i = 0; i < annotations->n; i++) {
        if (str_has_prefix(annotations->items[i].key, STR(PREFIX))) {
            return true;
        }
    }
    return str_eq(class_annotation(in), STR("nginx"));
}

static void path_judge(struct compile *c, struct diag_batch *batch, const struct ingress *in,
                       struct place place, const struct finding *f)
{
    place_field(c, place, ".path");
    buf_addf(what_begin(c), "is \"%.*s\"",
             STR_ARG(shown(in->rules[place.rule].paths[place.path].path)));
    finding_add(c, batch, &in->object, place_line(in, place), f);
}

static void paths_judge(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    struct place place = place_first();
    bool came_from_nginx = is_migrant(in);
    while (place_next(in, &place)) {
        const struct ingress_path *path = &in->rules[place.rule].paths[place.path];
        bool is_literal = path->type != PATH_IMPLEMENTATION_SPECIFIC;
        if (is_literal && !is_plain(path->path)) {
            path_judge(c, batch, in, place, &odd_path);
        }
        if (is_literal && came_from_nginx && path->path.n > 1 &&
            str_has_suffix(path->path, STR("/"))) {
            path_judge(c, batch, in, place, &slash_at_end);
        }
    }
}

static void tls_judge(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    uint32_t rule;
    if (https_uncovered(in, &rule) != E_OK) {
        batch->err = E_NOMEM;
        return;
    }
    if (rule < in->rule_n) {
        struct place place = {rule, SNAP_DEFAULT_RULE};
        place_field(c, place, ".host");
        buf_addf(what_begin(c), "is \"%.*s\", which spec.tls does not list",
                 STR_ARG(shown(in->rules[rule].host)));
        finding_add(c, batch, &in->object, place_line(in, place), &host_without_tls);
    }
}

void judge_nginx(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    for (size_t i = 0; i < sizeof(quirks) / sizeof(quirks[0]); i++) {
        struct str value = annotation_get(in, quirks[i].annotation);
        bool is_meant = quirks[i].value == NULL || str_eq(value, str_from_cstr(quirks[i].value));
        if (value.n > 0 && is_meant) {
            annotation_field(c, quirks[i].annotation);
            buf_add_str(what_begin(c), STR("is set"));
            finding_add(c, batch, &in->object, in->object.line, &quirks[i].finding);
        }
    }
    paths_judge(c, batch, in);
    if (!class_is_nginx(c) && is_migrant(in)) {
        tls_judge(c, batch, in);
    }
}
