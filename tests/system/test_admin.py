"""The health port: /healthz, /readyz, /metrics, and the debug views for the loopback."""
import json
import os
import signal

import pytest

from lib import process
from lib.client import Client
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import eventually


@pytest.fixture(scope="module")
def lintel(module_stage):
    return module_stage.run(ingress_class(), app("app", module_stage.backend().port),
                            ingress("a", rule("a.test", ("/", "Prefix", "app:80"))), workers=2)


@pytest.mark.parametrize("target", ["/healthz", "/readyz"])
def test_healthy_and_ready(lintel, target):
    assert lintel.health(target).status == 200
    assert lintel.health(target, method="HEAD").status == 200


def test_other_paths_and_methods(lintel):
    assert lintel.health("/nothing").status == 404
    assert lintel.health("/metrics", method="POST", body=b"x").status in (405, 501)


def test_a_kept_alive_connection(lintel):
    with Client(lintel.health_port) as client:
        for _ in range(5):
            assert client.request(target="/healthz", host="x").status == 200


def test_garbage_does_not_hurt(lintel):
    for data in (b"\x00\x01\x02\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n", b"G"):
        with Client(lintel.health_port) as client:
            client.send(data)
            client.shutdown()
            client.socket.recv(1000)
    assert lintel.health("/healthz").status == 200


def test_slow_clients_do_not_hold_the_port(lintel):
    idle = [Client(lintel.health_port) for _ in range(100)]
    try:
        for client in idle:
            client.send(b"GET /hea")
    except OSError:
        pass # refused beyond the limit: as it should be
    finally:
        for client in idle:
            client.close()
    eventually(lambda: lintel.health("/healthz").status == 200)


def test_metrics_are_well_formed(lintel):
    response = lintel.health("/metrics")
    assert response["content-type"].startswith("text/plain; version=0.0.4")
    metrics = lintel.metrics() # strict
    for name in ("lintel_requests_total", "lintel_connections_total", "lintel_connections",
                 "lintel_worker_generation"):
        assert metrics.all(name), name
        assert name in metrics.types


def test_counters_count(lintel):
    before = lintel.metrics()
    for _ in range(10):
        assert lintel.fetch(host="a.test").status == 200
    assert lintel.fetch(host="none.test").status == 404

    def counted():
        now = lintel.metrics()
        return (now.sum("lintel_requests_total") - before.sum("lintel_requests_total") == 11 and
                now.sum("lintel_responses_total", **{"class": "2xx"}) -
                before.sum("lintel_responses_total", **{"class": "2xx"}) == 10 and
                now.sum("lintel_responses_total", **{"class": "4xx"}) -
                before.sum("lintel_responses_total", **{"class": "4xx"}) == 1)
    eventually(counted)


def test_reasons_are_counted_by_name(lintel):
    before = lintel.counter("lintel_answers_total", reason="no_route")
    assert lintel.fetch(host="none.test").status == 404
    eventually(lambda: lintel.counter("lintel_answers_total", reason="no_route") == before + 1)


def test_memory_and_cpu_of_each_process(lintel):
    metrics = lintel.metrics()
    for name in ("lintel_process_up", "lintel_process_resident_memory_bytes",
                 "lintel_process_cpu_seconds_total"):
        found = {labels["process"]: value for labels, value in metrics.all(name)}
        assert set(found) == {"supervisor", "controller", "worker-0", "worker-1"}, found
        assert name.endswith("cpu_seconds_total") or all(found.values()), found


def test_configuration_lag_is_told(lintel):
    metrics = lintel.metrics()
    assert metrics.sum("lintel_generation") == lintel.generations()[0]
    assert 0 <= metrics.sum("lintel_configuration_lag_seconds", value="last") < 60
    assert metrics.sum("lintel_objects", kind="Ingress") == 1


def test_counters_survive_a_restarted_worker(stage):
    lintel = stage.run(ingress_class(), app("app", stage.backend().port),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    for _ in range(5):
        lintel.fetch(host="a.test")
    eventually(lambda: lintel.counter("lintel_requests_total") == 5)
    victim = lintel.wait_workers()[0]
    os.kill(victim, signal.SIGKILL)
    lintel.wait_workers(other_than=[victim])
    lintel.wait_answer(200, host="a.test")
    eventually(lambda: lintel.counter("lintel_requests_total") >= 6)
    assert lintel.counter("lintel_requests_in_flight") in (0, 1)


def test_gauges_come_back_to_zero(lintel):
    with Client(lintel.port) as client:
        assert client.request(host="a.test").status == 200
        eventually(lambda: lintel.counter("lintel_connections") >= 1)
    eventually(lambda: lintel.counter("lintel_connections") == 0)
    eventually(lambda: lintel.counter("lintel_requests_in_flight") == 0)


def test_debug_views_are_json(lintel):
    response = lintel.health("/debug/explain?authority=a.test&target=/x&output=json")
    assert response.status == 200
    assert json.loads(response.body)["match"]["owner"]["name"] == "a"
    assert "a.test" in lintel.health("/debug/dump").body.decode()
    assert json.loads(lintel.health("/debug/dump?output=json").body)
    assert json.loads(lintel.health("/debug/diagnostics?output=json").body) == []
    assert lintel.health("/debug/explain").status == 400
    assert lintel.health("/debug/explain?nonsense=1").status == 400


def test_not_ready_while_nothing_was_loaded(stage):
    """Readiness needs a first generation in every worker."""
    manifests = stage.directory()
    lintel = stage.lintel(manifests).start(wait=False)
    seen = set()

    def ready():
        try:
            seen.add(lintel.health("/readyz").status)
        except OSError:
            pass
        return 200 in seen
    eventually(ready)
    assert seen <= {200, 503}
    assert all(g >= 1 for g in lintel.generations())


@pytest.mark.parametrize("level, is_told", [("info", True), ("warn", False)])
def test_log_level_holds_for_every_process(stage, level, is_told):
    lintel = stage.run(ingress_class(), workers=2, arguments=("--log-level", level))
    assert lintel.stop() == 0
    told = {name: f" INFO {name} " in lintel.log()
            for name in ("supervisor", "controller", "worker 0", "worker 1")}
    assert told == dict.fromkeys(told, is_told), lintel.log()


def test_processes_have_names(stage):
    lintel = stage.run(ingress_class(), workers=1)
    names = []
    for pid in process.children_of(lintel.supervisor):
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            names.append(file.read().strip())
    assert sorted(names) == ["lintel-control", "lintel-worker"]
