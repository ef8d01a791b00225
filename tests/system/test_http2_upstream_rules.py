"""Endpoints that break the rules of HTTP/2: each line of http2_upstream_conformance.py, and floods:
what comes too often ends the connection, is counted, and costs neither memory nor anybody else's
requests."""
import contextlib
import struct
import threading

import pytest

import http2_upstream_conformance as rules
from lib import h2
from lib.client import Client, request_bytes
from lib.h2_backend import H2Backend
from lib.manifests import app, ingress, ingress_class, rule
from lib.process import memory_of
from lib.wait import eventually

GRPC = {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}


def start(stage, backend, *arguments, **options):
    stage.others.append(backend)
    return stage.run(ingress_class(),
                     ingress("a", rule("a.test", ("/", "Prefix", "app:80")), annotations=GRPC),
                     app("app", backend.port), arguments=arguments, **options)


@pytest.fixture(scope="module")
def place(module_stage):
    """A Lintel, and the endpoint behind it."""
    backend = H2Backend()
    return start(module_stage, backend), backend


def ask(lintel):
    """A POST, so that nothing is done twice unless it is surely safe. The response, or None when it
    is cut off."""
    with Client(lintel.port) as client:
        client.send(request_bytes("POST", "/", "a.test", [], b""))
        try:
            return client.read_response()
        except ConnectionError:
            return None


def play(backend, function):
    """The next connection goes by the function, then serves; what it saw is told by the result."""
    seen = {"done": threading.Event()}

    def script(server):
        server.greet()
        seen["server"] = server
        stream = server.read_request()
        seen["stream"] = stream
        try:
            function(server, stream)
            server.serve()
        except (OSError, ConnectionError):
            pass
        finally:
            server.drain()
            seen["done"].set()
    backend.script(script)
    return seen


def check_goaway(seen, codes):
    assert seen["done"].wait(20)
    goaway = seen["server"].goaway
    assert goaway and goaway.code in codes, seen["server"].seen[-5:]


def resets(seen, codes):
    return [f for f in seen["server"].seen if f.kind == h2.RST_STREAM and f.code in codes
            and f.stream == seen["stream"]]


def fresh(place):
    """The connections of the tests before are gone on Lintel's side too."""
    lintel, backend = place
    for connection in backend.connections:
        with contextlib.suppress(OSError):
            connection.socket.shutdown(2)
    eventually(lambda: lintel.counter("lintel_upstream_connections") == 0, what="no connection")
    return lintel, backend


def ask_and_leave(lintel, seen, codes):
    """A client that reads nothing, so that Lintel does not either; until the stream is reset."""
    with Client(lintel.port) as client:
        client.send(request_bytes("POST", "/", "a.test", [], b""))
        eventually(lambda: resets(seen, codes), what="RST_STREAM")


@pytest.mark.parametrize("case", rules.CASES, ids=lambda case: f"{case[0]} {case[1]}"[:80])
def test_rule(place, case):
    lintel, backend = fresh(place)
    _, _, due, function = case
    seen = play(backend, function)
    response = ask(lintel) if due[0] != "unread" else ask_and_leave(lintel, seen, due[1])
    if due == "fine":
        assert response.status in (200, 304), response
    elif due == "cut":
        assert response is None or response.status == 204, response
        eventually(lambda: resets(seen, (h2.PROTOCOL_ERROR, h2.CANCEL)), what="RST_STREAM")
    elif due[0] == "connection":
        assert response is None or (response.status, response.why) == (502, "upstream_invalid")
        check_goaway(seen, due[1])
    elif due[0] in ("stream", "unread"):
        assert response is None or (response.status, response.why) == (502, "upstream_invalid")
        eventually(lambda: resets(seen, due[1]), what="RST_STREAM")
        assert not seen["server"].goaway
    else:
        assert (response.status, response.why) == (502, "upstream_invalid")
        eventually(lambda: resets(seen, due[1]) or (seen["server"].goaway and
                                                    seen["server"].goaway.code in due[1]),
                   what="RST_STREAM or GOAWAY")
    assert ask(lintel).status == 200


@pytest.mark.parametrize("case", rules.FIRST, ids=lambda case: f"{case[0]} {case[1]}"[:80])
def test_first_frame(place, case):
    """Nothing was sent to such an endpoint: the request, whatever its method, goes on."""
    lintel, backend = fresh(place)
    _, _, codes, data = case
    seen = {"done": threading.Event()}

    def script(server):
        seen["server"] = server
        server.read_until_preface()
        server.send(data)
        server.drain()
        seen["done"].set()
    backend.script(script)
    assert ask(lintel).status == 200
    assert seen["done"].wait(20)
    assert not seen["server"].requests
    if seen["server"].goaway:
        assert seen["server"].goaway.code in codes


def test_everybody_else_is_served(place):
    """Behind all of these, in this order of the file."""
    lintel, _ = place
    assert ask(lintel).status == 200
    assert lintel.counter("lintel_process_restarts_total", process="worker-0") == 0


# ---- floods ----

def pour(server, make, n=20_000, batch=500):
    """Sends until Lintel has had enough."""
    with contextlib.suppress(OSError):
        for at in range(0, n, batch):
            server.send(*[make(at + i) for i in range(batch)])


FLOODS = {
    "pings": lambda i: h2.frame(h2.PING, 0, 0, struct.pack(">Q", i)),
    "settings": lambda i: h2.settings((4, 65535)),
    "unknown": lambda i: h2.frame(0x42, 0, 0, b""),
    "priority": lambda i: h2.frame(h2.PRIORITY, 0, 1001, struct.pack(">IB", 0, 1)),
    "window": lambda i: h2.window_update(0, 1),
    "empty data": lambda i: h2.frame(h2.DATA, 0, 1),
    "resets of old streams": lambda i: h2.reset(1),
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood(stage, name):
    """The request of the flooding endpoint fails; the connection ends; it is counted."""
    backend = H2Backend()
    lintel = start(stage, backend)
    worker = lintel.workers()[0]
    before = None
    for round_n in range(3):
        seen = {"done": threading.Event()}

        def script(server, seen=seen):
            server.greet()
            server.answers = False
            seen["server"] = server
            server.read_request()
            if name == "empty data":
                server.send(server.headers(1, [(":status", "200")], end=False))
            elif name == "resets of old streams":
                server.answer(1)
            pour(server, FLOODS[name])
            server.drain()
            seen["done"].set()
        backend.script(script)
        ask(lintel)
        assert seen["done"].wait(30)
        eventually(lambda n=round_n: lintel.counter("lintel_limits_total",
                                                    limit="upstream_http2") >= n + 1,
                   what="the counter")
        before = before or memory_of(worker)
    assert memory_of(worker) < before + (8 << 20)
    assert ask(lintel).status == 200
    assert lintel.workers() == [worker]


@pytest.mark.parametrize("n, due", [(8, 200), (9, 502)])
def test_continuations(stage, n, due):
    """Up to 8 frames behind HEADERS."""
    backend = H2Backend()
    lintel = start(stage, backend)

    def script(server):
        server.greet()
        stream = server.read_request()
        block = b"\x88" + b"\x40\x01a\x7f\x00" + b"x" * 127
        pieces = [block[:1], *[block[1 + i:2 + i] for i in range(n - 1)], block[n:]]
        server.send(h2.frame(h2.HEADERS, h2.END_STREAM, stream, pieces[0]),
                    *[h2.frame(h2.CONTINUATION, 0, stream, p) for p in pieces[1:-1]],
                    h2.frame(h2.CONTINUATION, h2.END_HEADERS, stream, pieces[-1]))
        server.drain()
    backend.script(script)
    assert ask(lintel).status == due
    assert lintel.counter("lintel_limits_total", limit="http2_continuations") == (due == 502)


@pytest.mark.parametrize("limit, fields", [
    ("response_head_bytes", [("x-big", "b" * 9000)] * 5),
    ("response_head_fields", [(f"x-{i}", "1") for i in range(129)])])
def test_a_head_that_is_too_large(stage, limit, fields):
    backend = H2Backend()
    lintel = start(stage, backend)

    def script(server):
        server.greet()
        server.send(server.headers(server.read_request(), [(":status", "200"), *fields]))
        server.serve()
    backend.script(script)
    response = ask(lintel)
    assert (response.status, response.why) == (502, "upstream_invalid")
    assert lintel.counter("lintel_limits_total", limit=limit) == 1
    assert ask(lintel).status == 200
    assert len(backend.connections) == 1


def test_a_header_section_that_unpacks_to_much_more(stage):
    """One byte for 4 KB, thousands of times: given up at HTTP2_DECODED_BYTES_MAX."""
    backend = H2Backend()
    lintel = start(stage, backend)
    seen = {}

    def script(server):
        server.greet()
        first = server.block_of([(":status", "200"), ("x-bomb", "b" * 3900)])
        server.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, server.read_request(), first))
        server.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, server.read_request(),
                             b"\x88" + b"\xbe" * 10_000))  # the newest of the dynamic table
        server.drain()
        seen["goaway"] = server.goaway
    backend.script(script)
    assert ask(lintel).status == 200
    response = ask(lintel)
    assert (response.status, response.why) == (502, "upstream_invalid")
    eventually(lambda: seen["goaway"].code == h2.ENHANCE_YOUR_CALM, what="GOAWAY")
    assert lintel.counter("lintel_limits_total", limit="response_head_bytes") == 1


def test_acknowledgements_that_nobody_reads(stage):
    """PINGs whose answers stay in the socket: at HTTP2_ACKS_PENDING_MAX the connection ends."""
    backend = H2Backend()
    lintel = start(stage, backend)
    worker = lintel.workers()[0]
    backend.listener.setsockopt(h2.socket.SOL_SOCKET, h2.socket.SO_RCVBUF, 4096)

    def script(server):
        server.greet()
        server.read_request()
        pour(server, lambda i: h2.frame(h2.PING, 0, 0, b"12345678"), n=500_000)
    backend.script(script)
    assert ask(lintel).status == 502
    assert lintel.counter("lintel_limits_total", limit="upstream_http2") == 1
    assert lintel.workers() == [worker]


def test_interim_responses_without_end(stage):
    backend = H2Backend()
    lintel = start(stage, backend)

    def script(server):
        server.greet()
        stream = server.read_request()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                server.send(server.headers(stream, [(":status", "103"), ("x-a", "1")], end=False))
        server.serve()
    backend.script(script)
    response = ask(lintel)
    assert (response.status, response.why) == (502, "upstream_invalid")
    assert ask(lintel).status == 200
