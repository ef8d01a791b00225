"""The same with @grpc/grpc-js at either end."""
import grpc
import pytest

from lib import grpc_app, grpc_js
from lib.lintel import free_port
from lib.manifests import app, ingress, ingress_class, rule

GRPC = {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
TIMEOUT_S = 30


def serve(stage, port):
    return stage.run(ingress_class(),
                     ingress("a", rule("a.test", ("/", "Prefix", "app:80")), annotations=GRPC),
                     app("app", port))


@pytest.fixture(params=["python", "node"])
def server(request, stage):
    made = grpc_app.Server() if request.param == "python" else grpc_js.Server(free_port())
    stage.others.append(made)
    return made


def test_its_client(stage, server):
    lintel = serve(stage, server.port)
    came = grpc_js.run_client(lintel.port, "a.test")
    assert came["say"] == {"code": 0, "details": "", "answer": "hello", "trailer": "t",
                           "bytes": [0, 255, 128]}
    assert (came["fail"]["code"], came["fail"]["details"]) == (5, "détail 100%")
    assert came["late"]["code"] == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert came["count"] == {"code": 0, "sizes": [10] * 5}
    assert came["large"] == {"code": 0, "sizes": [4_500_000] * 2}
    assert came["join"] == {"code": 0, "n": 5_000_000}
    assert came["chat"] == {"code": 0, "sizes": [1] * 5}
    assert came["cancel"]["code"] == grpc.StatusCode.CANCELLED.value[0]
    assert came["many"] == {"good": 200}


@pytest.fixture
def node(stage):
    made = grpc_js.Server(free_port())
    stage.others.append(made)
    return made


def test_its_server(stage, node):
    lintel = serve(stage, node.port)
    with grpc_app.Client(lintel.port) as client:
        answer, call = client.say.with_call(b"hello", timeout=TIMEOUT_S,
                                            metadata=(("x-mine-bin", b"\x00\xff"),))
        assert answer == b"hello"
        assert dict(call.trailing_metadata())["x-trailer-bin"] == b"\x00\xff"
        with pytest.raises(grpc.RpcError) as caught:
            client.say(b"fail ABORTED no", timeout=TIMEOUT_S)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        with pytest.raises(grpc.RpcError) as caught:
            client.say(b"sleep 10", timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert node.read_line() == "cancelled"
        assert [int(m) for m in client.count(b"500", timeout=TIMEOUT_S)] == list(range(500))
        assert client.join(iter([b"x" * 1_000_000] * 6), timeout=TIMEOUT_S) == b"x" * 6_000_000
        assert list(client.chat(iter([b"a", b"b"]), timeout=TIMEOUT_S)) == [b"a", b"b"]
        calls = [client.say.future(b"%d" % i, timeout=TIMEOUT_S) for i in range(500)]
        assert [c.result() for c in calls] == [b"%d" % i for i in range(500)]
        call = client.count(b"100000 100 0.01", timeout=TIMEOUT_S)
        assert next(call)
        call.cancel()
        assert node.read_line() == "cancelled"
