"""Upgraded connections: bytes flow both ways, through changes of the configuration, until either
side ends or both are silent for too long."""
import contextlib
import socket
import threading
import time

import pytest

from lib.backend import echo
from lib.client import Client, request_bytes
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import eventually

FIELDS = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "AAAA"),
          ("Sec-WebSocket-Version", "13")]
AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
BYTES = bytes(range(256)) * 16
over = threading.Event()


def pieces(exchange):
    while piece := exchange.connection.reader.read1(65536):
        yield piece


def parrot(exchange):
    """Says everything again; a goodbye at the client's end."""
    for piece in pieces(exchange):
        exchange.send(piece)
    exchange.send(b"goodbye")


def first_to_go(exchange):
    """Ends first, goes on listening, and says what it heard to the backend's list."""
    exchange.send(b"that was all")
    exchange.connection.socket.shutdown(socket.SHUT_WR)
    exchange.request.body = b"".join(pieces(exchange))


def listener(exchange):
    exchange.request.body = b""
    for piece in pieces(exchange):
        exchange.request.body += piece


def talker(exchange):
    with contextlib.suppress(OSError):
        while True:
            exchange.send(b".")
            time.sleep(0.1)


def breaker(exchange):
    exchange.send(b"half a fr")
    exchange.reset()


SCRIPTS = {"/parrot": parrot, "/first": first_to_go, "/listener": listener, "/talker": talker,
           "/breaker": breaker}


def upgrading(exchange):
    script = SCRIPTS.get(exchange.request.target)
    if script is None or exchange.request.get("upgrade") != "websocket":
        echo(exchange)
        return
    exchange.send(AGREED)
    script(exchange)
    exchange.end()


def serve(stage, *arguments):
    backend = stage.backend(upgrading)
    manifests = stage.directory()
    manifests.write("class.yaml", ingress_class())
    manifests.write("a.yaml", ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                    app("app", backend.port))
    return stage.lintel(manifests, *arguments).start(), backend, manifests


@contextlib.contextmanager
def tunnel(lintel, target="/parrot", behind=b""):
    """A connection that was upgraded; behind: sent with the request."""
    with Client(lintel.port) as client:
        client.send(request_bytes("GET", target, "a.test", FIELDS) + behind)
        response = client.read_head()
        assert (response.status, response["upgrade"].lower()) == (101, "websocket")
        assert response["connection"].lower() == "upgrade"
        assert not response.all("content-length") and not response.all("transfer-encoding")
        yield client


def say(client, data=BYTES):
    client.send(data)
    assert client.read_exactly(len(data)) == data


def test_bytes_go_both_ways_unchanged(stage):
    lintel, backend, _ = serve(stage)
    with tunnel(lintel) as client:
        say(client)
        for n in (1, 2, 125, 65_536, 1_000_000):
            say(client, BYTES[:n] if n <= len(BYTES) else b"x" * n)
        # What looks like HTTP is nothing but bytes here.
        say(client, request_bytes(host="a.test"))
        say(client, b"\0\r\n\r\n0\r\n\r\n")
    assert len(backend.requests) == 1
    request = backend.requests[0]
    assert (request.get("connection") or "").lower() == "upgrade"
    assert request.get("sec-websocket-key") == "AAAA"


def test_bytes_right_behind_the_request(stage):
    """RFC 6455 section 4.1 forbids it to clients, but bytes must not be lost or be taken for a
    request."""
    lintel, backend, _ = serve(stage)
    with tunnel(lintel, behind=b"early") as client:
        assert client.read_exactly(5) == b"early"
        say(client)
    assert len(backend.requests) == 1


def test_tunnels_survive_changes_of_the_configuration(stage):
    """50 changes, among them one that takes the route away: those who are connected stay."""
    lintel, _, manifests = serve(stage)
    with tunnel(lintel) as one, tunnel(lintel) as two:
        for i in range(50):
            manifests.write("x.yaml", ingress("x", rule(f"x{i}.test", ("/", "Prefix", "app:80"))))
            say(one)
            if i % 10 == 9:
                lintel.wait_answer(200, host=f"x{i}.test")
                say(two)
        manifests.delete("a.yaml")
        lintel.wait_answer(404, host="a.test")
        say(one)
        say(two)


def test_the_client_ends_first(stage):
    """Its end is passed on; what the endpoint says then still arrives."""
    lintel, _, _ = serve(stage)
    with tunnel(lintel) as client:
        client.send(BYTES)
        client.shutdown()
        assert client.read_to_end() == BYTES + b"goodbye"


def test_the_endpoint_ends_first(stage):
    """The client learns of it at once, and may still say the rest."""
    lintel, backend, _ = serve(stage)
    with tunnel(lintel, "/first") as client:
        assert client.read_to_end() == b"that was all"
        client.send(BYTES)
        client.shutdown()
        eventually(lambda: backend.requests[0].body == BYTES, what="the rest at the endpoint")
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)


def test_the_endpoint_breaks(stage):
    lintel, _, _ = serve(stage)
    with tunnel(lintel, "/breaker") as client, contextlib.suppress(ConnectionResetError):
        assert b"half a fr".startswith(client.read_to_end())
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)
    assert lintel.fetch(host="a.test").status == 200


def test_the_client_breaks(stage):
    lintel, backend, _ = serve(stage)
    with tunnel(lintel) as client:
        say(client)
    eventually(lambda: not backend.open, what="the end at the endpoint")
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)


def test_a_tunnel_that_is_silent_for_too_long_is_closed(stage):
    lintel, _, _ = serve(stage, "--proxy-read-timeout", "500ms")
    with tunnel(lintel) as client:
        for _ in range(6):
            say(client, b"x")
            began = time.monotonic()
            time.sleep(0.15)
        with contextlib.suppress(ConnectionResetError):
            assert client.read_to_end() == b""
        assert time.monotonic() - began >= 0.48
    assert lintel.counter("lintel_timeouts_total", timeout="upstream_read") == 1
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)
    assert lintel.fetch(host="a.test").status == 200


@pytest.mark.parametrize("who", ["client", "endpoint"])
def test_one_talker_keeps_a_tunnel_open(stage, who):
    """A tunnel is silent when neither says anything; nor do the timeouts of requests count."""
    lintel, backend, _ = serve(stage, "--proxy-read-timeout", "500ms", "--client-body-timeout",
                               "200ms", "--keep-alive", "200ms", "--send-timeout", "200ms")
    if who == "endpoint":
        with tunnel(lintel, "/talker") as client:
            assert client.read_exactly(15) == b"." * 15
        return
    with tunnel(lintel, "/listener") as client:
        for _ in range(15):
            time.sleep(0.1)
            client.send(b".")
        eventually(lambda: backend.requests[0].body == b"." * 15, what="everything at the endpoint")


def test_tunnels_are_counted(stage):
    lintel, _, _ = serve(stage)
    with tunnel(lintel) as one, tunnel(lintel) as two:
        say(one)
        say(two)
        assert lintel.counter("lintel_requests_in_flight") == 2
        assert lintel.counter("lintel_upstream_connections", state="busy") == 2
        assert lintel.counter("lintel_connections", state="active") == 2
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)
    metrics = lintel.metrics()
    assert metrics.sum("lintel_responses_total", **{"class": "1xx"}) == 2
    assert metrics.sum("lintel_requests_total") == 2
    assert metrics.sum("lintel_upstream_connections", state="busy") == 0
    assert metrics.sum("lintel_upstream_connections", state="idle") == 0
    assert metrics.sum("lintel_client_bytes_total", direction="out") >= 2 * len(BYTES)
    lintel.wait_access_log_json(status=101)


def test_a_declined_upgrade_is_an_ordinary_response(stage):
    """The connection goes on as HTTP."""
    lintel, backend, _ = serve(stage)
    with Client(lintel.port) as client:
        for _ in range(2):
            response = client.request("GET", "/plain", "a.test", FIELDS)
            assert response.status == 200 and response.echo["target"] == "/plain"
        assert client.request("GET", "/then", "a.test").status == 200
    assert backend.connection_n == 1


@pytest.mark.parametrize("token", ["h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.0", "websocket, h2c"])
def test_what_would_hide_requests_from_us_is_not_forwarded(stage, token):
    """In a tunnel of HTTP/2 nobody would look at the requests: they would go around the routes."""
    lintel, _, _ = serve(stage)
    fields = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", token),
              ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
    with Client(lintel.port) as client:
        response = client.request("GET", "/parrot", "a.test", fields)
        assert response.status == 200
        names = {name.lower() for name, _ in response.echo["fields"]}
        assert not names & {"upgrade", "http2-settings"}
        assert client.request("GET", "/then", "a.test").status == 200
