"""HTTP/2 clients that break the rules: each line of http2_conformance.py, limits at their border, and
what takes too long. Floods are in test_http2_floods.py, flow control in test_http2_flow.py."""
import json
import select
import time

import pytest

pytest.register_assert_rewrite("http2_frames", "http2_messages")

# pylint: disable=wrong-import-position
import http2_conformance
from lib import h2
from lib.backend import echo
from lib.client import fetch
from lib.h2 import H2
from lib.manifests import app, ingress, ingress_class, rule
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


def check_connection(client, codes):
    client.read_to_end()
    assert client.goaway, client.seen
    assert client.goaway.code in codes, client.goaway


def check_stream(client, codes):
    client.read_until(lambda: client.of(1).reset_code is not None or client.goaway)
    assert client.of(1).reset_code in codes, (client.seen, client.of(1))
    client.next_stream = max(client.next_stream, 3)
    assert client.request().status == 200


def check_either(client, codes):
    try:
        client.read_until(lambda: client.goaway or any(
            f.kind == h2.RST_STREAM and f.code in codes for f in client.seen))
    except ConnectionError:
        pass
    if client.goaway:
        assert client.goaway.code in codes, client.goaway
    else:
        assert [f for f in client.seen if f.kind == h2.RST_STREAM and f.code in codes], client.seen


def check_status(client, codes):
    assert client.response(1).status in codes, client.of(1)


def check_refused(client, codes):
    response = client.response(1)
    assert (response.reset_code or response.status) in codes, response


def check_sees(client, fields):
    """By the last of its requests."""
    response = client.response(client.next_stream - 2)
    assert response.status == 200, response
    seen = json.loads(response.body)["fields"]
    for name, value in fields.items():
        values = [v for k, v in seen if k.lower() == name]
        assert ", ".join(values) == value, seen


CHECKS = {
    "connection": check_connection, "stream": check_stream, "either": check_either,
    "status": check_status, "refused": check_refused, "sees": check_sees,
    "fine": lambda client: check_status_of(client.request()),
    "fine_1": lambda client: check_status_of(client.response(1)),
}


def check_status_of(response):
    assert response.status == 200, response


@pytest.mark.parametrize("row", http2_conformance.ROWS, ids=str)
def test_rule(lintel, row):
    with H2(lintel.port, preface=row.has_preface) as client:
        try:
            row.send(client)
        except (ConnectionError, BrokenPipeError):
            pass  # it was faster than us; what it said is read below
        if callable(row.due):
            row.due(client)
        else:
            CHECKS[row.due[0]](client, *row.due[1:])
        if client.seen: # RFC 9113 section 3.4: the server's preface
            assert client.seen[0].kind == h2.SETTINGS and not client.seen[0].flags & h2.ACK


def test_everybody_else_is_served(lintel):
    """Behind all of these, in this order of the file."""
    assert lintel.fetch("/", "a.test").status == 200
    assert lintel.counter("lintel_process_restarts_total", process="worker-0") == 0


# ---- limits ----

def start(stage, *arguments):
    backend = stage.backend(slow)
    return stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                     app("app", backend.port), arguments=arguments)


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
    backend = stage.backend(slow if fault != "window" else echo)
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


def test_idle_begins_anew_with_each_request(stage):
    """--keep-alive is the time between two requests, also when they are answered at once."""
    lintel = start(stage, "--keep-alive", "600ms")
    with H2(lintel.port) as client:
        for _ in range(5):
            assert client.request(host="other.test").status == 404
            time.sleep(0.3)
        began = time.monotonic()
        client.read_to_end()
        assert client.goaway.code == h2.NO_ERROR and time.monotonic() - began > 0.2


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
