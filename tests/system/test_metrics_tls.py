"""What /metrics says about TLS: when certificates end, by ingress-nginx's names, and what clients'
handshakes come to; and WebSocket connections."""
import datetime
import socket
import ssl
import time

import pytest

from lib import pki, tls
from lib.client import Client, request_bytes
from lib.h2 import H2
from lib.manifests import app, ingress, ingress_class, rule, secret, tls_secret
from lib.manifests import tls as tls_entry
from lib.records import Hands
from lib.tls import TlsClient
from lib.wait import eventually

EXPIRY, INFO = ("nginx_ingress_controller_ssl_" + name for name in (
    "expire_time_seconds", "certificate_info"))
NGINX = "nginx.ingress.kubernetes.io/"


def end_of(identity):
    return identity.x509.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp()


def expiries(lintel):
    """(host, Secret) -> time"""
    return {(labels["host"], labels["secret_name"]): value
            for labels, value in lintel.metrics().all(EXPIRY)}


# ---- when certificates end ----

def test_labels_are_those_of_ingress_nginx(stage):
    root = pki.Authority("The Root")
    identity = root.issue("a.test", kind=pki.RSA)
    lintel = stage.run(ingress_class(), app("app", stage.backend().port), tls_secret("cert", identity),
                       ingress("shop", rule("a.test", ("/", "Prefix", "app:80")),
                               tls=[tls_entry("cert", "a.test")]))
    (labels, value), = lintel.metrics().all(EXPIRY)
    serial = str(identity.x509.serial_number)
    constant = {"controller_class": "lintel.dev/ingress-controller", "controller_namespace": "",
                "controller_pod": ""}
    shared = {"namespace": "default", "class": "lintel.dev/ingress-controller", "host": "a.test",
              "secret_name": "cert", "identifier": "-" + serial, **constant}
    assert value == end_of(identity) and labels == shared
    (labels, value), = lintel.metrics().all(INFO)
    assert value == 1 and labels == {
        **shared, "issuer_organization": "", "issuer_common_name": "The Root",
        "serial_number": serial, "public_key_algorithm": "RSA"}
    assert lintel.counter("lintel_certificates") == 1
    assert lintel.counter("lintel_certificates_omitted") == 0


def test_they_follow_the_secrets(stage):
    root = pki.Authority()
    first, second = root.issue("a.test", "b.test", ends=10), root.issue("a.test", ends=50)
    lintel = stage.run(ingress_class(), app("app", stage.backend().port),
                       ingress("shop", *(rule(host, ("/", "Prefix", "app:80")) for host in
                                         ("a.test", "b.test")), tls=[tls_entry("cert", "a.test")]),
                       tls_secret("fallback", root.issue("*.test")),
                       arguments=["--default-ssl-certificate", "default/fallback"])
    assert list(expiries(lintel)) == [("_", "fallback")]
    lintel.manifests.write("secret.yaml", tls_secret("cert", first))
    eventually(lambda: expiries(lintel).get(("b.test", "cert")) == end_of(first),
               what="both hosts have it")
    assert expiries(lintel)[("a.test", "cert")] == end_of(first) and len(expiries(lintel)) == 3
    lintel.manifests.write("secret.yaml", tls_secret("cert", second))
    eventually(lambda: expiries(lintel).get(("a.test", "cert")) == end_of(second), what="the new one")
    assert ("b.test", "cert") not in expiries(lintel)
    lintel.manifests.write("secret.yaml", secret("cert", {"tls.crt": second.chain}))
    eventually(lambda: lintel.counter("lintel_diagnostics", reason="InvalidCertificate",
                                      severity="error") > 0, what="it is told")
    assert expiries(lintel)[("a.test", "cert")] == end_of(second) # stays in service
    lintel.manifests.delete("secret.yaml")
    eventually(lambda: list(expiries(lintel)) == [("_", "fallback")], what="it is gone")
    lintel.manifests.delete("all.yaml")
    eventually(lambda: not expiries(lintel), what="all are gone")


def test_a_host_may_have_two(stage):
    root = pki.Authority()
    identities = {"rsa": root.issue("a.test", kind=pki.RSA), "ec": root.issue("a.test", ends=9)}
    lintel = stage.run(ingress_class(), app("app", stage.backend().port),
                       *(tls_secret(name, identity) for name, identity in identities.items()),
                       ingress("shop", rule("a.test", ("/", "Prefix", "app:80")),
                               tls=[tls_entry(name, "a.test") for name in identities]))
    assert expiries(lintel) == {("a.test", name): end_of(identity)
                                for name, identity in identities.items()}
    assert {labels["public_key_algorithm"] for labels, _ in lintel.metrics().all(INFO)} == {
        "RSA", "ECDSA"}


# ---- handshakes ----

@pytest.fixture(name="site")
def fixture_site(stage):
    root = pki.Authority()
    lintel = stage.run(ingress_class(), app("app", stage.backend().port),
                       tls_secret("cert", root.issue("a.test", "mtls.test")),
                       secret("ca", {"ca.crt": root.certificate}),
                       ingress("shop", rule("a.test", ("/", "Prefix", "app:80")),
                               tls=[tls_entry("cert", "a.test")]),
                       ingress("mtls", rule("mtls.test", ("/", "Prefix", "app:80")),
                               tls=[tls_entry("cert", "mtls.test")],
                               annotations={NGINX + "auth-tls-secret": "default/ca",
                                            NGINX + "auth-tls-verify-client": "optional"}))
    lintel.root = root
    return lintel


def wait_counter(lintel, n, name, **labels):
    eventually(lambda: lintel.counter(name, **labels) == n, what=f"{n} of {name} {labels}")


@pytest.mark.parametrize("version, label", [(tls.V12, "TLSv1.2"), (tls.V13, "TLSv1.3")])
def test_versions_and_connections(site, version, label):
    with TlsClient(site.https_port, "a.test", lowest=version, highest=version) as client:
        assert client.request(host="a.test").status == 200
        assert site.counter("lintel_tls_versions_total", version=label) == 1
        assert site.counter("lintel_tls_versions_total") == 1
        assert site.counter("lintel_tls_connections") == 1
        assert site.counter("lintel_tls_handshakes_total", result="full") == 1
    wait_counter(site, 0, "lintel_tls_connections")


@pytest.mark.parametrize("alpn, label", [((), "none"), (("http/1.1",), "http/1.1"), (("h2",), "h2")])
def test_protocols(site, alpn, label):
    with TlsClient(site.https_port, "a.test", alpn=alpn):
        wait_counter(site, 1, "lintel_tls_protocols_total", alpn=label)
        assert site.counter("lintel_tls_protocols_total") == 1
        assert site.counter("lintel_tls_connections") == 1 # HTTP/2 has taken it over
    wait_counter(site, 0, "lintel_tls_connections")


@pytest.mark.parametrize("verdict", ["success", "failed", "none"])
def test_verdicts_on_client_certificates(site, verdict):
    identity = {"success": site.root.issue("client"), "none": None,
                "failed": pki.Authority("Stranger").issue("client")}[verdict]
    with TlsClient(site.https_port, "mtls.test", identity=identity):
        wait_counter(site, 1, "lintel_tls_client_certificates_total", verdict=verdict)
    with TlsClient(site.https_port, "a.test", identity=identity): # is not asked
        wait_counter(site, 2, "lintel_tls_handshakes_total", result="full")
    assert site.counter("lintel_tls_client_certificates_total") == 1


DURATION = "lintel_tls_handshake_duration_seconds"
PAUSE_S = 0.3


def shake_late(site, which):
    """Waits before the which-th flight."""
    flights = []
    with Hands(site.https_port, "a.test") as client:
        def send(data):
            flights.append(data)
            if len(flights) == which:
                time.sleep(PAUSE_S)
            client.socket.sendall(data)
        client.shake(send)
        wait_counter(site, 1, "lintel_tls_connections")
    wait_counter(site, 0, "lintel_tls_connections")


def test_durations(site):
    """From the client's first byte on, however long it kept silent before: browsers open spare
    connections."""
    shake_late(site, 1)
    assert 0 < site.counter(DURATION + "_sum", result="full") < PAUSE_S
    shake_late(site, 2)
    assert site.counter(DURATION + "_sum", result="full") >= PAUSE_S
    assert site.counter(DURATION + "_bucket", result="full", le="0.25") == 1
    assert site.counter(DURATION + "_bucket", result="full", le="10") == 2


def test_durations_by_result(site):
    """As many as are counted in lintel_tls_handshakes_total; none of those that fail."""
    made = tls.context()
    with TlsClient(site.https_port, "a.test", made=made) as client:
        assert client.request(host="a.test").status == 200 # the tickets have come
        session = client.socket.session
    with TlsClient(site.https_port, "a.test", made=made, session=session):
        wait_counter(site, 1, "lintel_tls_handshakes_total", result="resumed")
    shake(site, trusts=[pki.Authority("Stranger")])
    wait_counter(site, 1, "lintel_tls_handshakes_total", result="failed")
    for result in ("full", "resumed"):
        assert site.counter(DURATION + "_count", result=result) == 1
    assert site.metrics().types[DURATION] == "histogram"


def shake(site, **options):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with TlsClient(site.https_port, "a.test", **options):
            pass


def send(site, data, is_over=True):
    with socket.create_connection(("127.0.0.1", site.https_port), 10) as client:
        client.sendall(data)
        if is_over:
            client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass


FAILURES = {
    "not_tls": lambda site: send(site, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", False),
    "closed": lambda site: send(site, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"),
    "malformed": lambda site: send(site, b"\x16\x03\x01\x00\x04\x63\x00\x00\x00", False),
    "version": lambda site: shake(site, lowest=ssl.TLSVersion.TLSv1_1, highest=ssl.TLSVersion.TLSv1_1,
                                  ciphers="ALL:@SECLEVEL=0"),
    "cipher": lambda site: shake(site, highest=tls.V12, ciphers="AES128-SHA"),
    "alert": lambda site: shake(site, trusts=[pki.Authority("Stranger")]),
}


@pytest.mark.parametrize("why", FAILURES)
def test_failures_by_what_stood_in_the_way(site, why):
    FAILURES[why](site)
    wait_counter(site, 1, "lintel_tls_failures_total", why=why)
    assert site.counter("lintel_tls_failures_total") == 1
    assert site.counter("lintel_tls_handshakes_total", result="failed") == 1
    assert site.counter("lintel_tls_connections") == 0


def test_those_that_were_refused_or_given_up(stage):
    lintel = stage.run(ingress_class(), arguments=["--ssl-reject-handshake",
                                                   "--client-header-timeout", "1s"])
    assert tls.refusal(lintel.https_port, "nobody.test") is not None
    wait_counter(lintel, 1, "lintel_tls_failures_total", why="refused")
    with socket.create_connection(("127.0.0.1", lintel.https_port), 10) as client:
        client.recv(1) # says nothing: until Lintel has had enough
    wait_counter(lintel, 1, "lintel_tls_failures_total", why="abandoned")
    assert lintel.counter("lintel_tls_handshakes_total", result="failed") == 2


# ---- WebSocket ----

AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"


def agree(exchange):
    exchange.send(AGREED % exchange.request.get("upgrade").encode())
    while exchange.connection.socket.recv(1000):
        pass
    exchange.end()


def switching(stage):
    return stage.run(ingress_class(), app("app", stage.backend(agree).port),
                     ingress("shop", rule("a.test", ("/", "Prefix", "app:80"))))


def test_websockets_over_http1(stage):
    lintel = switching(stage)
    fields = [("Connection", "Upgrade"), ("Upgrade", "WebSocket"), ("Sec-WebSocket-Key", "AAAA"),
              ("Sec-WebSocket-Version", "13")]
    with Client(lintel.port) as client:
        client.send(request_bytes("GET", "/", "a.test", fields))
        assert client.read_head().status == 101
        wait_counter(lintel, 1, "lintel_websockets", version="http1")
        assert lintel.counter("lintel_websockets_total", version="http1") == 1
    wait_counter(lintel, 0, "lintel_websockets", version="http1")
    assert lintel.counter("lintel_websockets_total") == 1


def test_websockets_over_http2(stage):
    lintel = switching(stage)
    with H2(lintel.port) as client:
        stream = client.new_stream()
        client.send(client.headers(stream, [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"),
            (":authority", "a.test"), ("sec-websocket-version", "13")], end=False))
        client.read_until(lambda: client.of(stream).status)
        wait_counter(lintel, 1, "lintel_websockets", version="http2")
        assert lintel.counter("lintel_websockets", version="http1") == 0
        client.data(stream, end=True)
        assert client.response(stream).is_complete
    wait_counter(lintel, 0, "lintel_websockets", version="http2")
    assert lintel.counter("lintel_websockets_total", version="http2") == 1


def test_what_else_is_upgraded_to_is_no_websocket(stage):
    lintel = switching(stage)
    with Client(lintel.port) as client:
        client.send(request_bytes("GET", "/", "a.test", [("Connection", "Upgrade"),
                                                         ("Upgrade", "echo/1")]))
        assert client.read_head().status == 101
    wait_counter(lintel, 1, "lintel_requests_total")
    assert lintel.counter("lintel_websockets_total") == 0
