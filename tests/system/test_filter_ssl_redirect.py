"""The ssl_redirect filter: plain requests are sent to https, in both classes."""
import json

import pytest

from lib.client import Client, request_bytes
from lib.curl import curl
from lib.lintel import command
from lib.manifests import ingress, ingress_class, rule
from lib.town import Town

PREFIX = "nginx.ingress.kubernetes.io/"
NGINX = "k8s.io/ingress-nginx"
FORWARDED = ("--use-forwarded-headers", "--proxy-real-ip-cidr", "127.0.0.8/29")
HTTPS = [("X-Forwarded-Proto", "https")]


def site(name, tls=None, path="/", class_name="lintel", host=None, **annotations):
    return ingress(name, rule(host or f"{name}.test", (path, "Prefix", "app:80")), tls=tls,
                   class_name=class_name,
                   annotations={PREFIX + k.replace("_", "-"): v for k, v in annotations.items()})


def serve(stage, *objects, arguments=(), controller="lintel.dev/ingress-controller", name="lintel"):
    town = Town(stage.backend())
    return stage.run(ingress_class(name, controller), town.apps("app"), *objects,
                     arguments=["--controller-class", controller, *arguments])


@pytest.fixture(scope="module")
def lintel(module_stage):
    """Our own class, default options but for the trusted proxies."""
    return serve(
        module_stage,
        site("listed", [{"hosts": ["listed.test"]}]), site("more", None, "/more", host="listed.test"),
        site("unlisted", [{"hosts": ["other.test"]}]), site("plain"),
        site("off", [{}], ssl_redirect="false"), site("forced", force_ssl_redirect="true"),
        site("moved", [{}], permanent_redirect="https://new.test/"),
        site("slash", [{}], preserve_trailing_slash="false"),
        ingress("any", rule(None, ("/any", "Prefix", "app:80")), tls=[{}]),
        arguments=FORWARDED)


@pytest.fixture(scope="module")
def nginx(module_stage):
    """The class of ingress-nginx."""
    def one(name, *arguments, **more):
        return site(name, *arguments, class_name="nginx", **more)
    return serve(
        module_stage,
        one("listed", [{"hosts": ["listed.test"]}]), one("unlisted", [{"hosts": ["other.test"]}]),
        one("slash", [{}], preserve_trailing_slash="true"),
        one("moved", [{}], permanent_redirect="https://new.test/"),
        one("wild", [{}], host="*.wild.test"), one("below", host="below.wild.test"),
        controller=NGINX, name="nginx")


def expect(response, location, status=308):
    assert (response.status, response["location"]) == (status, location), response
    assert response.why == "redirect"


# ---- our own class ----

@pytest.mark.parametrize("version", ["1.1", "2"])
def test_plain_requests_of_a_host_with_tls_are_sent_to_https(lintel, version):
    for target in ("/", "/a/?b=/", "/%7e/../x", "//evil.test/"):
        expect(curl(lintel.port, target, "listed.test", version=version),
               "https://listed.test" + target)
    assert curl(lintel.port, "/", "plain.test", version=version).status == 200


def test_the_status_keeps_method_and_body_for_the_client(lintel):
    """308, and HEAD has no body; the connection goes on."""
    with Client(lintel.port) as client:
        for method in ("POST", "GET", "HEAD", "DELETE"):
            expect(client.request(method, "/form", "listed.test"), "https://listed.test/form")
    with Client(lintel.port) as client:
        expect(client.request("POST", "/", "listed.test", body=b"x" * 1000), "https://listed.test/")


def test_what_one_ingress_says_counts_for_all_routes_of_the_host(lintel):
    expect(lintel.fetch("/more", "listed.test"), "https://listed.test/more")


def test_an_entry_of_other_hosts_does_not_count(lintel):
    assert lintel.fetch("/", "unlisted.test").status == 200


def test_an_entry_without_hosts_counts_for_every_host(lintel):
    expect(lintel.fetch("/any/x", "whatever.test"), "https://whatever.test/any/x")


def test_annotations(lintel):
    assert lintel.fetch("/", "off.test").status == 200
    expect(lintel.fetch("/", "forced.test"), "https://forced.test/")
    expect(lintel.fetch("/x/", "slash.test"), "https://slash.test/x/")


def test_it_comes_before_other_redirects(lintel):
    expect(lintel.fetch("/", "moved.test"), "https://moved.test/")
    expect(curl(lintel.port, "/", "moved.test", HTTPS, arguments=("--interface", "127.0.0.9")),
           "https://new.test/", 301)


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_challenges_are_answered_in_plain(lintel, version):
    for target, status in (("/.well-known/acme-challenge/token", 200),
                           ("/.well-known/acme-challenge/../other", 308),
                           ("/.well-known/acme-challenges", 308), ("/.well-known/other", 308)):
        got = curl(lintel.port, target, "listed.test", version=version)
        assert got.status == status, target


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_only_a_trusted_proxy_says_that_the_client_uses_https(lintel, version):
    for source, is_trusted in (("127.0.0.7", False), ("127.0.0.9", True)):
        got = curl(lintel.port, "/", "listed.test", HTTPS, version,
                   arguments=("--interface", source))
        assert got.status == (200 if is_trusted else 308), source


def test_a_trusted_proxy_says_which_host_the_client_uses(lintel):
    for said, location in (("shop.test:80, inner.test", "https://shop.test/x"),
                           ("shop.test/?", "https://listed.test/x")):
        got = curl(lintel.port, "/x", "listed.test", [("X-Forwarded-Host", said)],
                   arguments=("--interface", "127.0.0.9"))
        expect(got, location)
    got = curl(lintel.port, "/x", "listed.test", [("X-Forwarded-Host", "evil.test")])
    expect(got, "https://listed.test/x")


def test_without_a_host_there_is_nowhere_to_go(lintel):
    with Client(lintel.port) as client:
        client.send("GET /any HTTP/1.0\r\n\r\n")
        response = client.read_response()
    assert (response.status, response.why) == (400, "bad_request")


def test_options_for_the_server_as_a_whole_finds_no_route(lintel):
    with Client(lintel.port) as client:
        client.send(request_bytes("OPTIONS", "*", "listed.test", (), None))
        assert client.read_response().why == "no_route"


# ---- the class of ingress-nginx ----

@pytest.mark.parametrize("version", ["1.1", "2"])
def test_nginx_drops_a_slash_at_the_end(nginx, version):
    for target, left in (("/", ""), ("/a/", "/a"), ("/a?b=/", "/a?b="), ("/a/?b", "/a/?b")):
        expect(curl(nginx.port, target, "listed.test", version=version),
               "https://listed.test" + left)
    expect(curl(nginx.port, "/a/", "slash.test", version=version), "https://slash.test/a/")


def test_nginx_takes_any_entry_for_all_hosts_of_the_ingress(nginx):
    expect(nginx.fetch("/x", "unlisted.test"), "https://unlisted.test/x")


def test_nginx_shares_the_tls_of_a_wildcard_host(nginx):
    expect(nginx.fetch("/x", "below.wild.test"), "https://below.wild.test/x")
    expect(nginx.fetch("/x", "other.wild.test"), "https://other.wild.test/x")


def test_nginx_decides_on_the_redirect_of_the_ingress_first(nginx):
    expect(nginx.fetch("/", "moved.test"), "https://new.test/", 301)


# ---- options and changes ----

def test_options(stage):
    lintel = serve(stage, site("tls", [{}]), site("none", force_ssl_redirect="false"), site("plain"),
                   arguments=["--force-ssl-redirect", "--http-redirect-code", "302",
                              "--no-tls-redirect-locations", "/status,/health"])
    expect(lintel.fetch("/", "plain.test"), "https://plain.test/", 302)
    assert lintel.fetch("/status/x", "plain.test").status == 200
    assert lintel.fetch("/health", "tls.test").status == 200
    assert lintel.fetch("/", "none.test").status == 200
    expect(lintel.fetch("/.well-known/acme-challenge/x", "tls.test"),
           "https://tls.test/.well-known/acme-challenge/x", 302)


def test_switched_off(stage):
    lintel = serve(stage, site("tls", [{}]), site("on", [{}], ssl_redirect="true"),
                   arguments=["--ssl-redirect=false", "--no-tls-redirect-locations="])
    assert lintel.fetch("/", "tls.test").status == 200
    expect(lintel.fetch("/.well-known/acme-challenge/x", "on.test"),
           "https://on.test/.well-known/acme-challenge/x")


def test_bad_options_are_refused():
    for option, word in (("--http-redirect-code=303", "301, 302, 307, 308"),
                         ("--no-tls-redirect-locations=a", "/a,/b/c"),
                         ("--ssl-redirect=on", "true or false")):
        done = command("check", option, ".", check=2)
        assert word in done.stderr and option.split("=", maxsplit=1)[0] in done.stderr


def test_tls_comes_and_goes_under_traffic(stage):
    lintel = serve(stage, site("a", None))
    lintel.wait_answer(200, "/", "a.test")
    lintel.manifests.write("more.yaml", site("b", [{"hosts": ["a.test"]}], "/b", host="a.test"))
    lintel.wait_answer(308, "/", "a.test")
    lintel.manifests.delete("more.yaml")
    lintel.wait_answer(200, "/", "a.test")


# ---- what is told of it ----

def test_bad_values_are_told(stage):
    lintel = serve(stage, site("bad", force_ssl_redirect="yes"))
    lintel.wait_log(r"force-ssl-redirect.*is \\?\"yes\\?\".*InvalidAnnotation")
    done = command("check", lintel.manifests.path, check=1)
    assert "force-ssl-redirect]: is \"yes\"" in done.stdout and "write \"true\"" in done.stdout


def explain_both(lintel, url, *arguments, check):
    """The explanation, which is the same of the manifests and of the running Lintel."""
    there = lintel.explain(url, *arguments)
    here = json.loads(command("explain", "--manifests", lintel.manifests.path, "-o", "json",
                              *arguments, url, check=check).stdout)
    assert here["filters"] == there["filters"] and here["request"] == there["request"]
    assert here["result"] == there["result"]
    return here


def test_explain(lintel):
    told = explain_both(lintel, "http://listed.test/a/?b", check=0)
    assert told["result"]["status"] == 308 and not told["result"]["isForwarded"]
    assert told["filters"][0] == {
        "name": "ssl_redirect", "effect": "answers", "status": 308,
        "cause": "the host has TLS, and --ssl-redirect is on",
        "location": "https://listed.test/a/?b"}
    told = explain_both(lintel, "https://listed.test/a/?b", check=0)
    assert (told["request"]["listener"], told["request"]["scheme"]) == ("https", "https")
    assert told["result"]["isForwarded"] and told["filters"][0]["effect"] == "passes"
    told = explain_both(lintel, "https://listed.test/", "--listener", "http", check=0)
    assert told["request"]["listener"] == "http" and told["result"]["isForwarded"]
    told = explain_both(lintel, "http://forced.test/", check=0)
    assert told["filters"][0]["cause"] == "the annotation force-ssl-redirect is true"
