/* What an unexpected end of a call means: how long to wait, what to do then, whom to tell. */
#include "base/hash.h"
#include "kube/reflector_priv.h"

enum { WHY_BYTES_MAX = 1024 };

void reflector_tell_well(struct kube_reflector *r)
{
    r->status = 0;
    if (r->is_unwell) {
        r->is_unwell = false;
        r->events->on_health(r->arg, true, STR_EMPTY);
    }
}

/* Not for a watch that was cut once; at once for what trying again will not mend. The same reason
 * is told once. */
static void tell_unwell(struct kube_reflector *r, struct str why, bool is_lasting)
{
    uint64_t hash = hash_str(why);
    bool is_serious = is_lasting || !r->is_synced || r->failures > 1;
    if (is_serious && (!r->is_unwell || hash != r->why)) {
        r->is_unwell = true;
        r->why = hash;
        r->events->on_health(r->arg, false, why);
    }
}

/* "cannot watch services (403): ...; ..." */
static void write_why(const struct kube_reflector *r, const struct trouble *t, struct buf *why)
{
    size_t slash = r->path.n;
    while (slash > 0 && r->path.p[slash - 1] != '/') {
        slash--;
    }
    struct str resource = str_from(r->path, slash);
    buf_addf(why, "cannot %s %.*s", t->verb, STR_ARG(resource));
    if (reflector_has_name(r)) {
        buf_addf(why, " %.*s", STR_ARG(r->name));
    }
    if (t->status > 0) {
        buf_addf(why, " (%u)", t->status);
    }
    buf_addf(why, ": %.*s", STR_ARG(str_first(t->text, WHY_BYTES_MAX / 2)));
    if (t->status == 401) {
        buf_addf(why, "; the API server does not accept the token or certificate");
    } else if (t->status == 403) {
        buf_addf(why, "; RBAC must allow the verb %s on %.*s", t->verb, STR_ARG(resource));
    } else if (t->status == 404) {
        buf_addf(why, "; the API server does not serve %.*s", STR_ARG(r->path));
    }
}

static usec_t backoff(struct kube_reflector *r)
{
    unsigned doublings = r->failures < 16 ? r->failures : 16;
    usec_t most = KUBE_BACKOFF_MIN << doublings;
    most = most < KUBE_BACKOFF_MAX ? most : KUBE_BACKOFF_MAX;
    return reflector_random(r, KUBE_BACKOFF_MIN / 4, most);
}

/* Forgets what was under way and tries again later. */
void reflector_fail(struct kube_reflector *r, const struct trouble *t)
{
    struct buf why;
    usec_t now = loop_now(r->loop);
    reflector_stop_calls(r);
    r->step = t->step;
    r->counters.failures++;
    r->lost_at = r->lost_at > 0 ? r->lost_at : now;
    usec_t wished = t->retry_after < KUBE_RETRY_AFTER_MAX ? t->retry_after : KUBE_RETRY_AFTER_MAX;
    loop_arm(r->loop, &r->timer, wished + backoff(r), reflector_on_wait_over);
    r->failures++;
    buf_init(&why, 2 * WHY_BYTES_MAX);
    write_why(r, t, &why);
    r->status = t->status;
    tell_unwell(r, buf_str(&why), t->is_lasting);
    buf_fini(&why);
}

void reflector_fail_with(struct kube_reflector *r, const char *verb, enum step step,
                         struct str text)
{
    reflector_fail(r, &(struct trouble){.verb = verb, .step = step, .text = text});
}

bool reflector_is_expired(uint32_t status, struct str reason)
{
    return status == 410 || str_eq(reason, STR("Expired")) || str_eq(reason, STR("Gone")) ||
           str_eq(reason, STR("ResourceVersionTooLarge"));
}

/* A call ended otherwise than it should. */
void reflector_fail_by(struct kube_reflector *r, const char *verb, enum step step,
                       const struct kube_result *result)
{
    if (result->status == 401 && !r->is_token_new) { /* the client reads the token file again */
        r->is_token_new = true;
        reflector_stop_calls(r);
        reflector_begin(r);
        return;
    }
    bool has_expired = reflector_is_expired(result->status, result->reason);
    r->counters.relists_expired += has_expired;
    reflector_fail(r, &(struct trouble){
                          .verb = verb,
                          .step = has_expired ? STEP_LIST : step,
                          .is_lasting = result->error == E_REFUSED || result->status == 401 ||
                                        result->status == 403 || result->status == 404,
                          .retry_after = result->retry_after,
                          .status = result->status,
                          .text = result->message,
                      });
}

/* What came was not what an API server writes, or the entry told that it is over. */
void reflector_fail_read(struct kube_reflector *r, const char *verb, enum err e)
{
    r->counters.oversized += e == E_LIMIT;
    reflector_fail_with(r, verb, STEP_LIST,
                        e == E_PROTO   ? STR("the answer is not what the API should give")
                        : e == E_LIMIT ? STR("an object is too large")
                                       : str_from_cstr(err_text(e)));
}
