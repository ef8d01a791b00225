/* When certificates end, by ingress-nginx's names and labels, so that its alerts go on working. Of
 * more than METRICS_CERTIFICATES_MAX, those that end first are shown: an alert needs these.
 * Source: ingress-nginx, docs/user-guide/monitoring.md. */
#include <stdlib.h>

#include "admin/metrics_priv.h"
#include "base/mem.h"

enum { CONSTANT_BYTES = 1024, KEPT_MAX = 2 * METRICS_CERTIFICATES_MAX };

#define NGINX(name) "nginx_ingress_controller_" name

struct kept {
    struct metrics_certificate items[KEPT_MAX];
    size_t n;
    uint64_t all_n;
};

static int cmp(const void *a, const void *b)
{
    const struct metrics_certificate *x = a, *y = b;
    if (x->not_after != y->not_after) {
        return x->not_after < y->not_after ? -1 : 1;
    }
    int order = str_cmp(x->host, y->host);
    order = order != 0 ? order : str_cmp(x->namespace_name, y->namespace_name);
    return order != 0 ? order : str_cmp(x->secret, y->secret);
}

static void cut(struct kept *k)
{
    qsort(k->items, k->n, sizeof(k->items[0]), cmp);
    k->n = k->n < METRICS_CERTIFICATES_MAX ? k->n : METRICS_CERTIFICATES_MAX;
}

static void keep(void *arg, const struct metrics_certificate *c)
{
    struct kept *k = arg;
    if (k->n == KEPT_MAX) {
        cut(k);
    }
    k->items[k->n++] = *c;
    k->all_n++;
}

/* ---- lines ---- */

static void label(struct buf *out, const char *name, struct str value)
{
    buf_addf(out, "%s=\"", name);
    metrics_label_escape(out, value);
    buf_add_str(out, STR("\","));
}

/* The labels that both metrics have, with a comma behind. */
static void labels_emit(struct buf *out, const struct metrics_input *in,
                        const struct metrics_certificate *c)
{
    label(out, "namespace", c->namespace_name);
    label(out, "class", in->identity.class_name);
    label(out, "host", c->host.n == 0 ? STR("_") : c->host);
    label(out, "secret_name", c->secret);
    buf_add_str(out, STR("identifier=\""));
    metrics_label_escape(out, c->issuer_serial);
    buf_addf(out, "-%.*s\",", STR_ARG(c->serial));
}

static void line_end(struct buf *out, struct str constant, int64_t value)
{
    buf_addf(out, "%.*s} %lld\n", STR_ARG(str_first(constant, constant.n - 1)), (long long)value);
}

static void emit_expiry(struct buf *out, const struct metrics_input *in, const struct kept *k,
                        struct str constant)
{
    const char *metric = NGINX("ssl_expire_time_seconds");
    metrics_head(out, metric, "gauge",
                 "When the certificate of a host ends, in seconds since 1970.");
    for (size_t i = 0; i < k->n; i++) {
        buf_addf(out, "%s{", metric);
        labels_emit(out, in, &k->items[i]);
        line_end(out, constant, k->items[i].not_after);
    }
}

static void emit_info(struct buf *out, const struct metrics_input *in, const struct kept *k,
                      struct str constant)
{
    const char *metric = NGINX("ssl_certificate_info");
    metrics_head(out, metric, "gauge",
                 "1 for each certificate of a host, with what it is as labels.");
    for (size_t i = 0; i < k->n; i++) {
        const struct metrics_certificate *c = &k->items[i];
        buf_addf(out, "%s{", metric);
        labels_emit(out, in, c);
        label(out, "issuer_organization", c->issuer_organization);
        label(out, "issuer_common_name", c->issuer_common_name);
        label(out, "serial_number", c->serial);
        label(out, "public_key_algorithm", str_from_cstr(c->key_algorithm));
        line_end(out, constant, 1);
    }
}

static void emit_counts(struct buf *out, const struct kept *k)
{
    metrics_head(out, "lintel_certificates", "gauge",
                 "Certificates in service, once for each host that they are served for.");
    metrics_sample(out, "lintel_certificates", "", k->all_n);
    metrics_head(out, "lintel_certificates_omitted", "gauge",
                 "Those left out of nginx_ingress_controller_ssl_*, as there are too many.");
    metrics_sample(out, "lintel_certificates_omitted", "", k->all_n - k->n);
}

void metrics_certificates_emit(struct buf *out, const struct metrics_input *in)
{
    char room[CONSTANT_BYTES];
    struct wr w = wr_make(room, sizeof(room));
    metrics_constant_labels(&w, &in->identity);
    struct str constant = w.bad ? STR(",") : str_make(room, wr_n(&w));
    struct kept *k = mem_calloc(1, sizeof(*k));
    if (k == NULL) {
        out->bad = true;
        return;
    }
    if (in->each_certificate != NULL) {
        in->each_certificate(in->each_certificate_arg, keep, k);
    }
    cut(k);
    emit_expiry(out, in, k, constant);
    emit_info(out, in, k, constant);
    emit_counts(out, k);
    mem_free(k);
}
