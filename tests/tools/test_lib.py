"""The test library itself: a checker that checks nothing would make every test pass."""
import os

import pytest

from lib.client import Client, Closed, chunked, fetch, request_bytes
from lib.load import Load
from lib.manifests import Directory, app, ingress, rule
from lib.metrics import Metrics


def test_client_and_backend_understand_each_other(stage):
    backend = stage.backend()
    with Client(backend.port) as client:
        assert client.request(host="a", body=b"12345", method="POST").echo["body_n"] == 5
        client.send(request_bytes("PUT", "/x", "a", [("Transfer-Encoding", "chunked")]),
                    chunked(b"123", b"45"))
        seen = client.read_response().echo
        assert (seen["method"], seen["target"], seen["body_n"]) == ("PUT", "/x", 5)
    assert backend.connection_n == 1 and len(backend.requests) == 2


def test_a_backend_knows_which_address_was_dialed(stage):
    backend = stage.backend()
    with Client(backend.port, host="127.7.8.9") as client:
        assert client.request()["x-backend"] == "127.7.8.9"


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_short_body_is_noticed(stage, is_chunked):
    def script(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\n" + (
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" if is_chunked else
            b"Content-Length: 9\r\n\r\nhello"))
        exchange.end()
    with Client(stage.backend(script).port) as client, pytest.raises(Closed):
        client.request()


def test_load_counts_what_goes_wrong(stage):
    calls = []

    def script(exchange):
        calls.append(1)
        if len(calls) % 10 == 0:
            exchange.end()
        else:
            exchange.respond(500 if len(calls) % 7 == 0 else 200)
    with Load(stage.backend(script).port, [("a", "/")], clients=1) as load:
        load.wait_for(100)
    assert load.cut and load.wrong
    with pytest.raises(AssertionError):
        load.check_flawless()


def test_a_refused_port_refuses(stage):
    with pytest.raises(ConnectionRefusedError):
        fetch(stage.refused_port())


GOOD = '# HELP a_total Help.\n# TYPE a_total counter\na_total{x="1"} 1\na_total{x="\\"2\\n"} 2.5\n'


def test_good_metrics():
    assert Metrics(GOOD).sum("a_total") == 3.5
    assert Metrics(GOOD).all("a_total", x='"2\n') == [({"x": '"2\n'}, 2.5)]


@pytest.mark.parametrize("text", [
    GOOD[:-1],
    GOOD + 'a_total{x="1"} 2\n',
    GOOD + "b_total 2\n",
    GOOD + "# TYPE a_total counter\n",
    GOOD.replace(" counter", " cunter"),
    GOOD.replace("2.5", "-2.5"),
    GOOD.replace('"1"', '1'),
    GOOD.replace('x="1"', 'x="1",x="2"'),
    GOOD.replace("a_total{x=\"1\"} 1", "a_total{x=\"1\"}  1"),
    GOOD + "# HELP b B.\n# TYPE b gauge\nb 1\n" + 'a_total{x="3"} 2\n',
])
def test_bad_metrics(text):
    with pytest.raises((AssertionError, ValueError)):
        Metrics(text)


def test_a_swap_is_what_the_kubelet_does(tmp_path):
    directory = Directory(tmp_path / "d")
    directory.swap_data({"a.yaml": ["one"], "b.yaml": ["two"]})
    directory.swap_data({"a.yaml": ["three"]})
    assert sorted(n for n in os.listdir(directory.path) if not n.startswith("..20")) == [
        "..data", "a.yaml"]
    assert len(os.listdir(directory.path)) == 3
    with open(directory.file("a.yaml"), encoding="utf-8") as file:
        assert file.read() == "three"


def test_manifests_are_kubernetes_objects():
    made = ingress("a", rule("h", ("/", "Prefix", "s:http"), ("/x", "Exact", "s:80")))
    paths = made["spec"]["rules"][0]["http"]["paths"]
    assert paths[0]["backend"]["service"] == {"name": "s", "port": {"name": "http"}}
    assert paths[1]["backend"]["service"] == {"name": "s", "port": {"number": 80}}
    assert app("s", 8080)[1]["metadata"]["labels"]["kubernetes.io/service-name"] == "s"
