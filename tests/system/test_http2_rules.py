"""HTTP/2 clients that break the rules: each line of http2_conformance.py, and floods: what comes too
often ends the connection, is counted, and costs neither memory nor anybody else's requests."""
import contextlib
import select
import struct
import time

import pytest

import http2_conformance as rules
from lib import h2
from lib.backend import echo
from lib.client import fetch
from lib.h2 import H2
from lib.manifests import app, ingress, ingress_class, rule
from lib.process import memory_of
from lib.wait import eventually


def slow(exchange):
    """/slow is answered once its client is gone, /deaf too and nothing of it is read."""
    if exchange.request.target == "/deaf":
        waiting = select.poll()
        waiting.register(exchange.connection.socket, select.POLLRDHUP)
        waiting.poll(30_000)
        exchange.end()
        return
    if exchange.request.target == "/slow":
        while exchange.connection.socket.recv(65536):
            pass
        exchange.end()
    else:
        echo(exchange)


@pytest.fixture(scope="module")
def lintel(module_stage):
    backend = module_stage.backend(slow)
    return module_stage.run(ingress_class(),
                            ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                            app("app", backend.port))


def check_goaway(client, codes):
    client.read_to_end()
    assert client.goaway, client.seen
    assert client.goaway.code in codes, client.goaway


def check_reset(client, codes):
    client.read_until(lambda: client.of(1).reset_code is not None or client.goaway)
    assert client.of(1).reset_code in codes, (client.seen, client.of(1))
    client.next_stream = max(client.next_stream, 3)
    assert client.request().status == 200


def check_either(client, codes):
    """RFC 9113 section 5.4: a stream error may be made one of the connection."""
    try:
        client.read_until(lambda: client.goaway or any(
            f.kind == h2.RST_STREAM and f.code in codes for f in client.seen))
    except ConnectionError:
        pass
    if client.goaway:
        assert client.goaway.code in codes, client.goaway
    else:
        assert [f for f in client.seen if f.kind == h2.RST_STREAM and f.code in codes], client.seen


def check(client, due):
    if due == "fine":
        assert client.request().status == 200
    elif due == "fine_1":
        assert client.response(1).status == 200
    elif due[0] == "connection":
        check_goaway(client, due[1])
    elif due[0] == "stream":
        check_reset(client, due[1])
    elif due[0] == "either":
        check_either(client, due[1])
    elif due[0] == "status":
        assert client.response(1).status == due[1]
    else:
        response = client.response(1)
        assert (response.reset_code or response.status) in due[1], response


@pytest.mark.parametrize("case", rules.CASES, ids=lambda case: f"{case[0]} {case[1]}"[:80])
def test_rule(lintel, case):
    section, text, due, send, *first = case
    with H2(lintel.port, preface=send != "first") as client:
        try:
            if send == "first":
                client.send(h2.PREFACE, *first)
            else:
                send(client)
        except (ConnectionError, BrokenPipeError):
            pass  # it was faster than us; what it said is read below
        check(client, due)


def test_everybody_else_is_served(lintel):
    """Behind all of these, in this order of the file."""
    assert lintel.fetch("/", "a.test").status == 200
    assert lintel.counter("lintel_process_restarts_total", process="worker-0") == 0


# ---- floods ----

def start(stage):
    backend = stage.backend(slow)
    return stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                     app("app", backend.port))


def pour(client, make, n=20_000, batch=500):
    """Sends until Lintel has had enough; how many went."""
    sent = 0
    client.socket.settimeout(20)
    try:
        while sent < n:
            client.send(*[make(sent + i) for i in range(batch)])
            sent += batch
    except (ConnectionError, BrokenPipeError, TimeoutError):
        pass
    return sent


def open_and(client, behind):
    def make(i):
        return client.headers(1 + 2 * i, client.head("/slow"), end=True) + behind(1 + 2 * i)
    return make


FLOODS = {
    "http2_resets": lambda c: open_and(c, h2.reset),
    "http2_provoked": lambda c: open_and(c, lambda s: h2.window_update(s, 0x7fffffff)),
    "http2_pings": lambda c: lambda i: h2.frame(h2.PING, h2.ACK * 0, 0, struct.pack(">Q", i)),
    "http2_settings": lambda c: lambda i: h2.settings((4, 65535)),
    "http2_other": lambda c: lambda i: h2.frame(0x42, 0, 0, b""),
    "priority": lambda c: lambda i: h2.frame(h2.PRIORITY, 0, 1001, struct.pack(">IB", 0, 1)),
    "window": lambda c: lambda i: h2.window_update(0, 1),
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood(stage, name):
    lintel = start(stage)
    counter = name if name.startswith("http2") else "http2_other"
    worker = lintel.workers()[0]
    before = None
    for _ in range(3):
        with H2(lintel.port) as client:
            client.answers = False
            client.ping()
            pour(client, FLOODS[name](client))
            with contextlib.suppress(ConnectionError, TimeoutError):
                client.read_to_end()
            assert client.goaway.code == h2.ENHANCE_YOUR_CALM, client.goaway
        before = before or memory_of(worker)
    assert lintel.counter("lintel_limits_total", limit=counter) >= 1
    assert memory_of(worker) < before + (8 << 20)
    with H2(lintel.port) as client:
        assert client.request().status == 200
    assert lintel.workers() == [worker]


def test_empty_data(stage):
    lintel = start(stage)
    with H2(lintel.port) as client:
        stream = client.start("/slow", method="POST", end=False)
        pour(client, lambda i: h2.frame(h2.DATA, 0, stream), n=5000)
        client.read_to_end()
        assert client.goaway.code == h2.ENHANCE_YOUR_CALM
    assert lintel.counter("lintel_limits_total", limit="http2_empty") == 1


@pytest.mark.parametrize("n, due", [(8, "fine"), (9, "flood")])
def test_continuations(stage, n, due):
    """Up to 8 frames behind HEADERS."""
    lintel = start(stage)
    with H2(lintel.port) as client:
        block = client.block_of(client.head(fields=[("x-pad", "x" * 100)]))
        pieces = [block[:10], *[block[10 + i:11 + i] for i in range(n - 1)], block[10 + n - 1:]]
        client.send(h2.frame(h2.HEADERS, h2.END_STREAM, 1, pieces[0]),
                    *[h2.frame(h2.CONTINUATION, 0, 1, p) for p in pieces[1:-1]],
                    h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, pieces[-1]))
        if due == "fine":
            assert client.response(1).status == 200
        else:
            client.read_to_end()
            assert client.of(1).status is None
            assert client.goaway.code == h2.ENHANCE_YOUR_CALM
            assert lintel.counter("lintel_limits_total", limit="http2_continuations") == 1


def test_a_header_section_that_unpacks_to_much_more(stage):
    """One byte for 4 KB, thousands of times: given up at HTTP2_DECODED_BYTES_MAX."""
    lintel = start(stage)
    with H2(lintel.port) as client:
        first = client.block_of(client.head(fields=[("x-bomb", "b" * 3900)]))
        client.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, first))
        assert client.response(1).status == 200
        bomb = client.block_of(client.head()) + b"\xbe" * 10_000  # the newest of the dynamic table
        client.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 3, bomb))
        client.read_to_end()
        assert client.goaway.code == h2.ENHANCE_YOUR_CALM
    assert lintel.counter("lintel_limits_total", limit="head_bytes") == 1


def test_acknowledgements_that_nobody_reads(stage):
    """PINGs whose answers stay in the socket: at HTTP2_ACKS_PENDING_MAX the connection ends."""
    lintel = start(stage)
    worker = lintel.workers()[0]
    with H2(lintel.port, receive=4096) as client:
        pour(client, lambda i: h2.frame(h2.PING, 0, 0, b"12345678"), n=500_000)
    eventually(lambda: lintel.counter("lintel_connections", state="idle") == 0 or None,
               what="the end of the connection")
    assert lintel.workers() == [worker]


# ---- time ----

@pytest.mark.parametrize("option, fault", [
    ("client-header-timeout", "preface"), ("client-header-timeout", "head"), ("keep-alive", "idle"),
    ("client-body-timeout", "body"), ("send-timeout", "window")])
def test_time_runs_out(stage, option, fault):
    backend = stage.backend(slow if fault != "window" else None)
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       app("app", backend.port), arguments=[f"--{option}", "400ms"])
    began = time.monotonic()
    with H2(lintel.port, preface=fault != "preface",
            settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 0 if fault == "window" else 65535)]) as client:
        if fault == "preface":
            client.answers = False
            client.send(h2.PREFACE)
            client.read_to_end()
        elif fault == "head":
            client.answers = False
            client.send(h2.frame(h2.HEADERS, 0, 1, client.block_of(client.head())))
            client.read_to_end()
        elif fault == "idle":
            client.read_to_end()
            assert client.goaway.code == h2.NO_ERROR
        elif fault == "body":
            stream = client.start(method="POST", end=False)
            response = client.response(stream)
            assert (response.status, response.why) == (408, "client_timeout")
            assert client.request().status == 200
        else:
            stream = client.start()
            assert client.response(stream).reset_code == h2.CANCEL
            client.ping()
    assert time.monotonic() - began >= 0.38
    names = {"preface": "client_head", "head": "client_head", "idle": "client_idle",
             "body": "client_body", "window": "client_write"}
    assert lintel.counter("lintel_timeouts_total", timeout=names[fault]) == 1


def test_requests_of_a_connection(stage):
    """keep-alive-requests: GOAWAY behind the last one."""
    backend = stage.backend()
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       app("app", backend.port), arguments=["--keep-alive-requests", "3"])
    with H2(lintel.port) as client:
        for _ in range(3):
            assert client.request().status == 200
        client.read_to_end()
        assert client.goaway.code == h2.NO_ERROR and client.goaway.last_stream == 5
    assert fetch(lintel.port, "/", "a.test").status == 200
