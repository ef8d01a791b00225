/* The ssl_redirect filter's compile half: which routes send plain requests to https: those of hosts
 * with TLS, and those that are told to whatever the host has. An annotation counts for the routes
 * of its Ingress, and before the option of its name. See docs/filters/ssl_redirect.md. */
#include "compile/compile_priv.h"

#define PREFIX   "nginx.ingress.kubernetes.io/"
#define REDIRECT PREFIX "ssl-redirect"
#define FORCE    PREFIX "force-ssl-redirect"
#define SLASH    PREFIX "preserve-trailing-slash"
#define PORT     PREFIX "use-port-in-redirects"
#define RELATIVE PREFIX "relative-redirects"

enum { NO_CAUSE = 0 };

void filter_ssl_redirect_check(struct compile *c, struct diag_batch *batch,
                               const struct ingress *ingress)
{
    static const char *const flags[] = {REDIRECT, FORCE, SLASH, PORT, RELATIVE};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        annotation_flag_check(c, batch, ingress, flags[i]);
    }
}

/* An enum snap_ssl_cause, or NO_CAUSE. What is forced is asked first, as in ingress-nginx: it is
 * not undone by ssl-redirect: "false". */
static uint8_t cause_find(const struct compile *c, const struct ingress *ingress)
{
    const struct https_policy *policy = https_policy(c);
    bool is_set;
    bool is_annotated = annotation_flag(ingress, FORCE, &is_set);
    if (is_annotated ? is_set : policy->is_forcing) {
        return is_annotated ? SNAP_SSL_BY_FORCE_ANNOTATION : SNAP_SSL_BY_FORCE;
    }
    is_annotated = annotation_flag(ingress, REDIRECT, &is_set);
    if (c->host.has_tls && (is_annotated ? is_set : policy->is_redirecting)) {
        return is_annotated ? SNAP_SSL_BY_TLS_ANNOTATION : SNAP_SSL_BY_TLS;
    }
    return NO_CAUSE;
}

static bool flag_or(const struct ingress *ingress, const char *annotation, bool otherwise)
{
    bool flag;
    return annotation_flag(ingress, annotation, &flag) ? flag : otherwise;
}

uint32_t filter_ssl_redirect_write(struct compile *c, const struct ingress *ingress)
{
    bool is_nginx = class_is_nginx(c);
    uint8_t cause = cause_find(c, ingress);
    /* In nginx a redirect of the Ingress itself is decided on before. */
    if (cause == NO_CAUSE || (is_nginx && redirect_is_set(ingress))) {
        return 0;
    }
    struct snap_array at = snap_add_array(&c->shard, 1, sizeof(struct snap_filter_ssl_redirect));
    if (c->shard.bad) {
        return 0;
    }
    *snap_at(&c->shard, at.offset, struct snap_filter_ssl_redirect) =
        (struct snap_filter_ssl_redirect){
            .status = https_policy(c)->redirect_status,
            .cause = cause,
            .drops_slash = is_nginx && !flag_or(ingress, SLASH, https_policy(c)->keeps_slash),
            .tells_port = flag_or(ingress, PORT, https_policy(c)->tells_port),
            .is_by_prefix = is_nginx,
        };
    return at.offset;
}
