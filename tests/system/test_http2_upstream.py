"""HTTP/2 towards endpoints: sharing of connections, their ends, times that run out, WebSocket, and
real servers."""
import contextlib
import hashlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from lib import h2
from lib.client import Client, request_bytes
from lib.h2 import H2
from lib.h2_backend import H2Backend
from lib.manifests import app, ingress, ingress_class, rule
from lib.servers import NodeHttp2, Nghttpd
from lib.wait import always, eventually

GRPC = {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
ENABLE_CONNECT = (8, 1)


def serve(stage, backend, *arguments, addresses=(), **options):
    stage.others.append(backend)
    return stage.run(ingress_class(),
                     ingress("a", rule("a.test", ("/", "Prefix", "app:80")), annotations=GRPC),
                     app("app", backend.port, *addresses), arguments=arguments, **options)


class Gate:
    """A script that answers when it is open."""

    def __init__(self, *pairs):
        self.open, self.pairs = threading.Event(), pairs

    def __call__(self, connection):
        connection.greet(*self.pairs)
        held = []
        while True:
            held.append(connection.read_request())
            while self.open.is_set() and held:
                connection.answer(held.pop())


# ---- sharing ----

def test_many_requests_share_a_connection(stage):
    def script(connection):
        connection.greet()
        streams = [connection.read_request() for _ in range(100)]
        for stream in reversed(streams):
            connection.answer(stream, b"%d" % stream)
        connection.serve()
    backend = H2Backend(script)
    lintel = serve(stage, backend)
    with H2(lintel.port) as client:
        streams = [client.start() for _ in range(100)]
        assert sorted(int(client.response(s).body) for s in streams) == list(range(1, 201, 2))
    assert len(backend.connections) == 1
    assert lintel.counter("lintel_upstream_reuses_total") == 99


@pytest.mark.parametrize("most", [1, 10])
def test_endpoint_that_takes_few(stage, most):
    """What waits for the first connection when it says so goes to others, whatever its method."""
    def script(connection):
        connection.greet((h2.MAX_CONCURRENT_STREAMS, most))
        while True:
            stream = connection.read_request()
            connection.most = max(getattr(connection, "most", 0), 1 + len(connection.order))
            connection.answer(stream)
    backend = H2Backend(script)
    lintel = serve(stage, backend)
    with H2(lintel.port) as client:
        streams = []
        for _ in range(60):
            streams.append(client.start(method="POST", end=False))
            client.data(streams[-1], b"x" * 100, end=True)
        assert [client.response(s).status for s in streams] == [200] * 60
    assert max(c.most for c in backend.connections) <= most
    assert lintel.counter("lintel_answers_total", reason="upstream_refused") == 0


def test_requests_of_a_connection(stage):
    """--upstream-keepalive-requests: then another one; nothing is cut."""
    backend = H2Backend()
    lintel = serve(stage, backend, "--upstream-keepalive-requests", "5")
    with H2(lintel.port) as client:
        for _ in range(12):
            assert client.request().status == 200
    assert [len(c.requests) for c in backend.connections] == [5, 5, 2]
    eventually(lambda: all(c.goaway for c in backend.connections[:2]), what="GOAWAY")


def test_age_of_a_connection(stage):
    backend = H2Backend()
    lintel = serve(stage, backend, "--upstream-keepalive-time", "300ms")
    assert lintel.fetch("/", "a.test").status == 200
    time.sleep(0.35)
    assert lintel.fetch("/", "a.test").status == 200
    assert len(backend.connections) == 2


def test_idle_connections_end(stage):
    backend = H2Backend()
    lintel = serve(stage, backend, "--upstream-keepalive-timeout", "300ms")
    began = time.monotonic()
    assert lintel.fetch("/", "a.test").status == 200
    eventually(lambda: backend.connections[0].goaway, what="GOAWAY")
    assert time.monotonic() - began >= 0.28
    assert backend.connections[0].goaway.code == h2.NO_ERROR
    eventually(lambda: lintel.counter("lintel_upstream_connections") == 0)


# ---- the end of a connection ----

def test_goaway_under_load(stage):
    """Every connection goes away after 20 requests, with what is under way; nothing fails."""
    def script(connection):
        connection.greet()
        for i in range(20):
            stream = connection.read_request()
            if i == 19:
                connection.send(h2.frame(h2.GOAWAY, 0, 0, struct.pack(">II", stream, 0)))
            connection.answer(stream)
        connection.drain()
    backend = H2Backend(script)
    lintel = serve(stage, backend)
    statuses = []

    def load():
        with H2(lintel.port) as client:
            for _ in range(20):
                streams = []
                for _ in range(10):
                    streams.append(client.start(method="POST", end=False))
                    client.data(streams[-1], b"x", end=True)
                statuses.extend(client.response(s).status for s in streams)
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 800
    assert len(backend.connections) >= 40


def test_idle_connection_that_died(stage):
    """Closed by the endpoint while nobody looked: the next request, whatever its method, is fine."""
    backend = H2Backend()
    lintel = serve(stage, backend)
    for _ in range(20):
        with Client(lintel.port) as client:
            assert client.request("POST", host="a.test", body=b"x").status == 200
            backend.connections[-1].socket.shutdown(socket.SHUT_RDWR)
    assert lintel.counter("lintel_responses_total", **{"class": "5xx"}) == 0


@pytest.mark.parametrize("begun, method, due", [
    (False, "GET", 200), (False, "POST", 502), (True, "GET", None), (True, "POST", None)])
def test_endpoint_dies_amid(stage, begun, method, due):
    """Without a word. What may be repeated is, before the response begins; after that its client is
    cut off."""
    def script(connection):
        connection.greet()
        stream = connection.read_request()
        if begun:
            connection.answer(stream, b"the first half", end=False)
            connection.of(stream)
            time.sleep(0.1)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    backend = H2Backend()
    lintel = serve(stage, backend, addresses=["127.0.0.2", "127.0.0.3"])
    backend.script(script)
    with Client(lintel.port) as client:
        client.send(request_bytes(method, "/", "a.test", [], b"" if method == "POST" else None))
        if due is None:
            with pytest.raises(ConnectionError):
                client.read_response()
            assert lintel.wait_access_log_json(reason="upstream_cut")["status"] == 200
        else:
            response = client.read_response()
            assert response.status == due
            assert response.why == (None if due == 200 else "upstream_reset")


def test_whole_response_of_a_dead_connection(stage):
    """It is all here when the connection ends; a slow client gets it all the same."""
    body = os.urandom(60_000)

    def script(connection):
        connection.greet()
        connection.answer(connection.read_request(), body)
        connection.send(h2.frame(h2.GOAWAY, 0, 0, struct.pack(">II", 1, 0)))
    backend = H2Backend(script)
    lintel = serve(stage, backend)
    with H2(lintel.port, settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 10)]) as client:
        stream = client.start()
        client.read_until(lambda: len(client.of(stream).body) == 10)
        eventually(lambda: backend.connections[0].socket.fileno() < 0, what="the end")
        time.sleep(0.1)
        client.send(h2.window_update(stream, 100_000))
        assert client.response(stream).body == body


# ---- time ----

@pytest.mark.parametrize("option, name, why, status", [
    ("proxy-connect-timeout", "upstream_connect", "connect_timeout", 504),
    ("proxy-read-timeout", "upstream_head", "upstream_timeout", 504),
    ("proxy-read-timeout", "upstream_read", "upstream_stalled", None),
    ("proxy-send-timeout", "upstream_write", "upstream_timeout", 504)])
def test_time_runs_out(stage, option, name, why, status):
    def script(connection):
        if name == "upstream_connect":
            connection.drain()
        connection.greet((h2.INITIAL_WINDOW_SIZE, 10 if name == "upstream_write" else 65535))
        stream = connection.next_request()
        if name == "upstream_read":
            connection.answer(stream, b"begin", end=False)
        connection.drain()
    backend = H2Backend(script)
    lintel = serve(stage, backend, f"--{option}", "400ms")
    began = time.monotonic()
    with H2(lintel.port) as client:
        stream = client.start(method="POST", end=False)
        client.data(stream, b"x" * 5000, end=True)
        response = client.response(stream)
        assert response.status == (status or 200)
        assert response.why == (why if status else None)
        assert (response.reset_code is not None) == (status is None)
    assert time.monotonic() - began >= 0.38
    assert lintel.counter("lintel_timeouts_total", timeout=name) >= 1
    if name != "upstream_connect":
        connection = backend.connections[0]
        eventually(lambda: connection.of(1).reset_code == h2.CANCEL, what="RST_STREAM")
    lintel.wait_access_log_json(reason=why)


def test_silent_endpoint(stage):
    """It takes requests and says nothing, not even to a PING: after the first request that waited in
    vain the others go to a new connection, and the old one is given up."""
    backend = H2Backend()

    def script(connection):
        connection.greet()
        connection.answers = False
        connection.drain()
    backend.script(script)
    lintel = serve(stage, backend, "--proxy-read-timeout", "300ms")
    with H2(lintel.port) as client:
        stream = client.start(method="POST", end=True)
        assert client.response(stream).why == "upstream_timeout"
        assert client.request(method="POST").status == 200
    assert len(backend.connections) == 2
    old = backend.connections[0]
    eventually(lambda: old.socket.fileno() < 0, what="the end of the silent connection")
    assert [f for f in old.seen if f.kind == h2.PING]


def test_silent_endpoint_with_others_on_it(stage):
    """The requests that still wait on it end with the connection, by a timeout of its own."""
    backend = H2Backend()

    def script(connection):
        connection.greet()
        connection.answers = False
        connection.drain()
    backend.script(script)
    lintel = serve(stage, backend, "--proxy-read-timeout", "2s")
    with H2(lintel.port) as first, H2(lintel.port) as second:
        one = first.start(method="POST")
        time.sleep(1.5)
        two = second.start(method="POST", end=False)  # its answer may take its time
        eventually(lambda: len(backend.requests) == 2, what="two requests")
        assert first.response(one).why == "upstream_timeout"
        assert first.request().status == 200
        response = second.response(two)
        assert (response.status, response.why) == (504, "upstream_timeout")
    assert lintel.counter("lintel_timeouts_total", timeout="upstream_pong") == 1


def test_slow_endpoint_is_not_silent(stage):
    """One request waits in vain, but others are answered: the connection is fine."""
    def script(connection):
        connection.greet()
        while True:
            stream = connection.read_request()
            if connection.field(stream, ":path") != "/never":
                connection.answer(stream)
    backend = H2Backend(script)
    lintel = serve(stage, backend, "--proxy-read-timeout", "500ms")
    with H2(lintel.port) as client:
        never = client.start("/never")
        for _ in range(8):
            assert client.request().status == 200
            time.sleep(0.1)
        assert client.response(never).why == "upstream_timeout"
        assert client.request().status == 200
    assert len(backend.connections) == 1
    assert not [f for f in backend.connections[0].seen if f.kind == h2.PING]


# ---- windows ----

def test_uploads_wait_for_the_window(stage):
    """The endpoint's window governs; the client is held up, and little is kept."""
    received = []

    def script(connection):
        connection.greet((h2.INITIAL_WINDOW_SIZE, 0))
        stream = connection.next_request()
        while not connection.of(stream).is_complete:
            before = len(connection.of(stream).body)
            connection.send(h2.window_update(stream, 50_000), h2.window_update(0, 50_000))
            connection.read_until(lambda b=before: len(connection.of(stream).body) >= b + 50_000
                                  or connection.of(stream).is_complete)
            received.append(len(connection.of(stream).body) - before)
        connection.answer(stream, hashlib.sha256(connection.of(stream).body).digest())
        connection.serve()
    backend = H2Backend(script)
    lintel = serve(stage, backend)
    body = os.urandom(2_000_000)
    with Client(lintel.port) as client:
        response = client.request("POST", host="a.test", body=body)
    assert response.body == hashlib.sha256(body).digest()
    assert max(received) <= 50_000


def test_downloads_wait_for_the_client(stage):
    """Nobody reads: the endpoint is stopped by the stream's window."""
    sent = []

    def script(connection):
        connection.greet()
        stream = connection.read_request()
        connection.send(connection.headers(stream, [(":status", "200")], end=False))
        window = 65536
        connection.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError, OSError):
            while True:
                while window < 16384:
                    got = connection.read_frame()
                    if got.kind == h2.WINDOW_UPDATE and got.stream == stream:
                        window += struct.unpack(">I", got.payload)[0]
                connection.data(stream, b"x" * 16384)
                window -= 16384
                sent.append(16384)
        connection.socket.settimeout(20)
        connection.drain()
    backend = H2Backend(script)
    lintel = serve(stage, backend)
    with H2(lintel.port, settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 1000)]) as client:
        client.start()
        always(lambda: sum(sent) < 1_000_000, seconds=1.5)
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)


# ---- WebSocket: RFC 8441 ----

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"),
           ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", "13")]


def parrot(connection):
    connection.greet(ENABLE_CONNECT)
    stream = connection.next_request()
    if connection.field(stream, ":method") == "CONNECT":
        connection.answer(stream, b"", fields=[("x-protocol", connection.field(stream, ":protocol"))],
                          end=False)
        body = 0
        while not connection.of(stream).is_complete:
            connection.read_until(lambda b=body: len(connection.of(stream).body) > b
                                  or connection.of(stream).is_complete)
            connection.data(stream, connection.of(stream).body[body:])
            body = len(connection.of(stream).body)
        connection.data(stream, b"goodbye", end=True)
    connection.serve()


def test_websocket_of_an_http1_client(stage):
    backend = H2Backend(parrot)
    lintel = serve(stage, backend)
    with Client(lintel.port) as client:
        client.send(request_bytes("GET", "/chat?a=1", "a.test", UPGRADE))
        head = client.read_head()
        assert head.status == 101
        assert head["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert (head["upgrade"], head["x-protocol"]) == ("websocket", "websocket")
        client.send(b"\x81\x05hello")
        assert client.read_exactly(7) == b"\x81\x05hello"
        client.send(b"more" * 10_000)
        assert client.read_exactly(40_000) == b"more" * 10_000
        client.shutdown()
        assert client.read_to_end() == b"goodbye"
    _, _, fields = backend.requests[0]
    assert fields[":path"] == "/chat?a=1" and fields["sec-websocket-version"] == "13"
    assert "sec-websocket-key" not in fields and "connection" not in fields


def test_websocket_of_an_http2_client(stage):
    backend = H2Backend(parrot)
    lintel = serve(stage, backend)
    with H2(lintel.port) as client:
        stream = client.new_stream()
        client.send(client.headers(stream, [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"),
            (":authority", "a.test"), ("sec-websocket-version", "13")], end=False))
        client.read_until(lambda: client.of(stream).status)
        assert client.of(stream).status == 200
        assert client.of(stream).get("sec-websocket-accept") is None
        client.data(stream, b"hello", end=True)
        assert client.response(stream).body == b"hellogoodbye"


@pytest.mark.parametrize("is_first", [True, False])
def test_websocket_not_offered(stage, is_first):
    """Also when the connection stands and is known not to take it."""
    backend = H2Backend()
    lintel = serve(stage, backend)
    if not is_first:
        assert lintel.fetch("/", "a.test").status == 200
    with Client(lintel.port) as client:
        client.send(request_bytes("GET", "/", "a.test", UPGRADE))
        response = client.read_response()
        assert (response.status, response.why) == (501, "upgrade_not_supported")
    assert len(backend.requests) == (0 if is_first else 1)
    assert lintel.fetch("/", "a.test").status == 200


def test_websocket_refused_by_the_endpoint(stage):
    def script(connection):
        connection.greet(ENABLE_CONNECT)
        connection.answer(connection.next_request(), b"no", status="403")
        connection.serve()
    backend = H2Backend(script)
    lintel = serve(stage, backend)
    with Client(lintel.port) as client:
        client.send(request_bytes("GET", "/", "a.test", UPGRADE))
        response = client.read_response()
        assert (response.status, response.body) == (403, b"no")


# ---- real servers ----

@pytest.fixture(scope="module")
def nghttpd(module_stage, tmp_path_factory):
    directory = tmp_path_factory.mktemp("nghttpd")
    made = Nghttpd(directory)
    return made, serve(module_stage, made)


def test_nghttpd_files(nghttpd):
    server, lintel = nghttpd
    for name, size in (("empty", 0), ("small", 1), ("large", 3_000_000)):
        data = os.urandom(size)
        with open(server.path(name), "wb") as file:
            file.write(data)
        response = lintel.fetch("/" + name, "a.test")
        assert (response.status, response.body) == (200, data)
        with H2(lintel.port) as client:
            stream = client.start("/" + name)
            client.send(h2.window_update(0, 1 << 24), h2.window_update(stream, 1 << 24))
            assert client.response(stream).body == data
        head = lintel.fetch("/" + name, "a.test", method="HEAD")
        assert (head.status, head["content-length"]) == (200, str(size))
    assert lintel.fetch("/nothing", "a.test").status == 404


def test_nghttpd_and_h2load(nghttpd):
    server, lintel = nghttpd
    server.write("page", "hello\n")
    done = subprocess.run(
        ["h2load", "-n", "20000", "-c", "10", "-m", "20", "-H", ":authority: a.test",
         f"http://127.0.0.1:{lintel.port}/page"], capture_output=True, text=True, timeout=120, check=True)
    assert "20000 succeeded, 0 failed, 0 errored" in done.stdout, done.stdout
    assert "20000 2xx" in done.stdout, done.stdout


@pytest.fixture(scope="module")
def node(module_stage, tmp_path_factory):
    made = NodeHttp2(tmp_path_factory.mktemp("node"))
    return serve(module_stage, made)


def test_node_uploads(node):
    body = os.urandom(3_000_000)
    response = node.fetch("/sum", "a.test", method="POST", body=body)
    assert response.body.decode() == hashlib.sha256(body).hexdigest()


def test_node_trailers_and_hints(node):
    with H2(node.port) as client:
        response = client.request("/hints", fields=[("te", "trailers")])
        assert response.interim == [(103, [("link", "</style.css>; rel=preload")])]
        assert response.body == b"body" and response.trailers == [("x-trailer", "yes")]


def test_node_resets(node):
    """Before anything, and amid the body."""
    response = node.fetch("/reset", "a.test", method="POST", body=b"")
    assert (response.status, response.why) == (502, "upstream_reset")
    with H2(node.port) as client:
        response = client.response(client.start("/half"))
        assert (response.status, response.body) == (200, b"half")
        assert response.reset_code == h2.INTERNAL_ERROR


def test_node_ends_gracefully(stage):
    """SIGTERM under load: close() in Node is one GOAWAY; another endpoint takes over."""
    first, second = NodeHttp2(stage.path / "1"), NodeHttp2(stage.path / "2")
    stage.others += [first, second]
    lintel = stage.run(
        ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80")), annotations=GRPC),
        [app("app", first.port)[0], app("app", first.port)[1]],
        {**app("app", second.port)[1], "metadata": {
            "name": "app-2", "namespace": "default", "labels": {"kubernetes.io/service-name": "app"}}})
    statuses, is_over = [], threading.Event()

    def load():
        with H2(lintel.port) as client:
            while not is_over.is_set():
                streams = []
                for _ in range(10):
                    streams.append(client.start("/sum", method="POST", end=False))
                    client.data(streams[-1], b"x" * 1000, end=True)
                statuses.extend((client.response(s).status, client.response(s).why) for s in streams)
    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(statuses) > 300)
    first.child.send_signal(signal.SIGTERM)
    assert first.child.wait(20) == 0
    n = len(statuses)
    eventually(lambda: len(statuses) > n + 300)
    is_over.set()
    for thread in threads:
        thread.join(30)
    assert set(statuses) == {(200, None)}
