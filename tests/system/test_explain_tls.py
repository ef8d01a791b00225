"""lintel explain about TLS: what the handshake shows and why, what clients are asked for, and which
requests are on the wrong connection; asked of manifests and of the running process, and held against
what its workers do."""
import json

import pytest

from lib import pki
from lib.lintel import command
from lib.manifests import app, ingress, ingress_class, rule, secret, tls, tls_secret
from lib.tls import TlsClient

AUTH = "nginx.ingress.kubernetes.io/auth-tls-"


def site(name, *entries, host=None, **options):
    host = host or f"{name}.test"
    return ingress(name, rule(host, ("/", "Prefix", "app:80")), tls=list(entries), **options)


def guarded(secret_name="default/ca", **more):
    return {AUTH + "secret": secret_name, **{AUTH + key.replace("_", "-"): value
                                             for key, value in more.items()}}


@pytest.fixture(scope="module", name="lintel")
def fixture_lintel(module_stage):
    root = pki.Authority("Root")
    made = module_stage.run(
        ingress_class(), app("app", module_stage.backend().port),
        tls_secret("cert", root.issue("one.test", "two.test", "guarded.test", "also.test")),
        tls_secret("rsa", root.issue("one.test", kind=pki.RSA)),
        tls_secret("wild", root.issue("*.wild.test")), secret("ca", {"ca.crt": root.certificate}),
        site("one", tls("cert", "one.test"), tls("rsa", "one.test")),
        site("two", tls("cert", "two.test")), site("plain"),
        site("wild", tls("wild", "*.wild.test"), host="*.wild.test"),
        site("guarded", tls("cert", "guarded.test"),
             annotations=guarded(match_cn="CN=good", error_page="https://one.test/why")),
        site("optional", annotations=guarded(verify_client="optional", verify_depth="3")),
        site("denied", annotations=guarded("default/gone")),
        arguments=["--ssl-redirect=false"])
    made.root = root
    return made


@pytest.fixture(name="explain", params=["manifests", "server"])
def fixture_explain(lintel, request):
    source = {"manifests": ["--manifests", lintel.manifests.path, "--ssl-redirect=false"],
              "server": ["--server", f"127.0.0.1:{lintel.health_port}"]}[request.param]

    def explain(url, *more, check=0):
        return command("explain", *source, *more, url, check=check).stdout
    return explain


def tls_of(explain, url, *more, check=0):
    return json.loads(explain(url, "-o", "json", *more, check=check))["tls"]


def test_the_certificates_of_a_host(explain):
    told = tls_of(explain, "https://one.test/")
    assert told["isUsed"] and told["serverName"] == told["host"] == "one.test"
    assert [(item["secret"], item["keyAlgorithm"], item["namespace"], item["ingress"])
            for item in told["certificates"]] == [("default/cert", "ECDSA", "default", "one"),
                                                  ("default/rsa", "RSA", "default", "one")]
    assert not told["isDefault"] and told["hasHttp2"] and told["client"] is None
    text = explain("https://one.test/")
    assert "handshake" in text and "HTTP/2 or HTTP/1.1" in text
    assert "Secret default/rsa, RSA, ends on 20" in text and "(29 days)" in text.replace("30", "29")
    assert "named by Ingress default/one" in text


def test_a_wildcard_and_the_default(explain):
    told = tls_of(explain, "https://x.wild.test:8443/")
    assert (told["serverName"], told["host"]) == ("x.wild.test", "*.wild.test")
    told = tls_of(explain, "https://plain.test/")
    assert told["isDefault"] and all(item["isOwn"] for item in told["certificates"])
    text = explain("https://plain.test/")
    assert "nobody has a certificate for" in text and "own making, which nobody trusts" in text


def test_without_tls(explain):
    told = tls_of(explain, "http://one.test/")
    assert not told["isUsed"] and told["certificates"] == []
    assert "handshake" not in explain("http://one.test/")


def test_no_name_for_an_address(explain):
    for url in ("https://192.0.2.1/", "https://[2001:db8::1]/"):
        assert tls_of(explain, url, "-H", "Host: one.test")["serverName"] == ""
        assert "for no name" in explain(url, "-H", "Host: one.test")


def test_what_clients_are_asked_for(explain):
    told = tls_of(explain, "https://guarded.test/")["client"]
    assert told == {"verify": "on", "isDenied": False, "secret": "default/ca", "depth": 1,
                    "namePattern": "CN=good", "errorPage": "https://one.test/why"}
    text = explain("https://guarded.test/")
    assert "has to show a certificate signed by one in Secret default/ca, depth 1, whose subject " \
        "has CN=good; else it is sent to https://one.test/why" in text
    text = explain("https://optional.test/")
    assert "may show a certificate signed by one in Secret default/ca, depth 3" in text


@pytest.mark.parametrize("url, reason", [
    ("https://denied.test/", "denied"), # what it needs is not there
    ("http://guarded.test/", "denied"), # nobody can show a certificate
    ("http://optional.test/", "none"),
])
def test_whom_nobody_lets_in(explain, lintel, url, reason):
    told = json.loads(explain(url, "-o", "json", check=0 if reason == "none" else 1))["result"]
    assert told["reason"] == reason
    if url.startswith("http:"):
        assert lintel.fetch("/", url[7:-1]).status == (200 if reason == "none" else 403)


@pytest.mark.parametrize("name, host, is_right", [
    ("one.test", "two.test", True),      # the certificate is for both
    ("one.test", "plain.test", False),   # it is not for that
    ("one.test", "guarded.test", False), # its client would have been asked for a certificate
    ("guarded.test", "one.test", False),
])
def test_which_requests_are_misdirected(explain, lintel, name, host, is_right):
    told = json.loads(explain(f"https://{name}/", "-H", f"Host: {host}", "-o", "json",
                              check=0 if is_right else 1))
    assert (told["result"]["status"] == 421) is told["tls"]["isMisdirected"] is not is_right
    text = explain(f"https://{name}/", "-H", f"Host: {host}", check=0 if is_right else 1)
    assert ("misdirected" in text) is not is_right
    identity = lintel.root.issue("x", common_name="good")
    with TlsClient(lintel.https_port, name, identity=identity) as client:
        assert client.request(host=host).status == (200 if is_right else 421)


def test_handshakes_that_are_refused(stage):
    lintel = stage.run(ingress_class(), app("app", stage.backend().port), site("one"),
                       arguments=["--ssl-reject-handshake"])
    done = command("explain", "--server", f"127.0.0.1:{lintel.health_port}", "https://x.test/", check=1)
    assert "the TLS handshake is refused" in done.stdout
    assert "--ssl-reject-handshake" in done.stdout
