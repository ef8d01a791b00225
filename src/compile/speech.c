/* How the endpoints of a Service port are spoken to. ingress-nginx' annotation backend-protocol
 * decides for the backends of its Ingress; without it the port's appProtocol does.
 *
 * What an Ingress says makes a variant of each Service port that it names: a record, a shard and
 * connections of its own, so that two Ingresses may speak to one port in two ways. The variant's
 * text is all that the port's compilation knows of these Ingresses, so it says all that matters:
 * its first word is one of the table below. An Ingress that says nothing has the variant "". With
 * AUTO_HTTP the client's scheme decides, between two variants.
 * Sources: docs/upstreams.md; Kubernetes API v1 ServicePort. */
#include "compile/compile_priv.h"

#define ANNOTATION "nginx.ingress.kubernetes.io/backend-protocol"

struct way {
    struct str word; /* of the annotation, whatever its case; in lower case it is the variant's */
    struct speech speech;
};

#define HTTP1                                                                                      \
    {                                                                                              \
        SNAP_HTTP1, false, false                                                                   \
    }
#define HTTP1S                                                                                     \
    {                                                                                              \
        SNAP_HTTP1, true, false                                                                    \
    }
#define HTTP2                                                                                      \
    {                                                                                              \
        SNAP_HTTP2, false, false                                                                   \
    }
#define HTTP2S                                                                                     \
    {                                                                                              \
        SNAP_HTTP2, true, false                                                                    \
    }

static const struct way ways[] = {
    {STR_INIT("http"),  HTTP1                    },
    {STR_INIT("https"), HTTP1S                   },
    {STR_INIT("grpc"),  HTTP2                    },
    {STR_INIT("grpcs"), HTTP2S                   },
    {STR_INIT("fcgi"),  {SNAP_HTTP1, false, true}},
};

/* Values of appProtocol, whatever their case: those of KEP-3726, IANA's names, and what has become
 * usual. */
static const struct way app_protocols[] = {
    {STR_INIT("http"),              HTTP1 },
    {STR_INIT("kubernetes.io/ws"),  HTTP1 },
    {STR_INIT("ws"),                HTTP1 },
    {STR_INIT("https"),             HTTP1S},
    {STR_INIT("kubernetes.io/wss"), HTTP1S},
    {STR_INIT("wss"),               HTTP1S},
    {STR_INIT("kubernetes.io/h2c"), HTTP2 },
    {STR_INIT("h2c"),               HTTP2 },
    {STR_INIT("http2"),             HTTP2 },
    {STR_INIT("grpc"),              HTTP2 },
    {STR_INIT("h2"),                HTTP2S}, /* RFC 9113 section 3.1: over TLS */
    {STR_INIT("grpcs"),             HTTP2S},
};

enum {
    WAYS_N = sizeof(ways) / sizeof(ways[0]),
    APP_PROTOCOLS_N = sizeof(app_protocols) / sizeof(app_protocols[0]),
};

static const struct finding invalid_protocol = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "backend-protocol is HTTP, HTTPS, AUTO_HTTP, GRPC or GRPCS; it is passed over",
    "write one of these, or drop the annotation"};
static const struct finding unsupported_protocol = {
    DIAG_ERROR, DIAG_UnknownProtocol,
    "FastCGI is not supported; requests to the backends of this Ingress are answered with 503",
    "put a web server in front of the program, and name that as backend"};
static const struct finding unknown_app_protocol = {
    DIAG_WARNING, DIAG_UnknownProtocol,
    "appProtocol says nothing that Lintel knows, so it speaks HTTP/1.1 to the endpoints",
    "write http, https, kubernetes.io/h2c or grpc there, or say it by the annotation " ANNOTATION};

static const struct way *way_find(const struct way *list, size_t n, struct str word)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq_nocase(list[i].word, word)) {
            return &list[i];
        }
    }
    return NULL;
}

static bool is_auto(struct str value)
{
    return str_eq_nocase(value, STR("auto_http"));
}

struct variants variants_of(const struct ingress *ingress)
{
    struct str value = annotation_get(ingress, ANNOTATION);
    if (is_auto(value)) {
        return (struct variants){STR("http"), STR("https")};
    }
    const struct way *way = way_find(ways, WAYS_N, value);
    return (struct variants){way == NULL ? STR_EMPTY : way->word, STR_EMPTY};
}

bool compile_has_variant(const struct ingress *ingress, struct str variant)
{
    struct variants v = variants_of(ingress);
    return str_eq(v.plain, variant) || (v.secure.n > 0 && str_eq(v.secure, variant)) ||
           passthrough_has_variant(ingress, variant);
}

void speech_check(struct compile *c, struct diag_batch *batch, const struct ingress *ingress)
{
    struct str value = annotation_get(ingress, ANNOTATION);
    const struct way *way = way_find(ways, WAYS_N, value);
    bool is_known = value.n == 0 || is_auto(value) || way != NULL;
    if (is_known && (way == NULL || !way->speech.is_unsupported)) {
        return;
    }
    annotation_field(c, ANNOTATION);
    buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(value)));
    finding_add(c, batch, &ingress->object, ingress->object.line,
                is_known ? &unsupported_protocol : &invalid_protocol);
}

struct speech speech_of_variant(struct str variant)
{
    struct speech passed;
    if (passthrough_speech(variant, &passed)) {
        return passed;
    }
    struct str word = str_first(variant, str_find(variant, ','));
    const struct way *way = way_find(ways, WAYS_N, word);
    return way == NULL ? (struct speech)HTTP1 : way->speech;
}

/* ingress-nginx does not look at appProtocol; where its class is ours, nor do we. */
void speech_gather(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                   const struct service_port *service_port)
{
    bool is_said = port->node.key.part[3].n > 0;
    if (is_said || service_port == NULL || service_port->app_protocol.n == 0 || class_is_nginx(c)) {
        return;
    }
    const struct way *way = way_find(app_protocols, APP_PROTOCOLS_N, service_port->app_protocol);
    if (way != NULL) {
        c->service.speech = way->speech;
        return;
    }
    buf_addf(what_begin(c), "of Service %.*s/%.*s has the appProtocol \"%.*s\"",
             STR_ARG(port->node.key.part[0]), STR_ARG(port->node.key.part[1]),
             STR_ARG(shown(service_port->app_protocol)));
    service_tell(c, batch, port, "port", &unknown_app_protocol);
}
