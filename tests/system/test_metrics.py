"""/metrics with real traffic: what ingress-nginx's dashboards need, what the manual says, bounds."""
import os
import re
import signal
import socket
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lib.client import Client
from lib.lintel import ROOT
from lib.manifests import app, ingress, ingress_class, rule, service
from lib.wait import eventually

PREFIX = "nginx_ingress_controller_"
CONSTANT = {"controller_class", "controller_namespace", "controller_pod"}
NGINX_BOUNDS = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10",
                "+Inf"]


def world(stage, *more, **options):
    backend = stage.backend(lambda x: (x.read_body(), x.respond(body=b"12345")))
    return stage.run(ingress_class(), app("app", backend.port),
                     ingress("a", rule("a.test", ("/shop", "Prefix", "app:80")),
                             rule("*.b.test", ("/", "Exact", "app:80"))), *more, **options)


def requests(lintel, **labels):
    """The sum of that metric; 0 when there is no such series yet."""
    return sum(value for _, value in lintel.metrics().all(PREFIX + "requests", **labels))


def wait_requests(lintel, n, **labels):
    eventually(lambda: requests(lintel, **labels) == n, what=f"{n} requests with {labels}")


def test_labels_of_requests(stage):
    lintel = world(stage)
    for _ in range(3):
        lintel.fetch("/shop/cart?x=1", "a.test")
    lintel.fetch("/", "x.b.test", method="POST", body=b"x" * 1000)
    lintel.fetch("/", "a.test", method="BREW")
    wait_requests(lintel, 3, ingress="a", path="/shop", status="200")
    labels, value = lintel.metrics().all(PREFIX + "requests", path="/shop")[0]
    assert value == 3
    assert {k: v for k, v in labels.items() if k not in CONSTANT} == {
        "namespace": "default", "ingress": "a", "service": "app", "host": "a.test",
        "path": "/shop", "method": "GET", "status": "200"}
    assert CONSTANT <= set(labels)
    assert labels["controller_class"] == "lintel.dev/ingress-controller"
    wait_requests(lintel, 1, host="*.b.test", method="POST", path="/")
    wait_requests(lintel, 1, method="OTHER", status="404", ingress="")
    assert lintel.counter("lintel_route_answers_total", reason="no_route") == 1


def test_histograms(stage):
    lintel = world(stage)
    for _ in range(4):
        lintel.fetch("/shop", "a.test", method="PUT", body=b"x" * 3000)
    wait_requests(lintel, 4, method="PUT")
    metrics = lintel.metrics()
    for name in ("request_duration_seconds", "header_duration_seconds",
                 "response_duration_seconds", "request_size", "response_size", "bytes_sent"):
        assert metrics.types[PREFIX + name] == "histogram"
        assert metrics.sum(PREFIX + name + "_count", method="PUT") == 4, name
        buckets = metrics.all(PREFIX + name + "_bucket", method="PUT")
        counts = [value for _, value in buckets]
        assert counts == sorted(counts) and counts[-1] == 4, name
        if name.endswith("_seconds"):
            assert [labels["le"] for labels, _ in buckets] == NGINX_BOUNDS
    assert metrics.types[PREFIX + "connect_duration_seconds"] == "histogram"
    assert 4 * 3000 < metrics.sum(PREFIX + "request_size_sum", method="PUT") < 4 * 4000
    assert metrics.sum("lintel_request_duration_seconds_count") == 4
    seconds = metrics.sum(PREFIX + "request_duration_seconds_sum", method="PUT")
    assert 0 < seconds < 60
    assert metrics.sum(PREFIX + "response_duration_seconds_sum", method="PUT") <= seconds


def test_a_common_parser_reads_it(stage):
    lintel = world(stage)
    lintel.fetch("/shop", "a.test")
    wait_requests(lintel, 1, ingress="a")
    text = lintel.health("/metrics").body.decode()
    families = list(text_string_to_metric_families(text))
    # That parser takes _total off a counter's name: lintel_connections is a gauge and a counter.
    names = [(family.name, family.type) for family in families]
    assert len(names) == len(set(names)) == len(lintel.metrics().types)
    assert all(family.documentation and family.type != "unknown" for family in families)


def test_all_workers_are_summed(stage):
    lintel = world(stage, workers=2)
    clients = [Client(lintel.port) for _ in range(20)]
    for client in clients:
        assert client.request(target="/shop", host="a.test").status == 200
        client.close()
    wait_requests(lintel, 20, ingress="a")
    assert len(lintel.metrics().all(PREFIX + "requests", ingress="a")) == 1


def test_counters_outlive_a_worker(stage):
    lintel = world(stage)
    lintel.fetch("/shop", "a.test")
    wait_requests(lintel, 1, ingress="a")
    before = lintel.workers()
    os.kill(before[0], signal.SIGKILL)
    lintel.wait_workers(other_than=before)
    lintel.wait_answer(200, "/shop", "a.test")
    eventually(lambda: requests(lintel, ingress="a") >= 2, what="old and new requests")


def test_without_hosts(stage):
    lintel = world(stage, arguments=["--metrics-per-host=false"])
    lintel.fetch("/shop", "a.test")
    lintel.fetch("/", "x.b.test")
    wait_requests(lintel, 2, ingress="a")
    assert all("host" not in labels for labels, _ in lintel.metrics().all(PREFIX + "requests"))


def test_hosts_and_methods_of_clients_make_no_series(stage):
    lintel = world(stage)
    for i in range(50):
        lintel.fetch(f"/{i}", f"h{i}.test", method=f"M{i}")
        lintel.fetch("/", f"h{i}.b.test", method=f"M{i}")
    wait_requests(lintel, 50, status="404")
    wait_requests(lintel, 50, host="*.b.test")
    assert len(lintel.metrics().all(PREFIX + "requests")) == 2


def test_names_of_ingress_nginx(stage):
    lintel = world(stage, ingress("lost", rule("l.test", ("/", "Prefix", "nobody:80"),
                                               ("/x", "Prefix", "nobody:80"))),
                   service("empty", 80),
                   ingress("idle", rule("e.test", ("/", "Prefix", "empty:80"))))
    lintel.fetch("/shop", "a.test")
    metrics = lintel.metrics()
    for state in ("active", "reading", "writing", "waiting"):
        assert metrics.sum(PREFIX + "nginx_process_connections", state=state) >= 0
    for state in ("accepted", "handled"):
        assert metrics.sum(PREFIX + "nginx_process_connections_total", state=state) >= 1
    assert metrics.sum(PREFIX + "nginx_process_requests_total") >= 1
    assert metrics.sum(PREFIX + "nginx_process_resident_memory_bytes") > 100000
    assert metrics.sum(PREFIX + "nginx_process_num_procs") == 1
    assert metrics.sum(PREFIX + "config_last_reload_successful") == 1
    assert metrics.sum(PREFIX + "config_last_reload_successful_timestamp_seconds") > 1e9
    assert metrics.sum(PREFIX + "success") >= 1 and metrics.sum(PREFIX + "config_hash") >= 1
    assert metrics.sum(PREFIX + "build_info") == 1
    orphans = {(labels["ingress"], labels["type"])
               for labels, _ in metrics.all(PREFIX + "orphan_ingress")}
    assert orphans == {("lost", "no-service"), ("idle", "no-endpoint")}
    for (name, pairs) in metrics.samples:
        if name.startswith(PREFIX):
            assert CONSTANT <= {key for key, _ in pairs}, name


def test_names_of_the_pod(stage, monkeypatch):
    monkeypatch.setenv("POD_NAMESPACE", "infra")
    monkeypatch.setenv("POD_NAME", "lintel-\"7")
    lintel = world(stage)
    labels, _ = lintel.metrics().all(PREFIX + "config_hash")[0]
    assert labels["controller_namespace"] == "infra" and labels["controller_pod"] == "lintel-\"7"


def manual():
    """metric -> (type, meaning), from docs/metrics.md."""
    with open(os.path.join(ROOT, "docs", "metrics.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| `([a-z0-9_]+)` \| (\w+) \|[^|]*\| (.*) \|$", file.read(), re.MULTILINE)
    return {name: (kind, meaning) for name, kind, meaning in rows}


def test_the_manual_has_every_metric(stage):
    metrics = world(stage).metrics()
    written = manual()
    assert set(metrics.types) - set(written) == set(), "missing in docs/metrics.md"
    assert set(written) - set(metrics.types) == set(), "in docs/metrics.md, but not in /metrics"
    for name, kind in metrics.types.items():
        assert written[name] == (kind, metrics.helps[name])


def test_scrapes_at_the_same_time(stage):
    """Up to the limit all get everything; beyond it 503, and never half an answer."""
    lintel = world(stage)
    for i in range(30):
        lintel.fetch("/shop", "a.test", method="PUT" if i % 2 else "GET")
    statuses = []

    def scrape():
        response = lintel.health("/metrics")
        statuses.append(response.status)
        if response.status == 200:
            assert response.body.endswith(b"\n") and b"lintel_route_answers_total" in response.body
    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 8 and set(statuses) <= {200, 503}
    assert lintel.health("/metrics").status == 200


def test_scrapers_that_do_not_read(stage):
    """Their scrapes hold a place each; when they go, the places are free."""
    lintel = world(stage)
    slow = []
    for _ in range(20):
        stuck = socket.create_connection(("127.0.0.1", lintel.health_port))
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        stuck.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        slow.append(stuck)
    assert lintel.health("/healthz").status == 200
    for stuck in slow:
        stuck.close()
    eventually(lambda: lintel.health("/metrics").status == 200, what="a scrape")


def test_head(stage):
    response = world(stage).health("/metrics", method="HEAD")
    assert response.status == 200 and response.body == b""


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_old_clients(stage, version):
    lintel = world(stage)
    with Client(lintel.health_port) as client:
        client.send(f"GET /metrics HTTP/{version}\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        data = b""
        while piece := client.socket.recv(65536):
            data += piece
    assert b"lintel_route_answers_total" in data and b"transfer-encoding" in data.lower() \
        or version == "1.0" and b"transfer-encoding" not in data.lower()
