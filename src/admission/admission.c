/* The parts of the webhook put together, and its figures. */
#include "admission/admission.h"

#include "base/limits.h"
#include "base/mem.h"
#include "http1/listener.h"
#include "tls/server.h"

struct admission {
    struct admission_options options;
    struct snap_settings settings;
    struct http1_context context;
    struct http_budget budget;
    struct stats_page stats; /* our own connections, apart from those of clients; nobody reads it */
    struct admission_handler handler;
    struct http1_server server;
    struct http1_listener listener;
    struct tls_shared shared;
    struct tls_server tls;
    struct certificates certificates;
};

static enum err open_parts(struct admission *a, struct loop *loop, int fd)
{
    TRY(tls_shared_init(&a->shared));
    tls_server_init(&a->tls, &a->shared);
    TRY(certificates_open(&a->certificates, loop, &a->options.certificates, &a->tls));
    TRY(http1_context_init(&a->context, loop, &a->settings, &a->budget));
    http1_server_init(&a->server, &a->context, &a->handler.http, &a->stats);
    a->server.opener = &a->tls.opener;
    return http1_listener_open(&a->listener, loop, fd, &a->server, STR("webhook"),
                               ADMISSION_CONNECTIONS_MAX);
}

enum err admission_open(struct loop *loop, int fd, const struct admission_options *options,
                        struct admission **ret)
{
    struct admission *a = mem_calloc(1, sizeof(*a));
    if (a == NULL) {
        return E_NOMEM;
    }
    a->options = *options;
    a->settings = snap_settings_default;
    a->settings.keep_alive = TIMEOUT_ADMISSION_IDLE;
    a->settings.client_header_timeout = TIMEOUT_ADMISSION_RECEIVE;
    a->settings.client_body_timeout = TIMEOUT_ADMISSION_RECEIVE;
    a->settings.send_timeout = TIMEOUT_ADMISSION_RECEIVE;
    a->budget.max = ADMISSION_MEMORY_MAX;
    admission_handler_init(&a->handler, &a->options.judge, &a->budget);
    enum err e = open_parts(a, loop, fd);
    if (e != E_OK) {
        admission_close(a);
        return e;
    }
    *ret = a;
    return E_OK;
}

void admission_close(struct admission *a)
{
    if (a == NULL) {
        return;
    }
    http1_listener_close(&a->listener);
    if (a->context.receive != NULL) {
        http1_server_fini(&a->server);
        http1_context_fini(&a->context);
    }
    certificates_close(&a->certificates);
    tls_server_fini(&a->tls);
    tls_shared_fini(&a->shared);
    mem_free(a);
}

const struct admission_counters *admission_counters(const struct admission *a)
{
    return &a->handler.counters;
}

int64_t admission_not_after(const struct admission *a)
{
    return a->certificates.not_after;
}

/* ---- metrics ---- */

static void emit_head(struct buf *out, const char *metric, const char *type, const char *help)
{
    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", metric, help, metric, type);
}

static void emit_reviews(const struct admission *a, struct buf *out)
{
    static const char *const verdicts[REVIEW_VERDICTS_N] = {
        [REVIEW_ALLOWED] = "allowed", [REVIEW_REFUSED] = "refused", [REVIEW_IGNORED] = "ignored"};
    const struct admission_counters *c = &a->handler.counters;
    emit_head(out, "lintel_admission_reviews_total", "counter",
              "Reviews of Ingresses by what became of them.");
    for (size_t i = 0; i < REVIEW_VERDICTS_N; i++) {
        buf_addf(out, "lintel_admission_reviews_total{result=\"%s\"} %llu\n", verdicts[i],
                 (unsigned long long)c->reviews[i]);
    }
    buf_addf(out, "lintel_admission_reviews_total{result=\"failed\"} %llu\n",
             (unsigned long long)c->failed);
}

static void emit_durations(const struct admission *a, struct buf *out)
{
    const struct admission_counters *c = &a->handler.counters;
    const double second = (double)USEC_PER_SEC;
    unsigned long long sum = 0;
    emit_head(out, "lintel_admission_review_duration_seconds", "histogram",
              "Time from the last byte of a review to its answer.");
    for (size_t i = 0; i < ADMISSION_BUCKETS_N; i++) {
        sum += c->took[i];
        if (i < ADMISSION_BUCKETS_N - 1) {
            buf_addf(out, "lintel_admission_review_duration_seconds_bucket{le=\"%g\"} %llu\n",
                     (double)admission_buckets[i] / second, sum);
        }
    }
    buf_addf(out, "lintel_admission_review_duration_seconds_bucket{le=\"+Inf\"} %llu\n", sum);
    buf_addf(out, "lintel_admission_review_duration_seconds_sum %.6f\n",
             (double)c->took_sum / second);
    buf_addf(out, "lintel_admission_review_duration_seconds_count %llu\n", sum);
}

void admission_emit_metrics(const struct admission *a, struct buf *out)
{
    if (a == NULL) {
        return;
    }
    emit_reviews(a, out);
    emit_durations(a, out);
    emit_head(out, "lintel_admission_connections", "gauge", "Connections of API servers.");
    buf_addf(out, "lintel_admission_connections %zu\n", a->server.conn_n);
    emit_head(out, "lintel_admission_connections_refused_total", "counter",
              "Connections over the maximum, or before there was a certificate.");
    buf_addf(out, "lintel_admission_connections_refused_total %llu\n",
             (unsigned long long)a->listener.refused);
    emit_head(out, "lintel_admission_handshake_failures_total", "counter",
              "Connections that ended before or are still in their TLS handshake.");
    buf_addf(out, "lintel_admission_handshake_failures_total %llu\n",
             (unsigned long long)(a->tls.opened - a->tls.shaken));
    emit_head(out, "lintel_admission_certificate_expiry_seconds", "gauge",
              "When the certificate of the webhook ends, in seconds since 1970; 0: there is none.");
    buf_addf(out, "lintel_admission_certificate_expiry_seconds %lld\n",
             (long long)a->certificates.not_after);
    emit_head(out, "lintel_admission_certificate_changes_total", "counter",
              "Certificates that were put to use.");
    buf_addf(out, "lintel_admission_certificate_changes_total %llu\n",
             (unsigned long long)a->certificates.changes);
}
