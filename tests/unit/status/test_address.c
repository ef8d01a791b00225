/* status/address and status/peers: the three ways to addresses, against an API with pods and nodes.
 */
#include "status/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake.h"

enum { TEXT_MAX = 64 * 1024, PODS_MAX = 400 };

struct pod {
    char name[32], node[260];
    const char *phase, *ready;
    bool is_deleted;
};

struct bench {
    struct fake fake;
    struct store *store;
    struct address_options options;
    struct address *a;
    int changes;
    /* the API */
    const char *service;
    struct pod pods[PODS_MAX];
    size_t pod_n, next_from;
    const char *labels;
    const char *external; /* address of each node; NULL: none */
    uint32_t status;      /* for every call, when not 0 */
    uint32_t node_status;
    size_t node_gets, pod_lists;
    char selector[512];
};

static void emit_page(struct bench *b, const struct fake_request *request, struct buf *out)
{
    size_t from = b->next_from;
    char token[32];
    (void)snprintf(token, sizeof(token), "&continue=a%%2F%zu%%3D", from);
    assert_true(has_text(request->path, "&continue=") == (from > 0));
    assert_true(from == 0 || has_text(request->path, token));
    b->pod_lists++;
    (void)str_to_cstr(request->path, b->selector, sizeof(b->selector));
    buf_add_str(out, STR("{\"items\":["));
    for (size_t i = from; i < b->pod_n && i < from + STATUS_PODS_PER_PAGE; i++) {
        const struct pod *p = &b->pods[i];
        buf_addf(
            out,
            "%s{\"metadata\":{\"name\":\"%s\"%s},\"spec\":{\"nodeName\":\"%s\"},"
            "\"status\":{\"phase\":\"%s\",\"conditions\":[{\"type\":\"X\",\"status\":\"True\"},"
            "{\"type\":\"Ready\",\"status\":\"%s\"}]}}",
            i == from ? "" : ",", p->name,
            p->is_deleted ? ",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"" : "", p->node,
            p->phase, p->ready);
    }
    b->next_from = from + STATUS_PODS_PER_PAGE < b->pod_n ? from + STATUS_PODS_PER_PAGE : 0;
    buf_add_str(out, STR("],\"metadata\":{\"continue\":\""));
    if (b->next_from > 0) {
        buf_addf(out, "a/%zu=", b->next_from);
    }
    buf_add_str(out, STR("\"}}"));
}

static void emit_node(struct bench *b, struct str name, struct fake_answer *ret)
{
    b->node_gets++;
    if (b->node_status != 0) {
        ret->status = b->node_status;
        return;
    }
    buf_addf(&ret->body,
             "{\"status\":{\"addresses\":[{\"type\":\"Hostname\",\"address\":\"%.*s\"},"
             "{\"type\":\"InternalIP\",\"address\":\"10.0.0.%.*s\"},"
             "{\"type\":\"InternalIP\",\"address\":\"no address\"}%s%s%s]}}",
             STR_ARG(name), STR_ARG(str_from(name, 1)),
             b->external == NULL ? "" : ",{\"type\":\"ExternalIP\",\"address\":\"",
             b->external == NULL ? "" : b->external, b->external == NULL ? "" : "\"}");
}

static void api(void *arg, const struct fake_request *request, struct fake_answer *ret)
{
    struct bench *b = arg;
    struct str path = request->path;
    assert_int_equal(request->method, KUBE_GET);
    if (b->status != 0) {
        ret->status = b->status;
    } else if (str_eq(path, STR("/api/v1/namespaces/in/services/lb"))) {
        ret->status = b->service != NULL ? 200 : 404;
        buf_add_str(&ret->body, str_from_cstr(b->service));
    } else if (str_eq(path, STR("/api/v1/namespaces/ns/pods/pod-0"))) {
        buf_addf(&ret->body, "{\"metadata\":{\"labels\":{%s}}}", b->labels);
    } else if (str_has_prefix(path, STR("/api/v1/namespaces/ns/pods?limit=50&"))) {
        emit_page(b, request, &ret->body);
    } else if (str_has_prefix(path, STR("/api/v1/nodes/"))) {
        emit_node(b, str_from(path, sizeof("/api/v1/nodes/") - 1), ret);
    } else {
        fail_msg("%.*s", STR_ARG(path));
    }
}

static void on_change(void *arg)
{
    ((struct bench *)arg)->changes++;
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){.labels = "\"app\":\"lintel\",\"pod-template-hash\":\"1a\""};
    fake_init(&b->fake, api, b);
    assert_int_equal(store_new(&b->store), E_OK);
    b->options = (struct address_options){.loop = b->fake.loop,
                                          .client = b->fake.client,
                                          .store = b->store,
                                          .pod_namespace = STR("ns"),
                                          .pod = STR("pod-0"),
                                          .on_change = on_change,
                                          .arg = b};
}

static void start(struct bench *b)
{
    assert_int_equal(address_open(&b->options, &b->a), E_OK);
    address_switch(b->a, true);
    fake_run(&b->fake, STATUS_REFRESH_MIN / 2);
}

static void bench_fini(struct bench *b)
{
    address_close(b->a);
    store_free(b->store);
    fake_fini(&b->fake);
}

static void add_pod(struct bench *b, const char *node)
{
    struct pod *p = &b->pods[b->pod_n];
    (void)snprintf(p->name, sizeof(p->name), "pod-%zu", b->pod_n++);
    (void)snprintf(p->node, sizeof(p->node), "%s", node);
    p->phase = "Running";
    p->ready = "True";
}

/* "1.1.1.1 a.b", or "?" when they are not known. */
static void expect(const struct bench *b, const char *want)
{
    struct address_list list = address_get(b->a);
    struct buf got;
    buf_init(&got, TEXT_MAX);
    for (uint32_t i = 0; i < list.n; i++) {
        buf_addf(&got, "%s%.*s%s%.*s", i == 0 ? "" : " ", STR_ARG(list.items[i].ip),
                 list.items[i].ip.n > 0 && list.items[i].hostname.n > 0 ? "=" : "",
                 STR_ARG(list.items[i].hostname));
    }
    if (!str_eq(list.is_known ? buf_str(&got) : STR("?"), str_from_cstr(want))) {
        fail_msg("want %s, got %.*s", want, STR_ARG(buf_str(&got)));
    }
    buf_fini(&got);
}

/* ---- as given ---- */

static void given_addresses(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.publish_status_address =
        STR("b.example, 192.0.2.9,2001:db8::1,192.0.2.9,, a.example");
    b.options.publish_service = STR("lb"); /* loses */
    start(&b);
    expect(&b, "a.example b.example 192.0.2.9 2001:db8::1");
    fake_run(&b.fake, 300 * USEC_PER_SEC);
    assert_int_equal(b.changes, 1);
    assert_int_equal(b.fake.started, 0);
    bench_fini(&b);
}

static void off_until_switched_on(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.publish_status_address = STR("192.0.2.9");
    assert_int_equal(address_open(&b.options, &b.a), E_OK);
    fake_run(&b.fake, 100 * USEC_PER_SEC);
    expect(&b, "?");
    bench_fini(&b);
}

static void given_limit(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct bench b;
        struct buf list;
        bench_init(&b);
        buf_init(&list, TEXT_MAX);
        for (int i = 0; i < STATUS_ADDRESSES_MAX + more; i++) {
            buf_addf(&list, "%s10.0.%d.%d", i == 0 ? "" : ",", i / 256, i % 256);
        }
        b.options.publish_status_address = buf_str(&list);
        start(&b);
        assert_int_equal(address_get(b.a).n, STATUS_ADDRESSES_MAX);
        assert_int_equal(address_counters(b.a)->dropped, more);
        buf_fini(&list);
        bench_fini(&b);
    }
}

/* ---- of a Service ---- */

#define SERVICE(type, spec, status)                                                                \
    "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"lb\",\"namespace\":"     \
    "\"in\"},\"spec\":{\"type\":\"" type "\",\"ports\":[{\"port\":80}]" spec "},\"status\":{"      \
    "\"loadBalancer\":{" status "}}}"

static void service_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *service, *want;
    } cases[] = {
        {SERVICE("ClusterIP",    ",\"clusterIP\":\"10.0.0.1\"",                                 ""), "10.0.0.1"  },
        {SERVICE("ClusterIP",    ",\"clusterIP\":\"None\"",                                     ""), ""          },
        {SERVICE("ClusterIP",    ",\"clusterIP\":\"10.0.0.1\",\"externalIPs\":[\"192.0.2.1\"]", ""),
         "192.0.2.1"                                                                                             },
        {SERVICE("NodePort",     ",\"clusterIP\":\"10.0.0.1\"",                                 ""), "10.0.0.1"  },
        {SERVICE("NodePort",     ",\"clusterIP\":\"10.0.0.1\",\"externalIPs\":[\"192.0.2.1\"]", ""),
         "192.0.2.1"                                                                                             },
        {SERVICE("ExternalName", ",\"externalName\":\"lb.example\"",                            ""), "lb.example"},
        {SERVICE("LoadBalancer", ",\"clusterIP\":\"10.0.0.1\"",                                 ""), ""          }, /* still being made */
        {SERVICE("LoadBalancer", ",\"clusterIP\":\"10.0.0.1\"",
         "\"ingress\":[{\"ip\":\"192.0.2.7\"},{\"hostname\":\"lb.example\"},"
                 "{\"ip\":\"192.0.2.3\",\"hostname\":\"x\"},{}]"),
         "lb.example 192.0.2.3=x 192.0.2.7"                                                                      },
        {SERVICE("LoadBalancer", ",\"externalIPs\":[\"192.0.2.7\",\"192.0.2.8\"]",
         "\"ingress\":[{\"ip\":\"192.0.2.7\"}]"),
         "192.0.2.7 192.0.2.8"                                                                                   },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int is_stored = 0; is_stored < 2; is_stored++) {
            struct bench b;
            bench_init(&b);
            b.options.publish_service = STR("lb");
            b.options.publish_service_namespace = STR("in");
            b.service = cases[i].service;
            if (is_stored) {
                fake_put(b.store, cases[i].service);
            }
            start(&b);
            expect(&b, cases[i].want);
            assert_int_equal(b.fake.started, is_stored ? 0 : 1);
            bench_fini(&b);
        }
    }
}

static void a_service_that_changes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.publish_service = STR("lb");
    b.options.publish_service_namespace = STR("in");
    start(&b);
    expect(&b, "?"); /* there is none */
    assert_true(address_counters(b.a)->failures > 0);
    b.service = SERVICE("ClusterIP", ",\"clusterIP\":\"10.0.0.1\"", "");
    fake_run(&b.fake, 20 * USEC_PER_SEC);
    expect(&b, "10.0.0.1");
    b.service = NULL;
    fake_run(&b.fake, 100 * USEC_PER_SEC);
    expect(&b, "10.0.0.1"); /* what was found stays */
    struct object *o = fake_object(SERVICE("ClusterIP", ",\"clusterIP\":\"10.0.0.2\"", ""));
    struct object *other = fake_object("{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{"
                                       "\"name\":\"lb\",\"namespace\":\"else\"},\"spec\":{"
                                       "\"clusterIP\":\"10.0.0.3\",\"ports\":[{\"port\":1}]}}");
    address_on_service(b.a, (const struct service *)other);
    expect(&b, "10.0.0.1");
    address_on_service(b.a, (const struct service *)o); /* at once */
    expect(&b, "10.0.0.2");
    assert_int_equal(b.changes, 2);
    address_on_service(b.a, NULL);
    expect(&b, "10.0.0.2");
    object_free(o);
    object_free(other);
    bench_fini(&b);
}

/* ---- of nodes ---- */

static void nodes_of_serving_pods(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    const char *nodes[] = {"n3", "n1", "n3", "n4", "n5", "n6", ""};
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        add_pod(&b, nodes[i]);
    }
    b.pods[3].phase = "Pending";
    b.pods[4].ready = "False";
    b.pods[5].is_deleted = true;
    start(&b);
    expect(&b, "10.0.0.1 10.0.0.3");
    assert_string_equal(b.selector,
                        "/api/v1/namespaces/ns/pods?limit=50&labelSelector=app%3Dlintel");
    assert_int_equal(b.node_gets, 2);
    b.pods[3].phase = "Running";
    fake_run(&b.fake, 70 * USEC_PER_SEC);
    expect(&b, "10.0.0.1 10.0.0.3 10.0.0.4");
    assert_int_equal(b.node_gets, 3); /* the others are known */
    b.pods[1].ready = "False";
    fake_run(&b.fake, 70 * USEC_PER_SEC);
    expect(&b, "10.0.0.3 10.0.0.4");
    fake_run(&b.fake, STATUS_NODE_REFRESH);
    assert_int_equal(b.node_gets, 5); /* looked at anew */
    bench_fini(&b);
}

static void external_or_internal(void **state)
{
    (void)state;
    for (int is_internal = 0; is_internal < 2; is_internal++) {
        struct bench b;
        bench_init(&b);
        b.options.reports_internal_ip = is_internal;
        b.external = "198.51.100.1";
        add_pod(&b, "n1");
        start(&b);
        expect(&b, is_internal ? "10.0.0.1" : "198.51.100.1");
        bench_fini(&b);
    }
}

/* At a start one Pod is ready before the other: that shall not take a minute. */
static void followers_are_found_soon(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    add_pod(&b, "n1");
    add_pod(&b, "n3");
    b.pods[1].ready = "False";
    start(&b);
    expect(&b, "10.0.0.1");
    b.pods[1].ready = "True";
    fake_run(&b.fake, 4 * USEC_PER_SEC);
    expect(&b, "10.0.0.1 10.0.0.3");
    int lists = b.pod_lists;
    fake_run(&b.fake, 600 * USEC_PER_SEC); /* and then it is quiet again */
    assert_in_range(b.pod_lists - lists, 9, 17);
    bench_fini(&b);
}

static void pods_in_pages(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (int i = 0; i < 2 * STATUS_PODS_PER_PAGE; i++) {
        add_pod(&b, i == 2 * STATUS_PODS_PER_PAGE - 1 ? "n9" : "n1");
    }
    start(&b);
    expect(&b, "10.0.0.1 10.0.0.9");
    assert_int_equal(b.pod_lists, 2);
    bench_fini(&b);
}

/* Since Kubernetes 1.35 a bound pod has the labels of its node's zone and region. */
static void labels_of_one_pod_do_not_select(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.labels = "\"topology.kubernetes.io/zone\":\"z\",\"topology.kubernetes.io/region\":\"r\","
               "\"statefulset.kubernetes.io/pod-name\":\"pod-0\","
               "\"apps.kubernetes.io/pod-index\":\"0\",\"pod-template-generation\":\"1\","
               "\"app.kubernetes.io/name\":\"lintel\",\"pod-template-hash-of-mine\":\"1\"";
    add_pod(&b, "n1");
    start(&b);
    assert_string_equal(b.selector,
                        "/api/v1/namespaces/ns/pods?limit=50&labelSelector=app.kubernetes.io%2Fname"
                        "%3Dlintel%2Cpod-template-hash-of-mine%3D1");
    bench_fini(&b);
}

static void a_pod_without_labels_is_alone(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.labels = "\"pod-template-hash\":\"1\",\"controller-revision-hash\":\"2\"";
    add_pod(&b, "n1");
    start(&b);
    assert_string_equal(b.selector,
                        "/api/v1/namespaces/ns/pods?limit=50&fieldSelector=metadata.name%3Dpod-0");
    bench_fini(&b);
}

static void failures_keep_what_was_found(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    add_pod(&b, "n1");
    start(&b);
    expect(&b, "10.0.0.1");
    b.status = 503;
    add_pod(&b, "n2");
    fake_run(&b.fake, 200 * USEC_PER_SEC);
    expect(&b, "10.0.0.1");
    b.status = 0;
    b.node_status = 500;
    fake_run(&b.fake, 200 * USEC_PER_SEC);
    expect(&b, "10.0.0.1"); /* half an answer is none */
    b.node_status = 0;
    fake_run(&b.fake, 70 * USEC_PER_SEC);
    expect(&b, "10.0.0.1 10.0.0.2");
    b.node_status = 404;
    fake_run(&b.fake, STATUS_NODE_REFRESH + 200 * USEC_PER_SEC);
    expect(&b, ""); /* the nodes are gone */
    bench_fini(&b);
}

static void node_limit(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct bench b;
        bench_init(&b);
        b.external = "198.51.100.1";
        for (int i = 0; i < STATUS_NODES_MAX + more; i++) {
            char node[16];
            (void)snprintf(node, sizeof(node), "n%d", i);
            add_pod(&b, node);
        }
        start(&b);
        fake_run(&b.fake, 10 * USEC_PER_SEC); /* one node after the other */
        expect(&b, "198.51.100.1");
        assert_int_equal(b.node_gets, STATUS_NODES_MAX);
        assert_int_equal(address_counters(b.a)->dropped, more);
        bench_fini(&b);
    }
}

static void node_name_limit(void **state)
{
    (void)state;
    for (size_t n = 253; n < 255; n++) {
        struct bench b;
        char name[260] = {0};
        bench_init(&b);
        b.external = "198.51.100.1";
        memset(name, 'n', n);
        add_pod(&b, name);
        start(&b);
        expect(&b, n == 253 ? "198.51.100.1" : "");
        bench_fini(&b);
    }
}

static void nobody_to_look_for(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.pod = STR_EMPTY;
    start(&b);
    expect(&b, "?");
    assert_int_equal(b.fake.started, 0);
    bench_fini(&b);
}

static void out_of_memory(void **state)
{
    (void)state;
    size_t n = 1;
    for (bool is_through = false; !is_through; n++) {
        struct bench b;
        bench_init(&b);
        add_pod(&b, "n1");
        add_pod(&b, "n2");
        fake_fail_from(&b.fake, n);
        enum err e = address_open(&b.options, &b.a);
        if (e == E_OK) {
            address_switch(b.a, true);
            for (int i = 0; i < 100; i++) {
                assert_int_equal(loop_step(b.fake.loop, USEC_PER_MS), E_OK);
            }
            is_through = address_get(b.a).is_known;
            fake_fail_from(&b.fake, 0);
            fake_run(&b.fake, 5 * USEC_PER_SEC);
            expect(&b, "10.0.0.1 10.0.0.2");
        } else {
            assert_int_equal(e, E_NOMEM);
        }
        fake_fail_from(&b.fake, 0);
        bench_fini(&b);
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_addresses),
        cmocka_unit_test(off_until_switched_on),
        cmocka_unit_test(given_limit),
        cmocka_unit_test(service_kinds),
        cmocka_unit_test(a_service_that_changes),
        cmocka_unit_test(nodes_of_serving_pods),
        cmocka_unit_test(external_or_internal),
        cmocka_unit_test(followers_are_found_soon),
        cmocka_unit_test(pods_in_pages),
        cmocka_unit_test(labels_of_one_pod_do_not_select),
        cmocka_unit_test(a_pod_without_labels_is_alone),
        cmocka_unit_test(failures_keep_what_was_found),
        cmocka_unit_test(node_limit),
        cmocka_unit_test(node_name_limit),
        cmocka_unit_test(nobody_to_look_for),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
