"""Slow clients: each is ended by the timeout that it runs into, holds little memory until then, and
costs nobody else's time. What a slow crowd does is done between two requests of a normal client, so
that Lintel has it all at hand when the request arrives."""
import socket
import time

import pytest

from lib import process
from lib.backend import echo
from lib.client import request_bytes
from lib.crowd import Crowd, ask, check_latency, connect, latency, read_response, read_to_end
from lib.lintel import IS_SANITIZED
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import eventually

HEAD = b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Slow: " + b"x" * 4096
BODY_HEAD = request_bytes("POST", "/", "a.test", [("Content-Length", "1000")])
SINK_HEAD = BODY_HEAD.replace(b"a.test", b"sink.test")
CONN_PENDING_BYTES_MAX = 256 * 1024  # base/limits.h
SMALL_WINDOW = 4096
LARGE = 16 << 20
BODY = b"x" * LARGE # one for all: slices of the whole are no copies


def script(exchange):
    """/N: N bytes."""
    n = exchange.request.target[1:]
    if n.isdigit():
        exchange.respond(body=BODY[:int(n)])
    else:
        echo(exchange)


class Sink:
    """Takes connections and a little data and never answers; all by the kernel, so that it takes no
    time from a client in this process."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]

    def stop(self):
        self.listener.close()


def serve(stage, *arguments):
    """a.test answers, sink.test never does."""
    backend, sink = stage.backend(script), Sink()
    stage.others.append(sink)
    backend.keeps_requests = False
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80")),
                                                rule("sink.test", ("/", "Prefix", "sink:80"))),
                       app("app", backend.port), app("sink", sink.port), arguments=arguments)
    assert lintel.fetch(host="a.test").status == 200
    return lintel, backend


def timeouts(lintel, name):
    return lintel.counter("lintel_timeouts_total", timeout=name)


def trickle(*crowds_and_pieces):
    """A function that sends a byte of each crowd's text on each of its connections, once in 50 ms."""
    at, due = [0], [time.monotonic()]

    def step():
        time.sleep(max(0, due[0] - time.monotonic()))
        due[0] = time.monotonic() + 0.05
        for crowd, text in crowds_and_pieces:
            crowd.send(text[at[0] % len(text):][:1])
        at[0] += 1
    return step


def all_answered(lintel, crowd, status, why):
    for sock in crowd.sockets:
        response = read_response(sock)
        assert (response.status, response.why) == (status, why), response
    assert lintel.fetch(host="a.test").status == 200


# ---- each kind ends ----

def test_slow_heads_end(stage):
    """However steadily the bytes come: the time is for the whole head."""
    lintel, _ = serve(stage, "--client-header-timeout", "800ms")
    with Crowd(lintel.port, 50) as crowd:
        step = trickle((crowd, HEAD))
        while len(crowd.ready()) < 50:
            step()
        all_answered(lintel, crowd, 408, "client_timeout")
    assert timeouts(lintel, "client_head") == 50
    eventually(lambda: lintel.counter("lintel_connections", state="active") == 0)


def test_slow_heads_that_arrive_in_time_are_served(stage):
    lintel, _ = serve(stage)
    text = request_bytes(host="a.test")
    with Crowd(lintel.port, 50) as crowd:
        step = trickle((crowd, text))
        for _ in text:
            step()
        for sock in crowd.sockets:
            assert read_response(sock).status == 200
            assert ask(sock, "a.test").status == 200


def test_bodies_that_stall_end(stage):
    """Before and after the first bytes; neither keeps a connection to the endpoint busy."""
    lintel, backend = serve(stage, "--client-body-timeout", "400ms")
    with Crowd(lintel.port, 25, BODY_HEAD) as without, \
            Crowd(lintel.port, 25, BODY_HEAD + b"some") as with_some:
        all_answered(lintel, without, 408, "client_timeout")
        all_answered(lintel, with_some, 408, "client_timeout")
    assert timeouts(lintel, "client_body") == 50
    assert lintel.counter("lintel_requests_in_flight") == 0
    assert lintel.counter("lintel_upstream_connections", state="busy") == 0
    eventually(lambda: len(backend.open) <= 1, what="the end of what was begun at the endpoint")


def test_readers_that_stall_end(stage):
    """Their window is closed; the connection to the endpoint is free soon after."""
    lintel, backend = serve(stage, "--send-timeout", "600ms")
    with Crowd(lintel.port, 0) as crowd:
        for _ in range(20):
            crowd.sockets.append(connect(lintel.port, SMALL_WINDOW))
        crowd.send(request_bytes(target=f"/{LARGE}", host="a.test"))
        eventually(lambda: timeouts(lintel, "client_write") == 20, what="the end of all")
        assert all(len(read_to_end(sock)) < LARGE for sock in crowd.sockets)
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)
    eventually(lambda: len(backend.open) <= 1, what="the end of what was begun at the endpoint")
    lintel.wait_access_log_json(reason="client_stalled")
    assert lintel.fetch(host="a.test").status == 200


def test_the_silent_end(stage):
    lintel, _ = serve(stage, "--keep-alive", "400ms")
    with Crowd(lintel.port, 100) as crowd:
        assert crowd.answers() == [b""] * 100
    assert timeouts(lintel, "client_idle") >= 100
    eventually(lambda: lintel.counter("lintel_connections", state="idle") == 0)


# ---- what they cost ----

def test_a_normal_client_does_not_notice_a_crowd_of_slow_ones(stage):
    """100 slow heads, 100 slow bodies, 50 readers with a closed window and 50 silent ones."""
    lintel, _ = serve(stage)
    worker = lintel.wait_workers()[0]
    alone = latency(lintel.port, "a.test")
    with Crowd(lintel.port, 100) as heads, Crowd(lintel.port, 100, SINK_HEAD) as bodies, \
            Crowd(lintel.port, 50, request_bytes(target=f"/{4 << 20}", host="a.test"),
                  SMALL_WINDOW) as readers, Crowd(lintel.port, 50):
        step = trickle((heads, HEAD), (bodies, b"x"))
        beside = latency(lintel.port, "a.test", between=step)
        check_latency(alone, beside)
        # All of them were really there all the time.
        assert lintel.counter("lintel_connections", state="active") == 250
        assert lintel.counter("lintel_requests_in_flight") == 150
        assert heads.ready() == bodies.ready() == [] and len(readers.ready()) == 50
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)
    assert lintel.workers() == [worker]


@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer's memory is not ours")
def test_readers_that_stall_hold_little_memory(stage):
    """What is held for one does not grow with the response: backpressure reaches the endpoint."""
    lintel, _ = serve(stage)
    worker = lintel.wait_workers()[0]
    n = 40

    def cost(response_bytes):
        before = process.memory_of(worker)
        with Crowd(lintel.port, n, request_bytes(target=f"/{response_bytes}", host="a.test"),
                   SMALL_WINDOW):
            eventually(lambda: lintel.counter("lintel_requests_in_flight") == n)
            return (settled(lambda: process.memory_of(worker)) - before) / n
    small = cost(LARGE // 4)
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)
    large = cost(LARGE)
    assert small <= CONN_PENDING_BYTES_MAX + 32 * 1024, f"{small:.0f} bytes each"
    assert large <= small + 32 * 1024, f"{small:.0f}, then {large:.0f} bytes each"


def settled(measure):
    """The value once it is the same five times in a row."""
    values = []

    def is_still():
        values.append(measure())
        return len(values) >= 5 and len(set(values[-5:])) == 1
    eventually(is_still, what="an end of the growth", interval=0.05)
    return values[-1]


@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer's memory is not ours")
def test_slow_senders_hold_little_memory(stage):
    """An unfinished head is held once, a body that goes through not at all."""
    lintel, _ = serve(stage)
    worker = lintel.wait_workers()[0]
    n, head_n = 200, 2000

    def cost(first):
        before = process.memory_of(worker)
        with Crowd(lintel.port, n, first):
            eventually(lambda: lintel.counter("lintel_connections", state="active") == n)
            return (settled(lambda: process.memory_of(worker)) - before) / n
    head = cost(HEAD[:head_n])
    assert head <= 3 * head_n + 2048, f"{head:.0f} bytes each"
    eventually(lambda: lintel.counter("lintel_connections", state="active") == 0)
    body = cost(SINK_HEAD + b"x" * 500)
    assert body <= 16 * 1024, f"{body:.0f} bytes each"
