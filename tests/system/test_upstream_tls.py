"""TLS to endpoints: real servers behind HTTPS and GRPCS, with certificates of all kinds, good and bad.
What is asked for is verified, whatever else is missing; what is not asked for is not."""
import json
import ssl

import grpc
import pytest

from lib.backend import echo
from lib.client import Client
from lib.grpc_app import Client as GrpcClient, Server as GrpcServer
from lib.lintel import command
from lib.load import Load
from lib.manifests import (app, endpoint_slice, ingress, ingress_class, rule, secret, service, tls,
                           tls_secret)
from lib.pki import Authority, self_signed
from lib.servers import Nginx, SServer, TlsNghttpd, TlsNginx, server_context
from lib.tls import TlsClient
from lib.wait import eventually

NGINX = "nginx.ingress.kubernetes.io/"
TIMEOUT_S = 30
NAME = "api.shop.svc"
ROOT, STRANGER = Authority("Root"), Authority("Stranger")
SITE = ROOT.issue(NAME, "10.9.8.7")
EACH_ONCE = ["--upstream-keepalive-requests", "1"]  # each request shakes hands


def annotations(protocol="HTTPS", **more):
    """more: proxy-ssl-*, with underscores."""
    made = {f"{NGINX}proxy-ssl-{key.replace('_', '-')}": value for key, value in more.items()}
    return {f"{NGINX}backend-protocol": protocol, **made} if protocol else made


def verified(protocol="HTTPS", **more):
    return annotations(protocol, **{"secret": "default/ca", "verify": "on", "name": NAME, **more})


def named(name, how, to="app:80", **more):
    return ingress(name, rule(f"{name}.test", ("/", "Prefix", to)), annotations=how, **more)


def ca(*authorities, name="ca"):
    return secret(name, {"ca.crt": "".join(a.certificate for a in authorities)})


def backend(stage, identity=SITE, script=echo, **options):
    return stage.backend(script, tls=server_context(identity, **options))


def run(stage, port, how, *more, arguments=()):
    return stage.run(ingress_class(), named("a", how), *app("app", port), *more, arguments=arguments)


def handshakes(lintel, result):
    return lintel.counter("lintel_upstream_handshakes_total", result=result)


# ---- HTTPS ----

def test_nginx(stage, tmp_path):
    """Kept-alive connections, then sessions: one full handshake with one endpoint."""
    server = TlsNginx(tmp_path / "nginx", SITE)
    stage.others.append(server)
    lintel = run(stage, server.port, verified(server_name="on"), ca(ROOT), arguments=EACH_ONCE)
    for i in range(10):
        assert lintel.fetch(f"/{i}", "a.test").body == b"nginx\n"
    assert lintel.fetch("/mark", "a.test").status == 200
    server.seen("/mark")
    lines = server.log_lines()
    assert all(f" {NAME} TLSv1.3 " in line for line in lines)
    assert [" r " in line for line in lines] == [False] + 10 * [True]
    assert (handshakes(lintel, "full"), handshakes(lintel, "resumed")) == (1, 10)
    assert handshakes(lintel, "failed") == 0
    durations = "lintel_upstream_handshake_duration_seconds"
    assert [lintel.counter(durations + "_count", result=result) for result in ("full", "resumed")] == [
        1, 10]
    assert 0 < lintel.counter(durations + "_sum", result="full") < TIMEOUT_S


def test_connections_are_kept(stage):
    server = backend(stage)
    lintel = run(stage, server.port, verified(), ca(ROOT))
    for _ in range(10):
        assert lintel.fetch("/", "a.test").status == 200
    assert server.connection_n == handshakes(lintel, "full") == 1


EXPIRED = ROOT.issue(NAME, begins=-10, ends=-1)
EARLY = ROOT.issue(NAME, begins=1, ends=10)
OTHER = ROOT.issue("other.shop.svc")
MIDDLE = ROOT.authority("Middle")
DEEP = MIDDLE.issue(NAME)
DEEPER = MIDDLE.authority("Lower").issue(NAME)


@pytest.mark.parametrize("identity, how, is_good", [
    pytest.param(SITE, verified(), True, id="good"),
    pytest.param(SITE, verified(name="10.9.8.7"), True, id="an address"),
    pytest.param(SITE, verified(name="10.9.8.6"), False, id="another address"),
    pytest.param(OTHER, verified(), False, id="another name"),
    pytest.param(ROOT.issue("*.shop.svc"), verified(), True, id="a wildcard"),
    pytest.param(ROOT.issue("*.svc"), verified(), False, id="a wildcard for more than a label"),
    pytest.param(STRANGER.issue(NAME), verified(), False, id="another authority"),
    pytest.param(self_signed(NAME), verified(), False, id="signed by itself"),
    pytest.param(EXPIRED, verified(), False, id="expired"),
    pytest.param(EARLY, verified(), False, id="not yet valid"),
    pytest.param(DEEP, verified(), True, id="one between"),
    pytest.param(DEEPER, verified(), False, id="two between"),
    pytest.param(DEEPER, verified(verify_depth="2"), True, id="two between, and allowed"),
    pytest.param(STRANGER.issue("x.test"), verified(verify="off"), True, id="not asked for"),
    pytest.param(self_signed(NAME), annotations(), True, id="nothing said"),
    pytest.param(OTHER, verified(verify="yes"), False, id="said wrongly"),
])
def test_verification(stage, identity, how, is_good):
    server = backend(stage, identity)
    lintel = run(stage, server.port, how, ca(ROOT))
    response = lintel.fetch("/", "a.test")
    if is_good:
        assert response.status == 200
        return
    assert (response.status, response.why) == (502, "upstream_certificate")
    assert not server.requests
    assert handshakes(lintel, "failed") >= 1
    lintel.wait_log("no TLS with an endpoint: ")


@pytest.mark.parametrize("how, name", [
    (annotations(), None), (verified(), None), (verified(server_name="on"), NAME),
    (verified(verify="off", server_name="on"), NAME),
    (annotations(name=NAME, server_name="on"), None)]) # without a Secret it says nothing
def test_server_name(stage, how, name):
    server = backend(stage)
    lintel = run(stage, server.port, how, ca(ROOT))
    assert lintel.fetch("/", "a.test").status == 200
    assert server.requests[0].tls.name == name
    assert server.requests[0].tls.protocol is None


@pytest.mark.parametrize("said, spoken", [("TLSv1.2", "TLSv1.2"), ("TLSv1.3", "TLSv1.3"),
                                          ("TLSv1.2 TLSv1.3", "TLSv1.3")])
def test_versions(stage, said, spoken):
    server = backend(stage)
    lintel = run(stage, server.port, verified(protocols=said), ca(ROOT))
    assert lintel.fetch("/", "a.test").status == 200
    assert server.requests[0].tls.version == spoken


def test_cipher(stage, tmp_path):
    server = SServer(tmp_path / "server", SITE)
    stage.others.append(server)
    cipher = "ECDHE-ECDSA-AES256-GCM-SHA384"
    lintel = run(stage, server.port, verified(ciphers=cipher, protocols="TLSv1.2"), ca(ROOT))
    assert server.answer(lintel.fetch("/", "a.test").body)["Cipher"] == cipher


@pytest.mark.parametrize("protocol", ["HTTPS", "GRPCS"])
def test_endpoint_without_tls(stage, tmp_path, protocol):
    plain = Nginx(tmp_path / "nginx")
    stage.others.append(plain)
    lintel = run(stage, plain.port, annotations(protocol))
    response = lintel.fetch("/", "a.test")
    assert (response.status, response.why) == (502, "upstream_tls")
    lintel.wait_log("no TLS with an endpoint: the peer does not speak TLS ")


# ---- our certificate ----

OURS = ROOT.issue("lintel", organizations=["us"])


@pytest.mark.parametrize("versions", [(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
                                      (ssl.TLSVersion.TLSv1_3, None)], ids=["1.2", "1.3"])
def test_client_certificate(stage, versions):
    """An endpoint that wants one refuses who has none: in TLS 1.3 when the request is on its way."""
    server = backend(stage, clients=ROOT, versions=versions)
    lintel = stage.run(
        ingress_class(), named("with", annotations(secret="default/ours")), *app("app", server.port),
        named("without", annotations()), named("stranger", annotations(secret="default/stranger")),
        tls_secret("ours", OURS), tls_secret("stranger", STRANGER.issue("x")))
    assert lintel.fetch("/", "with.test", method="POST", body=b"x").status == 200
    assert server.requests[0].tls.client == OURS.der
    for host in ("without.test", "stranger.test"):
        response = lintel.fetch("/", host, method="POST", body=b"x")
        # an alert behind the handshake is lost to the reset of a server that did not read the request
        lost = {"upstream_reset"} if versions[1] is None else set()
        assert response.status == 502 and response.why in {"upstream_tls"} | lost
    assert len(server.requests) == 1
    if not lost:
        lintel.wait_log("the peer wants a client certificate|does not know who signed it")


# ---- several ways to one port, Secrets that are missing and change ----

def test_two_ways_to_one_port(stage):
    """Each Ingress gets what it asks for, and no connection of the other."""
    server = backend(stage, OTHER)
    lintel = stage.run(ingress_class(), named("strict", verified()), named("lax", annotations()),
                       named("right", verified(name="other.shop.svc")), *app("app", server.port),
                       ca(ROOT))
    for _ in range(3):
        assert lintel.fetch("/", "lax.test").status == 200
        assert lintel.fetch("/", "strict.test").why == "upstream_certificate"
        assert lintel.fetch("/", "right.test").status == 200
    assert server.connection_n >= 3
    explained = lintel.explain("http://strict.test/")
    assert explained["backends"][0]["protocol"] == "https"
    assert explained["backends"][0]["tls"] == {
        "isBroken": False, "isVerified": True, "depth": 1, "name": NAME, "sendsName": False,
        "authority": "default/ca", "certificate": ""}
    assert lintel.explain("http://lax.test/")["backends"][0]["tls"]["isVerified"] is False
    done = command("explain", "--server", f"127.0.0.1:{lintel.health_port}", "http://strict.test/")
    assert "by https, verified by default/ca for api.shop.svc" in done.stdout
    text = command("backends", "--manifests", lintel.manifests.path).stdout
    assert "  https, not verified\n" in text
    assert "  https, verified by default/ca for other.shop.svc\n" in text
    listed = json.loads(command("backends", "--manifests", lintel.manifests.path, "-o",
                                "json").stdout)
    assert sorted(p["variant"] for p in listed) == [
        "https", f"https,secret=ca,verify=1,name={NAME}",
        "https,secret=ca,verify=1,name=other.shop.svc"]


@pytest.mark.parametrize("what", ["no Secret", "no ca.crt", "bad ca.crt", "bad name", "bad Secret"])
def test_what_is_missing(stage, what):
    """Nothing is opened, nobody else notices, and it works as soon as it is there."""
    server = backend(stage)
    manifests = stage.directory()
    how = verified(**{"bad name": {"name": "*.svc"}, "bad Secret": {"secret": "ca"}}.get(what, {}))
    manifests.write("all.yaml", ingress_class(), named("a", how), named("b", annotations()),
                    *app("app", server.port))
    held = {"no ca.crt": {"x": "none"}, "bad ca.crt": {"ca.crt": "XXX"}}.get(what)
    if held is not None:
        manifests.write("ca.yaml", secret("ca", held))
    lintel = stage.lintel(manifests).start()
    response = lintel.fetch("/", "a.test")
    assert (response.status, response.why) == (503, "upstream_tls_missing")
    assert server.connection_n == 0
    assert lintel.fetch("/", "b.test").status == 200
    explained = lintel.explain("http://a.test/")
    result = explained["result"]
    assert (result["status"], result["reason"]) == (503, "upstream_tls_missing")
    assert explained["backends"][0]["tls"]["isBroken"] is True
    lintel.wait_log({"no Secret": "SecretNotFound", "no ca.crt": "InvalidCertificate",
                     "bad ca.crt": "InvalidCertificate"}.get(what, "InvalidAnnotation"))
    manifests.write("ca.yaml", ca(ROOT))
    manifests.write("all.yaml", ingress_class(), named("a", verified()), named("b", annotations()),
                    *app("app", server.port))
    lintel.wait_answer(200, "/", "a.test")
    manifests.delete("ca.yaml")
    lintel.wait_answer(503, "/", "a.test", "upstream_tls_missing")
    assert lintel.fetch("/", "b.test").status == 200


def test_bad_change_of_a_secret(stage):
    """What was good before stays in service."""
    server = backend(stage)
    manifests = stage.directory()
    manifests.write("all.yaml", ingress_class(), named("a", verified()), *app("app", server.port))
    manifests.write("ca.yaml", ca(ROOT))
    lintel = stage.lintel(manifests, *EACH_ONCE).start()
    assert lintel.fetch("/", "a.test").status == 200
    manifests.write("ca.yaml", secret("ca", {"ca.crt": "XXX"}))
    lintel.wait_log("the authorities that were there before stay in service")
    assert lintel.fetch("/", "a.test").status == 200
    manifests.write("ca.yaml", ca(STRANGER))
    lintel.wait_answer(502, "/", "a.test", "upstream_certificate")


def test_authorities_changed_under_load(stage):
    """From one authority to another as one does it: both, then the endpoint, then the new one alone.
    No request fails, and connections of before the change are closed when they are idle."""
    old, new = backend(stage, ROOT.issue(NAME)), backend(stage, STRANGER.issue(NAME))
    manifests = stage.directory()
    manifests.write("all.yaml", ingress_class(), named("a", verified()), service("app", 80))
    manifests.write("app.yaml", endpoint_slice("app", "127.0.0.1", port=old.port))
    manifests.write("ca.yaml", ca(ROOT))
    lintel = stage.lintel(manifests, workers=2).start()
    lintel.wait_answer(200, "/", "a.test")
    for server in (old, new):
        server.keeps_requests = False
    with Load(lintel.port, [("a.test", "/")]) as load:
        before = old.connection_n
        manifests.write("ca.yaml", ca(ROOT, STRANGER))
        eventually(lambda: old.connection_n > before, what="new connections")
        load.wait_for(100)
        manifests.write("app.yaml", endpoint_slice("app", "127.0.0.1", port=new.port))
        eventually(lambda: new.connection_n > 0 and not old.open, what="the other endpoint")
        load.wait_for(100)
        before = new.connection_n
        manifests.write("ca.yaml", ca(STRANGER))
        eventually(lambda: new.connection_n > before, what="new connections")
        load.wait_for(100)
    load.check_flawless()
    assert handshakes(lintel, "failed") == 0
    manifests.write("app.yaml", endpoint_slice("app", "127.0.0.1", port=old.port))
    lintel.wait_answer(502, "/", "a.test", "upstream_certificate")


def test_our_certificate_changed_under_load(stage):
    """Each time with another key, which comes by a stream of its own: no request finds it missing."""
    server = backend(stage, clients=ROOT)
    manifests = stage.directory()
    manifests.write("all.yaml", ingress_class(), *app("app", server.port),
                    named("a", verified(secret="default/ours")))
    manifests.write("ours.yaml", tls_secret("ours", OURS, ca=ROOT.certificate))
    lintel = stage.lintel(manifests, workers=2).start()
    lintel.wait_answer(200, "/", "a.test")
    with Load(lintel.port, [("a.test", "/")]) as load:
        for _ in range(5):
            ours = ROOT.issue("lintel")
            manifests.write("ours.yaml", tls_secret("ours", ours, ca=ROOT.certificate))
            eventually(lambda ours=ours: server.requests[-1].tls.client == ours.der,
                       what="the new certificate")
            load.wait_for(50)
    load.check_flawless()
    assert handshakes(lintel, "failed") == 0


def test_changes_of_endpoints_keep_sessions(stage):
    """A rollout elsewhere costs no handshake."""
    first, second = backend(stage), backend(stage)
    manifests = stage.directory()
    manifests.write("all.yaml", ingress_class(), named("a", verified()), service("app", 80), ca(ROOT))
    manifests.write("app.yaml", endpoint_slice("app", "127.0.0.1", port=first.port))
    lintel = stage.lintel(manifests).start()
    assert lintel.fetch("/", "a.test").status == 200
    manifests.write("more.yaml", endpoint_slice("app", "127.0.0.1", port=second.port, name="app-2"))
    eventually(lambda: lintel.fetch("/", "a.test").status == 200 and second.requests, what="both")
    for _ in range(10):
        assert lintel.fetch("/", "a.test").status == 200
    assert (first.connection_n, second.connection_n) == (1, 1)


# ---- what else goes over it ----

def test_websocket(stage):
    def script(exchange):
        exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                      b"Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
        while True:
            piece = exchange.connection.reader.read1(65536)
            if not piece:
                exchange.end()
                return
            exchange.send(piece.upper())
    server = backend(stage, script=script)
    lintel = run(stage, server.port, verified(), ca(ROOT))
    with Client(lintel.port) as client:
        client.send(b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n"
                    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        for piece in (b"one", b"x" * 100_000):
            client.send(piece)
            assert client.read_exactly(len(piece)) == piece.upper()
    assert server.requests[0].tls is not None


def test_auto_http(stage):
    """As the client came; what is said about TLS counts for those who came over it."""
    plain, secure = stage.backend(), backend(stage)
    svc = service("app", (80, plain.port))

    def serve(port):
        return [ingress_class(), svc, endpoint_slice("app", "127.0.0.1", port=port), ca(ROOT),
                tls_secret("site", ROOT.issue("a.test")),
                named("a", {**verified("AUTO_HTTP"), f"{NGINX}ssl-redirect": "false"},
                      tls=[tls("site", "a.test")])]
    manifests = stage.directory()
    manifests.write("all.yaml", *serve(plain.port))
    lintel = stage.lintel(manifests).start()
    assert lintel.fetch("/", "a.test").status == 200
    assert plain.requests[0].tls is None
    manifests.write("all.yaml", *serve(secure.port))

    def over_tls():
        with TlsClient(lintel.https_port, "a.test", trusts=[ROOT]) as client:
            return client.request(host="a.test").status == 200
    eventually(over_tls, what="an answer over TLS")
    assert secure.requests[0].tls is not None
    assert not [r for r in plain.requests if r.tls is not None]


def test_app_protocol(stage):
    """The Service says TLS, the Ingress how."""
    server = backend(stage, OTHER)
    svc = service("app", (80, server.port))
    svc["spec"]["ports"][0]["appProtocol"] = "https"
    lintel = stage.run(ingress_class(), named("strict", verified(None)),
                       named("right", verified(None, name="other.shop.svc")), named("lax", {}), svc,
                       endpoint_slice("app", "127.0.0.1", port=server.port), ca(ROOT))
    assert lintel.fetch("/", "strict.test").why == "upstream_certificate"
    assert lintel.fetch("/", "right.test").status == 200
    assert lintel.fetch("/", "lax.test").status == 200


# ---- GRPCS ----

@pytest.fixture
def grpc_server(stage):
    def make(identity=SITE, **options):
        made = GrpcServer(identity=identity, **options)
        stage.others.append(made)
        return made
    return make


def say(lintel, message=b"hello", host="a.test"):
    with GrpcClient(lintel.port, host) as client:
        return client.say(message, timeout=TIMEOUT_S)


def test_grpcs(stage, grpc_server):
    server = grpc_server()
    lintel = run(stage, server.port, verified("GRPCS", server_name="on"), ca(ROOT))
    with GrpcClient(lintel.port) as client:
        calls = [client.say.future(b"%d" % i, timeout=TIMEOUT_S) for i in range(200)]
        assert [call.result() for call in calls] == [b"%d" % i for i in range(200)]
        assert list(client.chat(iter([b"a", b"b"]), timeout=TIMEOUT_S)) == [b"a", b"b"]
        message = b"x" * 3_000_000
        assert client.say(message, timeout=TIMEOUT_S) == message
    assert lintel.counter("lintel_upstream_requests_total", protocol="http2") == 202
    assert handshakes(lintel, "full") >= 1
    assert lintel.explain("http://a.test/")["backends"][0]["protocol"] == "h2"


def test_grpcs_resumes_sessions(stage, grpc_server):
    server = grpc_server()
    lintel = run(stage, server.port, verified("GRPCS"), ca(ROOT), arguments=EACH_ONCE)
    for _ in range(5):
        assert say(lintel) == b"hello"
    assert handshakes(lintel, "full") == 1
    assert handshakes(lintel, "resumed") == 4


@pytest.mark.parametrize("identity, how", [
    pytest.param(OTHER, verified("GRPCS"), id="another name"),
    pytest.param(STRANGER.issue(NAME), verified("GRPCS"), id="another authority"),
    pytest.param(EXPIRED, verified("GRPCS"), id="expired"),
    pytest.param(SITE, verified("GRPCS", secret="default/nothing"), id="no Secret")])
def test_grpcs_refused(stage, grpc_server, identity, how):
    server = grpc_server(identity)
    lintel = run(stage, server.port, how, ca(ROOT))
    with pytest.raises(grpc.RpcError) as caught:
        say(lintel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not server.application.begun.acquire(blocking=False)
    assert lintel.counter("lintel_upstream_requests_total", protocol="http1") == 0


def test_grpcs_without_verification(stage, grpc_server):
    server = grpc_server(self_signed("whatever.test"))
    assert say(run(stage, server.port, annotations("GRPCS"))) == b"hello"


def test_grpcs_client_certificate(stage, grpc_server):
    server = grpc_server(clients=ROOT)
    lintel = stage.run(ingress_class(), *app("app", server.port), tls_secret("ours", OURS),
                       named("with", annotations("GRPCS", secret="default/ours")),
                       named("without", annotations("GRPCS")))
    assert say(lintel, host="with.test") == b"hello"
    with pytest.raises(grpc.RpcError) as caught:
        say(lintel, host="without.test")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_endpoint_that_refuses_http2(stage, tmp_path):
    """nginx with HTTP/1.1 alone says so in the handshake."""
    server = TlsNginx(tmp_path / "nginx", SITE)
    stage.others.append(server)
    lintel = run(stage, server.port, annotations("GRPCS"))
    response = lintel.fetch("/", "a.test")
    assert (response.status, response.why) == (502, "upstream_tls")
    lintel.wait_log("the peer does not speak the protocol that was offered")


def test_endpoint_that_says_nothing_about_http2(stage):
    """It shakes hands and speaks HTTP/1.1: it never sees a request."""
    server = backend(stage)
    lintel = run(stage, server.port, annotations("GRPCS"))
    response = lintel.fetch("/", "a.test")
    assert (response.status, response.why) in ((502, "upstream_invalid"), (502, "upstream_reset"))
    assert {r.method for r in server.requests} <= {"PRI"} # RFC 9113 section 3.4


def test_http2_with_alpn(stage, tmp_path):
    """nghttpd speaks nothing but h2, chosen by ALPN."""
    server = TlsNghttpd(tmp_path / "nghttpd", SITE)
    stage.others.append(server)
    server.write("hello", "hello\n")
    lintel = run(stage, server.port, verified("GRPCS"), ca(ROOT))
    assert lintel.fetch("/hello", "a.test").body == b"hello\n"
