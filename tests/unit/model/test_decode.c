/* What the API server would refuse in each kind, with the exact diagnostics, and what decoded
 * structs hold. Here and not beside model/, because the objects are read from YAML. */
#include "base/mem.h"
#include "source/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_MAX = 16 << 20 };

struct outcome {
    struct object *o;
    struct buf diags;
    size_t problems;
};

static void on_object(void *arg, struct object *o)
{
    struct outcome *out = arg;
    object_free(out->o);
    out->o = o;
}

static void on_diag(void *arg, const struct diag *d)
{
    struct outcome *out = arg;
    out->problems++;
    diag_emit_text(&out->diags, d);
    buf_add_char(&out->diags, '\n');
}

static void run_text(struct outcome *out, struct str text)
{
    *out = (struct outcome){0};
    buf_init(&out->diags, TEXT_MAX);
    assert_int_equal(manifest_parse(STR("f"), text, on_object, on_diag, out), E_OK);
}

/* An object named default/x; rest is what follows metadata, from line 4 on. */
static void run(struct outcome *out, const char *api_version, const char *kind, const char *rest)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_addf(&b, "apiVersion: %s\nkind: %s\nmetadata: {name: x, namespace: default}\n", api_version,
             kind);
    buf_add_str(&b, str_from_cstr(rest));
    run_text(out, buf_str(&b));
    buf_fini(&b);
}

static void finish(struct outcome *out)
{
    object_free(out->o);
    buf_fini(&out->diags);
}

/* want: the diagnostics without "f:", "Kind default/x: " and reason kept; "" = accepted. */
static void expect(const char *api_version, const char *kind, const char *rest, const char *want)
{
    struct outcome out;
    run(&out, api_version, kind, rest);
    if (!str_eq(buf_str(&out.diags), str_from_cstr(want))) {
        fail_msg("%s\n--- want\n%s--- got\n%.*s", rest, want, STR_ARG(buf_str(&out.diags)));
    }
    bool is_refused = strstr(want, " error: ") != NULL;
    assert_int_equal(out.o == NULL, is_refused);
    finish(&out);
}

#define ING(field)  "error: Ingress default/x: " field
#define BACKEND     "backend: {service: {name: s, port: {number: 80}}}"
#define PATHS(path) "spec: {rules: [{http: {paths: [\n{" path "}\n]}}]}\n"
#define PATH_FIELD  "spec.rules[0].http.paths[0]"
#define ODD_PATH                                                                                   \
    "an Exact or Prefix path has no \"//\", \"/./\", \"/../\", \"%2f\" or \"%5c\" in it and no "   \
    "\"/.\" or \"/..\" at its end; write the path that clients mean, without these "               \
    "(InvalidPath)\n"
#define BAD_HOST                                                                                   \
    "a host is a lower case DNS name without port, or a wildcard like *.example.com; an IP "       \
    "address is none; write the name alone, or leave host out to match every host (InvalidHost)\n"
#define BAD_PORT "a port is a number from 1 to 65535 (InvalidValue)\n"

static void ingress_rules(void **state)
{
    (void)state;
    static const struct {
        const char *rest, *want;
    } cases[] = {
        {PATHS("pathType: Exact, path: /a, " BACKEND),                                             ""                                                                           },
        {PATHS("pathType: Prefix, path: /, " BACKEND),                                             ""                                                                           },
        {PATHS("pathType: ImplementationSpecific, " BACKEND),                                      ""                                                                           },
        {PATHS("pathType: ImplementationSpecific, path: /a//b, " BACKEND),                         ""                                                                           },
        {"spec: {defaultBackend: {service: {name: s, port: {name: http}}}}\n",                     ""                                                                           },
        {"spec: {rules: [{host: a.b}]}\n",                                                         ""                                                                           },
        {"spec: {rules: [{host: '*.a.b'}, {host: ''}, {host: null}]}\n",                           ""                                                                           },
        {"spec: {rules: [], defaultBackend: {resource: {kind: K, name: nn}}}\n",                   ""                                                                           },
        {"",                                                                                       "f:1: " ING("spec: is missing: the API requires this field (MissingField)\n")},
        {"spec: 1\n",                                                                              "f:4: " ING("spec: is 1: the API wants a mapping here (WrongType)\n")        },
        {"spec: {rules: []}\n",
         "f:4: " ING("spec: routes nothing: an Ingress has rules or a defaultBackend; write at "
                     "least one of the two (MissingField)\n")                                                                                                                   },
        {"spec: {rules: {}}\n",
         "f:4: " ING("spec.rules: is a mapping: the API wants a list here; begin each item with "
                     "'- ' (WrongType)\n")                                                                                                                                      },
        {PATHS("path: /, " BACKEND),
         "f:5: " ING(PATH_FIELD ".pathType: is missing: the API requires this field "
                                "(MissingField)\n")                                                                                                                             },
        {PATHS("pathType: Regex, path: /, " BACKEND),
         "f:5: " ING(PATH_FIELD ".pathType: is \"Regex\": a pathType is Exact, Prefix or "
                                "ImplementationSpecific (InvalidValue)\n")                                                                                                      },
        {PATHS("pathType: Exact, " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is missing: an Exact or Prefix path begins with '/'; write "
                                "path: / to match all paths (InvalidPath)\n")                                                                                                   },
        {PATHS("pathType: Prefix, path: a, " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is \"a\": a path begins with '/' (InvalidPath)\n")                                                                                      },
        {PATHS("pathType: ImplementationSpecific, path: a, " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is \"a\": a path begins with '/' (InvalidPath)\n")                                                                                      },
        {PATHS("pathType: Prefix, path: /a//b, " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is \"/a//b\": " ODD_PATH)                                                                                                               },
        {PATHS("pathType: Prefix, path: /./a, " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is \"/./a\": " ODD_PATH)                                                                                                                },
        {PATHS("pathType: Exact, path: /../a, " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is \"/../a\": " ODD_PATH)                                                                                                               },
        {PATHS("pathType: Exact, path: /a/.., " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is \"/a/..\": " ODD_PATH)                                                                                                               },
        {PATHS("pathType: Exact, path: /a/., " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is \"/a/.\": " ODD_PATH)                                                                                                                },
        {PATHS("pathType: Exact, path: /a%2Fb, " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is \"/a%2Fb\": " ODD_PATH)                                                                                                              },
        {PATHS("pathType: Exact, path: /a%5cb, " BACKEND),
         "f:5: " ING(PATH_FIELD ".path: is \"/a%5cb\": " ODD_PATH)                                                                                                              },
        {PATHS("pathType: Exact, path: /a"),
         "f:5: " ING(PATH_FIELD ".backend: is missing: the API requires this field "
                                "(MissingField)\n")                                                                                                                             },
        {PATHS("pathType: Exact, path: /a, backend: {}"),
         "f:5: " ING(PATH_FIELD ".backend: names no backend: a backend has a service or a "
                                "resource; write service: with a name and a port "
                                "(MissingField)\n")                                                                                                                             },
        {PATHS("pathType: Exact, path: /a, backend: {service: {name: s, port: {number: 1}}, "
               "resource: {kind: k, name: nn}}"),
         "f:5: " ING(PATH_FIELD ".backend: has both service and resource: a backend has one of the "
                                "two; remove one (InvalidValue)\n")                                                                                                             },
        {PATHS("pathType: Exact, path: /a, backend: {service: {name: s}}"),
         "f:5: " ING(PATH_FIELD ".backend.service.port: is missing: a backend names its Service's "
                                "port; write port: with a number or a name (MissingField)\n")                                                                                   },
        {PATHS("pathType: Exact, path: /a, backend: {service: {name: s, port: {number: 1, name: "
               "a}}}"),
         "f:5: " ING(PATH_FIELD ".backend.service.port: has both name and number: a backend's port "
                                "has one of the two; remove one (InvalidValue)\n")                                                                                              },
        {PATHS("pathType: Exact, path: /a, backend: {service: {name: s, port: {number: 0}}}"),
         "f:5: " ING(PATH_FIELD ".backend.service.port.number: is 0: " BAD_PORT)                                                                                                },
        {PATHS("pathType: Exact, path: /a, backend: {service: {name: s, port: {number: 65535}}}"),
         ""                                                                                                                                                                     },
        {PATHS("pathType: Exact, path: /a, backend: {service: {name: s, port: {number: 65536}}}"),
         "f:5: " ING(PATH_FIELD ".backend.service.port.number: is 65536: " BAD_PORT)                                                                                            },
        {PATHS("pathType: Exact, path: /a, backend: {service: {name: s, port: {number: 80.5}}}"),
         "f:5: " ING(PATH_FIELD ".backend.service.port.number: is 80.5: " BAD_PORT)                                                                                             },
        {PATHS("pathType: Exact, path: /a, backend: {service: {name: s, port: {number: '80'}}}"),
         "f:5: " ING(PATH_FIELD ".backend.service.port.number: is \"80\": the API wants a number "
                                "here; write the number without quotes, or the name in the field "
                                "for names (WrongType)\n")                                                                                                                      },
        {"spec: {rules: [{host: 'a:80'}]}\n",
         "f:4: " ING("spec.rules[0].host: is \"a:80\": " BAD_HOST)                                                                                                              },
        {"spec: {rules: [{host: n}]}\n",
         "f:4: " ING("spec.rules[0].host: is n: the API wants a string here; put the value in "
                     "quotes (WrongType)\n")                                                                                                                                    },
        {"spec: {rules: [{host: 10.0.0.1}]}\n",
         "f:4: " ING("spec.rules[0].host: is \"10.0.0.1\": " BAD_HOST)                                                                                                          },
        {"spec: {rules: [{host: '*'}]}\n",                                                         "f:4: " ING("spec.rules[0].host: is \"*\": " BAD_HOST)                       },
        {"spec: {rules: [{host: 'a.*.b'}]}\n",
         "f:4: " ING("spec.rules[0].host: is \"a.*.b\": " BAD_HOST)                                                                                                             },
        {"spec: {rules: [{host: A.b}]}\n",
         "f:4: " ING("spec.rules[0].host: is \"A.b\": " BAD_HOST)                                                                                                               },
        {"spec: {rules: [{host: a}, {http: {}}]}\n",
         "f:4: " ING("spec.rules[1].http.paths: is missing: the API requires this field "
                     "(MissingField)\n")                                                                                                                                        },
        {"spec: {rules: [{http: {paths: []}}]}\n",
         "f:4: " ING("spec.rules[0].http.paths: is empty: a rule with http has at least one path "
                     "(MissingField)\n")                                                                                                                                        },
        {"spec: {rules: [{host: a}], ingressClassName: A_B}\n",
         "f:4: " ING(
             "spec.ingressClassName: is \"A_B\": a name has lower case letters, digits, '-' "
             "and '.', and begins and ends with a letter or digit (InvalidValue)\n")                                                                                            },
 /* Several at once, each with its own line. */
        {"spec:\n  rules:\n  - host: 1\n    http:\n      paths:\n      - path: x\n"
         "        pathType: Exact\n        backend:\n          service:\n            port: "
         "{}\n",                                                                          "f:6: " ING("spec.rules[0].host: is 1: the API wants a string here; put the value in "
                     "quotes (WrongType)\n") "f:13: " ING("spec.rules[0].http.paths[0].backend."
                                                          "service.name: is missing: the API "
                                                          "requires this field "
                                                          "(MissingField)\n") "f:9: " ING("spec"
                                                                                          ".rul"
                                                                                          "es["
                                                                                          "0]."
                                                                                          "http"
                                                                                          ".pat"
                                                                                          "hs["
                                                                                          "0]."
                                                                                          "path"
                                                                                          ": "
                                                                                          "is "
                                                                                          "\"x"
                                                                                          "\": "
                                                                                          "a "
                                                                                          "path"
                                                                                          " beg"
                                                                                          "ins "
                                                                                          "with"
                                                                                          " '/"
                                                                                          "' "
                                                                                          "(Inv"
                                                                                          "alid"
                                                                                          "Path"
                                                                                          ")"
                                                                                          "\n")                                                        },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect("networking.k8s.io/v1", "Ingress", cases[i].rest, cases[i].want);
    }
}

#define SVC(field) "error: Service default/x: " field

static void service_rules(void **state)
{
    (void)state;
    static const struct {
        const char *rest, *want;
    } cases[] = {
        {"spec: {ports: [{port: 80, targetPort: http, protocol: UDP}]}\n",             ""},
        {"spec: {ports: [{port: 80, name: a}, {port: 80, name: b, protocol: UDP}]}\n", ""},
        {"spec: {clusterIP: None}\n",                                                  ""},
        {"spec: {type: ExternalName, externalName: a.example.}\n",                     ""},
        {"spec: {ports: []}\n",
         "f:4: " SVC("spec.ports: is a list: a Service with a cluster address has at least one "
                     "port; add the port, or clusterIP: None (MissingField)\n")          },
        {"spec: {type: ExternalName}\n",
         "f:4: " SVC("spec.externalName: is missing: an ExternalName Service names a host; write "
                     "externalName: with a DNS name (MissingField)\n")                   },
        {"spec: {type: ExternalName, externalName: 'http://a'}\n",
         "f:4: " SVC(
             "spec.externalName: is \"http://a\": an externalName is a lower case DNS name, "
             "without scheme, port or path (InvalidValue)\n")                            },
        {"spec: {ports: [{port: 80}, {port: 81, name: a}]}\n",
         "f:4: " SVC("spec.ports[0].name: is missing: with several ports each one has a name "
                     "(MissingField)\n")                                                 },
        {"spec: {ports: [{port: 80, name: a}, {port: 80, name: a}]}\n",
         "f:4: " SVC("spec.ports[1].name: is \"a\": another port has this name; rename one of them "
                     "(InvalidValue)\n") "f:4: " SVC("spec.ports[1].port: is 80: another port has "
                                                     "this number and protocol; remove one of "
                                                     "them (InvalidValue)\n")            },
        {"spec: {ports: [{port: 80, targetPort: '8080'}]}\n",
         "f:4: " SVC("spec.ports[0].targetPort: is \"8080\": a port name has 1 to 15 lower case "
                     "letters, digits and '-', with at least one letter; write a port number "
                     "without quotes (InvalidValue)\n")                                  },
        {"spec: {ports: [{port: 80, targetPort: 70000}]}\n",
         "f:4: " SVC("spec.ports[0].targetPort: is 70000: " BAD_PORT)                    },
        {"spec: {ports: [{port: 80, targetPort: [1]}]}\n",
         "f:4: " SVC("spec.ports[0].targetPort: is a list: a target port is a number or a name "
                     "(WrongType)\n")                                                    },
        {"spec: {ports: [{port: 80, protocol: tcp}]}\n",
         "f:4: " SVC("spec.ports[0].protocol: is \"tcp\": a protocol is TCP, UDP or SCTP "
                     "(InvalidValue)\n")                                                 },
        {"spec: {ports: [{port: 80}], clusterIP: x}\n",
         "f:4: " SVC("spec.clusterIP: is \"x\": a clusterIP is an IP address or None "
                     "(InvalidValue)\n")                                                 },
        {"spec: {ports: [{port: 80}], publishNotReadyAddresses: 'true'}\n",
         "f:4: " SVC("spec.publishNotReadyAddresses: is \"true\": the API wants true or false here "
                     "(WrongType)\n")                                                    },
        {"spec: {ports: [{port: 80}], publishNotReadyAddresses: yes}\n",               ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect("v1", "Service", cases[i].rest, cases[i].want);
    }
}

#define SLICE(field) "error: EndpointSlice default/x: " field

static void slice_rules(void **state)
{
    (void)state;
    static const struct {
        const char *rest, *want;
    } cases[] = {
        {"addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]\n",               ""        },
        {"endpoints: [{addresses: ['::1']}]\naddressType: IPv6\nports: [{}]\n",      ""        },
        {"addressType: FQDN\nendpoints: [{addresses: [a.b]}]\n",
         "f:4: warning: EndpointSlice default/x: addressType: is \"FQDN\": slices of names are "
         "deprecated; their endpoints are not used; use an ExternalName Service, or addressType "
         "IPv4 or IPv6 (InvalidEndpoint)\n"                                                    },
        {"endpoints: []\n",
         "f:1: " SLICE("addressType: is missing: the API requires this field (MissingField)\n")},
        {"addressType: ipv4\n",
         "f:4: " SLICE("addressType: is \"ipv4\": an addressType is IPv4, IPv6 or FQDN "
                       "(InvalidValue)\n")                                                     },
        {"addressType: IPv4\nendpoints: [{addresses: [a]}, {addresses: []},\n{}]\n",
         "f:5: " SLICE(
             "endpoints[0].addresses[0]: is \"a\": an endpoint address is an IP address "
             "(InvalidEndpoint)\n") "f:5: " SLICE("endpoints[1].addresses: is empty: an endpoint "
                                                  "has at least one address "
                                                  "(MissingField)\n") "f:6: " SLICE("endpoints[2]."
                                                                                    "addresses: is "
                                                                                    "missing: the "
                                                                                    "API requires "
                                                                                    "this field "
                                                                                    "(MissingField)"
                                                                                    "\n")      },
        {"addressType: IPv4\nendpoints: [{addresses: ['::1']}]\n",
         "f:5: " SLICE("endpoints[0].addresses[0]: is \"::1\": all addresses of an EndpointSlice "
                       "are of its addressType; put IPv4 and IPv6 addresses into slices of their "
                       "own (InvalidEndpoint)\n")                                              },
        {"addressType: IPv4\nendpoints: [{addresses: [169.254.1.1]}]\n",
         "f:5: " SLICE("endpoints[0].addresses[0]: is \"169.254.1.1\": unspecified, link-local and "
                       "multicast addresses cannot be endpoints (InvalidEndpoint)\n")          },
        {"addressType: IPv4\nports: [{name: a}, {name: a}]\n",
         "f:5: " SLICE("ports[1].name: is \"a\": another port has this name; rename one of them "
                       "(InvalidValue)\n")                                                     },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect("discovery.k8s.io/v1", "EndpointSlice", cases[i].rest, cases[i].want);
    }
}

static void other_rules(void **state)
{
    (void)state;
    expect("v1", "Endpoints", "subsets: [{}, {addresses: [{ip: x}]}]\n",
           "f:4: error: Endpoints default/x: subsets[0]: has no address: a subset has addresses or "
           "notReadyAddresses (MissingField)\n"
           "f:4: error: Endpoints default/x: subsets[1].addresses[0].ip: is \"x\": an endpoint "
           "address is an IP address (InvalidEndpoint)\n");
    expect(
        "v1", "ConfigMap", "data: {'a/b': c, d: 1}\nbinaryData: 5\n",
        "f:4: error: ConfigMap default/x: data[a/b]: is \"a/b\": a key has letters, digits, '-', "
        "'_' and '.', 253 at most (InvalidValue)\n"
        "f:4: error: ConfigMap default/x: data[d]: is 1: the API wants a string here; put the "
        "value in quotes (WrongType)\n");
    expect("v1", "ConfigMap", "data: {a: b, a: c}\n",
           "f:4: warning: ConfigMap default/x: data[a]: stands twice: the last one is used; remove "
           "one of them (DuplicateKey)\n");
}

static void cluster_scoped(void **state)
{
    (void)state;
    static const char warning[] =
        "f:3: warning: IngressClass default/x: metadata.namespace: is \"default\": objects of this "
        "kind are in no namespace; ignored; remove it (InvalidValue)\n";
    struct outcome out;
    expect("networking.k8s.io/v1", "IngressClass", "spec: {controller: a.b/c}\n", warning);
    run(&out, "networking.k8s.io/v1", "IngressClass", "spec: {controller: lintel}\n");
    buf_add_char(&out.diags, '\0');
    assert_null(out.o);
    assert_non_null(strstr(out.diags.p, "spec.controller: is \"lintel\": a controller is a domain "
                                        "and a path, like lintel.dev/ingress-controller "
                                        "(InvalidValue)\n"));
    finish(&out);
    run(&out, "networking.k8s.io/v1", "IngressClass", "spec: {controller: a.b/c}\n");
    assert_true(out.o != NULL && out.o->namespace_name.n == 0);
    assert_true(str_eq(((const struct ingress_class *)out.o)->controller, STR("a.b/c")));
    finish(&out);
}

/* No value of a Secret is ever told. */
static void secrets_are_silent(void **state)
{
    (void)state;
    expect("v1", "Secret",
           "data: {a: 'hunter 2!', b: 77777}\nstringData: hunter2\ntype: [hunter2]\n",
           "f:6: error: Secret default/x: type: is a list: the API wants a string here "
           "(WrongType)\n"
           "f:4: error: Secret default/x: data[a]: is a string: values in data are base64; encode "
           "it, or move plain text to stringData (InvalidValue)\n"
           "f:4: error: Secret default/x: data[b]: is a number: the API wants a string here; put "
           "the value in quotes (WrongType)\n"
           "f:5: error: Secret default/x: stringData: is a string: the API wants a mapping here "
           "(WrongType)\n");
    expect("v1", "Secret", "type: kubernetes.io/tls\ndata: {tls.crt: ''}\n",
           "f:5: error: Secret default/x: data[tls.key]: is missing: a Secret of type "
           "kubernetes.io/tls has tls.crt and tls.key in its data (MissingField)\n");
}

static void ingress_content(void **state)
{
    (void)state;
    struct outcome out;
    run(&out, "networking.k8s.io/v1", "Ingress",
        "spec:\n  ingressClassName: c\n  defaultBackend: {resource: {kind: K, name: nn}}\n"
        "  tls: [{hosts: [a, '*.b'], secretName: s}]\n"
        "  rules:\n  - host: h\n    http:\n      paths:\n"
        "      - {path: /p, pathType: Prefix, backend: {service: {name: v, port: {name: w}}}}\n");
    const struct ingress *i = (const struct ingress *)out.o;
    assert_non_null(i);
    assert_true(i->has_class_name && str_eq(i->class_name, STR("c")));
    assert_int_equal(i->default_backend.type, BACKEND_RESOURCE);
    assert_true(str_eq(i->default_backend.resource_kind, STR("K")));
    assert_true(i->tls_n == 1 && i->tls[0].host_n == 2);
    assert_true(str_eq(i->tls[0].hosts[1], STR("*.b")) && str_eq(i->tls[0].secret, STR("s")));
    assert_true(i->rule_n == 1 && i->rules[0].path_n == 1 && i->rules[0].line == 9);
    const struct ingress_path *p = &i->rules[0].paths[0];
    assert_true(str_eq(p->path, STR("/p")) && p->type == PATH_PREFIX && p->line == 12);
    assert_int_equal(p->backend.type, BACKEND_SERVICE);
    assert_true(str_eq(p->backend.service, STR("v")) && str_eq(p->backend.port.name, STR("w")));
    assert_int_equal(p->backend.port.number, 0);
    assert_int_equal(i->object.created_s, INT64_MAX);
    assert_true(str_eq(i->object.file, STR("f")) && i->object.line == 1);
    finish(&out);
}

static void status_content(void **state)
{
    (void)state;
    struct outcome out;
    run(&out, "networking.k8s.io/v1", "Ingress",
        "spec: {rules: [{}]}\n"
        "status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: a.b, ports: []}]}}\n");
    const struct ingress *i = (const struct ingress *)out.o;
    assert_non_null(i);
    assert_int_equal(i->published_n, 2);
    assert_true(str_eq(i->published[0].ip, STR("192.0.2.1")) && i->published[0].hostname.n == 0);
    assert_true(str_eq(i->published[1].hostname, STR("a.b")) && i->published[1].ip.n == 0);
    finish(&out);
    run(&out, "v1", "Service",
        "spec: {type: LoadBalancer, ports: [{port: 80}], externalIPs: [192.0.2.7, 192.0.2.8]}\n"
        "status: {loadBalancer: {ingress: [{ip: 192.0.2.1, hostname: lb, ipMode: VIP}]}}\n");
    const struct service *s = (const struct service *)out.o;
    assert_non_null(s);
    assert_int_equal(s->external_ip_n, 2);
    assert_true(str_eq(s->external_ips[1], STR("192.0.2.8")));
    assert_int_equal(s->balancer_n, 1);
    assert_true(str_eq(s->balancers[0].ip, STR("192.0.2.1")));
    assert_true(str_eq(s->balancers[0].hostname, STR("lb")));
    finish(&out);
}

static void endpoint_content(void **state)
{
    (void)state;
    struct outcome out;
    run_text(&out, STR("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n"
                       "  name: x\n  creationTimestamp: 1970-01-01T00:01:00Z\n"
                       "  labels: {z: '', kubernetes.io/service-name: svc}\naddressType: IPv4\n"
                       "ports: [{name: a, port: 1}, {name: b}]\nendpoints:\n"
                       "- {addresses: [10.0.0.1]}\n"
                       "- {addresses: [10.0.0.2], conditions: {ready: false}}\n"
                       "- addresses: [10.0.0.3]\n  zone: q\n  nodeName: nn\n"
                       "  targetRef: {kind: Pod, name: p}\n"
                       "  conditions: {ready: false, serving: true, terminating: true}\n"));
    const struct endpoint_slice *s = (const struct endpoint_slice *)out.o;
    assert_non_null(s);
    assert_true(str_eq(s->service, STR("svc")) && s->endpoint_n == 3 && s->port_n == 2);
    assert_int_equal(s->object.created_s, 60);
    assert_true(s->endpoints[0].is_ready && s->endpoints[0].is_serving);
    assert_true(!s->endpoints[1].is_ready && !s->endpoints[1].is_serving);
    assert_true(!s->endpoints[2].is_ready && s->endpoints[2].is_serving &&
                s->endpoints[2].is_terminating);
    assert_true(str_eq(s->endpoints[2].target_name, STR("p")));
    assert_true(str_eq(s->endpoints[2].zone, STR("q")) && str_eq(s->endpoints[2].node, STR("nn")));
    assert_true(s->ports[1].port == 0 && str_eq(s->ports[1].protocol, STR("TCP")));
    finish(&out);
}

static void endpoints_become_slices(void **state)
{
    (void)state;
    struct outcome out;
    run(&out, "v1", "Endpoints",
        "subsets:\n- addresses: [{ip: 10.0.0.1}]\n  notReadyAddresses: [{ip: '::2'}]\n"
        "  ports: [{port: 80}]\n- addresses: [{ip: 10.0.0.3, nodeName: nn}]\n");
    const struct endpoint_slice *s = (const struct endpoint_slice *)out.o;
    assert_non_null(s);
    assert_true(str_eq(s->service, STR("x")) && s->endpoint_n == 2 && s->port_n == 1);
    assert_true(s->endpoints[0].is_ready && s->endpoints[0].is_serving);
    assert_true(!s->endpoints[1].is_ready && s->endpoints[1].addresses[0].family == 6);
    assert_non_null(s->next);
    assert_true(str_eq(s->next->service, STR("x")) && s->next->endpoint_n == 1);
    assert_true(str_eq(s->next->endpoints[0].node, STR("nn")) && s->next->next == NULL);
    finish(&out);
}

static void secret_content(void **state)
{
    (void)state;
    struct outcome out;
    run(&out, "v1", "Secret", "data: {b: AGE=, c: aGk=, a: ''}\nstringData: {c: new, d: x}\n");
    const struct secret *s = (const struct secret *)out.o;
    assert_non_null(s);
    assert_true(s->data_n == 4 && str_eq(s->type, STR("Opaque")));
    assert_true(str_eq(s->data[0].key, STR("a")) && s->data[0].value.n == 0);
    assert_true(str_eq(s->data[1].value, STR("\0a")));
    assert_true(str_eq(s->data[2].value, STR("new")));
    assert_true(str_eq(s->data[3].value, STR("x")));
    finish(&out);
}

/* An Ingress with n bad hosts. */
static size_t problems_of(size_t n)
{
    struct outcome out;
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_add_str(&b, STR("spec:\n  rules:\n"));
    for (size_t i = 0; i < n; i++) {
        buf_add_str(&b, STR("  - host: 1\n"));
    }
    buf_add_char(&b, '\0');
    run(&out, "networking.k8s.io/v1", "Ingress", b.p);
    size_t problems = out.problems;
    assert_null(out.o);
    bool is_cut = strstr(out.diags.p, "LimitReached") != NULL;
    assert_int_equal(is_cut, n > DIAGNOSTICS_PER_OBJECT_MAX);
    finish(&out);
    buf_fini(&b);
    return problems;
}

static void diagnostics_limit(void **state)
{
    (void)state;
    assert_int_equal(problems_of(DIAGNOSTICS_PER_OBJECT_MAX), DIAGNOSTICS_PER_OBJECT_MAX);
    assert_int_equal(problems_of(DIAGNOSTICS_PER_OBJECT_MAX + 1), DIAGNOSTICS_PER_OBJECT_MAX + 1);
    assert_int_equal(problems_of(1000), DIAGNOSTICS_PER_OBJECT_MAX + 1);
}

/* Room left in the arena; -1 = refused. */
static long room_left(size_t bytes)
{
    struct outcome out;
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_add_str(&b, STR("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: \""));
    for (size_t i = 0; i < bytes; i++) {
        buf_add_char(&b, 'a');
    }
    buf_add_str(&b, STR("\"}\n"));
    run_text(&out, buf_str(&b));
    long room = out.o != NULL ? (long)(out.o->arena.max - out.o->arena.used) : -1;
    buf_add_char(&out.diags, '\0');
    assert_int_equal(room >= 0, strstr(out.diags.p, "is too large") == NULL);
    finish(&out);
    buf_fini(&b);
    return room;
}

/* The largest text that is accepted fills the arena to the last 16 bytes. */
static void object_size_limit(void **state)
{
    (void)state;
    size_t good = 0, bad = MANIFEST_OBJECT_BYTES_MAX;
    while (bad - good > 1) {
        size_t middle = good + (bad - good) / 2;
        if (room_left(middle) >= 0) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    assert_in_range(room_left(good), 0, 15);
    assert_int_equal(room_left(good + 1), -1);
}

/* n times the item between before and after; '#' in it becomes a number. */
static void expect_list(const char *api_version, const char *kind, const char *before,
                        const char *item, const char *after, size_t n, bool is_accepted)
{
    struct outcome out;
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_add_str(&b, str_from_cstr(before));
    for (size_t i = 0; i < n; i++) {
        for (const char *p = item; *p != '\0'; p++) {
            if (*p == '#') {
                buf_add_u64(&b, i + 1);
            } else {
                buf_add_char(&b, *p);
            }
        }
    }
    buf_add_str(&b, str_from_cstr(after));
    buf_add_char(&b, '\0');
    run(&out, api_version, kind, b.p);
    if ((out.o != NULL) != is_accepted) {
        fail_msg("%s with %zu: %.*s", before, n, STR_ARG(buf_str(&out.diags)));
    }
    finish(&out);
    buf_fini(&b);
}

static void list_limits(void **state)
{
    (void)state;
    static const struct {
        const char *api_version, *kind, *before, *item, *after;
        size_t max;
    } cases[] = {
        {"v1",                  "Service",       "spec:\n  ports:\n",                                  "  - {port: #, name: a#}\n", "",      1000},
        {"v1",                  "Endpoints",     "subsets:\n- addresses: [{ip: 1.1.1.1}]\n  ports:\n",
         "  - {port: #, name: a#}\n",                                                                                               "",      1000},
        {"discovery.k8s.io/v1", "EndpointSlice", "addressType: IPv4\nports:\n",
         "- {port: #, name: a#}\n",                                                                                                 "",      1000},
        {"discovery.k8s.io/v1", "EndpointSlice", "addressType: IPv4\nendpoints:\n",
         "- addresses: [1.1.1.1]\n",                                                                                                "",      1000},
        {"discovery.k8s.io/v1", "EndpointSlice", "addressType: IPv4\nendpoints: [{addresses: [",
         "1.1.1.1,",                                                                                                                "]}]\n", 100 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_list(cases[i].api_version, cases[i].kind, cases[i].before, cases[i].item,
                    cases[i].after, cases[i].max, true);
        expect_list(cases[i].api_version, cases[i].kind, cases[i].before, cases[i].item,
                    cases[i].after, cases[i].max + 1, false);
    }
}

/* More keys than are sorted on the stack, backwards, each twice. */
static void large_maps(void **state)
{
    (void)state;
    for (int n = 31; n <= 34; n++) {
        struct outcome out;
        struct buf b;
        buf_init(&b, TEXT_MAX);
        buf_add_str(&b, STR("data:\n"));
        for (int i = 2 * n - 1; i >= 0; i--) {
            buf_addf(&b, "  k%03d: v%d\n", i / 2, i % 2);
        }
        buf_add_char(&b, '\0');
        run(&out, "v1", "ConfigMap", b.p);
        const struct config_map *c = (const struct config_map *)out.o;
        assert_true(c != NULL && c->data.n == (uint32_t)n);
        for (int i = 0; i < n; i++) {
            char key[8];
            (void)snprintf(key, sizeof(key), "k%03d", i);
            assert_true(str_eq(c->data.items[i].key, str_from_cstr(key)));
            assert_true(str_eq(c->data.items[i].value, STR("v0"))); /* the last one */
        }
        assert_int_equal(out.problems, n);
        finish(&out);
        buf_fini(&b);
    }
}

static const char equal_a[] = "data: {a: b, c: d}\n", equal_b[] = "# x\ndata: {c: d, a: b}\n";

static bool are_equal(const char *kind, const char *a, const char *b)
{
    struct outcome x, y;
    const char *api_version = strcmp(kind, "Ingress") == 0         ? "networking.k8s.io/v1"
                              : strcmp(kind, "EndpointSlice") == 0 ? "discovery.k8s.io/v1"
                                                                   : "v1";
    run(&x, api_version, kind, a);
    run(&y, api_version, kind, b);
    assert_non_null(x.o);
    assert_non_null(y.o);
    assert_true(object_is_equal(x.o, x.o));
    bool is_equal = object_is_equal(x.o, y.o);
    assert_int_equal(is_equal, object_is_equal(y.o, x.o));
    finish(&x);
    finish(&y);
    return is_equal;
}

static void equality(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *a, *b;
    } different[] = {
        {"ConfigMap",     equal_a,                                                                       "data: {a: b}\n"                              },
        {"ConfigMap",     equal_a,                                                                       "data: {a: b, c: e}\n"                        },
        {"Secret",        "data: {a: aGk=}\n",                                                           "stringData: {a: ho}\n"                       },
        {"Secret",        "type: a\n",                                                                   "type: b\n"                                   },
        {"Service",       "spec: {ports: [{port: 1}]}\n",                                                "spec: {ports: [{port: 2}]}\n"                },
        {"Service",       "spec: {ports: [{port: 1}]}\n",                                                "spec: {ports: [{port: 1, targetPort: 2}]}\n" },
        {"Service",       "spec: {ports: [{port: 1}]}\n",                                                "spec: {ports: [{port: 1}], type: NodePort}\n"},
        {"Ingress",       "spec: {rules: [{host: a}]}\n",                                                "spec: {rules: [{host: b}]}\n"                },
        {"Ingress",       "spec: {rules: [{host: a}]}\n",                                                "spec: {rules: [{host: a}, {host: a}]}\n"     },
        {"Ingress",       PATHS("pathType: Exact, path: /, " BACKEND),
         PATHS("pathType: Prefix, path: /, " BACKEND)                                                                                                  },
        {"Ingress",       "spec: {rules: [{}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}\n",
         "spec: {rules: [{}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}\n"                                                                 },
        {"Service",       "spec: {ports: [{port: 1}]}\n",
         "spec: {ports: [{port: 1}]}\nstatus: {loadBalancer: {ingress: [{hostname: a}]}}\n"                                                            },
        {"Service",       "spec: {ports: [{port: 1}]}\n",
         "spec: {ports: [{port: 1}], externalIPs: [192.0.2.1]}\n"                                                                                      },
        {"Ingress",       "spec: {rules: [{}], tls: [{hosts: [a]}]}\n",
         "spec: {rules: [{}], tls: [{hosts: [b]}]}\n"                                                                                                  },
        {"EndpointSlice", "addressType: IPv4\nendpoints: [{addresses: [1.1.1.1]}]\n",
         "addressType: IPv4\nendpoints: [{addresses: [1.1.1.2]}]\n"                                                                                    },
        {"EndpointSlice", "addressType: IPv4\nendpoints: [{addresses: [1.1.1.1]}]\n",
         "addressType: IPv4\nendpoints: [{addresses: [1.1.1.1], conditions: {ready: false}}]\n"                                                        },
        {"Endpoints",     "subsets: [{addresses: [{ip: 1.1.1.1}]}]\n",
         "subsets: [{addresses: [{ip: 1.1.1.1}]}, {addresses: [{ip: 1.1.1.1}]}]\n"                                                                     },
    };
    assert_true(are_equal("ConfigMap", equal_a, equal_b));
    assert_true(are_equal("Secret", "data: {a: aGk=}\n", "stringData: {a: hi}\n"));
    assert_true(are_equal("Ingress", "spec: {rules: [{host: a}]}\n",
                          "\n\nspec:\n  rules:\n  - {host: a, other: x}\n"));
    for (size_t i = 0; i < sizeof(different) / sizeof(different[0]); i++) {
        assert_true(are_equal(different[i].kind, different[i].a, different[i].a));
        assert_false(are_equal(different[i].kind, different[i].a, different[i].b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ingress_rules),     cmocka_unit_test(service_rules),
        cmocka_unit_test(slice_rules),       cmocka_unit_test(other_rules),
        cmocka_unit_test(cluster_scoped),    cmocka_unit_test(secrets_are_silent),
        cmocka_unit_test(ingress_content),   cmocka_unit_test(status_content),
        cmocka_unit_test(endpoint_content),  cmocka_unit_test(endpoints_become_slices),
        cmocka_unit_test(secret_content),    cmocka_unit_test(diagnostics_limit),
        cmocka_unit_test(object_size_limit), cmocka_unit_test(list_limits),
        cmocka_unit_test(large_maps),        cmocka_unit_test(equality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
