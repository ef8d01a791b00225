"""Floods over HTTP/2: those of http2_floods.py, connections that come and go, and what is held for
long. Of each: the answer that is due, its counter, a bound for memory (a connection's limits, see
base/limits.h) and for CPU time (what a byte of plain requests costs), and another client on the same
worker, which gets every answer.

CPU time is the worker's own, not the wall's, and compared with plain requests of the same minute on
the same machine; the factors are generous, the floods are of a kind that would miss them by far."""
import contextlib
import select
import socket
import struct
import threading
import time

import pytest

import http2_floods as floods
from lib import h2
from lib.backend import echo
from lib.h2 import H2
from lib.lintel import IS_SANITIZED
from lib.manifests import app, ingress, ingress_class, rule
from lib.process import cpu_of, resident_of, reset_peak
from lib.wait import eventually

BATCH = 50               # turns at a time; fewer than streams may be open
CONNECTIONS = 4          # of each attack
# HTTP2_CONN_MEMORY_MAX, and as much again: heads and bodies have limits of their own, each below it
CONN_BYTES_MAX = 2 << 20
WELL_BEHAVED_N = 100     # requests in flight of one who behaves
CPU_FACTOR = 3           # a byte of an attack against a byte of plain requests
BYSTANDER_REQUESTS = 3   # what one of its requests costs, in such of which 50 come together
CPU_CONN_REQUESTS = 40   # what a connection may cost, in plain requests
SLACK = (600 << 20) if IS_SANITIZED else (1 << 20) # a sanitizer keeps what is freed
SHORT, SHORT_TEXT = 1.5, "1500ms" # a timeout


def endpoint(exchange):
    """/slow and /deaf wait for the client's end, the second without reading; /up reads; /down/N
    sends N bytes; others are answered."""
    verb, _, rest = exchange.request.target[1:].partition("/")
    if verb == "deaf":
        waiting = select.poll()
        waiting.register(exchange.connection.socket, select.POLLRDHUP)
        waiting.poll(30_000)
        exchange.end()
    elif verb in ("slow", "up"):
        while exchange.connection.socket.recv(65536):
            pass
        exchange.end()
    elif verb == "down":
        exchange.respond(body=b"d" * int(rest))
    else:
        echo(exchange)


class Bystander(threading.Thread):
    """One who behaves, on a connection of its own."""

    def __init__(self, port):
        super().__init__()
        self.client, self.is_over = H2(port, wide=True), threading.Event()
        self.request_n, self.fault = 0, None

    def run(self):
        try:
            with self.client:
                while not self.is_over.wait(0.005):
                    response = self.client.request("/b")
                    assert response.status == 200, response
                    self.request_n += 1
        except (AssertionError, OSError) as error:
            self.fault = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.join()

    def check(self):
        """It is served, now as before."""
        n = self.request_n
        eventually(lambda: self.request_n > n + 2 or self.fault, what="the bystander's answers")
        assert self.fault is None, f"the bystander: {self.fault!r}"


class Scene:
    def __init__(self, stage, *arguments):
        backend = stage.backend(endpoint)
        backend.keeps_requests = False
        self.lintel = stage.run(ingress_class(),
                                ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                                app("app", backend.port), arguments=arguments)
        self.worker = self.lintel.workers()[0]
        self.measure_plain()

    def measure_plain(self, n=1000, at_once=50):
        """CPU time of a plain request, and of a byte of them."""
        with H2(self.lintel.port, wide=True) as client:
            client.request() # connections and tables are warm
            before, sent = cpu_of(self.worker), client.sent_n
            for _ in range(n // at_once):
                streams = [client.start() for _ in range(at_once)]
                for stream in streams:
                    assert client.response(stream).status == 200
            self.request_s = (cpu_of(self.worker) - before) / n
            self.byte_s = self.request_s * n / (client.sent_n - sent)

    def measure_well_behaved(self):
        """What a connection with requests in flight takes."""
        before = resident_of(self.worker)[0]
        with H2(self.lintel.port) as client:
            for _ in range(WELL_BEHAVED_N):
                client.start("/slow")
            client.ping()
            eventually(lambda: self.lintel.counter("lintel_requests_in_flight") == WELL_BEHAVED_N)
            return resident_of(self.worker)[0] - before

    @contextlib.contextmanager
    def watched(self, connections=1):
        """Around an attack by so many connections at a time: memory at its height, CPU time, and a
        bystander."""
        before = resident_of(self.worker)[0]
        reset_peak(self.worker)
        with Bystander(self.lintel.port) as bystander:
            bystander.check()
            self.cost = bystander.request_n * BYSTANDER_REQUESTS * self.request_s \
                - cpu_of(self.worker)
            yield
            bystander.check()
            self.cost += cpu_of(self.worker) \
                - bystander.request_n * BYSTANDER_REQUESTS * self.request_s
        self.growth = resident_of(self.worker)[1] - before
        assert self.growth < connections * CONN_BYTES_MAX + SLACK, self.growth
        assert self.lintel.workers() == [self.worker]

    def check_cost(self, sent_n, connections=CONNECTIONS):
        plain = sent_n * self.byte_s
        most = CPU_FACTOR * plain + connections * CPU_CONN_REQUESTS * self.request_s
        assert self.cost < most, f"{self.cost:.4f} s for {sent_n} bytes, {plain:.4f} s by plain requests"

    def limit(self, name):
        return self.lintel.counter("lintel_limits_total", limit=name)

    def check_over(self):
        """Nothing of it is left."""
        eventually(lambda: self.lintel.counter("lintel_requests_in_flight") == 0,
                   what="the end of all requests")
        with H2(self.lintel.port) as client:
            assert client.request().status == 200


def pour(client, attack):
    """Until Lintel has had enough, or for as many turns as there are."""
    turn, sent = attack.begin(client), 0
    while sent < attack.turns and not client.goaway:
        client.send(*(turn(sent + i) for i in range(BATCH)))
        sent += BATCH
        client.ping()


@pytest.mark.parametrize("name", floods.ATTACKS)
def test_flood(stage, name):
    attack, scene, sent_n = floods.ATTACKS[name], Scene(stage), 0
    with scene.watched():
        for _ in range(CONNECTIONS):
            with H2(scene.lintel.port, wide=True) as client:
                client.ping()
                with contextlib.suppress(OSError): # the end may meet us while we send
                    pour(client, attack)
                with contextlib.suppress(OSError):
                    client.read_to_end() if attack.due else client.ping()
                code = client.goaway and client.goaway.code
                assert code in attack.due if attack.due else code is None, client.goaway
                sent_n += client.sent_n
    scene.check_cost(sent_n)
    if attack.counter:
        assert scene.limit(attack.counter) >= CONNECTIONS
    scene.check_over()


@pytest.mark.parametrize("end", ["closed", "reset"])
@pytest.mark.parametrize("request_n", [0, 1])
def test_connections_that_come_and_go(stage, request_n, end):
    scene, n, sent_n = Scene(stage), 200, 0
    with scene.watched():
        for _ in range(n):
            with H2(scene.lintel.port) as client:
                if request_n:
                    client.start("/slow")
                client.ping()
                sent_n += client.sent_n
                if end == "reset":
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             struct.pack("ii", 1, 0))
    scene.check_cost(sent_n, n)
    scene.check_over()


# ---- held for long ----

def hold_window(client):
    for _ in range(100):
        client.start("/down/1000000")


def hold_heads(client):
    """Sections that are not complete, and unpack to 30 KB."""
    client.send(client.headers(client.new_stream(), client.head("/b", fields=[("x", "b" * 3900)])))
    client.send(h2.frame(h2.HEADERS, 0, client.new_stream(), client.block_of(client.head("/b"))
                         + b"\xbe" * 7))


def hold_bodies(client):
    for _ in range(100):
        client.start("/up", method="POST", end=False)


# name: (how, options of the client, option of Lintel, its counter)
HOLDS = {
    "streams without a window": (hold_window, {"settings_pairs": [(h2.INITIAL_WINDOW_SIZE, 0)]},
                                 "send-timeout", "client_write"),
    "a connection without a window": (hold_window, {"settings_pairs": [(h2.INITIAL_WINDOW_SIZE, h2.WIDE)]},
                                      "send-timeout", "client_write"),
    "a socket that nobody reads": (hold_window, {"wide": True, "receive": 4096},
                                   "send-timeout", "client_write"),
    "heads without an end": (hold_heads, {}, "client-header-timeout", "client_head"),
    "bodies that do not come": (hold_bodies, {}, "client-body-timeout", "client_body"),
}


@pytest.mark.parametrize("name", HOLDS)
def test_held_for_long(stage, name):
    """No more memory than the limits say and not much more than one who behaves takes, for no longer
    than the timeout says; and everybody else is served meanwhile."""
    how, options, timeout, counter = HOLDS[name]
    scene = Scene(stage, f"--{timeout}", SHORT_TEXT)
    well_behaved = scene.measure_well_behaved()
    with contextlib.ExitStack() as stack, scene.watched(CONNECTIONS):
        began = time.monotonic()
        clients = [stack.enter_context(H2(scene.lintel.port, **options)) for _ in range(CONNECTIONS)]
        for client in clients:
            how(client)
        eventually(lambda: scene.lintel.counter("lintel_timeouts_total", timeout=counter) > 0,
                   what="the timeout")
        assert time.monotonic() - began > SHORT - 0.05
        eventually(lambda: scene.lintel.counter("lintel_requests_in_flight") <= 1,
                   what="the end of all but the bystander's")
    assert scene.growth < CONNECTIONS * 4 * well_behaved + SLACK, (scene.growth, well_behaved)
    scene.check_over()


def test_a_head_byte_by_byte(stage):
    """Progress does not help: the time is that of the whole section."""
    scene = Scene(stage, "--client-header-timeout", SHORT_TEXT)
    with scene.watched(), H2(scene.lintel.port) as client:
        client.ping()
        client.answers = False
        began, block = time.monotonic(), client.block_of(client.head(fields=[("x", "y" * 1000)]))
        with pytest.raises(OSError):
            for byte in h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, block):
                client.send(bytes([byte]))
                time.sleep(0.02)
        assert SHORT - 0.1 < time.monotonic() - began < SHORT + 10
    assert scene.lintel.counter("lintel_timeouts_total", timeout="client_head") == 1
    scene.check_over()


@pytest.mark.parametrize("n, is_enough", [(1, False), (400, True)])
def test_windows_byte_by_byte(stage, n, is_enough):
    """What a stream keeps is not kept for a byte now and then: HTTP2_DRIP_BYTES in --send-timeout."""
    scene = Scene(stage, "--send-timeout", SHORT_TEXT)
    with H2(scene.lintel.port, settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 0)]) as client:
        stream = client.start("/down/1000000")
        client.status(stream)
        began = time.monotonic()
        while time.monotonic() - began < 2.5 * SHORT and client.of(stream).reset_code is None:
            client.send(h2.window_update(stream, n))
            client.ping()
            time.sleep(SHORT / 10)
        assert client.of(stream).reset_code == (None if is_enough else h2.CANCEL)
    assert scene.lintel.counter("lintel_timeouts_total", timeout="client_write") == 1 - is_enough


def test_one_who_is_given_up_and_does_not_read(stage):
    """The GOAWAY waits for room in the socket no longer than TIMEOUT_LINGER, which is far less than
    --send-timeout."""
    scene = Scene(stage)
    with H2(scene.lintel.port, wide=True, receive=4096) as client:
        client.start("/down/100000000")
        eventually(lambda: scene.lintel.counter("lintel_requests_in_flight") == 1)
        time.sleep(0.3) # its socket fills
        client.send(h2.settings() * 100)
        eventually(lambda: scene.lintel.counter("lintel_requests_in_flight") == 0, timeout=15)
    assert scene.limit("http2_settings") == 1
    assert scene.lintel.counter("lintel_timeouts_total", timeout="client_write") == 0


IDLE_N = 100 if IS_SANITIZED else 1000
IDLE_BYTES_MAX = (100 if IS_SANITIZED else 16) << 10 # nghttp2 has 12 of them


def test_idle_connections_cost_little(stage):
    """Each after one request; and not more when others were there before."""
    scene = Scene(stage)

    def grow(stack):
        for _ in range(IDLE_N):
            client = stack.enter_context(H2(scene.lintel.port))
            assert client.request("/b").status == 200
        return resident_of(scene.worker)[0]
    before = resident_of(scene.worker)[0]
    with contextlib.ExitStack() as stack:
        first = grow(stack)
        assert scene.lintel.counter("lintel_connections", state="idle") >= IDLE_N
        assert first - before < IDLE_N * IDLE_BYTES_MAX, (first - before) / IDLE_N
    eventually(lambda: scene.lintel.counter("lintel_connections", state="idle") < 5)
    assert resident_of(scene.worker)[0] - before < IDLE_N * IDLE_BYTES_MAX // 4 + SLACK
    with contextlib.ExitStack() as stack:
        assert grow(stack) - first < IDLE_N * IDLE_BYTES_MAX // 10 + SLACK


def test_idle_connections_are_no_requests(stage):
    """--worker-memory is for requests: connections without any do not keep others from theirs."""
    scene = Scene(stage, "--worker-memory", "1m")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(H2(scene.lintel.port)) for _ in range(200)] # 5 MB
        for client in clients:
            assert client.request().status == 200
        assert scene.lintel.fetch("/", "a.test").status == 200
    assert scene.limit("memory") == 0
