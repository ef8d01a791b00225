/* The Secret and the webhook configuration as two reflectors, one write at a time, and a step that
 * looks at both and does the next thing that is needed. Whatever fails is tried again; what is
 * served stays served. */
#include "admission/shared.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "document/json_write.h"
#include "kube/reflector.h"
#include "log/log.h"
#include "tls/certificate.h"
#include "wire/base64.h"
#include "wire/uri.h"

enum { TEXT_BYTES_MAX = 1 << 20, NAME_BYTES_MAX = 512, CLOCK_SKEW_S = 300 };

#define CONFIGURATIONS "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"

enum write { WRITE_NONE, WRITE_CREATE, WRITE_RENEW, WRITE_TRUST };

struct kept { /* the Secret, as it was told last */
    bool is_there;
    struct buf version, ca, chain, key;
};

struct wanted { /* the configuration, as it was told last */
    bool is_there;
    struct buf names;   /* by which it calls us, a NUL behind each */
    struct buf entries; /* names of its webhooks, a NUL behind each */
    struct buf bundles; /* their caBundles in that order, a NUL behind each */
};

struct shared {
    struct loop *loop;
    struct kube_client *kube;
    char configuration[NAME_BYTES_MAX], space[NAME_BYTES_MAX], name[NAME_BYTES_MAX];
    void (*on_certificate)(void *arg, struct str chain, struct str key);
    void *arg;
    struct kube_reflector *secrets, *configurations;
    struct kept kept;
    struct wanted wanted;
    bool has_secret, has_configuration; /* was listed: it is known whether it is there */
    struct kube_call *call;
    enum write write; /* of the call */
    bool awaits_echo; /* nothing was told since our write began */
    bool has_complained;
    usec_t retry;
    usec_t trusted_at; /* when the configuration first had the authorities of kept; 0: not yet */
    uint64_t served;   /* hash of the chain; 0: none */
    struct timer timer;
    struct deferred work;
    struct buf text; /* of a request */
};

static void step(struct shared *s);

static int64_t now_s(void)
{
    return (int64_t)(clock_wall() / USEC_PER_SEC);
}

static void on_work(struct deferred *d)
{
    step(container_of(d, struct shared, work));
}

static void step_soon(struct shared *s)
{
    loop_defer(s->loop, &s->work, on_work);
}

static void on_timer(struct timer *t)
{
    struct shared *s = container_of(t, struct shared, timer);
    s->awaits_echo = false; /* long enough */
    step(s);
}

static void complain(struct shared *s, const char *what, struct str why)
{
    if (!s->has_complained) {
        s->has_complained = true;
        log_line(LOG_ERROR, "webhook: %s: %.*s secret=%s/%s configuration=%s", what, STR_ARG(why),
                 s->space, s->name, s->configuration);
    }
}

/* ---- what the API tells ---- */

/* The bytes of data[key]; empty: it is not there or no base64. */
static void data_read(const struct tree_node *data, const char *key, struct buf *out)
{
    struct str text = tree_get_string(data, str_from_cstr(key));
    size_t n;
    buf_wipe(out);
    buf_init(out, TEXT_BYTES_MAX);
    if (!buf_reserve(out, base64_room(text.n)) || base64_decode(text, out->p, &n) != E_OK) {
        return;
    }
    out->n = n;
}

static void on_secret(void *arg, const struct tree_node *object)
{
    struct shared *s = arg;
    const struct tree_node *data = tree_get(object, STR("data"));
    struct str version = tree_get_string(tree_get(object, STR("metadata")), STR("resourceVersion"));
    uint64_t before = hash_str(buf_str(&s->kept.ca));
    data_read(data, "ca.crt", &s->kept.ca);
    data_read(data, "tls.crt", &s->kept.chain);
    data_read(data, "tls.key", &s->kept.key);
    buf_reset(&s->kept.version);
    buf_add_str(&s->kept.version, version);
    s->kept.is_there = s->has_secret = true;
    s->awaits_echo = false;
    if (hash_str(buf_str(&s->kept.ca)) != before) {
        s->trusted_at = 0;
    }
    step_soon(s);
}

static void on_secret_gone(void *arg, const struct tree_node *object)
{
    struct shared *s = arg;
    (void)object;
    s->kept.is_there = false;
    s->has_secret = true;
    step_soon(s);
}

static void on_secret_list(void *arg)
{
    struct shared *s = arg;
    s->kept.is_there = false;
}

static void on_secret_listed(void *arg)
{
    struct shared *s = arg;
    s->has_secret = true;
    step_soon(s);
}

/* "https://host:port/path" to host. */
static void url_name(struct str url, struct buf *out)
{
    struct str scheme = STR("https://"), authority, path, host;
    char lower[NAME_BYTES_MAX];
    uint16_t port;
    if (!str_has_prefix(url, scheme)) {
        return;
    }
    (void)str_cut(str_from(url, scheme.n), '/', &authority, &path); /* the path may be missing */
    if (authority.n <= sizeof(lower) && host_parse(authority, lower, &host, &port) == E_OK) {
        buf_add_str(out, host);
        buf_add_char(out, '\0');
    }
}

static void entry_read(struct shared *s, const struct tree_node *entry)
{
    struct wanted *w = &s->wanted;
    const struct tree_node *client = tree_get(entry, STR("clientConfig"));
    const struct tree_node *service = tree_get(client, STR("service"));
    struct str bundle = tree_get_string(client, STR("caBundle"));
    size_t n;
    if (service != NULL) {
        buf_addf(&w->names, "%.*s.%.*s.svc%c", STR_ARG(tree_get_string(service, STR("name"))),
                 STR_ARG(tree_get_string(service, STR("namespace"))), 0);
    } else {
        url_name(tree_get_string(client, STR("url")), &w->names);
    }
    buf_add_str(&w->entries, tree_get_string(entry, STR("name")));
    buf_add_char(&w->entries, '\0');
    if (buf_reserve(&w->bundles, base64_room(bundle.n)) &&
        base64_decode(bundle, w->bundles.p + w->bundles.n, &n) == E_OK) {
        w->bundles.n += n;
    }
    buf_add_char(&w->bundles, '\0');
}

static void wanted_reset(struct wanted *w)
{
    buf_reset(&w->names);
    buf_reset(&w->entries);
    buf_reset(&w->bundles);
    w->is_there = false;
}

static void on_configuration(void *arg, const struct tree_node *object)
{
    struct shared *s = arg;
    const struct tree_node *webhooks = tree_get(object, STR("webhooks"));
    wanted_reset(&s->wanted);
    for (uint32_t i = 0; webhooks != NULL && webhooks->kind == TREE_SEQUENCE && i < webhooks->n &&
                         i < ADMISSION_NAMES_MAX;
         i++) {
        entry_read(s, tree_item(webhooks, i));
    }
    s->wanted.is_there = s->has_configuration = true;
    s->awaits_echo = false;
    step_soon(s);
}

static void on_configuration_gone(void *arg, const struct tree_node *object)
{
    struct shared *s = arg;
    (void)object;
    s->wanted.is_there = false;
    s->has_configuration = true;
    step_soon(s);
}

static void on_configuration_list(void *arg)
{
    struct shared *s = arg;
    s->wanted.is_there = false;
}

static void on_configuration_listed(void *arg)
{
    struct shared *s = arg;
    s->has_configuration = true;
    step_soon(s);
}

static void on_batch(void *arg)
{
    (void)arg; /* each object counts by itself */
}

static void on_health(void *arg, bool is_ok, struct str why)
{
    struct shared *s = arg;
    if (!is_ok) {
        complain(s, "the API cannot be followed", why);
    } else {
        s->has_complained = false;
    }
}

static const struct kube_reflector_events secret_events = {
    .on_list = on_secret_list,
    .on_object = on_secret,
    .on_listed = on_secret_listed,
    .on_gone = on_secret_gone,
    .on_batch = on_batch,
    .on_health = on_health,
};
static const struct kube_reflector_events configuration_events = {
    .on_list = on_configuration_list,
    .on_object = on_configuration,
    .on_listed = on_configuration_listed,
    .on_gone = on_configuration_gone,
    .on_batch = on_batch,
    .on_health = on_health,
};

/* ---- writing ---- */

static void on_data(void *arg, struct str piece)
{
    (void)arg;
    (void)piece; /* the reflectors tell what has become of it */
}

static void on_done(void *arg, const struct kube_result *result)
{
    enum { CONFLICT = 409 };
    struct shared *s = arg;
    s->call = NULL;
    s->write = WRITE_NONE;
    if (kube_result_is_ok(result) || result->status == CONFLICT) {
        /* Ours, or somebody else's: either way the reflectors bring what is there now, or have
         * brought it already. */
        s->has_complained = false;
        s->retry = ADMISSION_RETRY_MIN;
        loop_arm(s->loop, &s->timer, ADMISSION_ECHO, on_timer);
        step_soon(s);
        return;
    }
    complain(s, "a write to the API has failed", result->message);
    loop_arm(s->loop, &s->timer, s->retry, on_timer);
    s->retry = 2 * s->retry < ADMISSION_RETRY_MAX ? 2 * s->retry : ADMISSION_RETRY_MAX;
    s->awaits_echo = true; /* until the timer: nothing is tried in between */
}

static const struct kube_call_events write_events = {.on_data = on_data, .on_done = on_done};

static void write_start(struct shared *s, enum write write, enum kube_method method,
                        const char *type, struct str path)
{
    struct kube_request request = {
        .method = method, .path = path, .content_type = type, .body = buf_str(&s->text)};
    enum err e =
        s->text.bad ? E_NOMEM : kube_call_start(s->kube, &request, &write_events, s, &s->call);
    if (e == E_OK) {
        s->write = write;
        s->awaits_echo = true;
    } else {
        s->call = NULL;
        complain(s, "the API cannot be called", str_from_cstr(err_text(e)));
        s->awaits_echo = true;
        loop_arm(s->loop, &s->timer, s->retry, on_timer);
    }
    buf_wipe(&s->text);
    buf_init(&s->text, TEXT_BYTES_MAX);
}

static void data_emit(struct json *j, const char *name, const struct buf *bytes)
{
    struct buf text;
    buf_init(&text, 2 * TEXT_BYTES_MAX);
    if (!buf_reserve(&text, 2 * bytes->n + 4)) {
        j->out->bad = true; /* no half of it */
    }
    base64_emit(&text, buf_str(bytes));
    json_name_str(j, name, buf_str(&text));
    buf_wipe(&text);
}

/* All of the Secret that is ours; version empty: it is new. */
static void secret_emit(struct shared *s, const struct buf *ca, const struct buf *chain,
                        const struct buf *key, struct str version)
{
    /* Room first: a buffer that moves leaves a copy of the key behind. */
    (void)buf_reserve(&s->text, 2 * (ca->n + chain->n + key->n) + 4096);
    struct json j = json_make(&s->text, false);
    json_object(&j);
    json_name(&j, "metadata");
    json_object(&j);
    if (version.n > 0) {
        json_name_str(&j, "resourceVersion", version);
    } else {
        json_name_cstr(&j, "name", s->name);
        json_name_cstr(&j, "namespace", s->space);
    }
    json_end_object(&j);
    if (version.n == 0) {
        json_name_cstr(&j, "apiVersion", "v1");
        json_name_cstr(&j, "kind", "Secret");
        json_name_cstr(&j, "type", "kubernetes.io/tls");
    }
    json_name(&j, "data");
    json_object(&j);
    data_emit(&j, "ca.crt", ca);
    data_emit(&j, "tls.crt", chain);
    data_emit(&j, "tls.key", key);
    json_end_object(&j);
    json_end_object(&j);
    json_finish(&j);
}

static void secret_send(struct shared *s)
{
    struct buf path;
    buf_init(&path, TEXT_BYTES_MAX);
    buf_addf(&path, "/api/v1/namespaces/%s/secrets", s->space);
    if (s->kept.is_there) {
        buf_addf(&path, "/%s", s->name);
        write_start(s, WRITE_RENEW, KUBE_PATCH, "application/merge-patch+json", buf_str(&path));
    } else {
        write_start(s, WRITE_CREATE, KUBE_POST, NULL, buf_str(&path));
    }
    buf_fini(&path);
}

static uint32_t names_list(struct shared *s, struct str names[ADMISSION_NAMES_MAX])
{
    struct str name, rest = buf_str(&s->wanted.names);
    uint32_t n = 0;
    while (rest.n > 0 && n < ADMISSION_NAMES_MAX) {
        (void)str_cut(rest, '\0', &name, &rest); /* there is one behind each */
        names[n++] = name;
    }
    return n;
}

/* The authorities before, for as long as somebody may serve what they signed: also when the Secret
 * is gone or broken. The configuration has what API servers trust now. */
static enum err authorities_keep(const struct shared *s, struct buf *ca)
{
    struct str bundle, rest = buf_str(&s->wanted.bundles);
    TRY(tls_bundle_add(ca, buf_str(&s->kept.ca), now_s(), ADMISSION_AUTHORITIES_MAX));
    while (rest.n > 0) {
        (void)str_cut(rest, '\0', &bundle, &rest); /* there is one behind each */
        TRY(tls_bundle_add(ca, bundle, now_s(), ADMISSION_AUTHORITIES_MAX));
    }
    return E_OK;
}

static enum err pair_make(struct shared *s, struct buf *ca, struct buf *chain, struct buf *key)
{
    struct str names[ADMISSION_NAMES_MAX];
    struct tls_make make = {.common_name = "lintel-webhook",
                            .names = names,
                            .name_n = names_list(s, names),
                            .not_before = now_s() - CLOCK_SKEW_S,
                            .not_after = now_s() + ADMISSION_LIFE_S};
    TRY(tls_certificate_make(&make, ca, chain, key));
    return authorities_keep(s, ca);
}

static void secret_make(struct shared *s)
{
    struct buf ca, chain, key;
    buf_init(&ca, TEXT_BYTES_MAX);
    buf_init(&chain, TEXT_BYTES_MAX);
    buf_init(&key, TEXT_BYTES_MAX);
    enum err e = pair_make(s, &ca, &chain, &key);
    if (e == E_OK) {
        secret_emit(s, &ca, &chain, &key, s->kept.is_there ? buf_str(&s->kept.version) : STR_EMPTY);
        secret_send(s);
    } else {
        complain(s, "no certificate can be made", str_from_cstr(err_text(e)));
        s->awaits_echo = true;
        loop_arm(s->loop, &s->timer, s->retry, on_timer);
    }
    buf_fini(&ca);
    buf_fini(&chain);
    buf_wipe(&key);
}

/* A strategic merge: entries are told apart by their names, and nothing but caBundle changes. */
static void bundle_send(struct shared *s)
{
    struct str entry, rest = buf_str(&s->wanted.entries);
    struct buf path;
    struct json j = json_make(&s->text, false);
    json_object(&j);
    json_name(&j, "webhooks");
    json_array(&j);
    while (rest.n > 0) {
        (void)str_cut(rest, '\0', &entry, &rest); /* there is one behind each */
        json_object(&j);
        json_name_str(&j, "name", entry);
        json_name(&j, "clientConfig");
        json_object(&j);
        data_emit(&j, "caBundle", &s->kept.ca);
        json_end_object(&j);
        json_end_object(&j);
    }
    json_end_array(&j);
    json_end_object(&j);
    json_finish(&j);
    buf_init(&path, TEXT_BYTES_MAX);
    buf_addf(&path, "%s/%s", CONFIGURATIONS, s->configuration);
    write_start(s, WRITE_TRUST, KUBE_PATCH, "application/strategic-merge-patch+json",
                buf_str(&path));
    buf_fini(&path);
}

/* ---- what is next ---- */

/* Renewed at 2/3 of its life, a little later or earlier in each replica. */
static int64_t renew_at(const struct shared *s, const struct tls_certificate *c)
{
    enum { SPREAD_S = 3600 };
    int64_t life = tls_certificate_not_after(c) - tls_certificate_not_before(c);
    const void *self = s;
    uint64_t spread = hash_bytes(&self, sizeof(self)) % SPREAD_S; /* addresses are random */
    return tls_certificate_not_before(c) + life / 3 * 2 + (int64_t)spread;
}

/* Good for the names that are wanted, and for how long; false: a new one is needed. */
static bool kept_is_good(struct shared *s, int64_t *ret_renew_at)
{
    struct str names[ADMISSION_NAMES_MAX];
    uint32_t n = names_list(s, names);
    struct tls_certificate *c;
    enum tls_fault fault;
    if (!s->kept.is_there || s->kept.ca.n == 0 ||
        tls_certificate_parse(buf_str(&s->kept.chain), buf_str(&s->kept.key), &fault, &c) != E_OK) {
        return false;
    }
    bool is_good = true;
    for (uint32_t i = 0; i < n; i++) {
        is_good = is_good && tls_certificate_covers(c, names[i]);
    }
    *ret_renew_at = renew_at(s, c);
    is_good =
        is_good && now_s() < *ret_renew_at && tls_certificate_judge(c, now_s()) == TLS_FAULT_NONE;
    tls_certificate_free(c);
    return is_good;
}

static bool is_trusted(const struct shared *s)
{
    struct str bundle, rest = buf_str(&s->wanted.bundles);
    while (rest.n > 0) {
        (void)str_cut(rest, '\0', &bundle, &rest); /* there is one behind each */
        if (!tls_bundle_has(bundle, buf_str(&s->kept.ca))) {
            return false;
        }
    }
    return true;
}

/* Serves what is kept, when it is time; else the timer says when. */
static void serve(struct shared *s, int64_t renew)
{
    uint64_t hash = hash_str(buf_str(&s->kept.chain)) | 1U;
    usec_t now = loop_now(s->loop);
    if (s->served != hash) {
        usec_t due = s->served == 0 ? now : s->trusted_at + ADMISSION_SWITCH;
        if (s->served != 0 && now < due) {
            loop_arm(s->loop, &s->timer, due - now, on_timer);
            return;
        }
        s->served = hash;
        s->on_certificate(s->arg, buf_str(&s->kept.chain), buf_str(&s->kept.key));
    }
    int64_t left = renew - now_s();
    loop_arm(s->loop, &s->timer, (usec_t)(left > 1 ? left : 1) * USEC_PER_SEC, on_timer);
}

static void step(struct shared *s)
{
    int64_t renew = 0;
    if (s->call != NULL || s->awaits_echo || !s->has_secret || !s->has_configuration) {
        return;
    }
    if (!s->wanted.is_there || s->wanted.names.n == 0) {
        complain(s, "there is no configuration that says how the webhook is called",
                 STR("waiting for it"));
        return;
    }
    if (!kept_is_good(s, &renew)) {
        secret_make(s);
        return;
    }
    if (!is_trusted(s)) {
        if (s->served == 0) {
            serve(s, renew); /* nobody could use anything else */
        }
        bundle_send(s);
        return;
    }
    if (s->trusted_at == 0) {
        s->trusted_at = loop_now(s->loop);
    }
    serve(s, renew);
}

/* ---- life ---- */

static enum err reflectors_open(struct shared *s, const struct shared_options *o)
{
    struct buf path;
    buf_init(&path, TEXT_BYTES_MAX);
    buf_addf(&path, "/api/v1/namespaces/%s/secrets", s->space);
    struct kube_reflector_options secrets = {
        .client = o->kube,
        .path = buf_str(&path),
        .label_selector = STR_EMPTY,
        .field_selector = STR_EMPTY,
        .name = o->secret,
        .events = &secret_events,
        .arg = s,
    };
    struct kube_reflector_options configurations = secrets;
    configurations.path = STR(CONFIGURATIONS);
    configurations.name = o->configuration;
    configurations.events = &configuration_events;
    enum err e = path.bad ? E_NOMEM : kube_reflector_open(&secrets, &s->secrets);
    if (e == E_OK) {
        e = kube_reflector_open(&configurations, &s->configurations);
    }
    buf_fini(&path);
    return e;
}

static void bufs_init(struct shared *s)
{
    struct buf *bufs[] = {&s->kept.version, &s->kept.ca,        &s->kept.chain,     &s->kept.key,
                          &s->wanted.names, &s->wanted.entries, &s->wanted.bundles, &s->text};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        buf_init(bufs[i], TEXT_BYTES_MAX);
    }
}

enum err shared_open(struct loop *loop, const struct shared_options *o, struct shared **ret)
{
    struct shared *s = mem_calloc(1, sizeof(*s));
    if (s == NULL) {
        return E_NOMEM;
    }
    s->loop = loop;
    s->kube = o->kube;
    s->on_certificate = o->on_certificate;
    s->arg = o->arg;
    s->retry = ADMISSION_RETRY_MIN;
    bufs_init(s);
    bool fits = str_to_cstr(o->configuration, s->configuration, sizeof(s->configuration)) &&
                str_to_cstr(o->secret_namespace, s->space, sizeof(s->space)) &&
                str_to_cstr(o->secret, s->name, sizeof(s->name));
    enum err e = fits ? reflectors_open(s, o) : E_LIMIT;
    if (e != E_OK) {
        shared_close(s);
        return e;
    }
    *ret = s;
    return E_OK;
}

void shared_close(struct shared *s)
{
    if (s == NULL) {
        return;
    }
    kube_reflector_close(s->secrets);
    kube_reflector_close(s->configurations);
    kube_call_cancel(s->call);
    loop_disarm(s->loop, &s->timer);
    loop_undefer(&s->work);
    buf_fini(&s->kept.version);
    buf_fini(&s->kept.ca);
    buf_fini(&s->kept.chain);
    buf_wipe(&s->kept.key);
    buf_fini(&s->wanted.names);
    buf_fini(&s->wanted.entries);
    buf_fini(&s->wanted.bundles);
    buf_wipe(&s->text);
    mem_free(s);
}
