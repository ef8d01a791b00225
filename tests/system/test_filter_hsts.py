"""The hsts filter: Strict-Transport-Security on what goes to clients by https."""
import pytest

from lib.curl import curl
from lib.lintel import command
from lib.manifests import app, ingress, ingress_class, rule
from lib.town import Town

PREFIX = "nginx.ingress.kubernetes.io/"
NGINX, OURS = "k8s.io/ingress-nginx", "lintel.dev/ingress-controller"
HTTPS = [("X-Forwarded-Proto", "https")]
FIELD = "strict-transport-security"
YEAR = "max-age=31536000"


def site(name, tls=None, class_name="lintel", service="app:80", **annotations):
    return ingress(name, rule(f"{name}.test", ("/", "Prefix", service)), tls=tls,
                   class_name=class_name,
                   annotations={PREFIX + k.replace("_", "-"): v for k, v in annotations.items()})


def serve(stage, *arguments, controller=OURS, script=None):
    """A host with TLS, one without, and one whose Service is missing."""
    name = "lintel" if controller == OURS else "nginx"
    backend = stage.backend(script) if script else stage.backend()
    objects = app("app", backend.port) if script else Town(backend).app("app")
    return stage.run(
        ingress_class(name, controller), objects, site("tls", [{}], name), site("plain", None, name),
        site("missing", [{}], name, "missing:80"),
        site("moved", [{}], name, permanent_redirect="https://new.test/"),
        arguments=["--controller-class", controller, "--use-forwarded-headers", *arguments])


def said(lintel, host="tls.test", target="/", fields=HTTPS, **options):
    """All values of the field."""
    return curl(lintel.port, target, host, fields, **options).all(FIELD)


@pytest.fixture(scope="module")
def lintel(module_stage):
    return serve(module_stage)


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_default_of_our_own_class(lintel, version):
    """Hosts below are not included: nobody has spoken of them here."""
    assert said(lintel, version=version) == [YEAR]
    assert said(lintel, version=version, method="HEAD") == [YEAR]


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_default_of_the_class_of_ingress_nginx(stage, version):
    assert said(serve(stage, controller=NGINX), version=version) == [YEAR + "; includeSubDomains"]


def test_not_over_plain_http(lintel):
    assert said(lintel, fields=()) == []                        # a redirect
    assert said(lintel, target="/.well-known/acme-challenge/x", fields=()) == []


def test_not_for_a_host_without_tls(lintel):
    assert said(lintel, host="plain.test") == []


def test_not_for_a_client_who_only_says_so(stage):
    """An untrusted client's https is none; it is redirected and learns nothing."""
    lintel = serve(stage, "--proxy-real-ip-cidr", "192.0.2.0/24")
    got = curl(lintel.port, "/", "tls.test", HTTPS)
    assert got.status == 308 and got.all(FIELD) == []


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_responses_of_our_own_have_it(lintel, version):
    got = curl(lintel.port, "/", "missing.test", HTTPS, version)
    assert (got.status, got.why, got.all(FIELD)) == (503, "no_endpoints", [YEAR])
    got = curl(lintel.port, "/", "moved.test", HTTPS, version)
    assert (got.status, got.all(FIELD)) == (301, [YEAR])


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_what_the_backend_says_is_replaced_whatever_the_status(stage, version):
    def script(exchange):
        exchange.read_body()
        status = int(exchange.request.target.strip("/"))
        exchange.respond(status, b"" if status in (204, 304) else b"x", [
            ("Strict-Transport-Security", "max-age=1"), ("Kept", "yes"),
            ("strict-transport-security", "max-age=2; preload")])
    lintel = serve(stage, script=script)
    for status in (200, 204, 304, 404, 500):
        got = curl(lintel.port, f"/{status}", "tls.test", HTTPS, version)
        assert (got.status, got.all(FIELD), got["kept"]) == (status, [YEAR], "yes")
    # Where the filter says nothing, the backend may.
    got = curl(lintel.port, "/200", "plain.test", HTTPS, version)
    assert got.all(FIELD) == ["max-age=1", "max-age=2; preload"]


@pytest.mark.parametrize("controller, arguments, value", [
    (OURS, ["--hsts-include-subdomains"], YEAR + "; includeSubDomains"),
    (OURS, ["--hsts-max-age", "86400", "--hsts-preload"], "max-age=86400; preload"),
    (NGINX, ["--hsts-include-subdomains=false"], YEAR),
    (NGINX, ["--hsts-max-age=0", "--hsts-preload"], "max-age=0; includeSubDomains; preload"),
    (OURS, ["--hsts=false"], None),
    (NGINX, ["--hsts=false"], None),
])
def test_options(stage, controller, arguments, value):
    assert said(serve(stage, *arguments, controller=controller)) == ([value] if value else [])


def test_bad_options_are_refused():
    for option, word in (("--hsts-max-age=1y", "number from 0"), ("--hsts=on", "true or false"),
                         ("--hsts-max-age=4294967296", "4294967295")):
        assert word in command("check", option, ".", check=2).stderr


def test_explain(lintel):
    def told(url):
        return next(f for f in lintel.explain(url)["filters"] if f["name"] == "hsts")
    assert told("https://tls.test/") == {"name": "hsts", "effect": "changes", "value": YEAR}
    assert told("http://tls.test/")["effect"] == "passes"
    assert [f["name"] for f in lintel.explain("https://plain.test/")["filters"]] == []
