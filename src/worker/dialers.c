/* Protocols to dialers. Those here are shared and live as long as the worker, so that giving one
 * back needs nothing; those of TLS have a life of their own. */
#include "worker/dialers.h"

static enum err refuse(struct http_dialer *d, const struct ip *ip, uint16_t port,
                       const struct http_conn_events *events, void *owner, struct http_conn **ret)
{
    (void)d;
    (void)ip;
    (void)port;
    (void)events;
    (void)owner;
    (void)ret;
    return E_REFUSED;
}

static struct http_dialer *dialers_take(struct upstream_dialers *base, const struct snap_service *s)
{
    struct dialers *d = container_of(base, struct dialers, upstream);
    if (s->is_tls != 0) {
        return upstream_tls_take(&d->tls, s);
    }
    switch ((enum snap_protocol)s->protocol) {
    case SNAP_HTTP1:
        return &d->http1.dialer;
    case SNAP_TCP:
        return &d->tcp[s->proxy_protocol].dialer; /* the verifier has looked at it */
    case SNAP_HTTP2:
        return &d->http2.dialer;
    }
    return &d->refusing;
}

static bool is_shared(const struct dialers *d, const struct http_dialer *dialer)
{
    const char *p = (const char *)dialer, *all = (const char *)d;
    return p >= all && p < all + sizeof(*d);
}

static void dialers_give(struct upstream_dialers *base, struct http_dialer *dialer)
{
    struct dialers *d = container_of(base, struct dialers, upstream);
    if (!is_shared(d, dialer)) {
        upstream_tls_give(&d->tls, dialer);
    }
}

enum err dialers_init(struct dialers *d, const struct dialers_parts *parts)
{
    *d = (struct dialers){
        .upstream = {dialers_take, dialers_give},
        .refusing = {refuse           },
    };
    http1_dialer_init(&d->http1, parts->http1, parts->stats);
    for (uint8_t i = 0; i < PROXY_PROTOCOLS_N; i++) {
        tcp_dialer_init(&d->tcp[i], parts->tcp, i);
    }
    upstream_tls_init(&d->tls, parts->http1, parts->http2, parts->tls, parts->routes,
                      parts->secrets, parts->stats);
    return http2_dialer_init(&d->http2, parts->http2, parts->stats, NULL);
}

void dialers_fini(struct dialers *d)
{
    upstream_tls_fini(&d->tls);
    http2_dialer_fini(&d->http2);
}
