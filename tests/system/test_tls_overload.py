"""More handshakes at a time than a worker takes on: TLS_HANDSHAKES_MAX of base/limits.h. Clients that
begin and never end one keep others out for as long as they may, but neither connections that stand
nor those without TLS; and once they are gone, or have had their time, there is room again."""
import contextlib
import ssl
import time

import pytest

from lib import pki
from lib.client import Client
from lib.crowd import Crowd, check_latency, descriptors_to_spare, latency, read_to_end
from lib.lintel import IS_SANITIZED
from lib.manifests import app, ingress_class, tls_secret
from lib.records import Hands
from lib.tls import TlsClient, site
from lib.wait import eventually

HANDSHAKES_MAX = 4096 # TLS_HANDSHAKES_MAX
ANSWERED_N = 200      # of them have said a whole ClientHello
AT_ONCE_S = 5         # on a loaded machine; a handshake has 60 s
HEADER_TIMEOUT_S = 15 if IS_SANITIZED else 8 # longer than it takes for all to come, on any machine
NAME = "a.test"


def serve(stage, *arguments):
    assert descriptors_to_spare() > HANDSHAKES_MAX + 500
    return stage.run(ingress_class(), app("app", stage.backend().port), site("site", NAME),
                     tls_secret("cert", pki.Authority().issue(NAME)),
                     arguments=["--ssl-redirect=false", *arguments], access_log="off")


def refused_n(lintel):
    return lintel.counter("lintel_limits_total", limit="tls_handshakes")


def hello(lintel):
    with Hands(lintel.https_port, NAME) as client:
        return client.flight()


@contextlib.contextmanager
def half_open(lintel, n):
    """n handshakes that do not go on: nothing was said, or the begin of a ClientHello, or all of it."""
    first = hello(lintel)
    eventually(lambda: lintel.counter("lintel_tls_handshakes_total") == 1, what="its end")
    before = lintel.counter("lintel_connections_total", state="accepted")
    with Crowd(lintel.https_port, ANSWERED_N, first) as answered, \
            Crowd(lintel.https_port, ANSWERED_N, first[:100]) as begun, \
            Crowd(lintel.https_port, n - 2 * ANSWERED_N) as silent:
        eventually(lambda: lintel.counter("lintel_connections_total", state="accepted") ==
                   before + n, what="all inside")
        eventually(lambda: len(answered.ready()) == ANSWERED_N, what="their answers")
        for sock in answered.sockets:
            assert sock.recv(1) == b"\x16"
        yield silent
        assert silent.ready() == begun.ready() == [] # nobody inside had to make room


def knock(lintel):
    """A handshake that must succeed."""
    with TlsClient(lintel.https_port, NAME) as client:
        return client.request(host=NAME).status == 200


def check_refused(lintel, n=20):
    """The next ones are closed at once, whether they say something or not; and counted."""
    before = refused_n(lintel)
    began = time.monotonic()
    with Crowd(lintel.https_port, n) as crowd:
        assert crowd.answers() == [b""] * n
    with pytest.raises((ssl.SSLError, ConnectionError)):
        knock(lintel)
    assert time.monotonic() - began < AT_ONCE_S
    assert refused_n(lintel) == before + n + 1


def test_so_many_and_no_more(stage):
    lintel = serve(stage)
    worker, = lintel.wait_workers()
    alone = latency(lintel.port, NAME)
    with half_open(lintel, HANDSHAKES_MAX - 1) as silent, \
            TlsClient(lintel.https_port, NAME) as standing, Hands(lintel.https_port, NAME) as last:
        last.socket.sendall(last.flight())
        assert last.listen() and refused_n(lintel) == 0
        check_refused(lintel)
        for _ in range(20):
            assert standing.request(host=NAME).status == 200
        check_latency(alone, latency(lintel.port, NAME))
        last.shake() # a handshake that ends makes room for one
        assert knock(lintel)
        with Crowd(lintel.https_port, 1) as one:
            check_refused(lintel)
            assert one.ready() == []
            with silent.sockets.pop() as failing: # and so does one that fails
                failing.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert b" 400 " in read_to_end(failing)
            eventually(lambda: knock(lintel), what="room for one")
    assert lintel.workers() == [worker]
    eventually(lambda: lintel.counter("lintel_tls_connections") == 0)


def test_they_have_their_time(stage):
    """Room comes back although none of those clients goes."""
    lintel = serve(stage, "--client-header-timeout", f"{HEADER_TIMEOUT_S}s")
    with Crowd(lintel.https_port, HANDSHAKES_MAX + 100) as crowd:
        eventually(lambda: refused_n(lintel) == 100, what="the limit")
        with Client(lintel.port) as client:
            assert client.request(host=NAME).status == 200
        eventually(lambda: knock(lintel), timeout=2 * HEADER_TIMEOUT_S + 5, what="room for one")
        eventually(lambda: lintel.counter("lintel_timeouts_total", timeout="client_handshake") ==
                   HANDSHAKES_MAX, what="the end of all")
        assert crowd.answers() == [b""] * (HANDSHAKES_MAX + 100)
