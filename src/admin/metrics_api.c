/* What the controller's source of objects, a Kubernetes API server, adds to /metrics. */
#include "admin/metrics_priv.h"

enum { LABEL_BYTES = 64 };

static void emit_labeled(struct buf *out, const char *metric, const char *label, const char *value,
                         uint64_t number)
{
    char labels[LABEL_BYTES];
    struct wr w = wr_make(labels, sizeof(labels) - 1);
    wr_str(&w, str_from_cstr(label));
    wr_str(&w, STR("=\""));
    wr_str(&w, str_from_cstr(value));
    wr_char(&w, '"');
    labels[wr_n(&w)] = 0;
    metrics_sample(out, metric, labels, number);
}

static uint64_t objects(const struct metrics_resource *r)
{
    return r->objects;
}

static uint64_t healthy(const struct metrics_resource *r)
{
    return r->is_healthy;
}

static uint64_t lists(const struct metrics_resource *r)
{
    return r->lists;
}

static uint64_t watches(const struct metrics_resource *r)
{
    return r->watches;
}

static uint64_t relists(const struct metrics_resource *r)
{
    return r->relists;
}

static uint64_t failures(const struct metrics_resource *r)
{
    return r->failures;
}

static void emit_resources(struct buf *out, const struct metrics_api *api)
{
    static const struct {
        const char *metric, *type, *help;
        uint64_t (*value)(const struct metrics_resource *r);
    } families[] = {
        {"lintel_api_healthy",        "gauge",   "1 while the API server gives objects of that resource.",
         healthy                                                                                                   },
        {"lintel_api_objects",        "gauge",   "Objects that the API server has.",                       objects },
        {"lintel_api_lists_total",    "counter", "Lists that were begun.",                                 lists   },
        {"lintel_api_watches_total",  "counter", "Watches that were begun.",                               watches },
        {"lintel_api_relists_total",  "counter",
         "Lists because a watch could not go on where the last one ended.",                                relists },
        {"lintel_api_failures_total", "counter", "Lists and watches that failed.",                         failures},
    };
    for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
        metrics_head(out, families[f].metric, families[f].type, families[f].help);
        for (size_t i = 0; i < api->resource_n; i++) {
            const struct metrics_resource *r = &api->resources[i];
            emit_labeled(out, families[f].metric, "resource", r->name, families[f].value(r));
        }
    }
}

static void emit_contact(struct buf *out, const struct metrics_api *api)
{
    const char *metric = "lintel_api_last_contact_seconds";
    metrics_head(out, metric, "gauge",
                 "For how long the API server has not given that resource; 0 while it does.");
    for (size_t i = 0; i < api->resource_n; i++) {
        buf_addf(out, "%s{resource=\"%s\"} ", metric, api->resources[i].name);
        metrics_seconds(out, api->resources[i].silence);
        buf_add_char(out, '\n');
    }
}

static void emit_client(struct buf *out, const struct metrics_api *api)
{
    const struct {
        const char *metric, *type, *help;
        uint64_t value;
    } all[] = {
        {"lintel_api_calls_total",          "counter", "Calls to the API server.",                   api->calls   },
        {"lintel_api_throttled_total",      "counter", "Calls that waited for Lintel's own budget.",
         api->throttled                                                                                           },
        {"lintel_api_connections_total",    "counter", "Connections to the API server.",
         api->connects                                                                                            },
        {"lintel_api_received_bytes_total", "counter", "Bytes of its answers.",                      api->bytes   },
        {"lintel_api_secrets_polled",       "gauge",
         "Secrets that are fetched now and then, as there are too many to watch.",                   api->polled_n},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        metrics_head(out, all[i].metric, all[i].type, all[i].help);
        metrics_sample(out, all[i].metric, "", all[i].value);
    }
    const char *failed = "lintel_api_call_failures_total";
    metrics_head(out, failed, "counter", "Calls that failed.");
    emit_labeled(out, failed, "by", "status", api->failed_status);
    emit_labeled(out, failed, "by", "transport", api->failed_transport);
}

void metrics_api_emit(struct buf *out, const struct metrics_input *in)
{
    metrics_head(
        out, "lintel_snapshot_saved_age_seconds", "gauge",
        "Age of the saved snapshot while it is what is served; 0 once the objects are read.");
    buf_add_str(out, STR("lintel_snapshot_saved_age_seconds "));
    metrics_seconds(out, in->saved_age);
    buf_add_char(out, '\n');
    emit_resources(out, &in->api);
    emit_contact(out, &in->api);
    emit_client(out, &in->api);
}
