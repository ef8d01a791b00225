/* Protocols to dialers. Those here are shared and live as long as the worker, so that giving one
 * back needs nothing. */
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
    if (s->is_tls != 0) { /* never in the clear */
        return &d->refusing;
    }
    switch ((enum snap_protocol)s->protocol) {
    case SNAP_HTTP1:
        return &d->http1.dialer;
    case SNAP_HTTP2:
    case SNAP_TCP: /* carries no requests */
        break;
    }
    return &d->refusing;
}

static void dialers_give(struct upstream_dialers *base, struct http_dialer *dialer)
{
    (void)base;
    (void)dialer;
}

void dialers_init(struct dialers *d, struct http1_context *http1, struct stats_page *stats)
{
    *d = (struct dialers){
        .upstream = {dialers_take, dialers_give},
        .refusing = {refuse           },
    };
    http1_dialer_init(&d->http1, http1, stats);
}
