"""How endpoints are spoken to: by annotation, by appProtocol, by two Ingresses in two ways, and
changed under load."""
import json
import threading

import pytest

from lib import h2
from lib.h2 import H2
from lib.h2_backend import H2Backend
from lib.lintel import command
from lib.manifests import (app, endpoint_slice, ingress, ingress_class, rule, service)
from lib.wait import eventually

PROTOCOL = "nginx.ingress.kubernetes.io/backend-protocol"


def both(connection):
    """Speaks whatever the first bytes are, and says which."""
    connection.unread = connection.socket.recv(3)
    if connection.unread == b"PRI":
        connection.greet()
        while True:
            connection.answer(connection.read_request(), b"h2c")
    while True:
        while b"\r\n\r\n" not in connection.unread:
            piece = connection.socket.recv(65536)
            if not piece:
                return
            connection.unread += piece
        connection.unread = connection.unread.partition(b"\r\n\r\n")[2]
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhttp")


CLIENT_HELLO = 0x16 # how a record of TLS begins that carries a handshake


@pytest.fixture
def backend(stage):
    made = H2Backend(both)
    stage.others.append(made)
    return made


def annotated(name, host, value, to="app:80"):
    return ingress(name, rule(host, ("/", "Prefix", to)),
                   annotations={PROTOCOL: value} if value else None)


@pytest.mark.parametrize("value, spoken", [
    (None, b"http"), ("HTTP", b"http"), ("http", b"http"), ("GRPC", b"h2c"), ("grpc", b"h2c"),
    ("AUTO_HTTP", b"http"), ("nonsense", b"http")])
def test_annotation(stage, backend, value, spoken):
    lintel = stage.run(ingress_class(), annotated("a", "a.test", value), app("app", backend.port))
    assert lintel.fetch("/", "a.test").body == spoken
    with H2(lintel.port) as client:
        assert client.request().body == spoken
    name = "http2" if spoken == b"h2c" else "http1"
    assert lintel.counter("lintel_upstream_requests_total", protocol=name) == 2
    assert lintel.counter("lintel_upstream_requests_total") == 2


@pytest.mark.parametrize("value", ["HTTPS", "GRPCS", "FCGI"])
def test_what_is_not_spoken_in_the_clear(stage, backend, value):
    lintel = stage.run(ingress_class(), annotated("a", "a.test", value), app("app", backend.port),
                       arguments=["--proxy-connect-timeout", "300ms"])
    assert lintel.fetch("/", "a.test").status in (502, 503, 504)
    assert all(not c.unread or c.unread[0] == CLIENT_HELLO for c in backend.connections)
    if value == "FCGI":
        response = lintel.fetch("/", "a.test")
        assert (response.status, response.why) == (503, "no_endpoints")
        assert not backend.connections
        lintel.wait_log("UnknownProtocol")


@pytest.mark.parametrize("value, spoken", [
    ("kubernetes.io/h2c", b"h2c"), ("grpc", b"h2c"), ("http", b"http"), ("kubernetes.io/ws", b"http"),
    ("mysql", b"http")])
def test_app_protocol(stage, backend, value, spoken):
    svc = service("app", (80, backend.port))
    svc["spec"]["ports"][0]["appProtocol"] = value
    lintel = stage.run(ingress_class(), annotated("a", "a.test", None), svc,
                       endpoint_slice("app", "127.0.0.1", port=backend.port))
    assert lintel.fetch("/", "a.test").body == spoken


def test_one_port_in_two_ways(stage, backend):
    lintel = stage.run(ingress_class(), annotated("a", "a.test", None),
                       annotated("b", "b.test", "GRPC"), app("app", backend.port))
    for _ in range(3):
        assert lintel.fetch("/", "a.test").body == b"http"
        assert lintel.fetch("/", "b.test").body == b"h2c"
    assert len(backend.connections) == 2
    item = lintel.wait_access_log_json(host="b.test")
    assert item["upstream"] == "default-app-80"
    explained = lintel.explain("http://b.test/")
    assert explained["backends"][0]["protocol"] == "h2c"
    assert explained["backends"][0]["port"] == "80"
    listed = json.loads(command("backends", "--manifests", lintel.manifests.path, "-o",
                                "json").stdout)
    assert [(p["protocol"], p["variant"], [r["ingress"] for r in p["rules"]]) for p in listed] == [
        ("http", "", ["a"]), ("h2c", "grpc", ["b"])]
    dumped = command("dump", "--manifests", lintel.manifests.path).stdout
    assert 'protocol: "http2"' in dumped and "default/app/80/grpc" in dumped


def test_changed_under_load(stage, backend):
    """To and fro: no request fails, and each is answered in one protocol or the other."""
    manifests = stage.directory()
    manifests.write("class.yaml", ingress_class())
    manifests.write("app.yaml", *app("app", backend.port))
    manifests.write("a.yaml", annotated("a", "a.test", None))
    lintel = stage.lintel(manifests, workers=2).start()
    seen, is_over = [], threading.Event()

    def load():
        with H2(lintel.port) as client:
            while not is_over.is_set():
                response = client.request(method="POST", body=b"x")
                seen.append((response.status, bytes(response.body)))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(6):
        value, body = ("GRPC", b"h2c") if turn % 2 == 0 else (None, b"http")
        manifests.write("a.yaml", annotated("a", "a.test", value))
        eventually(lambda body=body: all(lintel.fetch("/", "a.test").body == body
                                         for _ in range(8)), what=f"{body}")
        n = len(seen)
        eventually(lambda n=n: len(seen) > n + 50, what="requests")
    is_over.set()
    for thread in threads:
        thread.join(30)
    assert {status for status, _ in seen} == {200}
    assert {body for _, body in seen} == {b"h2c", b"http"}


def test_trailers_across_protocols(stage):
    """From an HTTP/2 endpoint to clients of either protocol."""
    def script(connection):
        connection.greet()
        while True:
            stream = connection.read_request()
            connection.send(connection.headers(stream, [(":status", "200")], end=False))
            connection.data(stream, b"body")
            connection.send(connection.headers(stream, [("x-sum", "42")]))
    backend = H2Backend(script)
    stage.others.append(backend)
    lintel = stage.run(ingress_class(), annotated("a", "a.test", "GRPC"), app("app", backend.port))
    with H2(lintel.port) as client:
        response = client.request(fields=[("te", "trailers")])
        assert (response.body, response.trailers) == (b"body", [("x-sum", "42")])
    done = lintel.fetch("/", "a.test")
    assert done.body == b"body"


def test_interim_responses_are_passed_on(stage):
    def script(connection):
        connection.greet()
        stream = connection.read_request()
        connection.send(connection.headers(stream, [(":status", "100")], end=False),
                        connection.headers(stream, [(":status", "103"), ("link", "</a>")], end=False))
        connection.answer(stream)
        connection.serve()
    backend = H2Backend(script)
    stage.others.append(backend)
    lintel = stage.run(ingress_class(), annotated("a", "a.test", "GRPC"), app("app", backend.port))
    with H2(lintel.port) as client:
        response = client.request()
        assert response.interim == [(103, [("link", "</a>")])]
        assert response.status == 200


def test_fields_of_a_connection_stay_behind(stage):
    backend = H2Backend()
    stage.others.append(backend)
    lintel = stage.run(ingress_class(), annotated("a", "a.test", "GRPC"), app("app", backend.port))
    lintel.fetch("/path?q=1", "a.test", fields=[("Connection", "x-mine"), ("X-Mine", "1"),
                                                ("X-Kept", "2"), ("Cookie", "a=1; b=2")])
    _, _, fields = backend.requests[0]
    assert fields[":authority"] == "a.test" and fields[":path"] == "/path?q=1"
    assert fields["x-kept"] == "2" and fields["cookie"] == "a=1; b=2"
    assert not {"connection", "host", "x-mine", "keep-alive", "transfer-encoding"} & set(fields)
    assert h2.CONTINUATION not in {f.kind for f in backend.connections[0].seen}
