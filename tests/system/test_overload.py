"""A process that runs out of something: new work waits or is refused with a reason, what was begun
goes on, and everything recovers by itself. (The exact limits of each option: test_limits.py.)"""
import contextlib
import re
import threading

from lib import process
from lib.backend import echo
from lib.client import Client, request_bytes
from lib.crowd import Crowd, ask, check_latency, latency, read_response
from lib.far_crowd import FarCrowd
from lib.lintel import IS_SANITIZED
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import always, eventually

IDLE_N = 2_000 if IS_SANITIZED else 20_000 # a sanitizer makes each connection slow and large
CROWD_N = 4
IDLE_BYTES_MAX = 2048


def serve(stage, *arguments, script=echo, **options):
    backend = stage.backend(script)
    backend.keeps_requests = False
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80")),
                                                rule("b.test", ("/", "Prefix", "app:80"))),
                       app("app", backend.port), arguments=arguments, **options)
    return lintel, backend


def limit(lintel, name):
    return lintel.counter("lintel_limits_total", limit=name)


DESCRIPTORS = 84 # of each process


class Exhausted:
    """A worker with few descriptors, and a crowd that wants more."""

    def __init__(self, stage, first=b""):
        self.lintel, self.backend = serve(stage, descriptors=DESCRIPTORS)
        self.worker = self.lintel.wait_workers()[0]
        self.first = Client(self.lintel.port)
        # It has a connection to the endpoint, too, which is kept.
        assert self.first.request(host="a.test").status == 200
        self.crowd = Crowd(self.lintel.port, DESCRIPTORS + 40, first)
        eventually(lambda: limit(self.lintel, "descriptors") > 0, what="the counter")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.crowd.close()
        self.first.close()

    def inside(self):
        return self.lintel.counter("lintel_connections", state="idle")


def test_out_of_descriptors(stage):
    """Those who are in are served; those who are not wait; as many as go are let in."""
    with Exhausted(stage) as it:
        inside = it.inside()
        assert 20 <= inside < DESCRIPTORS
        for _ in range(20):
            assert it.first.request(host="a.test").status == 200
        assert ask(it.crowd.sockets[0], "a.test").status == 200
        last = it.crowd.sockets[-1]
        last.sendall(request_bytes(host="a.test"))
        always(lambda: it.crowd.ready() == [], seconds=0.2, what="waiting")
        assert it.inside() == inside
        while len(it.crowd.sockets) > 5: # the last in the queue gets in when there is room
            it.crowd.sockets.pop(0).close()
        assert read_response(last).status == 200
        for sock in it.crowd.sockets:
            assert ask(sock, "b.test").status == 200
        assert it.first.request(host="a.test").status == 200
    eventually(lambda: it.inside() == 0)
    assert it.lintel.fetch(host="a.test").status == 200
    assert it.lintel.workers() == [it.worker]


def test_out_of_descriptors_while_everybody_asks(stage):
    """A connection to the endpoint takes a descriptor, too: who gets none is refused with the
    reason, and nobody hangs."""
    with Exhausted(stage, request_bytes(host="a.test")) as it:
        answers = []
        while it.crowd.sockets:
            for sock in eventually(it.crowd.ready, what="an answer to the next ones"):
                response = read_response(sock)
                assert response.status == 200 or response.why == "overloaded", response
                answers.append(response.status)
                it.crowd.sockets.remove(sock)
                sock.close()
        assert answers.count(200) >= 20
        assert it.first.request(host="a.test").status == 200
        assert it.lintel.workers() == [it.worker]


def test_out_of_descriptors_is_said_once(stage):
    """However long it lasts."""
    with Exhausted(stage) as it:
        it.lintel.wait_log("accepting pauses")
        before = limit(it.lintel, "descriptors")
        eventually(lambda: limit(it.lintel, "descriptors") >= before + 5, what="more pauses")
        assert len(re.findall("accepting pauses", it.lintel.log())) == 1


def test_descriptors_for_upstreams_are_found(stage):
    """An idle connection to one endpoint makes room for one to another that is needed."""
    backends = [stage.backend(name=f"b{i}") for i in range(8)]
    lintel = stage.run(
        ingress_class(),
        ingress("a", *(rule(f"h{i}.test", ("/", "Prefix", f"s{i}:80")) for i in range(8))),
        *(app(f"s{i}", backend.port) for i, backend in enumerate(backends)),
        descriptors=DESCRIPTORS)
    with Client(lintel.port) as client:
        for i in range(4):
            assert client.request(host=f"h{i}.test").status == 200
        with Crowd(lintel.port, DESCRIPTORS):
            eventually(lambda: limit(lintel, "descriptors") > 0, what="the counter")
            for i in range(8):
                response = client.request(host=f"h{i}.test")
                assert response.status == 200, (i, response)
        for i in range(8):
            assert client.request(host=f"h{i}.test").status == 200


def test_more_connections_than_a_worker_may_hold(stage):
    """A crowd of three times as many: all are served in turn, existing ones at once."""
    lintel, _ = serve(stage, "--max-worker-connections", 50)
    with Client(lintel.port) as first, \
            Crowd(lintel.port, 150, request_bytes(host="a.test")) as crowd:
        assert first.request(host="a.test").status == 200
        eventually(lambda: limit(lintel, "connections") > 0, what="the counter")
        served = 0
        while crowd.sockets:
            assert lintel.counter("lintel_connections", state="idle") <= 50
            assert first.request(host="a.test").status == 200
            for sock in eventually(crowd.ready, what="answers to the next ones"):
                assert read_response(sock).status == 200
                crowd.sockets.remove(sock)
                sock.close()
                served += 1
        assert served == 150
    assert re.search(r"accepting pauses.*max-worker-connections", lintel.log())
    assert lintel.fetch(host="a.test").status == 200


def test_memory_budget(stage):
    """Beyond it new requests get 503; those in flight are finished, and then there is room again."""
    over = threading.Event()

    def script(exchange):
        if exchange.request.target == "/slow":
            over.wait(10)
        echo(exchange)
    lintel, _ = serve(stage, "--worker-memory", "1m", script=script)
    worker = lintel.wait_workers()[0]
    head = request_bytes("GET", "/slow", "a.test", [("X-Pad", "x" * 20_000)])
    with Crowd(lintel.port, 100, head) as crowd:
        eventually(lambda: limit(lintel, "memory") > 0
                   and limit(lintel, "memory") + lintel.counter("lintel_requests_in_flight") == 100,
                   what="100 requests at the backend or refused")
        refused = crowd.ready()
        assert 30 <= len(refused) <= 90
        for sock in refused:
            response = read_response(sock)
            assert (response.status, response.why) == (503, "overloaded")
            crowd.sockets.remove(sock)
            sock.close()
        over.set()
        for sock in crowd.sockets:
            assert read_response(sock).status == 200
        assert lintel.fetch(host="a.test").status == 200
    assert lintel.workers() == [worker]


def test_thousands_of_idle_connections(stage):
    """Of which half had a request. They cost little memory and nobody else's time. More than one
    worker, or one client process, can hold: each may have 20,000 descriptors."""
    lintel, _ = serve(stage, workers=2)
    workers = lintel.wait_workers()
    alone = latency(lintel.port, "a.test", 100)
    before = sum(map(process.memory_of, workers))
    with contextlib.ExitStack() as stack:
        crowds = [stack.enter_context(FarCrowd(lintel.port, IDLE_N // CROWD_N, f"127.0.0.{20 + i}",
                                               "a.test" if i % 2 else ""))
                  for i in range(CROWD_N)]
        for crowd in crowds:
            crowd.wait()
        eventually(lambda: lintel.counter("lintel_connections", state="idle") == IDLE_N)
        each = (sum(map(process.memory_of, workers)) - before) / IDLE_N
        print(f"{each:.0f} bytes for each of {IDLE_N}")
        if not IS_SANITIZED: # a sanitizer's memory is not ours
            assert 0 < each <= IDLE_BYTES_MAX, f"{each:.0f} bytes for each of {IDLE_N}"
        check_latency(alone, latency(lintel.port, "a.test", 100))
        # They are no dead weight: each can still ask.
        for crowd in crowds:
            assert crowd.ask(100, "b.test") == crowd.n // 100
    eventually(lambda: lintel.counter("lintel_connections", state="idle") == 0)
    eventually(lambda: all(process.descriptor_count(pid) < 100 for pid in workers))
    assert lintel.workers() == workers


def test_a_slow_upstream_costs_its_own_route_only(stage):
    """200 requests wait for it; all are answered when it wakes up."""
    over = threading.Event()

    def sleeper(exchange):
        over.wait(60)
        exchange.respond(body=b"awake")
    good, slow = stage.backend(), stage.backend(sleeper)
    lintel = stage.run(
        ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "good:80")),
                                 rule("slow.test", ("/", "Prefix", "slow:80"))),
        app("good", good.port), app("slow", slow.port))
    alone = latency(lintel.port, "a.test")
    with Crowd(lintel.port, 200, request_bytes(host="slow.test")) as crowd:
        eventually(lambda: lintel.counter("lintel_requests_in_flight") == 200)
        check_latency(alone, latency(lintel.port, "a.test"))
        assert crowd.ready() == []
        over.set()
        for sock in crowd.sockets:
            assert read_response(sock).body == b"awake"
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)
