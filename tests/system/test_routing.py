"""Which backend gets a request: the rules of Ingress v1, each through real sockets."""
import pytest

from lib.manifests import ingress, ingress_class, rule, service
from lib.town import Town

EXACT, PREFIX, SPECIFIC = "Exact", "Prefix", "ImplementationSpecific"


@pytest.fixture(scope="module")
def ask(module_stage):
    """ask(host, target) -> name of the service that answered, or the reason why none did."""
    town = Town(module_stage.backend())
    objects = [ingress_class(), ingress_class("foreign", "example.com/other"), *OBJECTS(town)]
    lintel = module_stage.run(*objects)

    def ask_one(host, target="/"):
        return town.service_of(lintel.fetch(target, host))
    return ask_one


def OBJECTS(town):
    yield town.apps("root", "foo", "foo-exact", "foo-bar", "slash", "specific", "wild", "one",
                    "deep", "anyhost", "old", "young", "numbered",
                    "case", "tie-a", "tie-b")
    yield ingress("paths", rule(
        "paths.test",
        ("/foo", PREFIX, "foo:80"), ("/foo", EXACT, "foo-exact:80"),
        ("/foo/bar", PREFIX, "foo-bar:80"), ("/slash/", PREFIX, "slash:80"),
        ("/specific", SPECIFIC, "specific:80"), ("/Case", PREFIX, "case:80")))
    yield ingress("root", rule("root.test", ("/", PREFIX, "root:80"), ("/foo", PREFIX, "foo:80")))
    yield ingress("exact-root", rule("exact-root.test", ("/", EXACT, "root:80"),
                                     ("/slash/", EXACT, "slash:80")))
    yield ingress("wild", rule("*.wild.test", ("/", PREFIX, "wild:80")),
                  rule("one.wild.test", ("/", PREFIX, "one:80")),
                  rule("*.deep.wild.test", ("/", PREFIX, "deep:80")))
    yield ingress("anyhost", rule(None, ("/anyhost", PREFIX, "anyhost:80")))
    yield ingress("young", rule("dispute.test", ("/", PREFIX, "young:80")),
                  created="2026-01-02T00:00:00Z")
    yield ingress("old", rule("dispute.test", ("/", PREFIX, "old:80")),
                  created="2026-01-01T00:00:00Z")
    yield ingress("b-tie", rule("tie.test", ("/", PREFIX, "tie-b:80")),
                  created="2026-01-01T00:00:00Z")
    yield ingress("a-tie", rule("tie.test", ("/", PREFIX, "tie-a:80")),
                  created="2026-01-01T00:00:00Z")
    yield ingress("merged-a", rule("merged.test", ("/a", PREFIX, "root:80")))
    yield ingress("merged-b", rule("merged.test", ("/b", PREFIX, "foo:80")))
    yield [service("by-name", ("web", 8000, "target"))]
    yield ingress("ports", rule("ports.test", ("/number", PREFIX, "numbered:80"),
                                ("/missing", PREFIX, "numbered:81"),
                                ("/unknown", PREFIX, "nobody:80")))
    yield ingress("foreign", rule("foreign.test", ("/", PREFIX, "root:80")), class_name="foreign")
    yield ingress("unknown", rule("unknown.test", ("/", PREFIX, "root:80")), class_name="nowhere")
    yield ingress("noclass", rule("noclass.test", ("/", PREFIX, "root:80")), class_name=None)
    yield ingress("annotated", rule("annotated.test", ("/", PREFIX, "root:80")), class_name=None,
                  annotations={"kubernetes.io/ingress.class": "lintel"})
    yield ingress("elsewhere", rule("elsewhere.test", ("/", PREFIX, "root:80")), namespace="other")
    yield ingress("resource", rule("resource.test", ("/r", PREFIX, {
        "resource": {"apiGroup": "k8s.example.com", "kind": "Bucket", "name": "icons"}}),
        ("/s", PREFIX, "root:80")))


@pytest.mark.parametrize("target, expected", [
    ("/foo", "foo-exact"),
    ("/foo?x=1", "foo-exact"),
    ("/foo/", "foo"),
    ("/foo/x", "foo"),
    ("/foobar", "no_route"),
    ("/foo/bar", "foo-bar"),
    ("/foo/bar/", "foo-bar"),
    ("/foo/bar/baz", "foo-bar"),
    ("/foo/barbaz", "foo"),
    ("/slash", "slash"),
    ("/slash/", "slash"),
    ("/slash/x", "slash"),
    ("/slashx", "no_route"),
    ("/specific/x", "specific"),
    ("/specificx", "no_route"),
    ("/case", "no_route"),
    ("/Case/x", "case"),
    ("/", "no_route"),
    ("/x/foo", "no_route"),
])
def test_paths(ask, target, expected):
    assert ask("paths.test", target) == expected


@pytest.mark.parametrize("target, expected", [
    ("/", "root"), ("/any/thing", "root"), ("/foo", "foo"), ("/fo", "root"), ("/?q", "root"),
])
def test_a_prefix_of_one_slash_takes_all_that_is_left(ask, target, expected):
    assert ask("root.test", target) == expected


@pytest.mark.parametrize("target, expected", [
    ("/", "root"), ("/x", "no_route"), ("/slash/", "slash"), ("/slash", "no_route"),
    ("/slash/x", "no_route"),
])
def test_exact_heeds_the_trailing_slash(ask, target, expected):
    assert ask("exact-root.test", target) == expected


@pytest.mark.parametrize("target, expected", [
    ("/foo/../foo/bar", "foo-bar"), # RFC 3986 section 6.2.2.3: dot segments are removed
    ("/foo/./bar", "foo-bar"),
    ("//foo//bar", "foo-bar"),
    ("/../../foo", "foo-exact"),    # nothing leads above the root
    ("/foo%2Fbar", "no_route"),     # an encoded slash separates nothing
    ("/%66oo", "foo-exact"),        # RFC 3986 section 6.2.2.2: unreserved characters are decoded
])
def test_paths_are_normalised_before_they_are_compared(ask, target, expected):
    assert ask("paths.test", target) == expected


@pytest.mark.parametrize("host, expected", [
    ("paths.test", "foo-exact"), ("PATHS.Test", "foo-exact"), ("paths.test:8080", "foo-exact"),
    ("paths.test.", "foo-exact"), ("xpaths.test", "no_route"), ("x.paths.test", "no_route"),
])
def test_exact_hosts(ask, host, expected):
    assert ask(host, "/foo") == expected


@pytest.mark.parametrize("host, expected", [
    ("a.wild.test", "wild"), ("A.WILD.test:80", "wild"), ("one.wild.test", "one"),
    ("wild.test", "no_route"), ("a.b.wild.test", "no_route"), ("x.deep.wild.test", "deep"),
    ("deep.wild.test", "wild"), ("x.y.deep.wild.test", "no_route"), (".wild.test", None),
])
def test_a_wildcard_stands_for_exactly_one_label(ask, host, expected):
    if expected is None:
        assert ask(host) in ("bad_request", "no_route")
    else:
        assert ask(host) == expected


@pytest.mark.parametrize("host", ["whatever.test", "10.0.0.1", "[::1]:80", "a"])
def test_a_rule_without_a_host_takes_every_host(ask, host):
    assert ask(host, "/anyhost/x") == "anyhost"
    assert ask(host, "/elsewhere") == "no_route"


def test_the_older_ingress_wins_a_dispute(ask):
    assert ask("dispute.test") == "old"


def test_ingresses_of_the_same_age_are_taken_in_order_of_their_names(ask):
    assert ask("tie.test") == "tie-a"


def test_ingresses_on_one_host_are_merged(ask):
    assert ask("merged.test", "/a") == "root"
    assert ask("merged.test", "/b/c") == "foo"
    assert ask("merged.test", "/c") == "no_route"


@pytest.mark.parametrize("target, expected", [
    ("/number", "numbered"), ("/missing", "no_endpoints"), ("/unknown", "no_endpoints"),
])
def test_ports_that_exist_and_ports_that_do_not(ask, target, expected):
    assert ask("ports.test", target) == expected


def test_default_backend_of_an_ingress_with_rules(stage):
    """It takes what no rule of any Ingress matches; on its own hosts it comes first."""
    town = Town(stage.backend())
    lintel = stage.run(
        ingress_class(), town.apps("only", "mine", "all"),
        ingress("default", rule("default.test", ("/only", PREFIX, "only:80")), default="mine:80"),
        ingress("all", default="all:80"))

    def ask_one(host, target):
        return town.service_of(lintel.fetch(target, host))
    assert ask_one("default.test", "/only") == "only"
    assert ask_one("default.test", "/other") == "mine"
    assert ask_one("elsewhere.test", "/other") == "all"


@pytest.mark.parametrize("host, expected", [
    ("foreign.test", "no_route"), ("unknown.test", "no_route"), ("noclass.test", "no_route"),
    ("annotated.test", "root"),
])
def test_only_ingresses_of_our_class_are_served(ask, host, expected):
    assert ask(host) == expected


def test_a_service_of_another_namespace_is_another_service(ask):
    assert ask("elsewhere.test") == "no_endpoints"


def test_a_resource_backend_is_refused_and_its_neighbour_served(ask):
    assert ask("resource.test", "/s") == "root"
    assert ask("resource.test", "/r") != "root"


def test_default_backend_of_an_ingress_without_rules(stage):
    town = Town(stage.backend())
    lintel = stage.run(ingress_class(), town.apps("all", "some"), ingress("all", default="all:80"),
                       ingress("some", rule("some.test", ("/some", PREFIX, "some:80"))))
    assert town.service_of(lintel.fetch("/x", "anything.test")) == "all"
    assert town.service_of(lintel.fetch("/some", "some.test")) == "some"
    assert town.service_of(lintel.fetch("/else", "some.test")) == "all"


def test_default_backend_service_of_the_command_line(stage):
    town = Town(stage.backend())
    lintel = stage.run(ingress_class(), town.apps("last", "some"),
                       ingress("some", rule("some.test", ("/some", PREFIX, "some:80"))),
                       arguments=["--default-backend-service", "default/last"])
    assert town.service_of(lintel.fetch("/x", "anything.test")) == "last"
    assert town.service_of(lintel.fetch("/x", "some.test")) == "last"
    assert town.service_of(lintel.fetch("/some", "some.test")) == "some"


def test_the_default_class_takes_ingresses_without_a_class(stage):
    town = Town(stage.backend())
    lintel = stage.run(
        ingress_class(annotations={"ingressclass.kubernetes.io/is-default-class": "true"}),
        town.apps("app"), ingress("noclass", rule("a.test", ("/", PREFIX, "app:80")),
                                  class_name=None))
    assert town.service_of(lintel.fetch("/", "a.test")) == "app"


def test_watch_ingress_without_class(stage):
    town = Town(stage.backend())
    lintel = stage.run(town.apps("app"),
                       ingress("noclass", rule("a.test", ("/", PREFIX, "app:80")), class_name=None),
                       arguments=["--watch-ingress-without-class"])
    assert town.service_of(lintel.fetch("/", "a.test")) == "app"


def test_controller_class_and_ingress_class_by_name(stage):
    town = Town(stage.backend())
    lintel = stage.run(
        ingress_class("mine", "example.com/mine"), ingress_class("lintel"),
        ingress_class("byname", "example.com/else"), town.apps("app"),
        ingress("a", rule("a.test", ("/", PREFIX, "app:80")), class_name="mine"),
        ingress("b", rule("b.test", ("/", PREFIX, "app:80")), class_name="lintel"),
        ingress("c", rule("c.test", ("/", PREFIX, "app:80")), class_name="byname"),
        arguments=["--controller-class", "example.com/mine", "--ingress-class", "byname",
                   "--ingress-class-by-name"])
    assert town.service_of(lintel.fetch("/", "a.test")) == "app"
    assert town.service_of(lintel.fetch("/", "b.test")) == "no_route"
    assert town.service_of(lintel.fetch("/", "c.test")) == "app"


def test_a_kind_list_and_json_and_folders_below(stage):
    town = Town(stage.backend())
    manifests = stage.directory()
    manifests.write("class.json", ingress_class())
    manifests.write("deep/er/apps.json", *town.apps("app", "app2"))
    manifests.write("deep/ingresses.yml", ingress("a", rule("a.test", ("/", PREFIX, "app:80"))),
                    ingress("b", rule("b.test", ("/", PREFIX, "app2:80"))))
    lintel = stage.lintel(manifests).start()
    assert town.service_of(lintel.fetch("/", "a.test")) == "app"
    assert town.service_of(lintel.fetch("/", "b.test")) == "app2"


def test_yaml_anchors_aliases_and_block_scalars(stage):
    backend = stage.backend()
    manifests = stage.directory()
    manifests.write("all.yaml", f"""
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: lintel}}
spec: {{controller: lintel.dev/ingress-controller}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: a
  annotations:
    example.com/note: |
      several
      lines: of {{text}}
spec:
  ingressClassName: lintel
  rules:
  - host: a.test
    http: &http
      paths:
      - path: /
        pathType: Prefix
        backend: {{service: {{name: app, port: {{number: 80}}}}}}
  - host: >-
      b.test
    http: *http
---
apiVersion: v1
kind: Service
metadata: {{name: app}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: app-1, labels: {{kubernetes.io/service-name: app}}}}
addressType: IPv4
ports: [{{port: {backend.port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
""")
    lintel = stage.lintel(manifests).start()
    assert lintel.fetch("/", "a.test").status == 200
    assert lintel.fetch("/", "b.test").status == 200
