"""HTTP/1.1 through Lintel, byte by byte: bodies both ways, kept-alive connections on both sides,
fields that are passed on and fields that are not, and the answers that Lintel makes itself."""
import hashlib
import json
import threading

import pytest

from lib.client import Client, Closed, chunked, fetch, request_bytes
from lib.manifests import app, ingress, ingress_class, rule, service
from lib.wait import eventually

MEGABYTE = 1 << 20


def serve(stage, script=None, addresses=("127.0.0.1",), **options):
    """(lintel, backend) with one route for every path of a.test."""
    backend = stage.backend(script) if script else stage.backend()
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       app("app", backend.port, *addresses), **options)
    return lintel, backend


def pattern(n):
    """Bytes of which each part differs from the others."""
    return b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(n // 32 + 1))[:n]


# ---- request bodies ----

@pytest.mark.parametrize("n", [0, 1, 65535, 65536, 65537, 3 * MEGABYTE])
def test_request_body_with_a_length(stage, n):
    lintel, _ = serve(stage)
    body = pattern(n)
    seen = lintel.fetch("/", "a.test", method="POST", body=body).echo
    assert (seen["body_n"], seen["body_sha256"]) == (n, hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("size, n", [(1, 100), (1000, 1000), (100_000, 30)])
def test_request_body_in_chunks(stage, size, n):
    lintel, _ = serve(stage)
    pieces = [pattern(size)] * n
    with Client(lintel.port) as client:
        client.send(request_bytes("POST", "/", "a.test", [("Transfer-Encoding", "chunked")]),
                    chunked(*pieces))
        seen = client.read_response().echo
    assert seen["body_sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_request_in_single_bytes(stage):
    lintel, _ = serve(stage)
    with Client(lintel.port) as client:
        client.send_in_steps(request_bytes("POST", "/x", "a.test", body=b"hello"), 1)
        seen = client.read_response().echo
    assert (seen["target"], seen["body_n"]) == ("/x", 5)


def test_a_body_is_streamed_not_gathered(stage):
    """The backend has the first half before the client has sent the second."""
    half = threading.Event()

    def script(exchange):
        assert exchange.connection.reader.read(1000) == pattern(1000)
        half.set()
        exchange.connection.reader.read(1000)
        exchange.respond(body=b"done")
    lintel, _ = serve(stage, script)
    with Client(lintel.port) as client:
        client.send(request_bytes("POST", "/", "a.test", [("Content-Length", "2000")]),
                    pattern(1000))
        assert half.wait(20)
        client.send(pattern(1000))
        assert client.read_response().body == b"done"


def test_a_request_cut_off_reaches_the_backend_as_cut_off(stage):
    ended = []

    def script(exchange):
        ended.append(exchange.connection.reader.read(2000))
        exchange.end()
    lintel, _ = serve(stage, script)
    with Client(lintel.port) as client:
        client.send(request_bytes("POST", "/", "a.test", [("Content-Length", "2000")]), b"x" * 500)
        eventually(lambda: lintel.counter("lintel_upstream_connections", state="busy") == 1)
    eventually(lambda: ended)
    assert len(ended[0]) <= 500


# ---- response bodies ----

@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("n", [0, 1, 65536, 3 * MEGABYTE])
def test_response_body(stage, n, is_chunked):
    body = pattern(n)
    lintel, _ = serve(stage, lambda x: x.respond(body=body, is_chunked=is_chunked, step=70_000))
    with Client(lintel.port) as client:
        for _ in range(2):
            response = client.request(host="a.test")
            assert response.status == 200 and response.body == body


def test_response_without_framing_ends_with_the_connection(stage):
    def script(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\n", b"all of it")
        exchange.end()
    lintel, _ = serve(stage, script)
    with Client(lintel.port) as client:
        assert client.request(host="a.test").body == b"all of it"


def test_a_slow_reader_holds_the_backend_back(stage):
    """Bodies are pulled: Lintel does not gather what its client does not read."""
    sent = []

    def script(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            exchange.send(b"x" * 100_000)
            sent.append(100_000)
    lintel, _ = serve(stage, script)
    with Client(lintel.port) as client:
        client.send(request_bytes(host="a.test"))
        client.read_head()
        last = [-1]

        def has_stopped():
            is_same = last[0] == len(sent)
            last[0] = len(sent)
            return is_same and sent
        eventually(has_stopped, interval=0.3)
        assert sum(sent) < 60_000_000 # what the sockets hold, which is for the kernel to say


@pytest.mark.parametrize("status", [204, 304])
def test_responses_that_have_no_body(stage, status):
    lintel, _ = serve(stage, lambda x: x.send(b"HTTP/1.1 %d X\r\nETag: \"a\"\r\n\r\n" % status))
    with Client(lintel.port) as client:
        for _ in range(2):
            response = client.request(host="a.test")
            assert (response.status, response["etag"]) == (status, '"a"')


def test_head_has_the_fields_and_no_body(stage):
    lintel, _ = serve(stage, lambda x: x.respond(body=b"12345"))
    with Client(lintel.port) as client:
        response = client.request("HEAD", host="a.test")
        assert response["content-length"] == "5"
        assert client.request(host="a.test").body == b"12345"


def test_interim_responses(stage):
    def script(exchange):
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        exchange.respond(body=b"final")
    lintel, _ = serve(stage, script)
    assert lintel.fetch("/", "a.test").body == b"final"


def test_expect_100_continue(stage):
    lintel, _ = serve(stage)
    with Client(lintel.port) as client:
        client.send(request_bytes("POST", "/", "a.test", [("Expect", "100-continue"),
                                                          ("Content-Length", "5")]))
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read_response().echo["body_n"] == 5


# ---- fields ----

def test_fields_are_passed_on_and_hop_by_hop_fields_are_not(stage):
    def script(exchange):
        exchange.read_body()
        exchange.respond(body=json.dumps(exchange.request.fields).encode(), fields=[
            ("X-Kept", "yes"), ("Connection", "x-dropped"), ("X-Dropped", "no"),
            ("Keep-Alive", "timeout=5"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    lintel, _ = serve(stage, script)
    with Client(lintel.port) as client:
        response = client.request(host="a.test", fields=[
            ("X-Mine", "1"), ("X-Mine", "2"), ("Connection", "keep-alive, x-secret"),
            ("X-Secret", "no"), ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "keep-alive"),
            ("TE", "gzip")])
    seen = json.loads(response.body)
    names = [name.lower() for name, _ in seen]
    assert [value for name, value in seen if name.lower() == "x-mine"] == ["1", "2"]
    assert not {"x-secret", "keep-alive", "proxy-connection"} & set(names)
    assert names.count("host") == 1 and ["a.test"] == [
        value for name, value in seen if name.lower() == "host"]
    assert response.all("x-kept") == ["yes"] and response.all("set-cookie") == ["a=1", "b=2"]
    assert response.all("x-dropped") == [] and response.all("keep-alive") == []
    assert response.why is None


def test_the_client_is_named_to_the_backend(stage):
    lintel, _ = serve(stage)
    seen = lintel.fetch("/", "a.test").echo
    fields = {name.lower(): value for name, value in seen["fields"]}
    assert fields["x-forwarded-for"].endswith("127.0.0.1")
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-host"] == "a.test"


def test_method_and_target_arrive_as_they_were_sent(stage):
    lintel, _ = serve(stage)
    seen = lintel.fetch("/a%20b//c?d=%2F&e", "a.test", method="PROPFIND").echo
    assert (seen["method"], seen["target"]) == ("PROPFIND", "/a%20b//c?d=%2F&e")


# ---- connections ----

def test_kept_alive_on_both_sides(stage):
    lintel, backend = serve(stage)
    with Client(lintel.port) as client:
        numbers = {client.request(host="a.test").echo["connection"] for _ in range(50)}
    assert len(numbers) == 1 and backend.connection_n == 1
    assert lintel.counter("lintel_upstream_reuses_total") == 49


def test_upstream_connections_are_shared_by_clients(stage):
    lintel, backend = serve(stage)
    for _ in range(20):
        assert lintel.fetch("/", "a.test").status == 200
    assert backend.connection_n == 1


def test_pipelined_requests_are_answered_in_order(stage):
    lintel, _ = serve(stage)
    with Client(lintel.port) as client:
        client.send(b"".join(request_bytes(target=f"/{i}", host="a.test") for i in range(20)))
        assert [client.read_response().echo["target"] for _ in range(20)] == [
            f"/{i}" for i in range(20)]


def test_connection_close_is_heeded(stage):
    lintel, _ = serve(stage)
    with Client(lintel.port) as client:
        response = client.request(host="a.test", fields=[("Connection", "close")])
        assert response.status == 200 and response["connection"].lower() == "close"
        assert client.is_closed_by_peer()


def test_http_1_0_closes_unless_asked_to_keep(stage):
    lintel, _ = serve(stage)
    with Client(lintel.port) as client:
        client.send(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
        assert client.read_response().status == 200
        assert client.is_closed_by_peer()


def test_a_backend_that_closes_each_connection(stage):
    def script(exchange):
        exchange.respond(body=b"x", fields=[("Connection", "close")])
        exchange.end()
    lintel, backend = serve(stage, script)
    with Client(lintel.port) as client:
        for _ in range(5):
            assert client.request(host="a.test").status == 200
    assert backend.connection_n == 5


def test_a_kept_connection_that_has_died_costs_no_request(stage):
    lintel, backend = serve(stage)
    with Client(lintel.port) as client:
        for _ in range(10):
            assert client.request(host="a.test").status == 200
            backend.close_connections()


def test_a_response_that_ends_early_is_cut_not_completed(stage):
    def script(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"x" * 50)
        exchange.end()
    lintel, _ = serve(stage, script)
    with Client(lintel.port) as client, pytest.raises((Closed, ConnectionResetError)):
        client.request(host="a.test")


def test_a_chunked_response_that_ends_early_is_cut_not_completed(stage):
    def script(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n")
        exchange.end()
    lintel, _ = serve(stage, script)
    with Client(lintel.port) as client, pytest.raises((Closed, ConnectionResetError)):
        client.request(host="a.test")


# ---- Lintel's own answers ----

def test_no_route(stage):
    lintel, _ = serve(stage)
    response = lintel.fetch("/", "nobody.test")
    assert (response.status, response.why) == (404, "no_route")
    assert response["content-type"].startswith("text/plain") and response["date"]
    assert response.body.decode().strip().endswith(".") and response.body.count(b"\n") <= 1


def test_errors_are_json_for_those_who_prefer_it(stage):
    lintel, _ = serve(stage)
    response = lintel.fetch("/", "nobody.test", fields=[("Accept", "application/json")])
    assert response["content-type"].startswith("application/json")
    assert "no_route" in json.dumps(json.loads(response.body))


def test_an_error_keeps_the_connection_and_head_has_no_body(stage):
    lintel, _ = serve(stage)
    with Client(lintel.port) as client:
        assert client.request("HEAD", host="nobody.test").status == 404
        assert client.request(host="nobody.test").status == 404
        assert client.request(host="a.test").status == 200


def test_an_error_with_an_unread_body_does_not_lead_the_connection_astray(stage):
    lintel, _ = serve(stage)
    with Client(lintel.port) as client:
        response = client.request("POST", host="nobody.test", body=request_bytes(host="a.test"))
        assert response.status == 404
        try:
            again = client.request(host="nobody.test")
        except (Closed, ConnectionError):
            return # closing is right, too
        assert again.status == 404


def test_no_endpoints(stage):
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       service("app", 80))
    response = lintel.fetch("/", "a.test")
    assert (response.status, response.why) == (503, "no_endpoints")


def test_connect_refused(stage):
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       app("app", stage.refused_port()))
    response = lintel.fetch("/", "a.test")
    assert (response.status, response.why) == (502, "connect_refused")


def test_upstream_that_closes_without_an_answer(stage):
    def script(exchange):
        exchange.read_body()
        exchange.end()
    lintel, _ = serve(stage, script)
    response = lintel.fetch("/", "a.test", method="POST", body=b"x")
    assert (response.status, response.why) == (502, "upstream_reset")


def test_a_post_that_may_have_been_served_is_not_sent_twice(stage):
    def script(exchange):
        exchange.read_body()
        exchange.reset()
    lintel, backend = serve(stage, script, addresses=("127.0.0.1", "127.0.0.2"))
    assert lintel.fetch("/", "a.test", method="POST", body=b"x").status == 502
    assert len(backend.requests) == 1


@pytest.mark.parametrize("answer", [
    b"nonsense\r\n\r\n",
    b"HTTP/1.1 abc\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nna me: x\r\n\r\n",
])
def test_malformed_answers_are_not_passed_on(stage, answer):
    def script(exchange):
        exchange.send(answer)
        exchange.end()
    lintel, _ = serve(stage, script)
    response = lintel.fetch("/", "a.test")
    assert (response.status, response.why) == (502, "upstream_invalid")


MALFORMED = [
    ("garbage", b"\x16\x03\x01\x02\x00\r\n\r\n"),
    ("no version", b"GET /\r\n\r\n"),
    ("no host", b"GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n"),
    ("bad host", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("space before the colon", b"GET / HTTP/1.1\r\nHost: a.test\r\nX : 1\r\n\r\n"),
    ("folded line", b"GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n 2\r\n\r\n"),
    ("bare cr", b"GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\r2\r\n\r\n"),
    ("nul", b"GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\x002\r\n\r\n"),
    ("length and chunked", b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n"
     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n"
     b"Content-Length: 5\r\n\r\nabcde"),
    ("length with a sign", b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +4\r\n\r\nabcd"),
    ("length too long", b"POST / HTTP/1.1\r\nHost: a.test\r\n"
     b"Content-Length: 99999999999999999999\r\n\r\n"),
    ("unknown coding", b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: x\r\n\r\n"),
    ("chunked not last", b"POST / HTTP/1.1\r\nHost: a.test\r\n"
     b"Transfer-Encoding: chunked, gzip\r\n\r\n"),
    ("bad escape", b"GET /%zz HTTP/1.1\r\nHost: a.test\r\n\r\n"),
]


@pytest.fixture(scope="module")
def shared(module_stage):
    return serve(module_stage)


@pytest.mark.parametrize("what, data", MALFORMED, ids=[what for what, _ in MALFORMED])
def test_malformed_requests_are_refused(shared, what, data):
    lintel, backend = shared
    before = len(backend.requests)
    with Client(lintel.port) as client:
        client.send(data)
        response = client.read_response()
        assert 400 <= response.status < 600 and response.status != 404, (what, response)
        if response.status == 400:
            assert response.why == "bad_request"
        if what != "bad escape": # well framed: the connection may live
            assert client.is_closed_by_peer()
    assert len(backend.requests) == before, f"{what}: reached the backend"


def test_head_limits(shared):
    lintel, _ = shared
    many = [(f"X-{i}", "1") for i in range(200)]
    response = lintel.fetch("/", "a.test", fields=many)
    assert (response.status, response.why) == (431, "head_too_large")
    response = lintel.fetch("/", "a.test", fields=[("X-Big", "x" * 40_000)])
    assert (response.status, response.why) == (431, "head_too_large")
    assert lintel.fetch("/", "a.test", fields=[("X-Big", "x" * 16_000)]).status == 200


def test_versions(shared):
    lintel, _ = shared
    with Client(lintel.port) as client:
        client.send(b"GET / HTTP/3.7\r\nHost: a.test\r\n\r\n")
        response = client.read_response()
        assert (response.status, response.why) == (505, "version_not_supported")


def test_bad_chunks_are_refused(shared):
    lintel, _ = shared
    with Client(lintel.port) as client:
        client.send(request_bytes("POST", "/", "a.test", [("Transfer-Encoding", "chunked")]),
                    b"5\r\nhelloXX0\r\n\r\n")
        try:
            assert client.read_response().status in (400, 502)
        except (Closed, ConnectionError):
            pass # cut off is right, too


def test_many_connections_at_once(shared):
    lintel, _ = shared
    clients = [Client(lintel.port) for _ in range(300)]
    try:
        for client in clients:
            client.send(request_bytes(host="a.test"))
        assert [client.read_response().status for client in clients] == [200] * 300
    finally:
        for client in clients:
            client.close()
    assert fetch(lintel.port, host="a.test").status == 200
