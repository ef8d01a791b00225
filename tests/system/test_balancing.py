"""How requests are spread over endpoints, and who is left out: docs/upstreams.md."""
import collections
import threading

import pytest

from lib.backend import echo
from lib.client import Client, request_bytes
from lib.manifests import endpoint_slice, ingress, ingress_class, rule, service
from lib.wait import eventually

A, B = "127.2.1.1", "127.2.1.2"
LOAD_BALANCE = "nginx.ingress.kubernetes.io/load-balance"


def serve(stage, slice_, balance=None, *more):
    annotations = {LOAD_BALANCE: balance} if balance else None
    return stage.run(ingress_class(), service("app", (80, 80)), slice_,
                     ingress("a", rule("a.test", ("/", "Prefix", "app:80")),
                             annotations=annotations, created="2024-01-01T00:00:00Z"), *more)


def answers(lintel, n):
    seen = collections.Counter()
    for _ in range(n):
        response = lintel.fetch("/", "a.test")
        seen[response.get("x-backend") or response.why] += 1
    return seen


class Held:
    """An endpoint's answer to /held waits; whoever asks meanwhile is served."""
    def __init__(self):
        self.come, self.go = threading.Event(), threading.Event()

    def __call__(self, exchange):
        if exchange.request.target == "/held":
            self.come.set()
            self.go.wait(60)
        echo(exchange)


@pytest.mark.parametrize("balance,of_busy_one", [("round_robin", 5), ("least_conn", 0)])
def test_least_conn_leaves_the_busy_one_alone(stage, balance, of_busy_one):
    held = Held()
    port = stage.backend(held).port
    lintel = serve(stage, endpoint_slice("app", A, B, port=port), balance)
    with Client(lintel.port) as client:
        client.send(request_bytes(target="/held", host="a.test"))
        assert held.come.wait(60)
        seen = answers(lintel, 10)
        held.go.set()
        busy = client.read_response()["x-backend"]
    assert seen[busy] == of_busy_one


def test_ewma_prefers_the_fast_one(stage):
    def slow_at_a(exchange):
        if exchange.request.address == A:
            threading.Event().wait(0.2)
        echo(exchange)
    port = stage.backend(slow_at_a).port
    lintel = serve(stage, endpoint_slice("app", A, B, port=port), "ewma")
    seen = answers(lintel, 30)
    assert seen[A] + seen[B] == 30 and seen[A] <= 5


def test_an_unknown_way_is_told_and_means_round_robin(stage):
    port = stage.backend().port
    lintel = serve(stage, endpoint_slice("app", A, B, port=port), "sticky")
    lintel.wait_log("InvalidAnnotation")
    assert answers(lintel, 10) == {A: 5, B: 5}


def test_the_oldest_ingress_decides(stage):
    port = stage.backend().port
    lintel = serve(stage, endpoint_slice("app", A, B, port=port), None,
                   ingress("b", rule("b.test", ("/", "Prefix", "app:80")),
                           annotations={LOAD_BALANCE: "ewma"}, created="2024-01-02T00:00:00Z"))
    lintel.wait_log("AnnotationConflict")
    assert answers(lintel, 10) == {A: 5, B: 5}


def two(stage, good, bad):
    """A Service with one endpoint at each of two ports."""
    return stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:web"))),
                     service("app", ("web", 80, "w")),
                     endpoint_slice("app", A, ports=[("web", good)], name="good"),
                     endpoint_slice("app", "127.0.0.1", ports=[("web", bad)], name="bad"))


def test_an_endpoint_that_refuses_is_ejected_and_nobody_notices(stage):
    lintel = two(stage, stage.backend().port, stage.refused_port())
    assert answers(lintel, 60) == {A: 60}
    assert lintel.counter("lintel_upstream_ejected_endpoints") == 1
    # three failures in a row, then one for each probe: 5, 10, 20 ... seconds apart
    probes = lintel.counter("lintel_upstream_ejections_total") - 1
    assert 0 <= probes < 5
    assert lintel.counter("lintel_upstream_retries_total") == 3 + probes


def test_an_endpoint_that_resets_is_ejected_and_comes_back(stage):
    is_ill = threading.Event()

    def script(exchange):
        if is_ill.is_set():
            exchange.reset()
        else:
            echo(exchange)
    is_ill.set()
    lintel = two(stage, stage.backend().port, stage.backend(script).port)
    assert answers(lintel, 30) == {A: 30} # a GET moves on
    probes = lintel.counter("lintel_upstream_ejections_total") - 1
    assert lintel.counter("lintel_upstream_retries_total") == 3 + probes
    is_ill.clear()
    eventually(lambda: answers(lintel, 1) and
               lintel.counter("lintel_upstream_ejected_endpoints") == 0,
               what="the end of the ejection", timeout=90)
    assert answers(lintel, 10) == {A: 5, "127.0.0.1": 5}


def test_the_only_endpoint_is_never_ejected(stage):
    lintel = serve(stage, endpoint_slice("app", "127.0.0.1", port=stage.refused_port()))
    assert answers(lintel, 10) == {"connect_refused": 10}
    assert lintel.counter("lintel_upstream_ejections_total") == 0
