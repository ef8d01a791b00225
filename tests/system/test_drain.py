"""SIGTERM: readiness off, accept for the grace time, finish what is in flight, exit 0."""
import signal
import threading
import time

from lib import process
from lib.client import Client, request_bytes
from lib.lintel import free_port
from lib.load import Load
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import eventually


def serve(stage, *arguments, script=None, **options):
    backend = stage.backend(script) if script else stage.backend()
    return stage.run(ingress_class(), app("app", backend.port),
                     ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                     arguments=arguments, **options)


def term(lintel):
    lintel.child.send_signal(signal.SIGTERM)


def is_refused(port):
    try:
        Client(port, timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def test_exits_with_0_at_once_when_idle(stage):
    lintel = serve(stage, workers=2)
    family = process.children_of(lintel.supervisor)
    began = time.monotonic()
    assert lintel.stop() == 0
    assert time.monotonic() - began < 10
    assert not any(process.is_alive(pid) for pid in family)
    assert is_refused(lintel.port)


def test_sigint_does_the_same(stage):
    lintel = serve(stage)
    lintel.child.send_signal(signal.SIGINT)
    assert lintel.wait() == 0


def test_readiness_goes_off_first_and_requests_are_still_taken(stage):
    lintel = serve(stage, "--shutdown-grace-period", "3s")
    term(lintel)
    eventually(lambda: lintel.health("/readyz").status == 503, what="readiness off")
    assert lintel.health("/healthz").status == 200
    assert lintel.fetch(host="a.test").status == 200
    assert lintel.wait() == 0


def test_no_request_fails_during_the_grace_time(stage):
    """Clients leave as a load balancer makes them: when readiness has gone off."""
    lintel = serve(stage, "--shutdown-grace-period", "2s", workers=2)
    with Load(lintel.port, [("a.test", "/")]) as load:
        term(lintel)
        eventually(lambda: lintel.health("/readyz").status == 503)
        load.wait_for(50)
    assert not (load.wrong or load.refused or load.cut), load.summary()
    assert lintel.wait() == 0


def test_a_request_in_flight_is_finished(stage):
    go, arrived = threading.Event(), threading.Event()

    def script(exchange):
        exchange.read_body()
        arrived.set()
        go.wait(30)
        exchange.respond(body=b"finished")
    lintel = serve(stage, "--drain-timeout", "20s", script=script)
    with Client(lintel.port) as client:
        client.send(request_bytes(host="a.test"))
        assert arrived.wait(20)
        term(lintel)
        eventually(lambda: is_refused(lintel.port), what="the end of accepting")
        assert lintel.child.poll() is None
        go.set()
        response = client.read_response()
        assert response.body == b"finished" and response["connection"].lower() == "close"
        assert client.is_closed_by_peer()
    assert lintel.wait() == 0


def test_an_idle_connection_is_closed(stage):
    lintel = serve(stage)
    with Client(lintel.port) as client:
        assert client.request(host="a.test").status == 200
        term(lintel)
        assert client.is_closed_by_peer()
    assert lintel.wait() == 0


def test_the_drain_timeout_ends_what_does_not_end(stage):
    def script(exchange):
        exchange.read_body()
        time.sleep(60) # longer than the drain, which is what is tested; the thread is a daemon
    lintel = serve(stage, "--drain-timeout", "500ms", script=script)
    with Client(lintel.port) as client:
        client.send(request_bytes(host="a.test"))
        eventually(lambda: lintel.counter("lintel_requests_in_flight") == 1)
        term(lintel)
        began = time.monotonic()
        assert lintel.wait() == 0
        assert time.monotonic() - began < 10


def test_a_second_sigterm_ends_at_once(stage):
    lintel = serve(stage, "--shutdown-grace-period", "60s")
    term(lintel)
    eventually(lambda: lintel.health("/readyz").status == 503)
    lintel.expects_death = True
    term(lintel)
    lintel.wait(10)
    eventually(lambda: is_refused(lintel.port))


def test_sigterm_before_it_is_ready(stage):
    manifests = stage.directory()
    lintel = stage.lintel(manifests).start(wait=False)
    eventually(lambda: process.children_of(lintel.supervisor))
    assert lintel.stop() == 0


def test_a_port_that_is_taken_is_an_error_in_one_sentence(stage):
    manifests = stage.directory()
    first = stage.lintel(manifests).start()
    second = stage.lintel(manifests)
    second.arguments[second.arguments.index("--http-port") + 1] = first.port
    second.expects_death = True
    second.start(wait=False)
    assert second.wait(20) == 1
    assert str(first.port) in second.log() and "in use" in second.log().lower()
    assert first.fetch(host="a.test").status == 404


def test_two_lintels_side_by_side(stage):
    manifests = stage.directory()
    one, two = stage.lintel(manifests).start(), stage.lintel(manifests).start()
    assert one.port != two.port and free_port()
    assert one.stop() == 0
    assert two.fetch(host="a.test").status == 404
