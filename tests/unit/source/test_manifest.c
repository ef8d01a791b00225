/* Manifests in, objects and exact diagnostic lines out. */
#include "source/manifest.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { OBJECTS_MAX = 64, TEXT_MAX = 64 << 20 };

struct outcome {
    struct object *objects[OBJECTS_MAX];
    size_t n;
    struct buf names; /* "Ingress default/a line 3\n" for each */
    struct buf diags; /* one text a line */
    enum err e;
};

static void on_object(void *arg, struct object *o)
{
    struct outcome *out = arg;
    buf_addf(&out->names, "%s %.*s/%.*s line %u\n", object_kind_name(o->kind),
             STR_ARG(o->namespace_name), STR_ARG(o->name), o->line);
    if (out->n < OBJECTS_MAX) {
        out->objects[out->n++] = o;
    } else {
        object_free(o);
    }
}

static void on_diag(void *arg, const struct diag *d)
{
    struct outcome *out = arg;
    diag_emit_text(&out->diags, d);
    buf_add_char(&out->diags, '\n');
}

static void run(struct outcome *out, const char *file, struct str text)
{
    *out = (struct outcome){0};
    buf_init(&out->names, TEXT_MAX);
    buf_init(&out->diags, TEXT_MAX);
    out->e = manifest_parse(str_from_cstr(file), text, on_object, on_diag, out);
}

static void finish(struct outcome *out)
{
    for (size_t i = 0; i < out->n; i++) {
        object_free(out->objects[i]);
    }
    buf_fini(&out->names);
    buf_fini(&out->diags);
}

static void expect_text(const char *what, const struct buf *got, const char *want)
{
    if (!str_eq(buf_str(got), str_from_cstr(want))) {
        fail_msg("%s\n--- want\n%s--- got\n%.*s", what, want, STR_ARG(buf_str(got)));
    }
}

static void expect(const char *file, struct str text, const char *names, const char *diags)
{
    struct outcome out;
    run(&out, file, text);
    assert_int_equal(out.e, E_OK);
    expect_text(text.p, &out.diags, diags);
    expect_text(text.p, &out.names, names);
    finish(&out);
}

#define NAMESPACE(name) "apiVersion: v1\nkind: Namespace\nmetadata: {name: " name "}\n"

#define CASE(file, text, names, diags)                                                             \
    {                                                                                              \
        file, STR_INIT(text), names, diags                                                         \
    }

static const struct {
    const char *file;
    struct str text;
    const char *names, *diags;
} cases[] = {
    /* Documents. */
    CASE("a.yaml", (""), "", ""),
    CASE("a.yaml", ("# nothing\n---\n---\n~\n"), "", ""),
    CASE("a.yaml", (NAMESPACE("a") "---\n" NAMESPACE("b")),
         "Namespace /a line 1\nNamespace /b line 5\n", ""),
    CASE("a.yaml", ("%YAML 1.1\n---\n" NAMESPACE("a") "...\n%YAML 1.1\n---\n" NAMESPACE("b")),
         "Namespace /a line 3\nNamespace /b line 9\n", ""),
    CASE("a.yaml", ("\xef\xbb\xbf" NAMESPACE("a")), "Namespace /a line 1\n", ""),
    CASE("a.yaml", ("apiVersion: v1\r\nkind: Namespace\r\nmetadata: {name: a}\r\n---\r\n"),
         "Namespace /a line 1\n", ""),
    CASE("a.yaml", (NAMESPACE("a") "---\na: [1\n---\n" NAMESPACE("c")),
         "Namespace /a line 1\nNamespace /c line 7\n",
         "a.yaml:6: error: is not YAML: did not find expected ',' or ']', while parsing a flow "
         "sequence "
         "that began in line 5 (MalformedDocument)\n"),
    CASE("a.yaml", ("a: \"x\n---\n" NAMESPACE("b")), "Namespace /b line 3\n",
         "a.yaml:2: error: is not YAML: found unexpected end of stream, while scanning a quoted "
         "scalar "
         "that began in line 1; close the quote or bracket that is open (MalformedDocument)\n"),
    CASE("a.yaml", ("a:\n\t- b\n--- # next\n" NAMESPACE("b")), "Namespace /b line 4\n",
         "a.yaml:2: error: is not YAML: found character that cannot start any token, while "
         "scanning for "
         "the next token that began in line 2; indent with spaces, not tabs; quote a value that "
         "begins "
         "with one of @ ` % (MalformedDocument)\n"),
    CASE("a.yaml", (NAMESPACE("a") "---\nx: \"\xff\"\n---\n" NAMESPACE("c")),
         "Namespace /a line 1\nNamespace /c line 7\n",
         "a.yaml:5: error: is not YAML: invalid leading UTF-8 octet; save the file as UTF-8 "
         "(MalformedDocument)\n"),
    CASE("a.yaml", ("a: b\0c\n---\n" NAMESPACE("b")), "Namespace /b line 3\n",
         "a.yaml:1: error: is not YAML: control characters are not allowed; remove the character, "
         "or "
         "write it as an escape in double quotes (MalformedDocument)\n"),
    CASE("a.yaml", ("a: *b\n---\n" NAMESPACE("b")), "Namespace /b line 3\n",
         "a.yaml:1: error: uses an alias that is not defined: an anchor stands above its alias, in "
         "the "
         "same document (MalformedDocument)\n"),
    CASE("a.yaml", ("a: &a [*a]\n"), "",
         "a.yaml:1: error: uses an alias inside of its own anchor: a value cannot hold itself "
         "(MalformedDocument)\n"),
    CASE("a.yaml", ("- 1\n"), "",
         "a.yaml:1: error: is not a mapping: an object begins with apiVersion and kind "
         "(MalformedDocument)\n"),
    CASE("a.yaml", ("x: 1\n"), "",
         "a.yaml:1: error: apiVersion: is missing: every object says its apiVersion and kind "
         "(MissingField)\n"),
    CASE("a.yaml", ("apiVersion: v1\nkind: 7\n"), "",
         "a.yaml:2: error: kind: is not a name: the API wants a string here (WrongType)\n"),
    /* JSON. */
    CASE("a.json",
         ("{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\n\"metadata\":{\"name\":\"a\"}}\n"
          "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"b\"}}"),
         "Namespace /a line 1\nNamespace /b line 3\n", ""),
    CASE("noext",
         ("\n {\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":\n"
          "{\"name\":\"B\"}}"),
         "",
         "noext:3: error: Namespace B: metadata.name: is \"B\": a name here has 1 to 63 lower case "
         "letters, digits and '-', and begins and ends with a letter or digit (InvalidValue)\n"),
    CASE("noext", (NAMESPACE("a")), "Namespace /a line 1\n", ""),
    CASE("a.json", ("{\"a\":\n\n x}"), "",
         "a.json:3: error: is not JSON: lexical error: invalid char in json text.; check commas, "
         "quotes "
         "and brackets here; name a YAML file .yaml (MalformedDocument)\n"),
    CASE("a.json", ("{\"a\": \"\xff\"}"), "",
         "a.json:1: error: is not UTF-8: JSON is written in UTF-8; save it as UTF-8 "
         "(MalformedDocument)\n"),
    CASE("a.json", ("{\"a\": 1"), "",
         "a.json:1: error: is not JSON: parse error: premature EOF; check commas, quotes and "
         "brackets "
         "here; name a YAML file .yaml (MalformedDocument)\n"),
    CASE("a.json",
         ("{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\\u0000\"}}"),
         "",
         "a.json:1: error: Namespace a\\x00: metadata.name: is \"a\\x00\": a string cannot hold a "
         "NUL "
         "character; remove it (InvalidValue)\n"),
    /* Kinds and lists. */
    CASE("a.yaml", ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n"), "", ""),
    CASE("a.yaml", ("apiVersion: serving.knative.dev/v1\nkind: Service\n"), "", ""),
    CASE("a.yaml", ("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"), "", ""),
    CASE("a.yaml", ("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}\n"), "",
         "a.yaml:1: warning: Ingress a: apiVersion: is not a version that Lintel uses: the object "
         "is "
         "skipped; write apiVersion: networking.k8s.io/v1 (UnknownKind)\n"),
    CASE("a.yaml",
         ("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: "
          "{name: a}}\n- {apiVersion: v1, kind: Namespace}\n- apiVersion: v1\n  kind: "
          "NamespaceList\n  items:\n  - metadata: {name: c}\n  -\n"),
         "Namespace /a line 4\nNamespace /c line 9\n",
         "a.yaml:5: error: Namespace: metadata: is missing: the API requires this field "
         "(MissingField)\n"),
    CASE("a.yaml", ("apiVersion: v1\nkind: List\nitems: 1\n"), "",
         "a.yaml:3: error: List: items: is not a list: the API wants a list here (WrongType)\n"),
    CASE("a.yaml", ("apiVersion: example.com/v1\nkind: WatchList\nitems: 1\n"), "", ""),
    /* Metadata. */
    CASE("a.yaml", ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: a-\n"), "",
         "a.yaml:4: error: ConfigMap: metadata.name: is missing: generateName needs an API server; "
         "give "
         "it a name (MissingField)\n"),
    CASE(
        "a.yaml",
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: b.c\n  labels: "
         "{x: 1}\n  annotations: [a]\n  creationTimestamp: yesterday\n"),
        "",
        "a.yaml:5: error: ConfigMap b.c/a: metadata.namespace: is \"b.c\": a name here has 1 to 63 "
        "lower case letters, digits and '-', and begins and ends with a letter or digit "
        "(InvalidValue)\n"
        "a.yaml:8: error: ConfigMap b.c/a: metadata.creationTimestamp: is \"yesterday\": a time "
        "reads "
        "like 2026-01-02T03:04:05Z (InvalidValue)\n"
        "a.yaml:6: error: ConfigMap b.c/a: metadata.labels[x]: is 1: the API wants a string here; "
        "put "
        "the value in quotes (WrongType)\n"
        "a.yaml:7: error: ConfigMap b.c/a: metadata.annotations: is a list: the API wants a "
        "mapping "
        "here (WrongType)\n"),
    CASE("a.yaml",
         ("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  namespace: b\n  name: c\n"),
         "Namespace /c line 1\n",
         "a.yaml:6: warning: Namespace b/c: metadata.name: stands twice: the last one is used; "
         "remove "
         "one of them (DuplicateKey)\n"
         "a.yaml:5: warning: Namespace b/c: metadata.namespace: is \"b\": objects of this kind are "
         "in no "
         "namespace; ignored; remove it (InvalidValue)\n"),
};

static void manifests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect(cases[i].file, cases[i].text, cases[i].names, cases[i].diags);
    }
}

static void file_size_limit(void **state)
{
    (void)state;
    size_t n = (size_t)MANIFEST_FILE_BYTES_MAX + 1;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, '\n', n);
    expect("a.yaml", (struct str){text, n - 1}, "", "");
    expect("a.yaml", (struct str){text, n}, "",
           "a.yaml: error: is too large: a file has at most 64 MB; split it (LimitReached)\n");
    free(text);
}

static void utf16(void **state)
{
    (void)state;
    struct outcome out;
    run(&out, "a.yaml",
        STR("\xff\xfe"
            "a\0:\0"));
    assert_true(out.diags.n > 0 && out.n == 0);
    finish(&out);
}

/* One of each kind, as a file and with every allocation failing in turn. */
static const char everything[] =
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: a\n  labels: {a: b}\n"
    "spec:\n  rules:\n  - host: a.example\n    http: &http\n      paths:\n      - path: /\n"
    "        pathType: Prefix\n        backend: {service: {name: a, port: {number: 80}}}\n"
    "  - {<<: {http: *http}, host: b.example}\n  tls: [{hosts: [a.example], secretName: s}]\n"
    "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"
    "spec: {controller: lintel.dev/ingress-controller}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n"
    "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\n"
    "addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]\nports: [{port: 8080}]\n"
    "---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets:\n"
    "- {addresses: [{ip: 127.0.0.1}], ports: [{port: 1}]}\n"
    "- {notReadyAddresses: [{ip: 127.0.0.2}]}\n"
    "---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: aGk=}\n"
    "stringData: {b: |\n  text\n  }\n"
    "---\napiVersion: v1\nkind: Secret\nmetadata: {name: b}\ndata: {a: aGk=}\nstringData: {b: x}\n"
    "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  b: |\n    text\n"
    "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";

static const char everything_json[] =
    "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"},"
    "\"data\":{\"x\":\"a longer text with \\n an escape in it, so that the buffer is used\"}}";

static size_t allocations_of(const char *file, struct str text)
{
    struct outcome out;
    size_t before = mem_calls();
    run(&out, file, text);
    size_t n = mem_calls() - before;
    assert_int_equal(out.e, E_OK);
    assert_true(out.n > 0);
    finish(&out);
    return n;
}

static void fail_each_allocation(const char *file, struct str text)
{
    size_t n = allocations_of(file, text);
    bool has_failed = false;
    for (size_t i = 1; i <= n; i++) {
        struct outcome out;
        mem_fail_from(i);
        run(&out, file, text);
        mem_fail_from(0);
        assert_true(out.e == E_OK || out.e == E_NOMEM);
        has_failed = has_failed || out.e == E_NOMEM;
        finish(&out);
    }
    assert_true(has_failed);
}

static void allocation_failures(void **state)
{
    (void)state;
    fail_each_allocation("a.yaml", STR(everything));
    fail_each_allocation("a.json", STR(everything_json));
}

static void every_kind(void **state)
{
    (void)state;
    struct outcome out;
    run(&out, "a.yaml", STR(everything));
    assert_int_equal(out.e, E_OK);
    assert_int_equal(out.n, 8); /* the first Secret is broken YAML */
    finish(&out);
}

static void add_ingress(struct buf *b, size_t i)
{
    buf_addf(b,
             "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web-%zu\n"
             "  namespace: team-%zu\n  annotations:\n    example.com/owner: team-%zu\nspec:\n"
             "  ingressClassName: lintel\n  rules:\n  - host: web-%zu.example.com\n    http:\n"
             "      paths:\n      - path: /\n        pathType: Prefix\n        backend:\n"
             "          service:\n            name: web-%zu\n            port:\n"
             "              number: 80\n",
             i, i % 50, i % 50, i, i);
}

static void count_object(void *arg, struct object *o)
{
    *(size_t *)arg += 1;
    object_free(o);
}

static void refuse_diag(void *arg, const struct diag *d)
{
    (void)arg;
    fail_msg("%.*s", STR_ARG(d->what));
}

/* Prints a figure; asserts only that all are read. */
static void speed(void **state)
{
    (void)state;
    enum { YAML_BYTES = 20 << 20 };
    struct buf b;
    size_t n = 0, count = 0;
    buf_init(&b, TEXT_MAX);
    while (b.n < YAML_BYTES) {
        add_ingress(&b, n++);
    }
    usec_t start = clock_cpu();
    assert_int_equal(manifest_parse(STR("a.yaml"), buf_str(&b), count_object, refuse_diag, &count),
                     E_OK);
    usec_t took = clock_cpu() - start + 1;
    assert_int_equal(count, n);
    print_message("YAML: %zu Ingresses, %zu MB, %.2f s CPU: %.0f objects/s, %.1f MB/s\n", n,
                  b.n >> 20, (double)took / 1e6, (double)n * 1e6 / (double)took,
                  (double)b.n / (double)took);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifests),
        cmocka_unit_test(file_size_limit),
        cmocka_unit_test(utf16),
        cmocka_unit_test(every_kind),
        cmocka_unit_test(allocation_failures),
        cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
