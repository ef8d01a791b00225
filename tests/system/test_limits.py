"""Every setting of src/snapshot/settings.def, at its limit and just beyond it: what the client gets,
with which reason, that the counter moved, and that the next normal request is fine.

Times are tested from below exactly (nothing is cut early) and from above by patience only."""
import contextlib
import socket
import threading
import time

import pytest

from lib import h2, pki, tls
from lib.backend import echo
from lib.client import Client, Closed, chunked, request_bytes
from lib.crowd import Crowd, connect, read_to_end
from lib.h2 import H2
from lib.h2_backend import H2Backend
from lib.lintel import command
from lib.manifests import app, ingress, ingress_class, rule, tls_secret
from lib.manifests import tls as tls_entry
from lib.settings import SETTINGS, covers, settings_covered
from lib.tls import TlsClient
from lib.wait import always, eventually

SHORT = 0.4             # a timeout under test, in seconds
SHORT_TEXT = "400ms"
SLACK = 0.02            # the loop's clock ticks in milliseconds and is read once per tick
LONG = 16 << 20         # bytes that no socket buffer holds


def serve(stage, *arguments, script=echo, **options):
    """A backend and a Lintel that serves it as a.test."""
    backend = stage.backend(script)
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       app("app", backend.port), arguments=arguments, **options)
    return lintel, backend


class Gate:
    """A script that answers when it is open."""

    def __init__(self):
        self.open = threading.Event()

    def __call__(self, exchange):
        assert self.open.wait(30)
        echo(exchange)


def limit(lintel, name):
    return lintel.counter("lintel_limits_total", limit=name)


def timeouts(lintel, name):
    return lintel.counter("lintel_timeouts_total", timeout=name)


def check_health(lintel):
    """A normal request goes through, and the worker is the one that was started."""
    response = lintel.fetch("/normal", "a.test")
    assert response.status == 200, response
    assert lintel.counter("lintel_process_restarts_total", process="worker-0") == 0


def head_of(n, **options):
    """A request whose head has n bytes."""
    bare = len(request_bytes(host="a.test", fields=[("X-Pad", "")]))
    return request_bytes(host="a.test", fields=[("X-Pad", "x" * (n - bare))], **options)


def since(began):
    return time.monotonic() - began + SLACK


# ---- times of clients ----

@covers("client-header-timeout")
def test_a_head_must_be_complete_in_time(stage):
    """From its first byte on; more bytes do not prolong it, and the time before it does not count."""
    lintel, _ = serve(stage, "--client-header-timeout", SHORT_TEXT)
    with Client(lintel.port) as client:
        assert client.request(host="a.test").status == 200
        time.sleep(SHORT * 1.25)
        assert client.request(host="a.test").status == 200
        began = time.monotonic()
        client.socket.settimeout(0.03)
        for byte in b"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + b"x" * 10_000:
            client.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                client.unread += client.socket.recv(65536)
                break
        assert since(began) >= SHORT
        client.socket.settimeout(30)
        response = client.read_response()
        assert (response.status, response.why) == (408, "client_timeout")
        assert client.is_closed_by_peer()
    assert timeouts(lintel, "client_head") == 1
    assert lintel.counter("lintel_responses_total", **{"class": "4xx"}) == 1
    assert lintel.wait_access_log_json(status=408)["reason"] == "client_timeout"
    check_health(lintel)


@covers("client-body-timeout")
def test_a_body_must_not_stall(stage):
    """The time runs anew with each piece: a body may take longer than the timeout."""
    lintel, _ = serve(stage, "--client-body-timeout", "1s")
    head = request_bytes("POST", "/", "a.test", [("Content-Length", "6")])
    with Client(lintel.port) as client:
        client.send(head)
        for byte in b"abcdef":
            time.sleep(0.25)
            client.send(bytes([byte]))
        response = client.read_response()
        assert (response.status, response.echo["body_n"]) == (200, 6)
        assert timeouts(lintel, "client_body") == 0
        client.send(head, b"abcde")
        began = time.monotonic()
        response = client.read_response()
        assert since(began) >= 1
        assert (response.status, response.why) == (408, "client_timeout")
        assert client.is_closed_by_peer()
    assert timeouts(lintel, "client_body") == 1
    check_health(lintel)


@covers("client-body-timeout")
def test_a_chunked_body_must_not_stall(stage):
    lintel, _ = serve(stage, "--client-body-timeout", SHORT_TEXT)
    with Client(lintel.port) as client:
        client.send(request_bytes("POST", "/", "a.test", [("Transfer-Encoding", "chunked")]),
                    b"5\r\nhel")
        response = client.read_response()
        assert (response.status, response.why) == (408, "client_timeout")
    assert timeouts(lintel, "client_body") == 1
    check_health(lintel)


@covers("client-body-timeout", "client-header-timeout", "keep-alive", "proxy-read-timeout")
def test_who_waits_for_the_upstream_is_not_timed_out_by_the_clients_timeouts(stage):
    lintel, _ = serve(stage, "--client-body-timeout", "100ms", "--client-header-timeout", "100ms",
                      "--keep-alive", "100ms", "--send-timeout", "100ms",
                      script=lambda exchange: (time.sleep(SHORT), echo(exchange)))
    assert lintel.fetch(host="a.test").status == 200


@covers("keep-alive")
def test_an_idle_connection_is_kept_for_a_while(stage):
    lintel, _ = serve(stage, "--keep-alive", SHORT_TEXT)
    with Client(lintel.port) as client, Client(lintel.port) as silent:
        began_silent = time.monotonic()
        for _ in range(2):
            assert client.request(host="a.test").get("connection") is None
            began = time.monotonic()
        assert client.is_closed_by_peer()
        assert since(began) >= SHORT
        assert silent.is_closed_by_peer()
        assert since(began_silent) >= SHORT
    eventually(lambda: lintel.counter("lintel_connections", state="idle") == 0)
    assert timeouts(lintel, "client_idle") == 2
    check_health(lintel)


@covers("keep-alive-requests")
@pytest.mark.parametrize("n", [1, 3])
def test_requests_on_one_connection(stage, n):
    lintel, _ = serve(stage, "--keep-alive-requests", n)
    with Client(lintel.port) as client:
        for _ in range(n - 1):
            assert client.request(host="a.test").get("connection") is None
        # What was sent behind the last request is not served.
        client.send(request_bytes(target="/last", host="a.test"),
                    request_bytes(target="/beyond", host="a.test"))
        response = client.read_response()
        assert (response.status, response["connection"]) == (200, "close")
        assert client.is_closed_by_peer()
    assert lintel.counter("lintel_requests_total") == n
    check_health(lintel)


def take(sock, n):
    """Reads n bytes, or what there is until the end."""
    got = 0
    while got < n and (piece := sock.recv(min(n - got, 1 << 20))):
        got += len(piece)
    return got


@covers("send-timeout")
def test_a_client_must_take_its_response(stage):
    """One that reads nothing is cut off; one that makes pauses is served to the end."""
    body = b"x" * LONG
    lintel, _ = serve(stage, "--send-timeout", "1s",
                      script=lambda exchange: exchange.respond(body=body))
    stuck, slow = connect(lintel.port, 4096), connect(lintel.port, 65536)
    with stuck, slow:
        began = time.monotonic()
        for sock in (stuck, slow):
            sock.sendall(request_bytes(host="a.test"))
        got = 0
        while got < LONG:
            n = take(slow, min(LONG - got, 3 << 19))
            assert n, f"{got} bytes"
            got += n
            time.sleep(0.15)
        eventually(lambda: timeouts(lintel, "client_write") == 1)
        assert since(began) >= 1
        assert len(read_to_end(stuck)) < LONG
    assert timeouts(lintel, "client_write") == 1
    assert lintel.wait_access_log_json(reason="client_stalled")["status"] == 200
    check_health(lintel)


@covers("send-timeout")
def test_a_client_that_takes_a_little_all_the_time_is_served(stage):
    """However large the kernel's buffer in between is."""
    body = b"x" * LONG
    lintel, _ = serve(stage, "--send-timeout", SHORT_TEXT,
                      script=lambda exchange: exchange.respond(body=body))
    with connect(lintel.port, 65536) as sock:
        sock.sendall(request_bytes(host="a.test"))
        for _ in range(40):
            assert take(sock, 16 << 10) == 16 << 10
            time.sleep(0.05)
    assert timeouts(lintel, "client_write") == 0


# ---- heads ----

@covers("max-header-bytes")
def test_bytes_of_a_requests_head(stage):
    lintel, backend = serve(stage, "--max-header-bytes", 1024)
    with Client(lintel.port) as client:
        client.send(head_of(1024))
        assert client.read_response().status == 200
        assert limit(lintel, "head_bytes") == 0
        client.send(head_of(1025))
        response = client.read_response()
        assert (response.status, response.why) == (431, "head_too_large")
        assert client.is_closed_by_peer()
    with Client(lintel.port) as client: # without its end
        client.send(head_of(2000)[:1025])
        assert client.read_response().status == 431
    assert limit(lintel, "head_bytes") == 2
    check_health(lintel)
    assert len(backend.requests) == 2


@covers("max-header-bytes")
def test_bytes_of_a_responses_head(stage):
    def script(exchange):
        n = exchange.request.target[1:]
        if not n.isdigit():
            echo(exchange)
            return
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Pad: "
        exchange.send(head + b"x" * (int(n) - len(head) - 4) + b"\r\n\r\n")
    lintel, _ = serve(stage, "--max-header-bytes", 1024, script=script)
    assert lintel.fetch("/1024", "a.test").status == 200
    assert limit(lintel, "response_head_bytes") == 0
    response = lintel.fetch("/1025", "a.test")
    assert (response.status, response.why) == (502, "upstream_invalid")
    assert limit(lintel, "response_head_bytes") == 1
    check_health(lintel)


@covers("max-header-fields")
def test_fields_of_a_requests_head(stage):
    lintel, _ = serve(stage, "--max-header-fields", 10)
    with Client(lintel.port) as client:
        assert client.request(host="a.test", fields=[("X", "1")] * 9).status == 200
        assert limit(lintel, "head_fields") == 0
        response = client.request(host="a.test", fields=[("X", "1")] * 10)
        assert (response.status, response.why) == (431, "head_too_large")
        assert client.is_closed_by_peer()
    assert limit(lintel, "head_fields") == 1
    check_health(lintel)


@covers("max-header-fields")
def test_fields_of_a_responses_head(stage):
    def script(exchange):
        exchange.respond(fields=[("X", "1")] * (int(exchange.request.target[1:] or 1) - 1))
    lintel, _ = serve(stage, "--max-header-fields", 10, script=script)
    assert len(lintel.fetch("/10", "a.test").all("x")) == 9
    response = lintel.fetch("/11", "a.test")
    assert (response.status, response.why) == (502, "upstream_invalid")
    assert lintel.fetch("/10", "a.test").status == 200


# ---- bodies ----

@covers("proxy-body-size")
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_size_of_a_body(stage, is_chunked):
    lintel, _ = serve(stage, "--proxy-body-size", 1000)

    def post(n):
        with Client(lintel.port) as client:
            if not is_chunked:
                return client.request("POST", "/", "a.test", body=b"x" * n)
            client.send(request_bytes("POST", "/", "a.test", [("Transfer-Encoding", "chunked")]),
                        chunked(b"x" * (n - 1), b"y"))
            return client.read_response()
    assert post(1000).echo["body_n"] == 1000
    assert limit(lintel, "body_bytes") == 0
    response = post(1001)
    assert (response.status, response.why) == (413, "too_large")
    assert limit(lintel, "body_bytes") == 1
    check_health(lintel)


@covers("proxy-body-size")
def test_a_body_that_announces_too_much_is_not_asked_for(stage):
    lintel, backend = serve(stage, "--proxy-body-size", 1000)
    with Client(lintel.port) as client:
        client.send(request_bytes("POST", "/", "a.test", [("Content-Length", "1001"),
                                                          ("Expect", "100-continue")]))
        assert client.read_head().status == 413
    assert backend.requests == []


@covers("proxy-body-size")
def test_zero_is_any_size_of_body(stage):
    lintel, _ = serve(stage, "--proxy-body-size", 0)
    response = lintel.fetch(host="a.test", method="POST", body=b"x" * LONG)
    assert response.echo["body_n"] == LONG


# ---- times of upstreams ----

class FullQueue:
    """A listener that does not accept and whose queue is full: connecting takes forever."""

    def __init__(self, address="127.0.0.1"):
        self.listener = socket.socket()
        self.listener.bind((address, 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.fillers = []
        while len(self.fillers) < 4:
            filler = socket.socket()
            self.fillers.append(filler)
            filler.setblocking(False)
            filler.connect_ex((address, self.port))

    def stop(self):
        for sock in [self.listener, *self.fillers]:
            sock.close()


@covers("proxy-connect-timeout")
def test_an_endpoint_that_does_not_accept(stage):
    backend = stage.backend()
    full = FullQueue()
    stage.others.append(full)
    lintel = stage.run(
        ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80")),
                                 rule("full.test", ("/", "Prefix", "full:80"))),
        app("app", backend.port), app("full", full.port),
        arguments=["--proxy-connect-timeout", SHORT_TEXT])
    began = time.monotonic()
    response = lintel.fetch(host="full.test")
    assert since(began) >= SHORT
    assert (response.status, response.why) == (504, "connect_timeout")
    assert timeouts(lintel, "upstream_connect") >= 1
    check_health(lintel)


@covers("proxy-connect-timeout")
def test_another_endpoint_takes_what_one_does_not_accept(stage):
    full = FullQueue("127.0.0.2")
    stage.others.append(full)
    stage.others.append(OneAddress("127.0.0.1", full.port))
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       app("app", full.port, "127.0.0.1", "127.0.0.2"),
                       arguments=["--proxy-connect-timeout", SHORT_TEXT])
    for _ in range(4):
        assert lintel.fetch(host="a.test").status == 200
    assert timeouts(lintel, "upstream_connect") >= 1
    assert lintel.counter("lintel_upstream_retries_total") >= 1


class OneAddress:
    """Answers every request at one address only."""

    def __init__(self, address, port):
        self.listener = socket.create_server((address, port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                with sock:
                    sock.recv(65536)
                    sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                                 b"Content-Length: 0\r\n\r\n")

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@covers("proxy-read-timeout")
def test_a_response_must_begin_in_time(stage):
    over = threading.Event()

    def script(exchange):
        if exchange.request.target == "/never":
            over.wait(10)
            exchange.end()
        else:
            echo(exchange)
    lintel, _ = serve(stage, "--proxy-read-timeout", SHORT_TEXT, script=script)
    began = time.monotonic()
    response = lintel.fetch("/never", "a.test")
    assert since(began) >= SHORT
    assert (response.status, response.why) == (504, "upstream_timeout")
    assert timeouts(lintel, "upstream_head") == 1
    check_health(lintel)
    over.set()


@covers("proxy-read-timeout")
def test_a_request_that_takes_too_long_is_not_done_again(stage):
    """Neither on a new connection nor on one that was kept: the endpoint has it, and works on it."""
    over = threading.Event()

    def script(exchange):
        if exchange.request.target == "/never":
            over.wait(10)
        echo(exchange)
    lintel, backend = serve(stage, "--proxy-read-timeout", SHORT_TEXT, script=script)
    with Client(lintel.port) as client:
        assert client.request(host="a.test").status == 200
        response = client.request(target="/never", host="a.test")
        assert (response.status, response.why) == (504, "upstream_timeout")
    over.set()
    assert len(backend.requests) == 2
    assert timeouts(lintel, "upstream_head") == 1


@covers("proxy-read-timeout")
def test_a_response_must_not_stall(stage):
    """The time runs anew with each piece: a response may take longer than the timeout."""
    over = threading.Event()

    def script(exchange):
        if exchange.request.target == "/normal":
            echo(exchange)
            return
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for byte in b"abcde":
            time.sleep(0.25)
            exchange.send(bytes([byte]))
        if exchange.request.target == "/stalls":
            over.wait(10)
            exchange.end()
        else:
            exchange.send(b"f")
    lintel, _ = serve(stage, "--proxy-read-timeout", "1s", script=script)
    assert lintel.fetch("/slow", "a.test").body == b"abcdef"
    assert timeouts(lintel, "upstream_read") == 0
    with pytest.raises((Closed, ConnectionResetError)):
        lintel.fetch("/stalls", "a.test")
    assert timeouts(lintel, "upstream_read") == 1
    lintel.wait_access_log_json(reason="upstream_stalled")
    check_health(lintel)
    over.set()


@covers("proxy-send-timeout")
def test_an_endpoint_must_take_the_request(stage):
    """One that reads nothing of a long body is given up; one that reads slowly is not."""
    over = threading.Event()

    def script(exchange):
        if exchange.request.target == "/stuck":
            over.wait(10)
            exchange.end()
            return
        if exchange.request.target == "/slow":
            for _ in range(6):
                time.sleep(0.25)
                exchange.connection.reader.read(1 << 20)
            exchange.request.fields = [("content-length", str(LONG - (6 << 20)))]
        echo(exchange)
    lintel, _ = serve(stage, "--proxy-send-timeout", "1s", script=script)
    body = b"x" * LONG
    assert lintel.fetch("/slow", "a.test", method="POST", body=body).status == 200
    assert timeouts(lintel, "upstream_write") == 0
    with Crowd(lintel.port, 1) as crowd:
        sock = crowd.sockets[0]
        began = time.monotonic()
        sock.sendall(request_bytes("POST", "/stuck", "a.test", [("Content-Length", 4 * LONG)]))
        eventually(lambda: (crowd.send_until_full(sock, body), crowd.ready())[1], what="an answer")
        assert since(began) >= 1
        answer = read_to_end(sock)
        assert answer.startswith(b"HTTP/1.1 504 ") and b"upstream_timeout" in answer
    assert timeouts(lintel, "upstream_write") == 1
    check_health(lintel)
    over.set()


@covers("upstream-keepalive-timeout")
def test_an_idle_connection_to_an_endpoint_is_kept_for_a_while(stage):
    lintel, backend = serve(stage, "--upstream-keepalive-timeout", "1s")
    with Client(lintel.port) as client:
        for _ in range(3):
            assert client.request(host="a.test").echo["connection"] == 1
            began = time.monotonic()
        assert lintel.counter("lintel_upstream_connections", state="idle") == 1
        eventually(lambda: not backend.open, what="the end of the idle connection")
        assert since(began) >= 1
        eventually(lambda: lintel.counter("lintel_upstream_connections", state="idle") == 0)
        assert client.request(host="a.test").echo["connection"] == 2
    assert lintel.counter("lintel_upstream_reuses_total") == 2
    check_health(lintel)


@covers("upstream-keepalive-connections")
def test_idle_connections_to_one_endpoint(stage):
    lintel, backend = serve(stage, "--upstream-keepalive-connections", 2, script=Gate())
    clients = [Client(lintel.port) for _ in range(3)]
    for client in clients:
        client.send(request_bytes(host="a.test"))
    eventually(lambda: len(backend.requests) == 3)
    backend.script.open.set()
    for client in clients:
        assert client.read_response().status == 200
        client.close()
    eventually(lambda: lintel.counter("lintel_upstream_connections", state="idle") == 2)
    assert limit(lintel, "upstream_idle") == 1
    check_health(lintel)


@covers("upstream-keepalive-requests")
def test_requests_of_one_connection_to_an_endpoint(stage):
    lintel, _ = serve(stage, "--upstream-keepalive-requests", 3)
    with Client(lintel.port) as client:
        connections = [client.request(host="a.test").echo["connection"] for _ in range(7)]
    assert connections == [1, 1, 1, 2, 2, 2, 3]
    assert limit(lintel, "upstream_requests") == 2
    check_health(lintel)


@covers("upstream-keepalive-time")
def test_age_of_a_connection_to_an_endpoint(stage):
    """It counts when the connection would be used again; no request is cut by it."""
    lintel, _ = serve(stage, "--upstream-keepalive-time", "1s")
    with Client(lintel.port) as client:
        began = time.monotonic()
        while client.request(host="a.test").echo["connection"] == 1:
            assert time.monotonic() - began < 20
            time.sleep(0.05)
        assert since(began) >= 1
    assert limit(lintel, "upstream_age") == 1
    check_health(lintel)


@covers("client-half-close-timeout")
def test_a_client_that_closes_its_half(stage):
    """It gets a response that begins soon; else the request ends, the endpoint's part as well."""
    lintel, backend = serve(stage, "--client-half-close-timeout", "1s", script=Gate())
    with Client(lintel.port) as client:
        client.send(request_bytes(host="a.test"))
        client.shutdown()
        eventually(lambda: len(backend.requests) == 1)
        backend.script.open.set()
        assert client.read_response().status == 200
    assert timeouts(lintel, "client_half_close") == 0
    backend.script.open.clear()
    with Client(lintel.port) as client:
        client.send(request_bytes(host="a.test", target="/silent"))
        eventually(lambda: len(backend.requests) == 2)
        began = time.monotonic()
        client.shutdown()
        assert client.read_to_end() == b""
        assert since(began) >= 1
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)
    assert timeouts(lintel, "client_half_close") == 1
    assert lintel.wait_access_log_json(reason="client_abort")["status"] == 499
    backend.script.open.set()
    check_health(lintel)


# ---- budgets ----

@covers("max-worker-connections")
def test_connections_of_a_worker(stage):
    """One more waits in the queue and is served when another goes."""
    lintel, _ = serve(stage, "--max-worker-connections", 4)
    clients = [Client(lintel.port) for _ in range(4)]
    for client in clients:
        assert client.request(host="a.test").status == 200
    assert limit(lintel, "connections") <= 1 # looked whether there are more, perhaps
    with Client(lintel.port) as waiting:
        waiting.send(request_bytes(host="a.test"))
        with Crowd(lintel.port, 0) as crowd:
            crowd.sockets.append(waiting.socket)
            always(lambda: not crowd.ready(), seconds=0.2, what="waiting")
            crowd.sockets.clear()
        assert lintel.counter("lintel_connections", state="idle") == 4
        assert clients[0].request(host="a.test").status == 200
        clients.pop().close()
        assert waiting.read_response().status == 200
    for client in clients:
        client.close()
    assert limit(lintel, "connections") >= 1
    check_health(lintel)


@covers("http2-max-concurrent-streams")
def test_streams_of_an_http2_connection(stage):
    """One more is refused; a client that has acknowledged the maximum loses the connection."""
    gate = Gate()
    lintel, _ = serve(stage, "--http2-max-concurrent-streams", 3, script=gate)
    with H2(lintel.port) as client:
        client.answers = False # no acknowledgement
        streams = [client.start() for _ in range(3)]
        excess = client.start()
        assert client.response(excess).reset_code == h2.REFUSED_STREAM
        gate.open.set()
        for stream in streams:
            assert client.response(stream).status == 200
        assert client.request().status == 200
        settings = next(f for f in client.seen if f.kind == h2.SETTINGS and f.payload).payload
        assert settings[:6] == bytes([0, h2.MAX_CONCURRENT_STREAMS, 0, 0, 0, 3])
    assert limit(lintel, "http2_streams") == 1
    gate.open.clear()
    with H2(lintel.port) as client:
        client.ping()
        for _ in range(4):
            client.start()
        assert client.read_to_end().goaway.code == h2.PROTOCOL_ERROR
    assert limit(lintel, "http2_streams") == 2
    gate.open.set()
    check_health(lintel)


@covers("upstream-max-concurrent-streams")
def test_streams_of_an_http2_connection_to_an_endpoint(stage):
    """One more gets a second connection."""
    opened = threading.Event()

    def script(connection):
        connection.greet()
        streams = []
        while not opened.is_set():
            streams.append(connection.read_request())
            connection.backend.note(connection, streams[-1], [("waiting", "yes")])
            if len(streams) == 3:
                break
        opened.wait(30)
        for stream in streams:
            connection.answer(stream)
        connection.serve()
    backend = H2Backend(script)
    stage.others.append(backend)
    grpc = {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
    lintel = stage.run(ingress_class(),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80")), annotations=grpc),
                       app("app", backend.port), arguments=["--upstream-max-concurrent-streams", "3"])
    with H2(lintel.port) as client:
        streams = [client.start() for _ in range(6)]
        eventually(lambda: len(backend.requests) == 12, what="six requests")
        assert [len(c.requests) for c in backend.connections] == [3, 3]
        opened.set()
        assert [client.response(s).status for s in streams] == [200] * 6
        assert client.request().status == 200
    assert len(backend.connections) == 2


# ---- TLS ----

def serve_tls(stage, *arguments, **options):
    """a.test over TLS."""
    backend, root = stage.backend(echo), pki.Authority()
    lintel = stage.run(ingress_class(), tls_secret("a", root.issue("a.test")),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80")),
                               tls=[tls_entry("a", "a.test")]),
                       app("app", backend.port), 
                       arguments=["--ssl-redirect=false", *arguments], **options)
    return lintel, root


@covers("use-http2")
@pytest.mark.parametrize("value, agreed", [("true", "h2"), ("false", "http/1.1")])
def test_http2_can_be_kept_from_clients(stage, value, agreed):
    lintel, root = serve_tls(stage, "--use-http2=" + value)
    with TlsClient(lintel.https_port, "a.test", trusts=[root],
                   alpn=["h2", "http/1.1"]) as client:
        assert client.socket.selected_alpn_protocol() == agreed
    with TlsClient(lintel.https_port, "a.test", trusts=[root]) as client: # offers nothing
        assert client.request(host="a.test").status == 200
    check_health(lintel)


@covers("ssl-reject-handshake")
@pytest.mark.parametrize("is_on", [False, True])
def test_handshakes_for_unknown_names_can_be_refused(stage, is_on):
    lintel, root = serve_tls(stage, *(["--ssl-reject-handshake"] if is_on else []))
    for name in ("b.test", None):
        assert tls.refusal(lintel.https_port, name) == (
            "TLSV1_UNRECOGNIZED_NAME" if is_on else None)
    assert lintel.counter("lintel_tls_refused_total", why="unknown_name") == 2 * is_on
    with TlsClient(lintel.https_port, "a.test", trusts=[root]) as client:
        assert client.request(host="a.test").status == 200
    check_health(lintel)


def resume(lintel, made, session):
    """Whether a connection could resume that session."""
    with TlsClient(lintel.https_port, "a.test", made=made, session=session) as client:
        assert client.request(host="a.test").status == 200
        return client.socket.session_reused


@covers("ssl-session-timeout")
@pytest.mark.parametrize("version", [tls.V12, tls.V13])
def test_sessions_end_in_time(stage, version):
    lintel, root = serve_tls(stage, "--ssl-session-timeout", "2s")
    made = tls.context(trusts=[root], lowest=version, highest=version)
    with TlsClient(lintel.https_port, "a.test", made=made) as client:
        assert client.request(host="a.test").status == 200
        began, session = time.monotonic(), client.socket.session
    assert resume(lintel, made, session) or time.monotonic() - began > 1
    time.sleep(4)
    assert not resume(lintel, made, session)
    check_health(lintel)


@covers("ssl-session-tickets")
@pytest.mark.parametrize("is_on", [False, True])
def test_sessions_can_be_kept_by_clients(stage, is_on):
    lintel, root = serve_tls(stage, *(["--ssl-session-tickets"] if is_on else []))
    made = tls.context(trusts=[root], lowest=tls.V12, highest=tls.V12)
    with TlsClient(lintel.https_port, "a.test", made=made) as client:
        assert client.request(host="a.test").status == 200
        session = client.socket.session
    assert session.has_ticket == is_on
    assert resume(lintel, made, session)
    assert lintel.counter("lintel_tls_handshakes_total", result="resumed") == 1
    check_health(lintel)


@covers("worker-memory")
@pytest.mark.parametrize("budget", [1, 2])
def test_memory_of_requests_in_flight(stage, budget):
    """Requests with large heads stand at a backend that does not answer, until one is refused; when
    they are done there is room again."""
    over = threading.Event()

    def script(exchange):
        if exchange.request.target == "/":
            over.wait(10)
        echo(exchange)
    lintel, _ = serve(stage, "--worker-memory", f"{budget}m", script=script)
    held, head = [], head_of(20_000)
    while len(held) < 500:
        client = Client(lintel.port)
        client.send(head)
        held.append(client)
        # Answered in the order of arrival: the request is either with the backend or refused.
        eventually(lambda: lintel.counter("lintel_requests_in_flight") == len(held)
                   or limit(lintel, "memory"))
        if limit(lintel, "memory"):
            break
    response = held.pop().read_response()
    assert (response.status, response.why) == (503, "overloaded")
    assert budget * (1 << 20) / 60_000 <= len(held) <= budget * (1 << 20) / 20_000, len(held)
    with Client(lintel.port) as client:
        client.send(head)
        assert client.read_response().why == "overloaded"
    assert limit(lintel, "memory") == 2
    over.set()
    for client in held:
        with client:
            assert client.read_response().status == 200
    check_health(lintel)


# ---- flags ----

def seen(lintel, name, fields=(), source="127.0.0.1"):
    """What the backend gets of that field."""
    with Client(lintel.port) as client:
        client.close()
        client.socket = socket.create_connection(("127.0.0.1", lintel.port), 30, (source, 0))
        response = client.request(host="a.test", fields=fields)
    return [value for key, value in response.echo["fields"] if key.lower() == name]


CLAIMS = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https"),
          ("X-Forwarded-Host", "claimed.test"), ("X-Forwarded-Port", "8443")]


@covers("use-forwarded-headers")
@pytest.mark.parametrize("is_believed", [False, True])
def test_forwarded_fields_of_clients(stage, is_believed):
    lintel, _ = serve(stage, *(["--use-forwarded-headers"] if is_believed else []))
    wanted = (["192.0.2.7", "192.0.2.7", "https", "claimed.test", "8443"] if is_believed else
              ["127.0.0.1", "127.0.0.1", "http", "a.test", str(lintel.port)])
    names = ["x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
             "x-forwarded-port"]
    assert [seen(lintel, name, CLAIMS) for name in names] == [[value] for value in wanted]


@covers("use-forwarded-headers", "proxy-real-ip-cidr")
def test_forwarded_fields_of_trusted_clients_only(stage):
    """127.0.0.8/29 ends with 127.0.0.15."""
    lintel, _ = serve(stage, "--use-forwarded-headers", "--proxy-real-ip-cidr",
                      "127.0.0.8/29,192.0.2.0/24")
    for source, is_trusted in (("127.0.0.7", False), ("127.0.0.8", True), ("127.0.0.15", True),
                               ("127.0.0.16", False)):
        assert seen(lintel, "x-real-ip", CLAIMS[1:] + [("X-Forwarded-For", "198.51.100.1, 192.0.2.7")],
                    source) == ["198.51.100.1" if is_trusted else source]
    # From the right, the first that nobody vouches for.
    assert seen(lintel, "x-real-ip", [("X-Forwarded-For", "1.1.1.1, 2.2.2.2, 192.0.2.9")],
                "127.0.0.9") == ["2.2.2.2"]


@covers("compute-full-forwarded-for")
@pytest.mark.parametrize("is_full", [False, True])
def test_the_list_of_addresses(stage, is_full):
    lintel, _ = serve(stage, *(["--compute-full-forwarded-for"] if is_full else []))
    assert seen(lintel, "x-forwarded-for", [("X-Forwarded-For", "192.0.2.7, 192.0.2.8")]) == \
        ["192.0.2.7, 192.0.2.8, 127.0.0.1" if is_full else "127.0.0.1"]
    assert seen(lintel, "x-forwarded-for") == ["127.0.0.1"]


# ---- the table itself ----

def test_every_setting_has_a_test():
    names = [name for name, _, _ in SETTINGS]
    assert len(names) == len(set(names)) >= 16
    assert set(names) - settings_covered() == set()


BEYOND = {"DURATION": ["0s", "0.5ms", "86401s", "-1s", "1x"], "SIZE": ["-1", "16e", "1x"],
          "COUNT": ["0", "-1", "4294967296", "1k"]}


@pytest.mark.parametrize("option, kind", [(name, kind) for name, kind, _ in SETTINGS
                                          if kind != "FLAG"])
def test_values_out_of_range_are_refused(option, kind):
    for value in BEYOND[kind]:
        done = command("run", "--manifests", "/nonexistent", f"--{option}={value}", check=2)
        assert option in done.stderr, done.stderr
