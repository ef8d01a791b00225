"""HTTP/2 on the plain port, by prior knowledge: messages in both directions, flow control, the ends
of streams and connections. What is against the rules is in test_http2_rules.py."""
import hashlib
import json
import subprocess
import threading
import time

import pytest

from lib import h2
from lib.backend import echo
from lib.h2 import H2
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import always, eventually

MEGABYTE = 1 << 20


def serve(stage, script=echo, arguments=(), **options):
    backend = stage.backend(script)
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       app("app", backend.port), arguments=arguments, **options)
    return lintel, backend


def pattern(n):
    return b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(n // 32 + 1))[:n]


def answer(body, **options):
    def script(exchange):
        exchange.read_body()
        exchange.respond(body=body, **options)
    return script


def test_a_request(stage):
    lintel, _ = serve(stage)
    with H2(lintel.port) as client:
        response = client.request("/x?y=1", fields=[("user-agent", "t"), ("cookie", "a=1"),
                                                    ("accept", "*/*"), ("cookie", "b=2")])
        assert response.status == 200, response
        seen = json.loads(response.body)
    fields = {k.lower(): v for k, v in seen["fields"]}
    assert (seen["method"], seen["target"], fields["host"]) == ("GET", "/x?y=1", "a.test")
    assert fields["cookie"] == "a=1; b=2"  # RFC 9113 section 8.2.3
    assert fields["user-agent"] == "t"
    line = lintel.wait_access_log_json(status=200)
    assert line["protocol"] == "HTTP/2.0", line


def test_the_preface_in_pieces(stage):
    lintel, _ = serve(stage)
    for at in range(1, 24):
        with H2(lintel.port, preface=False) as client:
            client.send(h2.PREFACE[:at])
            time.sleep(0.002)
            client.send(h2.PREFACE[at:], h2.settings())
            assert client.request().status == 200


def test_http1_goes_on(stage):
    """PRI is a method like any other until the preface is complete or differs."""
    lintel, _ = serve(stage)
    assert lintel.fetch("/", "a.test").status == 200
    assert lintel.fetch("/", "a.test", method="PRI").status == 200


@pytest.mark.parametrize("size", [1, 7, 100])
def test_frames_in_pieces(stage, size):
    lintel, _ = serve(stage)
    with H2(lintel.port, preface=False) as client:
        stream = client.new_stream()
        fields = client.head(method="POST", fields=[("cookie", "a=b"), ("x-long", "x" * 300)])
        block = client.block_of(fields)
        pieces = b"".join([h2.PREFACE, h2.settings(), h2.frame(h2.HEADERS, 0, stream, block[:50]),
                           h2.frame(h2.CONTINUATION, h2.END_HEADERS, stream, block[50:]),
                           h2.frame(h2.DATA, h2.END_STREAM, stream, b"hello")])
        for at in range(0, len(pieces), size):
            client.send(pieces[at:at + size])
            time.sleep(0.0002)  # so that most of them are read one by one
        seen = json.loads(client.response(stream).body)
        assert (seen["body_n"], dict(seen["fields"])["cookie"]) == (5, "a=b")


@pytest.mark.parametrize("n", [0, 1, 16384, 65535, 65536, 3 * MEGABYTE])
@pytest.mark.parametrize("has_length", [True, False])
def test_request_bodies(stage, n, has_length):
    lintel, _ = serve(stage)
    body = pattern(n)
    with H2(lintel.port) as client:
        fields = [("content-length", str(n))] if has_length else []
        stream = client.start(method="POST", fields=fields, end=False)
        client.send_body(stream, body)
        seen = json.loads(client.response(stream).body)
    assert (seen["body_n"], seen["body_sha256"]) == (n, hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("n", [0, 1, 65535, 65536, 3 * MEGABYTE])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_response_bodies(stage, n, is_chunked):
    body = pattern(n)
    lintel, _ = serve(stage, answer(body, is_chunked=is_chunked, step=100_000))
    with H2(lintel.port, settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 1 << 30)]) as client:
        client.send(h2.window_update(0, 1 << 30))
        response = client.request()
        assert (response.status, response.body == body) == (200, True)
        assert response.get("content-length") == (None if is_chunked else str(n))
        assert client.request().body == body


def test_a_small_window_is_kept(stage):
    """Byte by byte, as the client allows; nothing is lost and nothing comes before its time."""
    body = pattern(5000)
    lintel, _ = serve(stage, answer(body))
    with H2(lintel.port, settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 0)]) as client:
        stream = client.start()
        client.read_until(lambda: client.of(stream).status)
        sent = 0
        while sent < len(body):
            n = min(997, len(body) - sent)
            client.ping()
            assert len(client.of(stream).body) == sent
            client.send(h2.window_update(stream, n))
            sent += n
            client.read_until(lambda: len(client.of(stream).body) >= sent)
        assert client.response(stream).body == body


def test_many_streams_at_once(stage):
    lintel, _ = serve(stage, answer(pattern(20_000)))
    with H2(lintel.port, settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 1 << 20)]) as client:
        client.send(h2.window_update(0, 1 << 30))
        for _ in range(3):
            streams = [client.start(f"/{i}") for i in range(100)]
            for stream in streams:
                assert client.response(stream).body == pattern(20_000)


def test_one_slow_stream_does_not_hold_the_others(stage):
    lintel, _ = serve(stage, answer(pattern(MEGABYTE)))
    with H2(lintel.port, settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 10)]) as client:
        client.send(h2.window_update(0, 1 << 30))
        slow = client.start("/slow")
        client.read_until(lambda: len(client.of(slow).body) == 10)
        other = client.start("/other")
        client.send(h2.window_update(other, 1 << 24))
        assert client.response(other).body == pattern(MEGABYTE)
        assert not client.of(slow).is_complete
        client.send(h2.window_update(slow, 1 << 24))
        assert client.response(slow).body == pattern(MEGABYTE)


def test_an_upload_that_nobody_takes_is_bounded(stage):
    """The window of a stream does not grow while the endpoint reads nothing."""
    gate = threading.Event()

    def script(exchange):
        assert gate.wait(30)
        echo(exchange)
    lintel, _ = serve(stage, script)
    body = pattern(16 * MEGABYTE)
    with H2(lintel.port) as client:
        stream = client.start(method="POST", end=False)
        done = []
        client.socket.settimeout(60)
        sender = threading.Thread(target=lambda: (client.send_body(stream, body), done.append(1)))
        sender.start()
        always(lambda: not done, seconds=1)
        gate.set()
        sender.join(60)
        assert json.loads(client.response(stream).body)["body_sha256"] == \
            hashlib.sha256(body).hexdigest()


def test_head_and_answers_without_a_body(stage):
    def script(exchange):
        exchange.read_body()
        status = int(exchange.request.target[1:])
        if status == 200:
            exchange.respond(200, b"12345")
        else:
            exchange.send(b"HTTP/1.1 %d Status\r\nX-A: b\r\n\r\n" % status)
    lintel, _ = serve(stage, script)
    with H2(lintel.port) as client:
        response = client.request("/200", method="HEAD")
        assert (response.status, response.get("content-length"), response.body) == (200, "5", b"")
        for status in (204, 304):
            response = client.request(f"/{status}")
            assert (response.status, response.body, response.get("x-a")) == (status, b"", "b")
            assert client.seen[-1].kind == h2.HEADERS  # the end comes with them


def test_interim_responses_and_trailers(stage):
    def script(exchange):
        body = exchange.read_body()
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
                      b"0\r\nX-Sum: 7\r\n\r\n")
        assert body == b"up"
    lintel, _ = serve(stage, script)
    with H2(lintel.port) as client:
        response = client.request(method="POST", fields=[("te", "trailers")], body=b"up")
        assert response.interim == [(103, [("link", "</a>")])], response
        assert (response.body, response.trailers) == (b"hello", [("x-sum", "7")])


def test_request_trailers(stage):
    seen = []

    def script(exchange):
        reader = exchange.connection.reader
        lines = []
        while not lines or lines[-2:] != [b"x-sum: 7\r\n", b"\r\n"]:
            lines.append(reader.readline())
        seen.extend(lines)
        exchange.respond(body=b"ok")
    lintel, _ = serve(stage, script)
    with H2(lintel.port) as client:
        stream = client.start(method="POST", end=False)
        client.data(stream, b"abc")
        client.send(client.headers(stream, [("x-sum", "7")]))
        assert client.response(stream).body == b"ok"
    assert b"abc\r\n" in seen and b"0\r\n" in seen


def test_expect_continue(stage):
    lintel, _ = serve(stage)
    with H2(lintel.port) as client:
        stream = client.start(method="POST", fields=[("expect", "100-continue")], end=False)
        client.read_until(lambda: client.of(stream).interim)
        client.data(stream, b"now", end=True)
        response = client.response(stream)
        assert (response.interim[0][0], json.loads(response.body)["body_n"]) == (100, 3)


def test_an_early_answer_stops_the_request(stage):
    """RFC 9113 section 8.1: the answer, its end, then RST_STREAM(NO_ERROR)."""
    def script(exchange):
        exchange.respond(413, b"no")
        exchange.end()
    lintel, _ = serve(stage, script)
    with H2(lintel.port) as client:
        stream = client.start(method="POST", end=False)
        assert client.response(stream).status == 413
        client.read_until(lambda: client.seen[-1].kind == h2.RST_STREAM)
        assert (client.seen[-1].stream, client.seen[-1].code) == (stream, h2.NO_ERROR)
        assert client.request().status == 413


def test_a_cut_response_is_not_an_end(stage):
    def script(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        exchange.end()
    lintel, _ = serve(stage, script)
    with H2(lintel.port) as client:
        response = client.request()
        assert (response.status, response.is_complete) == (200, False)
        assert response.reset_code == h2.INTERNAL_ERROR
        client.ping()


def test_answers_of_our_own(stage):
    lintel, _ = serve(stage)
    with H2(lintel.port) as client:
        response = client.request(host="other.test")
        assert (response.status, response.why) == (404, "no_route")
        response = client.request("/" + "x" * 17_000)
        assert (response.status, response.why) == (414, "target_too_long")
        response = client.request(fields=[("x-a", "y" * 10_000)] * 4)
        assert (response.status, response.why) == (431, "head_too_large")
        response = client.request(fields=[(f"x-{i}", "y") for i in range(129)])
        assert (response.status, response.why) == (431, "head_too_large")
        stream = client.new_stream()
        client.send(client.headers(stream, [(":method", "CONNECT"), (":authority", "a.test:1")],
                                   end=False))
        assert client.response(stream).status == 501
        assert client.request().status == 200
    assert lintel.counter("lintel_limits_total", limit="head_bytes") == 1
    assert lintel.counter("lintel_limits_total", limit="head_fields") == 1


def test_a_client_that_gives_up_a_stream(stage):
    """The endpoint's connection is ended; the client's others go on."""
    gone = threading.Event()

    def script(exchange):
        if exchange.request.target == "/wait":
            assert exchange.connection.socket.recv(1) == b""
            gone.set()
            exchange.end()
        else:
            echo(exchange)
    lintel, backend = serve(stage, script)
    with H2(lintel.port) as client:
        stream = client.start("/wait")
        eventually(lambda: backend.requests, what="the request")
        client.send(h2.reset(stream))
        assert gone.wait(20)
        assert client.request().status == 200
    assert lintel.wait_access_log_json(reason="client_abort")


def test_drain_takes_two_goaways(stage):
    gate = threading.Event()

    def script(exchange):
        if exchange.request.target == "/gate":
            assert gate.wait(30)
        echo(exchange)
    lintel, backend = serve(stage, script)
    with H2(lintel.port) as client:
        client.answers = False
        gated = client.start("/gate")
        eventually(lambda: backend.requests, what="the request")
        lintel.child.terminate()
        client.read_until(lambda: client.goaway)
        assert (client.goaway.last_stream, client.goaway.code) == (0x7fffffff, h2.NO_ERROR)
        late = client.start("/late")  # before it can have known
        assert client.response(late).status == 200
        pings = [f for f in client.seen if f.kind == h2.PING]
        client.send(h2.frame(h2.PING, h2.ACK, 0, pings[0].payload))
        client.read_until(lambda: client.goaway.last_stream != 0x7fffffff)
        assert client.goaway.last_stream == late
        gate.set()
        assert client.response(gated).status == 200
        client.read_to_end()
    assert lintel.wait() == 0


def test_websocket_over_a_stream(stage):
    """RFC 8441: CONNECT with :protocol becomes an upgrade to the HTTP/1.1 endpoint."""
    def script(exchange):
        request = exchange.request
        assert request.get("upgrade") == "websocket" and request.get("sec-websocket-key")
        exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                      b"Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n"
                      b"Sec-WebSocket-Protocol: chat\r\n\r\n")
        while data := exchange.connection.socket.recv(1000):
            exchange.send(data.upper())
        exchange.end()
    lintel, _ = serve(stage, script)
    with H2(lintel.port) as client:
        client.ping()
        stream = client.new_stream()
        client.send(client.headers(stream, [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
            (":path", "/chat"), (":authority", "a.test"), ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat")], end=False))
        client.read_until(lambda: client.of(stream).status or client.of(stream).reset_code)
        response = client.of(stream)
        assert (response.status, response.get("sec-websocket-protocol")) == (200, "chat")
        assert response.get("sec-websocket-accept") is None and response.get("upgrade") is None
        for word in (b"one", b"two" * 5000):
            before = len(response.body)
            client.data(stream, word)
            client.read_until(lambda: len(response.body) == before + len(word))
            assert response.body[before:] == word.upper()
        client.data(stream, end=True)
        assert client.response(stream).is_complete


# ---- other people's clients ----

def test_curl(stage):
    lintel, _ = serve(stage)
    body = pattern(300_000)
    done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "--max-time", "20", "--data-binary",
                           "@-", "-H", "Host: a.test", f"http://127.0.0.1:{lintel.port}/c"],
                          input=body, capture_output=True, check=True)
    assert json.loads(done.stdout)["body_sha256"] == hashlib.sha256(body).hexdigest()


def test_nghttp(stage):
    lintel, _ = serve(stage, answer(pattern(500_000)))
    done = subprocess.run(["nghttp", "-H", ":authority: a.test", "-t", "20",
                           f"http://127.0.0.1:{lintel.port}/"], capture_output=True, check=True)
    assert done.stdout == pattern(500_000)


def test_h2load(stage):
    lintel, _ = serve(stage, answer(pattern(3000)))
    done = subprocess.run(["h2load", "-n", "2000", "-c", "4", "-m", "50", "-H", ":authority: a.test",
                           f"http://127.0.0.1:{lintel.port}/"],
                          capture_output=True, check=True, text=True, timeout=60)
    assert "2000 succeeded, 0 failed" in done.stdout, done.stdout
