/* source/api: what reflectors tell, and what is in the store for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../lib/kube_fake.h"
#include "log/log.h"
#include "source/api.h"

#define CLASS                                                                                      \
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"             \
    "spec: {controller: lintel.dev/ingress-controller}\n---\n"
/* Items of lists have neither kind nor apiVersion. */
#define IN(space, name) "{namespace: \"" space "\", name: \"" name "\""
#define INGRESS(space, name, uid, host)                                                            \
    "metadata: " IN(space, name) ", uid: \"" uid "\"}\nspec:\n  rules:\n  - host: \"" host         \
                                 "\"\n---\n"
#define SERVICE(space, name, port)                                                                 \
    "metadata: " IN(space, name) "}\nspec: {ports: [{port: " port "}]}\n---\n"
#define SECRET(space, name, value)                                                                 \
    "metadata: " IN(space, name) "}\ntype: Opaque\ndata: {k: \"" value "\"}\n---\n"
#define NAMESPACE(name) "metadata: {name: \"" name "\"}\n---\n"
#define SECRET_JSON(value)                                                                         \
    "{\"metadata\": {\"namespace\": \"a\", \"name\": \"s1\"}, \"data\": {\"k\": \"" value "\"}}"

struct scene {
    struct loop *loop;
    struct store *store;
    struct api_options options;
    struct api *api;
    size_t batches, diags;
};

static void on_batch(void *arg)
{
    ((struct scene *)arg)->batches++;
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)d;
    ((struct scene *)arg)->diags++;
}

static void open_api(struct scene *s)
{
    assert_int_equal(api_open(s->loop, s->store, &s->options, &s->api), E_OK);
}

static void close_api(struct scene *s)
{
    api_close(s->api);
    s->api = NULL;
    assert_true(fake_is_empty());
}

static int open_scene(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    log_init("test", LOG_ERROR);
    assert_int_equal(loop_new(&s->loop), E_OK);
    assert_int_equal(store_new(&s->store), E_OK);
    s->options = (struct api_options){.on_batch = on_batch, .on_diag = on_diag, .arg = s};
    fake.call_error = E_OK;
    fake.opened_n = 0;
    *state = s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    mem_fail_from(0);
    close_api(s);
    store_free(s->store);
    loop_free(s->loop);
    free(s);
    return 0;
}

/* Ends the tick: how often the owner was called. */
static size_t tick(struct scene *s)
{
    size_t before = s->batches;
    assert_int_equal(loop_step(s->loop, 0), E_OK);
    return s->batches - before;
}

static void wait_for(struct scene *s, const size_t *n, size_t wanted)
{
    for (usec_t end = clock_monotonic() + 10 * USEC_PER_SEC; *n < wanted;) {
        assert_true(clock_monotonic() < end);
        assert_int_equal(loop_step(s->loop, 10 * USEC_PER_MS), E_OK);
    }
}

static void list(const char *path_end, const char *yaml)
{
    struct kube_reflector *r = fake_reflector(path_end, "");
    assert_non_null(r);
    fake_list(r, yaml);
}

static void list_all(const char *ingresses)
{
    list("/ingressclasses", CLASS);
    list("/ingresses", ingresses);
    list("/services", "");
    list("/endpointslices", "");
}

static bool has(const struct scene *s, enum object_kind kind, const char *space, const char *name)
{
    return store_get(s->store, kind, str_from_cstr(space), str_from_cstr(name)) != NULL;
}

static const struct object *ingress(const struct scene *s, const char *name)
{
    return store_get(s->store, OBJECT_INGRESS, STR("a"), str_from_cstr(name));
}

static const char *host(const struct scene *s, const char *name)
{
    const struct ingress *in = (const void *)ingress(s, name);
    return in == NULL ? "none" : in->rules[0].host.p;
}

static void count_diag(void *arg, const struct diag *d)
{
    (void)d;
    ++*(size_t *)arg;
}

static size_t diag_n(const struct scene *s)
{
    size_t n = 0;
    api_each_diag(s->api, count_diag, &n);
    return n;
}

/* ---- paths ---- */

static void every_namespace_is_followed(void **state)
{
    struct scene *s = *state;
    open_api(s);
    static const char *const paths[] = {"/apis/networking.k8s.io/v1/ingressclasses",
                                        "/apis/networking.k8s.io/v1/ingresses", "/api/v1/services",
                                        "/apis/discovery.k8s.io/v1/endpointslices"};
    assert_int_equal(fake.reflector_n, 4);
    assert_int_equal(fake.call_n, 0);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(fake.reflectors[i]->path, paths[i]);
        assert_string_equal(fake.reflectors[i]->name, "");
    }
}

static void one_namespace_is_followed(void **state)
{
    struct scene *s = *state;
    s->options.namespace_name = STR("town");
    s->options.config_map_namespace = STR("other");
    s->options.config_map = STR("conf");
    s->options.node_name = STR("node-1");
    open_api(s);
    assert_int_equal(fake.reflector_n, 5);
    assert_non_null(fake_reflector("/api/v1/namespaces/other/configmaps", "conf"));
    assert_non_null(fake_reflector("/apis/networking.k8s.io/v1/ingressclasses", ""));
    assert_non_null(fake_reflector("/apis/networking.k8s.io/v1/namespaces/town/ingresses", ""));
    assert_non_null(fake_reflector("/api/v1/namespaces/town/services", ""));
    assert_non_null(fake_reflector("/apis/discovery.k8s.io/v1/namespaces/town/endpointslices", ""));
    assert_true(fake_answer("/api/v1/nodes/node-1", 200,
                            "{\"metadata\": {\"name\": \"node-1\", \"labels\": {\"a\": \"b\"}}}"));
    assert_true(has(s, OBJECT_NODE, "", "node-1"));
}

static void a_node_that_cannot_be_read_holds_nothing_up(void **state)
{
    struct scene *s = *state;
    s->options.node_name = STR("node-1");
    open_api(s);
    assert_true(fake_answer("/node-1", 403, ""));
    list_all("");
    assert_int_equal(tick(s), 1);
    assert_int_equal(fake.call_n, 0);
    close_api(s);
    open_api(s);
    assert_true(fake_answer("/node-1", 200, "{\"metadata\": 5"));
    list_all("");
    assert_int_equal(tick(s), 1);
}

/* ---- when it counts ---- */

static void nothing_counts_before_everything_was_listed(void **state)
{
    struct scene *s = *state;
    open_api(s);
    assert_false(api_is_synced(s->api));
    list("/ingresses", INGRESS("a", "x", "1", "x.test"));
    list("/services", SERVICE("a", "x", "80"));
    list("/ingressclasses", CLASS);
    assert_int_equal(tick(s), 0);
    assert_false(api_is_synced(s->api));
    struct kube_reflector *slices = fake_reflector("/endpointslices", "");
    slices->events->on_list(slices->arg);
    slices->events->on_batch(slices->arg);
    assert_int_equal(tick(s), 0);
    slices->events->on_listed(slices->arg);
    assert_true(api_is_synced(s->api));
    assert_int_equal(tick(s), 1);
    assert_int_equal(tick(s), 0);
    fake_put(fake_reflector("/services", ""), SERVICE("a", "y", "80"));
    fake_put(fake_reflector("/services", ""), SERVICE("a", "z", "80"));
    fake_put(fake_reflector("/ingresses", ""), INGRESS("a", "y", "2", "y.test"));
    assert_int_equal(tick(s), 1); /* for all of one tick */
}

static void a_list_sweeps_when_it_is_complete(void **state)
{
    struct scene *s = *state;
    open_api(s);
    list_all(INGRESS("a", "x", "1", "x.test") INGRESS("a", "y", "2", "y.test")
                 INGRESS("b", "x", "3", "bx.test"));
    assert_int_equal(store_n(s->store, OBJECT_INGRESS), 3);
    struct kube_reflector *r = fake_reflector("/ingresses", "");
    r->events->on_list(r->arg);
    fake_tell(r, false, INGRESS("a", "x", "1", "new.test"));
    assert_int_equal(store_n(s->store, OBJECT_INGRESS), 3); /* incomplete: nothing goes */
    r->events->on_list(r->arg);                             /* it broke off: again */
    fake_tell(r, false, INGRESS("a", "y", "2", "y.test"));
    r->events->on_listed(r->arg);
    assert_int_equal(store_n(s->store, OBJECT_INGRESS), 1);
    assert_string_equal(host(s, "y"), "y.test");
    fake_list(r, "");
    assert_int_equal(store_n(s->store, OBJECT_INGRESS), 0);
}

static void events_come_and_go(void **state)
{
    struct scene *s = *state;
    open_api(s);
    list_all("");
    struct kube_reflector *r = fake_reflector("/ingresses", "");
    fake_put(r, INGRESS("a", "x", "1", "x.test"));
    fake_put(r, INGRESS("a", "x", "1", "x2.test"));
    assert_string_equal(host(s, "x"), "x2.test");
    fake_gone(r, INGRESS("a", "other", "1", "x.test")); /* never heard of */
    fake_put(r, INGRESS("a", "x", "2", "x3.test"));     /* deleted and made anew */
    fake_gone(r, INGRESS("a", "x", "1", "x2.test"));    /* told again: the old one */
    assert_string_equal(host(s, "x"), "x3.test");
    fake_gone(r, INGRESS("a", "x", "2", "x3.test"));
    assert_string_equal(host(s, "x"), "none");
    fake_put(r, "metadata: {name: homeless}\nspec: {}\n---\nspec: {}\n---\n5\n");
    assert_int_equal(store_n(s->store, OBJECT_INGRESS), 0);
    struct api_figures f;
    api_figures(s->api, API_INGRESSES, &f);
    assert_int_equal(f.objects, 0);
}

/* ---- bad objects ---- */

static void the_last_good_version_stays(void **state)
{
    struct scene *s = *state;
    open_api(s);
    list_all(INGRESS("a", "x", "1", "x.test"));
    struct kube_reflector *r = fake_reflector("/ingresses", "");
    fake_put(r, INGRESS("a", "x", "1", "x.test:80"));
    assert_string_equal(host(s, "x"), "x.test");
    assert_int_equal(diag_n(s), 1);
    assert_int_equal(s->diags, 1);
    fake_list(r, INGRESS("a", "x", "1", "x.test:80")); /* it is there all the same */
    assert_string_equal(host(s, "x"), "x.test");
    fake_put(r, INGRESS("a", "x", "1", "y.test"));
    assert_string_equal(host(s, "x"), "y.test");
    assert_int_equal(diag_n(s), 0);
    fake_list(r, INGRESS("a", "x", "2", "x.test:80")); /* another object: inherits nothing */
    assert_string_equal(host(s, "x"), "none");
    assert_int_equal(diag_n(s), 1);
    fake_gone(r, INGRESS("a", "x", "2", "x.test:80"));
    assert_int_equal(diag_n(s), 0);
}

/* ---- health ---- */

static void a_role_alone_does_without_classes(void **state)
{
    struct scene *s = *state;
    s->options.namespace_name = STR("a");
    open_api(s);
    list("/ingresses", "");
    list("/services", "");
    list("/endpointslices", "");
    struct kube_reflector *classes = fake_reflector("/ingressclasses", "");
    fake_sick(classes, 0, "connection refused");
    assert_int_equal(tick(s), 0);
    assert_false(api_is_synced(s->api));
    assert_non_null(api_trouble(s->api));
    fake_sick(classes, 403, "forbidden");
    assert_int_equal(tick(s), 1);
    assert_true(api_is_synced(s->api));
    assert_true(api_are_classes_hidden(s->api));
    assert_null(api_trouble(s->api));
    fake_well(classes);
    fake_list(classes, CLASS); /* somebody has allowed it */
    assert_int_equal(tick(s), 1);
    assert_false(api_are_classes_hidden(s->api));
    fake_sick(classes, 403, "forbidden"); /* and takes it back: what is known stays */
    assert_false(api_are_classes_hidden(s->api));
    assert_non_null(api_trouble(s->api));
    assert_int_equal(store_n(s->store, OBJECT_INGRESS_CLASS), 1);
}

static void with_all_namespaces_classes_are_needed(void **state)
{
    struct scene *s = *state;
    open_api(s);
    list("/ingresses", "");
    list("/services", "");
    list("/endpointslices", "");
    fake_sick(fake_reflector("/ingressclasses", ""), 403, "forbidden");
    assert_false(api_is_synced(s->api));
    assert_string_equal(api_trouble(s->api), "forbidden");
}

static void trouble_is_told_and_goes(void **state)
{
    struct scene *s = *state;
    struct api_figures f;
    open_api(s);
    list_all(INGRESS("a", "x", "1", "x.test"));
    assert_null(api_trouble(s->api));
    struct kube_reflector *r = fake_reflector("/services", "");
    fake_sick(r, 0, "timed out");
    fake_sick(r, 0, "timed out again");
    assert_int_equal(store_n(s->store, OBJECT_INGRESS), 1);
    assert_true(api_is_synced(s->api));
    api_figures(s->api, API_SERVICES, &f);
    assert_false(f.is_healthy);
    assert_int_equal(f.failures, 2);
    assert_int_equal(f.lists, 1);
    fake_well(r);
    assert_null(api_trouble(s->api));
    api_figures(s->api, API_SERVICES, &f);
    assert_true(f.is_healthy);
    assert_int_equal(f.silence, 0);
    api_figures(s->api, API_NAMESPACES, &f);
    assert_false(f.is_followed);
}

static void a_long_reason_is_cut(void **state)
{
    struct scene *s = *state;
    char why[2 * API_WHY_MAX];
    memset(why, 'x', sizeof(why) - 1);
    why[sizeof(why) - 1] = 0;
    open_api(s);
    fake_sick(fake_reflector("/services", ""), 0, why);
    assert_int_equal(strlen(api_trouble(s->api)), API_WHY_MAX);
}

/* ---- namespaces ---- */

static void only_selected_namespaces_count(void **state)
{
    struct scene *s = *state;
    s->options.namespace_selector = STR("team=a");
    open_api(s);
    assert_int_equal(fake.reflector_n, 1);
    struct kube_reflector *namespaces = fake_reflector("/api/v1/namespaces", "");
    assert_string_equal(namespaces->label_selector, "team=a");
    assert_int_equal(tick(s), 0);
    fake_list(namespaces, NAMESPACE("a"));
    assert_int_equal(fake.reflector_n, 5);
    assert_false(api_is_synced(s->api));
    list_all(INGRESS("a", "x", "1", "x.test") INGRESS("b", "x", "2", "y.test"));
    assert_int_equal(tick(s), 1);
    struct kube_reflector *services = fake_reflector("/services", "");
    fake_put(services, SERVICE("b", "x", "80"));
    assert_true(has(s, OBJECT_INGRESS, "a", "x"));
    assert_false(has(s, OBJECT_INGRESS, "b", "x"));
    assert_false(has(s, OBJECT_SERVICE, "b", "x"));
    fake_put(namespaces, NAMESPACE("b")); /* it has got the label */
    assert_true(has(s, OBJECT_INGRESS, "b", "x"));
    assert_true(has(s, OBJECT_SERVICE, "b", "x"));
    fake_gone(namespaces, NAMESPACE("a")); /* it has lost it */
    assert_false(has(s, OBJECT_INGRESS, "a", "x"));
    fake_gone(fake_reflector("/ingresses", ""), INGRESS("a", "x", "1", "x.test"));
    fake_list(namespaces, NAMESPACE("a")); /* and again, after a gap */
    assert_false(has(s, OBJECT_INGRESS, "a", "x"));
    assert_false(has(s, OBJECT_INGRESS, "b", "x"));
    fake_put(fake_reflector("/ingresses", ""), INGRESS("a", "z", "4", "z.test"));
    assert_true(has(s, OBJECT_INGRESS, "a", "z"));
    assert_int_equal(fake.opened_n, fake.reflector_n); /* none was opened twice */
}

/* ---- Secrets ---- */

static void want(struct scene *s, size_t n)
{
    char name[16];
    api_secrets_begin(s->api);
    for (size_t i = 1; i <= n; i++) {
        (void)snprintf(name, sizeof(name), "s%zu", i);
        assert_int_equal(api_secret_want(s->api, STR("a"), str_from_cstr(name)), E_OK);
        assert_int_equal(api_secret_want(s->api, STR("a"), str_from_cstr(name)), E_OK);
    }
    api_secrets_end(s->api);
}

static void secrets_are_watched_by_name(void **state)
{
    struct scene *s = *state;
    open_api(s);
    list_all("");
    assert_true(api_is_synced(s->api));
    want(s, 2);
    assert_true(api_is_synced(s->api)); /* they hold nothing up */
    assert_int_equal(fake.reflector_n, 6);
    struct kube_reflector *r = fake_reflector("/api/v1/namespaces/a/secrets", "s1");
    assert_non_null(r);
    fake_list(r, SECRET("a", "s1", "djE="));
    assert_int_equal(tick(s), 1);
    assert_true(has(s, OBJECT_SECRET, "a", "s1"));
    fake_put(r, SECRET("a", "s1", "not base64!"));
    assert_true(has(s, OBJECT_SECRET, "a", "s1"));
    assert_int_equal(diag_n(s), 1);
    want(s, 2);
    assert_int_equal(fake.reflector_n, 6);
    assert_ptr_equal(fake_reflector("/secrets", "s1"), r);
    want(s, 0);
    assert_int_equal(fake.reflector_n, 4);
    assert_false(has(s, OBJECT_SECRET, "a", "s1"));
    assert_int_equal(diag_n(s), 0);
    struct api_figures f;
    api_figures(s->api, API_SECRETS, &f);
    assert_int_equal(f.lists, 1); /* what was counted stays counted */
}

static void a_secret_in_trouble_is_not_the_servers(void **state)
{
    struct scene *s = *state;
    open_api(s);
    list_all("");
    want(s, 2);
    fake_sick(fake_reflector("/secrets", "s1"), 403, "forbidden");
    assert_null(api_trouble(s->api));
    struct api_figures f;
    api_figures(s->api, API_SECRETS, &f);
    assert_false(f.is_healthy);
    want(s, 0);
    want(s, 1);
    api_figures(s->api, API_SECRETS, &f);
    assert_true(f.is_healthy);
}

static bool is_pending(const struct scene *s, const char *name)
{
    return api_secret_is_pending(s->api, STR("a"), str_from_cstr(name));
}

/* What passes leaves open whether there is such a Secret; a refusal or a list does not. */
static void a_secret_is_pending_until_there_is_an_answer(void **state)
{
    struct scene *s = *state;
    open_api(s);
    list_all("");
    want(s, 2);
    struct kube_reflector *first = fake_reflector("/secrets", "s1");
    struct kube_reflector *second = fake_reflector("/secrets", "s2");
    fake_sick(first, 0, "connection refused");
    fake_sick(first, 500, "the key of etcd is away");
    fake_sick(second, 503, "unavailable");
    assert_true(is_pending(s, "s1") && is_pending(s, "s2"));
    assert_int_equal(api_pending_n(s->api), 2);
    fake_sick(first, 403, "forbidden");
    assert_false(is_pending(s, "s1"));
    fake_list(second, "");
    assert_false(is_pending(s, "s2"));
    assert_int_equal(api_pending_n(s->api), 0);
}

/* At n every one is watched; at n + 1 one is fetched, until there is room. */
static void beyond_the_limit_secrets_are_fetched(void **state)
{
    struct scene *s = *state;
    s->options.secret_watches_max = 3;
    s->options.secret_poll_every = 100 * USEC_PER_MS;
    open_api(s);
    list_all("");
    want(s, 3);
    (void)tick(s);
    assert_int_equal(fake.reflector_n, 7);
    assert_int_equal(api_polled_n(s->api), 0);
    want(s, 5);
    assert_int_equal(fake.reflector_n, 7);
    assert_int_equal(api_polled_n(s->api), 2);
    wait_for(s, &fake.call_n, 1);
    assert_int_equal(fake.call_n, 1); /* one at a time */
    const char *first = strrchr(fake.calls[0]->path, '/');
    const char *other = strcmp(first, "/s4") == 0 ? "/s5" : "/s4";
    char first_name[8];
    (void)snprintf(first_name, sizeof(first_name), "%s", first);
    assert_true(fake_answer(first_name, 200, SECRET_JSON("djE=")));
    assert_true(has(s, OBJECT_SECRET, "a", "s1"));
    wait_for(s, &fake.call_n, 1);
    assert_true(fake_answer(other, 404, ""));
    wait_for(s, &fake.call_n, 1); /* the first one again */
    assert_true(fake_answer(first_name, 0, ""));
    assert_true(has(s, OBJECT_SECRET, "a", "s1")); /* no answer: it stays */
    wait_for(s, &fake.call_n, 1);
    assert_true(fake_answer(other, 200, "{\"metadata\": {\"name\""));
    wait_for(s, &fake.call_n, 1);
    assert_true(fake_answer(first_name, 404, ""));
    assert_false(has(s, OBJECT_SECRET, "a", "s1"));
    wait_for(s, &fake.call_n, 1);
    api_secrets_begin(s->api);
    assert_int_equal(api_secret_want(s->api, STR("a"), STR("s4")), E_OK);
    assert_int_equal(api_secret_want(s->api, STR("a"), STR("s5")), E_OK);
    api_secrets_end(s->api);
    assert_int_equal(fake.call_n, 0); /* both are watched now */
    assert_int_equal(fake.reflector_n, 6);
    assert_int_equal(api_polled_n(s->api), 0);
}

static void a_fetch_that_cannot_start_is_tried_again(void **state)
{
    struct scene *s = *state;
    s->options.secret_watches_max = 1;
    open_api(s);
    list_all("");
    fake.call_error = E_LIMIT;
    want(s, 2);
    (void)tick(s);
    fake.call_error = E_OK;
    wait_for(s, &fake.call_n, 1);
    assert_true(fake_answer("/s2", 404, ""));
}

static void config_maps_are_kept(void **state)
{
    struct scene *s = *state;
    s->options.config_map_namespace = STR("a");
    s->options.config_map = STR("conf");
    open_api(s);
    fake_list(fake_reflector("/configmaps", "conf"),
              "metadata: {namespace: a, name: conf}\ndata: {x: \"1\", y: \"2\"}\n");
    assert_int_equal(tick(s), 0);
    assert_true(has(s, OBJECT_CONFIG_MAP, "a", "conf"));
}

/* ---- memory ---- */

struct failing {
    struct kube_reflector *r;
    size_t nth;
};

static enum err tell_without_memory(void *arg, const struct tree_node *root)
{
    const struct failing *f = arg;
    mem_fail_from(f->nth);
    f->r->events->on_object(f->r->arg, root);
    mem_fail_from(0);
    return E_OK;
}

/* Whatever allocation fails, the last good version stays, and a new list is asked for. */
static void memory_may_run_out_over_an_object(void **state)
{
    struct scene *s = *state;
    struct failing failing = {.nth = 0};
    const struct tree_sink sink = {&failing, tell_without_memory, fake_on_diag};
    open_api(s);
    list_all(INGRESS("a", "x", "1", "x.test"));
    size_t opened = fake.opened_n;
    failing.r = fake_reflector("/ingresses", "");
    while (strcmp(host(s, "x"), "new.test") != 0) {
        assert_string_equal(host(s, "x"), "x.test");
        failing.nth++;
        assert_int_equal(yaml_parse(STR(INGRESS("a", "x", "1", "new.test")), &sink), E_OK);
        assert_int_equal(yaml_parse(STR(INGRESS("a", "y", "1", "new.test")), &sink), E_OK);
    }
    assert_true(failing.nth > 1);
    wait_for(s, &fake.opened_n, opened + 1);
    assert_ptr_not_equal(fake_reflector("/ingresses", ""), NULL);
    list("/ingresses", INGRESS("a", "x", "1", "last.test"));
    assert_string_equal(host(s, "x"), "last.test");
    assert_string_equal(host(s, "y"), "none");
    assert_int_equal(fake.reflector_n, 4);
}

/* A namespace comes in, and not all of its objects can be moved: they are listed again. */
static void memory_may_run_out_over_a_namespace(void **state)
{
    struct scene *s = *state;
    struct failing failing = {.nth = 0};
    const struct tree_sink sink = {&failing, tell_without_memory, fake_on_diag};
    s->options.namespace_selector = STR("a");
    open_api(s);
    struct kube_reflector *namespaces = fake_reflector("/namespaces", "");
    fake_list(namespaces, "");
    list_all(INGRESS("a", "x", "1", "x.test"));
    size_t opened = fake.opened_n;
    failing.r = namespaces;
    while (!has(s, OBJECT_INGRESS, "a", "x")) {
        failing.nth++;
        assert_int_equal(yaml_parse(STR(NAMESPACE("a")), &sink), E_OK);
        if (has(s, OBJECT_NAMESPACE, "", "a") && !has(s, OBJECT_INGRESS, "a", "x")) {
            wait_for(s, &fake.opened_n, opened + 1);
            list("/ingresses", INGRESS("a", "x", "1", "x.test"));
        }
    }
    assert_true(failing.nth > 1);
}

static void memory_may_run_out_at_the_start(void **state)
{
    struct scene *s = *state;
    s->options.namespace_selector = STR("a");
    s->options.node_name = STR("n");
    s->options.config_map_namespace = STR("a");
    s->options.config_map = STR("conf");
    enum err e = E_NOMEM;
    for (size_t nth = 1; e == E_NOMEM || fake.reflector_n + fake.call_n < 3; nth++) {
        assert_true(nth < 100);
        close_api(s);
        mem_fail_from(nth);
        e = api_open(s->loop, s->store, &s->options, &s->api);
        mem_fail_from(0);
    }
}

static void memory_may_run_out_over_the_set_of_secrets(void **state)
{
    struct scene *s = *state;
    s->options.secret_watches_max = 1;
    open_api(s);
    for (size_t nth = 1, is_done = 0; !is_done; nth++) {
        assert_true(nth < 100);
        api_secrets_begin(s->api);
        mem_fail_from(nth);
        enum err first = api_secret_want(s->api, STR("a"), STR("x"));
        enum err second = api_secret_want(s->api, STR("b"), STR("x"));
        mem_fail_from(0);
        api_secrets_end(s->api);
        is_done = first == E_OK && second == E_OK;
        api_secrets_begin(s->api);
        api_secrets_end(s->api);
        assert_int_equal(api_polled_n(s->api), 0);
    }
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, open_scene, close_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(every_namespace_is_followed),
        SCENE(one_namespace_is_followed),
        SCENE(a_node_that_cannot_be_read_holds_nothing_up),
        SCENE(nothing_counts_before_everything_was_listed),
        SCENE(a_list_sweeps_when_it_is_complete),
        SCENE(events_come_and_go),
        SCENE(the_last_good_version_stays),
        SCENE(a_role_alone_does_without_classes),
        SCENE(with_all_namespaces_classes_are_needed),
        SCENE(trouble_is_told_and_goes),
        SCENE(a_long_reason_is_cut),
        SCENE(only_selected_namespaces_count),
        SCENE(secrets_are_watched_by_name),
        SCENE(a_secret_in_trouble_is_not_the_servers),
        SCENE(a_secret_is_pending_until_there_is_an_answer),
        SCENE(beyond_the_limit_secrets_are_fetched),
        SCENE(a_fetch_that_cannot_start_is_tried_again),
        SCENE(config_maps_are_kept),
        SCENE(memory_may_run_out_over_an_object),
        SCENE(memory_may_run_out_over_a_namespace),
        SCENE(memory_may_run_out_at_the_start),
        SCENE(memory_may_run_out_over_the_set_of_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
