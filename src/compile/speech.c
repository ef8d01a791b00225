/* How the endpoints of a Service port are spoken to. ingress-nginx' annotation backend-protocol
 * decides for the backends of its Ingress; without it the port's appProtocol does.
 *
 * What an Ingress says makes a variant of each Service port that it names: a record, a shard and
 * connections of its own, so that two Ingresses may speak to one port in two ways. The variant's
 * text is all that the port's compilation knows of these Ingresses, so it says all that matters:
 * its first word is one of the table below, and where that is TLS, and the Ingress says something
 * about it (proxy-ssl-*), a comma and that behind it. An Ingress that says nothing has the variant
 * "", or "tls," and so on, for ports whose appProtocol may be TLS. With AUTO_HTTP the client's
 * scheme decides, between two variants. Sources: docs/upstreams.md; Kubernetes API v1 ServicePort.
 */
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

static const struct finding without_tls = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "the annotations proxy-ssl-* of the Ingress have no effect on it",
    "set backend-protocol to HTTPS or GRPCS, or drop the annotations"};

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

/* Of a way that is TLS: word, and what the Ingress says about TLS. Without a word, and nothing
 * said: empty. */
static struct str tls_variant(const struct ingress *ingress, struct str word, struct buf *text)
{
    struct upstream_tls tls;
    upstream_tls_get(ingress, &tls);
    if (tls.name.n == 0 && !tls.is_broken) {
        return word;
    }
    upstream_tls_emit_variant(&tls, word.n > 0 ? word : STR("tls"), text);
    return buf_str(text);
}

bool variants_get(const struct ingress *ingress, struct buf *text, struct variants *ret)
{
    struct str value = annotation_get(ingress, ANNOTATION);
    const struct way *way = way_find(ways, WAYS_N, value);
    struct variants v = {STR_EMPTY, STR_EMPTY};
    buf_reset(text);
    if (is_auto(value)) {
        v.plain = STR("http");
        v.secure = tls_variant(ingress, STR("https"), text);
    } else if (way == NULL || way->speech.is_tls) {
        v.plain = tls_variant(ingress, way == NULL ? STR_EMPTY : way->word, text);
    } else {
        v.plain = way->word;
    }
    if (!text->bad) {
        *ret = v;
    }
    return !text->bad;
}

bool compile_has_variant(const struct ingress *ingress, struct str variant)
{
    struct variants v = {STR_EMPTY, STR_EMPTY};
    struct buf text;
    buf_init(&text, SNAPSHOT_SHARD_BYTES_MAX);
    bool has = variants_get(ingress, &text, &v) &&
               (str_eq(v.plain, variant) || (v.secure.n > 0 && str_eq(v.secure, variant)));
    buf_fini(&text);
    return has || passthrough_has_variant(ingress, variant);
}

bool speech_may_be_tls(const struct compile *c, const struct ingress *ingress)
{
    struct str value = annotation_get(ingress, ANNOTATION);
    const struct way *way = way_find(ways, WAYS_N, value);
    return is_auto(value) || (way == NULL ? !class_is_nginx(c) : way->speech.is_tls);
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

static const struct way *way_of_variant(struct str variant)
{
    return way_find(ways, WAYS_N, str_first(variant, str_find(variant, ',')));
}

struct speech speech_of_variant(struct str variant)
{
    struct speech passed;
    if (passthrough_speech(variant, &passed)) {
        return passed;
    }
    const struct way *way = way_of_variant(variant);
    return way == NULL ? (struct speech)HTTP1 : way->speech;
}

static void app_protocol_read(struct compile *c, struct diag_batch *batch,
                              const struct port_node *port, const struct service_port *service_port)
{
    if (service_port == NULL || service_port->app_protocol.n == 0) {
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

/* ingress-nginx does not look at appProtocol; where its class is ours, nor do we. */
void speech_gather(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                   const struct service_port *service_port)
{
    struct str variant = port->node.key.part[3];
    bool is_passed = c->service.speech.protocol == SNAP_TCP;
    if (way_of_variant(variant) != NULL || is_passed || class_is_nginx(c)) {
        return;
    }
    app_protocol_read(c, batch, port, service_port);
    if (variant.n > 0 && !c->service.speech.is_tls) {
        buf_addf(what_begin(c), "of Service %.*s/%.*s is spoken to without TLS",
                 STR_ARG(port->node.key.part[0]), STR_ARG(port->node.key.part[1]));
        service_tell(c, batch, port, "port", &without_tls);
    }
}
