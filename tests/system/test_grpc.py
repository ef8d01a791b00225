"""gRPC end to end: its own client and server with Lintel between them, all four kinds of calls."""
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent import futures

import grpc
import pytest

from lib import grpc_app, grpc_js, h2
from lib.client import fetch
from lib.grpc_app import Client, Server
from lib.h2 import H2
from lib.h2_backend import H2Backend
from lib.lintel import free_port
from lib.manifests import (app, endpoint, endpoint_slice, ingress, ingress_class, rule, service)
from lib.wait import eventually

GRPC = {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
TYPE = ("content-type", "application/grpc")
TIMEOUT_S = 30
BIG = 5_000_000


def routes(port, *addresses):
    return [ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80")), annotations=GRPC),
            *app("app", port, *addresses)]


@pytest.fixture(scope="module")
def server(module_stage):
    made = Server()
    module_stage.others.append(made)
    return made


@pytest.fixture(scope="module")
def lintel(module_stage, server):
    return module_stage.run(*routes(server.port), workers=2)


@pytest.fixture
def client(lintel):
    with Client(lintel.port) as made:
        yield made


def error_of(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


# ---- the four kinds ----

def test_unary(client):
    answer, call = client.say.with_call(b"hello", timeout=TIMEOUT_S, metadata=(
        ("x-mine", "value"), ("x-mine-bin", b"\x00\xff\x80bytes")))
    assert answer == b"hello"
    assert dict(call.initial_metadata())["x-seen"] == "value"
    assert dict(call.trailing_metadata())["x-trailer"] == "t"
    assert dict(call.trailing_metadata())["x-trailer-bin"] == b"\x00\xff\x80bytes"
    assert call.code() is grpc.StatusCode.OK


def test_empty_message(client):
    assert client.say(b"", timeout=TIMEOUT_S) == b""


def test_server_streams(client):
    assert [int(m) for m in client.count(b"1000", timeout=TIMEOUT_S)] == list(range(1000))


def test_client_streams(client):
    pieces = [b"%d," % i for i in range(1000)]
    assert client.join(iter(pieces), timeout=TIMEOUT_S) == b"".join(pieces)


class Feed:
    """An iterator of requests that is filled as the test goes."""

    def __init__(self):
        self.items = queue.Queue()

    def __iter__(self):
        return iter(self.items.get, None)

    def put(self, item):
        self.items.put(item)

    def end(self):
        self.items.put(None)


def test_both_stream_in_turns(client):
    """Each answer comes before the next question is there: nothing waits for the end."""
    feed = Feed()
    answers = client.chat(iter(feed), timeout=TIMEOUT_S)
    for i in range(100):
        feed.put(b"%d" % i)
        assert next(answers) == b"%d" % i
    feed.end()
    assert list(answers) == []


def test_server_ends_first(client):
    """Its status comes through while the client's half is still open."""
    feed = Feed()
    answers = client.chat(iter(feed), timeout=TIMEOUT_S)
    feed.put(b"one")
    assert next(answers) == b"one"
    feed.put(b"end")
    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK
    feed.end()


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK],
                         ids=lambda c: c.name)
def test_failures(client, code):
    """The endpoint's own status and message, whatever their characters."""
    error = error_of(lambda: client.say(b"fail %s d\xc3\xa9tail 100%%\n\xe2\x82\xac" % code.name.encode(),
                                        timeout=TIMEOUT_S))
    assert error.code() is code
    assert error.details() == "détail 100%\n€"


# ---- much at once ----

def test_large_messages(client):
    message = os.urandom(BIG)
    assert client.say(message, timeout=TIMEOUT_S) == message
    assert client.join(iter([message, message]), timeout=TIMEOUT_S) == message * 2
    assert [len(m) for m in client.count(b"3 %d" % BIG, timeout=TIMEOUT_S)] == [BIG] * 3


def test_much_both_ways_at_once(client):
    """More than all windows hold, in both directions, and neither waits for the other's end."""
    piece = os.urandom(1 << 20)
    answers = client.chat(iter([piece] * 40), timeout=TIMEOUT_S)
    assert sum(len(m) for m in answers) == 40 << 20


def test_a_hundred_streams(lintel, client):
    """All open at a time on one connection of the client, each in the middle of its call."""
    feeds = [Feed() for _ in range(100)]
    calls = [client.chat(iter(f), timeout=TIMEOUT_S) for f in feeds]
    for turn in range(3):
        for i, feed in enumerate(feeds):
            feed.put(b"%d %d" % (turn, i))
        for i, call in enumerate(calls):
            assert next(call) == b"%d %d" % (turn, i)
    assert lintel.counter("lintel_requests_in_flight") == 100
    for feed in feeds:
        feed.end()
    for call in calls:
        assert list(call) == []


def test_many_calls(client):
    calls = [client.say.future(b"%d" % i, timeout=TIMEOUT_S) for i in range(3000)]
    assert [c.result() for c in calls] == [b"%d" % i for i in range(3000)]


def test_endpoint_that_takes_one_call_at_a_time(stage):
    """SETTINGS_MAX_CONCURRENT_STREAMS: as many connections as it needs."""
    server = Server(options=[("grpc.max_concurrent_streams", 1)])
    stage.others.append(server)
    lintel = stage.run(*routes(server.port))
    with Client(lintel.port) as client:
        calls = [client.say.future(b"sleep 0.2", timeout=TIMEOUT_S) for _ in range(20)]
        assert [c.result() for c in calls] == [b"sleep 0.2"] * 20
    assert lintel.counter("lintel_upstream_connects_total", result="ok") >= 10


# ---- deadlines and cancellation ----

def test_deadline_reaches_the_endpoint(server, client):
    client.say(b"x", timeout=20)
    assert 15 < server.application.remaining <= 20.1


def test_deadline_passes(server, client):
    while server.application.cancelled.acquire(blocking=False):
        pass
    began = time.monotonic()
    error = error_of(lambda: client.say(b"sleep 20", timeout=0.3))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 5
    assert server.application.cancelled.acquire(timeout=10)


def test_cancellation_reaches_the_endpoint(server, client):
    while server.application.cancelled.acquire(blocking=False):
        pass
    call = client.count(b"100000 100 0.01", timeout=TIMEOUT_S)
    assert next(call)
    call.cancel()
    assert server.application.cancelled.acquire(timeout=10)


def message(data=b""):
    return b"\0" + struct.pack(">I", len(data)) + data


def raw_call(client, target="/lintel.Test/Say", fields=(), body=message(b"x"), end=True):
    stream = client.start(target, method="POST", end=False,
                          fields=[TYPE, ("te", "trailers"), *fields])
    client.data(stream, body, end=end)
    return stream


def test_deadline_is_kept_by_lintel(stage):
    """A client that does not look at its own clock, and an endpoint that does not care."""
    seen = queue.Queue()

    def script(connection):
        connection.greet()
        stream = connection.next_request()
        seen.put(connection.field(stream, "grpc-timeout"))
        connection.read_until(lambda: connection.of(stream).reset_code is not None)
        seen.put(connection.of(stream).reset_code)
        stream = connection.next_request()  # this one has begun its answer
        connection.send(connection.headers(stream, [(":status", "200"), TYPE], end=False))
        connection.read_until(lambda: connection.of(stream).reset_code is not None)
        seen.put(connection.of(stream).reset_code)
        connection.serve()
    backend = H2Backend(script)
    stage.others.append(backend)
    lintel = stage.run(*routes(backend.port))
    with H2(lintel.port) as client:
        began = time.monotonic()
        response = client.response(raw_call(client, fields=[("grpc-timeout", "250m")]))
        assert 0.25 <= time.monotonic() - began < 5
        assert (response.status, response.get("grpc-status")) == (200, "4")
        assert response.why == "deadline_exceeded"
        assert seen.get(timeout=10) == "250m" and seen.get(timeout=10) == h2.CANCEL
        stream = raw_call(client, fields=[("grpc-timeout", "250m")])
        response = client.response(stream)
        assert response.status == 200 and response.reset_code == h2.CANCEL
        assert seen.get(timeout=10) == h2.CANCEL
        client.next_stream = stream + 2
        assert client.request().status == 200
    assert lintel.counter("lintel_timeouts_total", timeout="grpc_deadline") == 2
    item = lintel.wait_access_log_json(reason="deadline_exceeded")
    assert (item["status"], item["grpc_status"]) == (504, 4)


@pytest.mark.parametrize("code, wanted", [(h2.CANCEL, h2.CANCEL), (h2.INTERNAL_ERROR, h2.INTERNAL_ERROR),
                                          (h2.ENHANCE_YOUR_CALM, h2.INTERNAL_ERROR)])
@pytest.mark.parametrize("is_begun", [False, True])
def test_endpoint_gives_up(stage, code, wanted, is_begun):
    """Before its answer: a status; amid it: RST_STREAM, CANCEL as CANCEL."""
    def script(connection):
        connection.greet()
        stream = connection.read_request()
        if is_begun:
            connection.send(connection.headers(stream, [(":status", "200"), TYPE], end=False))
        connection.send(h2.reset(stream, code))
        connection.serve()
    backend = H2Backend(script)
    stage.others.append(backend)
    lintel = stage.run(*routes(backend.port))
    with H2(lintel.port) as client:
        response = client.response(raw_call(client))
        if is_begun:
            assert response.reset_code == wanted
        else:
            grpc_status = "1" if code == h2.CANCEL else "14"
            assert (response.status, response.get("grpc-status")) == (200, grpc_status)
        assert client.request().status == 200
    assert len(backend.connections) == 1


def test_client_gives_up(stage):
    """Whatever its code, the endpoint gets CANCEL."""
    seen = queue.Queue()

    def script(connection):
        connection.greet()
        while True:
            stream = connection.next_request()
            connection.read_until(lambda s=stream: connection.of(s).reset_code is not None)
            seen.put(connection.of(stream).reset_code)
    backend = H2Backend(script)
    stage.others.append(backend)
    lintel = stage.run(*routes(backend.port))
    with H2(lintel.port) as client:
        for n, code in enumerate((h2.CANCEL, h2.NO_ERROR, h2.INTERNAL_ERROR), 1):
            stream = raw_call(client, end=False)
            eventually(lambda n=n: len(backend.requests) == n, what="the request")
            client.send(h2.reset(stream, code))
            assert seen.get(timeout=10) == h2.CANCEL
    item = lintel.wait_access_log_json(reason="client_abort")
    assert item["status"] == 499 and "grpc_status" not in item


# ---- answers of Lintel's own ----

OWN = {
    "no_route": (404, 12), "no_endpoints": (503, 14), "connect_refused": (502, 14),
    "too_large": (413, 8), "upstream_timeout": (504, 4), "upstream_reset": (502, 14),
    "upstream_invalid": (502, 13), "method_not_supported": (501, 12),
}


def own(stage):
    """One host for each reason."""
    def script(connection):
        connection.greet()
        while True:
            stream = connection.read_request()
            target = connection.field(stream, ":path")
            if target == "/upstream_reset":
                connection.send(h2.reset(stream, h2.INTERNAL_ERROR))
            elif target == "/upstream_invalid":
                connection.send(connection.headers(stream, [(":status", "99")]))
    backend = H2Backend(script)
    stage.others.append(backend)
    return stage.run(
        ingress_class(),
        ingress("a", rule("a.test", ("/upstream_reset", "Exact", "app:80"),
                          ("/upstream_invalid", "Exact", "app:80"),
                          ("/upstream_timeout", "Exact", "app:80"), ("/too_large", "Exact", "app:80"),
                          ("/connect_refused", "Exact", "refused:80"),
                          ("/no_endpoints", "Exact", "empty:80")), annotations=GRPC),
        *app("app", backend.port), *app("refused", stage.refused_port()), service("empty"),
        arguments=["--proxy-read-timeout", "300ms", "--proxy-body-size", "1000"])


@pytest.mark.parametrize("version", ["2", "1.1"])
def test_own_answers(stage, version):
    """200 with a status in the head, and nothing else; the log and the counters know what it was."""
    lintel = own(stage)
    for reason, (status, code) in OWN.items():
        method = "CONNECT" if reason == "method_not_supported" else "POST"
        body = message(b"x" * (2000 if reason == "too_large" else 1))
        if version == "2" and method == "POST":
            with H2(lintel.port) as client:
                response = client.response(raw_call(client, "/" + reason, body=body))
                assert response.trailers is None and response.body == b""
                get = response.get
        elif version == "1.1" and method == "POST":
            response = fetch(lintel.port, "/" + reason, "a.test", method="POST", body=body,
                             fields=[("Content-Type", "application/grpc-web+proto")])
            get = response.get
        else:
            continue
        assert response.status == 200, response
        assert int(get("grpc-status")) == code
        assert get("grpc-message") and "%" not in get("grpc-message")
        assert get("x-lintel-reason") == reason
        assert get("content-type") == ("application/grpc" if version == "2"
                                       else "application/grpc-web+proto")
        item = lintel.wait_access_log_json(reason=reason)
        assert (item["status"], item["grpc_status"]) == (status, code)
        assert lintel.counter("lintel_answers_total", reason=reason) == 1
    assert lintel.counter("lintel_grpc_responses_total", code="UNAVAILABLE") == 3
    assert lintel.counter("lintel_grpc_responses_total", code="UNIMPLEMENTED") == 1


def test_others_get_plain_answers(stage):
    lintel = own(stage)
    response = fetch(lintel.port, "/no_endpoints", "a.test",
                     fields=[("Content-Type", "application/grpcs")])
    assert (response.status, response.why) == (503, "no_endpoints")
    assert response.get("grpc-status") is None


def test_redirects_stay_redirects(stage):
    annotations = {"nginx.ingress.kubernetes.io/permanent-redirect": "https://b.test/"}
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80")),
                                                annotations=annotations), service("app"))
    with H2(lintel.port) as client:
        response = client.response(raw_call(client))
        assert (response.status, response.get("location")) == (301, "https://b.test/")


def test_statuses_are_counted(stage):
    server = Server()
    stage.others.append(server)
    lintel = stage.run(*routes(server.port))
    with Client(lintel.port) as client:
        client.say(b"x", timeout=TIMEOUT_S)
        error_of(lambda: client.say(b"fail NOT_FOUND nothing", timeout=TIMEOUT_S))
    item = lintel.wait_access_log_json(grpc_status=5)
    assert (item["status"], item["reason"]) == (200, "none")
    assert lintel.counter("lintel_grpc_responses_total", code="OK") == 1
    assert lintel.counter("lintel_grpc_responses_total", code="NOT_FOUND") == 1
    assert lintel.counter("lintel_grpc_responses_total") == 2


# ---- endpoints come and go ----

class Program:
    """The application in a process of its own, on an address of its own."""

    def __init__(self, port, name="app"):
        self.child = subprocess.Popen([sys.executable, grpc_app.__file__, str(port), name],
                                      stdout=subprocess.PIPE, start_new_session=True)
        assert self.child.stdout.readline() == b"up\n"

    def end(self, sig=signal.SIGTERM):
        self.child.send_signal(sig)

    def stop(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdout.close()


def test_server_dies_in_mid_stream(stage):
    """The call fails, whatever has come; it never ends as if all were well."""
    port = free_port()
    program = Program(port)
    stage.others.append(program)
    lintel = stage.run(*routes(port))
    with Client(lintel.port) as client:
        call = client.count(b"100000 100 0.01", timeout=TIMEOUT_S)
        for _ in range(5):
            next(call)
        program.end(signal.SIGKILL)
        error = error_of(lambda: list(call))
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
        assert error_of(lambda: client.say(b"x", timeout=TIMEOUT_S)).code() is \
            grpc.StatusCode.UNAVAILABLE
    assert lintel.wait_access_log_json(reason="upstream_cut")["status"] == 200


class Load:
    """Unary calls from several channels until it is told to stop; which failed, and how."""

    def __init__(self, port, channel_n=3):
        self.is_over, self.done, self.failed, self.names = threading.Event(), 0, [], set()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(port,)) for _ in range(channel_n)]
        for thread in self.threads:
            thread.start()

    def _run(self, port):
        with Client(port) as client, futures.ThreadPoolExecutor(4) as pool:
            while not self.is_over.is_set():
                for outcome in pool.map(lambda _: self._call(client), range(16)):
                    with self.lock:
                        self.done += 1
                        if isinstance(outcome, grpc.RpcError):
                            self.failed.append((outcome.code(), outcome.details()))
                        else:
                            self.names.add(outcome)

    @staticmethod
    def _call(client):
        try:
            _, call = client.say.with_call(b"sleep 0.002", timeout=TIMEOUT_S)
            return dict(call.initial_metadata())["x-name"]
        except grpc.RpcError as error:
            return error

    def wait(self, n):
        goal = self.done + n
        eventually(lambda: self.done >= goal, what=f"{n} more calls")

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.failed, self.failed[:5]


@pytest.mark.parametrize("order, program", [("slice first", Program), ("slice first", grpc_js.Server),
                                            ("signal first", grpc_js.Server)])
def test_rolling_update_fails_no_call(stage, order, program):
    """Endpoints are replaced one after the other under load. Servers that end gracefully cost no
    call, whether Lintel hears of it before, as in Kubernetes, or after: then a GOAWAY and a closed
    port are all there is. (Not so with grpcio: it answers some of the last calls with CANCELLED.)"""
    ports = [free_port() for _ in range(6)]
    programs = {port: program(port, str(port)) for port in ports[:3]}
    stage.others += programs.values()
    manifests = stage.directory()
    live = list(ports[:3])

    def publish():
        slices = [endpoint_slice("app", endpoint("127.0.0.1"), ports=[("grpc", port)],
                                 name=f"app-{port}") for port in live]
        manifests.write("slices.yaml", *slices)

    manifests.write("app.yaml", ingress_class(),
                    ingress("a", rule("a.test", ("/", "Prefix", "app:80")), annotations=GRPC),
                    service("app", ("grpc", 80, "grpc")))
    publish()
    lintel = stage.lintel(manifests, workers=2).start()
    load = Load(lintel.port)
    load.wait(300)
    for old, new in zip(ports[:3], ports[3:]):
        programs[new] = program(new, str(new))
        stage.others.append(programs[new])
        live.append(new)
        publish()
        load.wait(200)
        if order == "signal first":
            programs[old].end()
        live.remove(old)
        generation = max(lintel.generations())
        publish()
        eventually(lambda g=generation: min(lintel.generations()) > g, what="the change")
        programs[old].end()
        load.wait(200)
        assert programs[old].child.wait(40) == 0
    load.names.clear()
    load.wait(300)
    load.end()
    assert load.names == {str(port) for port in ports[3:]}


def test_each_call_has_its_turn(stage):
    """One connection of one client: its calls go to all endpoints in turn."""
    def script(connection):
        connection.greet()
        address = connection.socket.getsockname()[0].encode()
        while True:
            stream = connection.read_request()
            connection.send(connection.headers(stream, [(":status", "200"), TYPE], end=False))
            connection.data(stream, message(address))
            connection.send(connection.headers(stream, [("grpc-status", "0")]))
    backend = H2Backend(script)
    stage.others.append(backend)
    addresses = [f"127.0.0.{i}" for i in range(2, 7)]
    lintel = stage.run(*routes(backend.port, *addresses))
    with H2(lintel.port) as client:
        got = [client.response(raw_call(client)).body[5:].decode() for _ in range(50)]
        assert all(sorted(got[i:i + 5]) == addresses for i in range(0, 50, 5))
        streams = [raw_call(client) for _ in range(50)]
        together = [client.response(s).body[5:].decode() for s in streams]
        assert all(together.count(address) == 10 for address in addresses)
    assert len(backend.connections) == len(addresses)


@pytest.mark.parametrize("how", ["refused stream", "goaway"])
def test_what_was_not_processed_goes_elsewhere(stage, how):
    """A call whose message came in several pieces, too."""
    def refuse(connection):
        connection.greet()
        stream = connection.read_request()
        if how == "goaway":
            connection.send(h2.frame(h2.GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
            connection.drain()
        connection.send(h2.reset(stream, h2.REFUSED_STREAM))
        connection.send(h2.reset(connection.read_request(), h2.REFUSED_STREAM))
        echo(connection)

    def echo(connection):
        if not connection.requests:
            connection.greet()
        while True:
            stream = connection.read_request()
            connection.send(connection.headers(stream, [(":status", "200"), TYPE], end=False))
            connection.data(stream, connection.of(stream).body)
            connection.send(connection.headers(stream, [("grpc-status", "0")]))
    backend = H2Backend(echo)
    stage.others.append(backend)
    lintel = stage.run(*routes(backend.port))
    backend.script(*[refuse] * (2 if how == "goaway" else 1))
    body = message(os.urandom(9000))
    with H2(lintel.port) as client:
        stream = raw_call(client, body=body[:100], end=False)
        eventually(lambda: backend.requests, what="the head")
        client.data(stream, body[100:5000])
        client.ping()
        client.data(stream, body[5000:], end=True)
        response = client.response(stream)
        assert (response.status, response.body) == (200, body)
        assert response.trailers == [("grpc-status", "0")]
    assert lintel.counter("lintel_upstream_retries_total") == 2


def test_unavailable_is_not_repeated(stage):
    """What the endpoint says is its answer, also when it says that it cannot."""
    def script(connection):
        connection.greet()
        while True:
            connection.answer(connection.read_request(), b"", fields=[TYPE, ("grpc-status", "14")])
    backend = H2Backend(script)
    stage.others.append(backend)
    lintel = stage.run(*routes(backend.port, "127.0.0.2", "127.0.0.3"))
    with H2(lintel.port) as client:
        response = client.response(raw_call(client))
        assert (response.get("grpc-status"), response.why) == ("14", None)
    assert len(backend.requests) == 1


def test_slow_clients_hold_up_nobody_else(stage):
    """Many calls whose clients take nothing, on the connection that others use."""
    server = Server()
    stage.others.append(server)
    lintel = stage.run(*routes(server.port))
    slow = [H2(lintel.port, settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 1000)]) for _ in range(60)]
    for one in slow:
        raw_call(one, "/lintel.Test/Count", body=message(b"10 300000"))
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 60, what="60 calls")
    time.sleep(0.3)  # windows fill
    with Client(lintel.port) as client:
        for _ in range(20):
            assert client.say(b"x" * 100_000, timeout=TIMEOUT_S) == b"x" * 100_000
    for one in slow:
        one.socket.close()
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0, what="their end")


def test_a_stream_may_rest(stage):
    """A client that listens sends nothing for longer than --client-body-timeout: once the answer has
    begun, only the endpoint's silence counts."""
    server = Server()
    stage.others.append(server)
    lintel = stage.run(*routes(server.port), arguments=["--client-body-timeout", "300ms"])
    with Client(lintel.port) as client:
        feed = Feed()
        answers = client.chat(iter(feed), timeout=TIMEOUT_S)
        feed.put(b"one")
        assert next(answers) == b"one"
        time.sleep(1)
        feed.put(b"two")
        assert next(answers) == b"two"
        feed.end()
        assert list(answers) == []
