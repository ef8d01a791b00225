"""HTTP/2 flow control: whatever stands still, the rest goes on, and what stood still goes on once it
may; no byte is lost, and none comes before its time.

What the design gives: a stream's window is HTTP2_STREAM_WINDOW_BYTES and grows by what the endpoint
took; the connection's is HTTP2_CONN_WINDOW_BYTES, 16 times that. So an upload that stands still keeps
up to 1/16 of the connection's window and no other stream from its turn; 16 to 32 of them keep further
uploads waiting (nothing else), until one moves, ends or runs into its timeout. Responses take turns, unless
the client has said otherwise: RFC 9218.
"""
import hashlib
import json
import random
import threading
import time

import pytest

from lib import h2
from lib.h2 import H2
from lib.lintel import IS_SANITIZED
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import eventually

STREAM_WINDOW, CONNECTION_WINDOW = 64 << 10, 1 << 20 # of base/limits.h
MEGABYTE = 1 << 20
QUIET_S = 0.15 # without a word: nothing is taken any more
SMALL = 4096 # a socket buffer of an endpoint that is not to hide that it reads nothing
PATTERN = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(MEGABYTE // 32))


def pattern(n, seed=0):
    seed %= 1000
    return (PATTERN[seed:] + PATTERN * (n // MEGABYTE + 1))[:n]


def digest(body):
    return hashlib.sha256(body).hexdigest()


class Endpoint:
    """By path: /down/N sends N bytes; /up tells the digest of what came; /held/NAME does so once
    NAME is let go, and reads nothing before; /slow reads little by little; /echo sends back what
    comes; /early answers at once; /trailers/N sends N bytes and a trailer field; /end/N sends N
    bytes, and that it was all a little later."""

    def __init__(self):
        self.gates, self.lock, self.over = {}, threading.Lock(), threading.Event()

    def gate(self, name):
        with self.lock:
            return self.over if self.over.is_set() else self.gates.setdefault(name, threading.Event())

    def stop(self):
        """Nobody waits any more: the test is over."""
        with self.lock:
            self.over.set()
        for gate in self.gates.values():
            gate.set()

    def __call__(self, exchange):
        verb, _, rest = exchange.request.target[1:].partition("/")
        getattr(self, verb)(exchange, rest)

    def up(self, exchange, _):
        body = exchange.read_body()
        exchange.respond(body=json.dumps([len(body), digest(body)]).encode())

    def held(self, exchange, name):
        assert self.gate(name).wait(60)
        self.up(exchange, name)

    def slow(self, exchange, _):
        """The body's chunks as they come, with pauses."""
        reader, n, seen = exchange.connection.reader, 0, hashlib.sha256()
        while size := int(reader.readline(), 16):
            piece = reader.read(size)
            n, seen = n + size, seen.update(piece) or seen
            assert reader.readline() == b"\r\n"
            self.over.wait(0.001)
        reader.readline()
        exchange.respond(body=json.dumps([n, seen.hexdigest()]).encode())

    def down(self, exchange, n):
        exchange.read_body()
        exchange.respond(body=pattern(int(n)), step=50_000)

    def echo(self, exchange, _):
        reader = exchange.connection.reader
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(reader.readline(), 16):
            exchange.send(b"%x\r\n%s\r\n" % (size, reader.read(size)))
            reader.readline()
        reader.readline()
        exchange.send(b"0\r\n\r\n")

    def early(self, exchange, _):
        exchange.respond(413, b"no")
        exchange.end()

    def trailers(self, exchange, n):
        exchange.read_body()
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % int(n),
                      pattern(int(n)), b"\r\n0\r\nX-Sum: 7\r\n\r\n")


    def end(self, exchange, n):
        exchange.read_body()
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % int(n),
                      pattern(int(n)), b"\r\n")
        self.over.wait(0.1)
        exchange.send(b"0\r\n\r\n")


class Scene:
    def __init__(self, stage, *arguments):
        self.endpoint = Endpoint()
        self.backend = stage.backend(self.endpoint, receive=SMALL)
        self.backend.keeps_requests = False
        stage.others.append(self.endpoint)
        self.lintel = stage.run(ingress_class(),
                                ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                                app("app", self.backend.port), arguments=arguments)

    def client(self, **options):
        return H2(self.lintel.port, timeout=30, **options)

    def let_go(self, *names):
        for name in names:
            self.endpoint.gate(name).set()


@pytest.fixture
def scene(stage):
    return Scene(stage)


def stall_uploads(client, *names):
    """Starts uploads and sends until the endpoint, which reads nothing, lets no more in. Returns
    [stream, what was sent] of each."""
    uploads = [[client.start(f"/held/{name}", method="POST", end=False), b""] for name in names]
    quiet = time.monotonic()
    while time.monotonic() < quiet + QUIET_S:
        client.ping() # what was taken until now is told by then
        for upload in uploads:
            while room := client.room(upload[0]):
                client.data(upload[0], pattern(room))
                upload[1] += pattern(room)
                quiet = time.monotonic()
        time.sleep(0.002)
    return uploads


def finish_upload(client, stream, sent):
    client.data(stream, end=True)
    response = client.response(stream)
    assert json.loads(response.body) == [len(sent), digest(sent)], response


def check_small_requests(client, n=5):
    for _ in range(n):
        response = client.request("/down/100")
        assert (response.status, response.body) == (200, pattern(100)), response


def check_upload(client, n):
    response = client.request("/up", method="POST", body=pattern(n))
    assert json.loads(response.body) == [n, digest(pattern(n))], response


# ---- uploads that stand still ----

def test_one_upload_that_stands_still(scene):
    """Everything else on the connection goes on, uploads much larger than its window included."""
    with scene.client(wide=True) as client:
        [(stream, sent)] = stall_uploads(client, "a")
        check_small_requests(client)
        check_upload(client, 4 * MEGABYTE)
        assert client.request(f"/down/{4 * MEGABYTE}").body == pattern(4 * MEGABYTE)
        scene.let_go("a")
        finish_upload(client, stream, sent)


def test_uploads_that_fill_the_connection_window(scene):
    """15 that stand still leave a share of the window, and further uploads take turns in it. When
    more of them hold all of it, a further one waits, alone: requests without a body and responses do
    not. When one goes on, so does it."""
    with scene.client(wide=True) as client:
        held = stall_uploads(client, *(f"h{i}" for i in range(15)))
        check_upload(client, MEGABYTE)
        while client.window > 0: # at most one more for each half of a window
            held += stall_uploads(client, *(f"h{len(held) + i}" for i in range(8)))
            assert len(held) <= 40
        waiting = client.start("/up", method="POST", end=False)
        check_small_requests(client)
        assert client.request(f"/down/{MEGABYTE}").body == pattern(MEGABYTE)
        assert client.room(waiting) == 0
        scene.let_go("h0", "h1")
        finish_upload(client, *held.pop(0))
        finish_upload(client, *held.pop(0))
        client.send_body(waiting, pattern(300_000))
        assert json.loads(client.response(waiting).body) == [300_000, digest(pattern(300_000))]
        scene.let_go(*(f"h{i}" for i in range(40)))
        for stream, sent in held:
            finish_upload(client, stream, sent)


def test_beyond_the_connection_window(scene):
    """One byte more than it is FLOW_CONTROL_ERROR: RFC 9113 section 6.9.1."""
    with scene.client(wide=True) as client:
        n = 0
        while client.window > 0:
            n += len(stall_uploads(client, *(f"b{n + i}" for i in range(20))))
            assert n <= 40
        client.data(client.start("/up", method="POST", end=False), b"x")
        client.read_to_end()
        assert client.goaway.code == h2.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("is_mixed", [False, True])
def test_a_reset_upload_gives_its_window_back(scene, is_mixed):
    """Bytes that nobody will take any more are no loss for the connection's window."""
    with scene.client(wide=True) as client:
        for i in range(3):
            for stream, _ in stall_uploads(client, *(f"r{i}-{j}" for j in range(8))):
                client.send(h2.reset(stream))
                if is_mixed:
                    check_small_requests(client, 1)
        check_upload(client, 2 * MEGABYTE)


def test_an_early_answer_while_bytes_are_on_their_way(scene):
    """RFC 9113 section 8.1: RST_STREAM(NO_ERROR) behind the answer; what was sent before the client
    could know is thrown away, and its window comes back."""
    with scene.client(wide=True) as client:
        for _ in range(40):
            stream = client.start("/early", method="POST", end=False)
            rest = client.send_some(stream, pattern(STREAM_WINDOW), end=False)
            assert client.response(stream).status == 413
            client.read_until(lambda: any(f.kind == h2.RST_STREAM and f.stream == stream
                                          for f in client.seen[-20:]))
            assert [f.code for f in client.seen if f.kind == h2.RST_STREAM] == [h2.NO_ERROR] * (
                sum(f.kind == h2.RST_STREAM for f in client.seen))
            client.send_some(stream, rest or pattern(20_000), end=False)
        client.ping()
        assert client.window > CONNECTION_WINDOW // 4
        check_upload(client, MEGABYTE)


# ---- downloads that stand still ----

def give(client, stream, n):
    client.send(h2.window_update(stream, n))


def test_streams_without_a_window(scene):
    """100 responses that may not begin, while others come and go; then all of them, in disorder."""
    n = 30_000
    with scene.client(settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 0)]) as client:
        give(client, 0, h2.WIDE)
        streams = [client.start(f"/down/{n + i}") for i in range(100)]
        for stream in streams:
            assert client.status(stream) == 200
        for i in range(20):
            stream = client.start(f"/down/{50_000 + i}")
            give(client, stream, 50_000 + i)
            assert client.response(stream).body == pattern(50_000 + i)
        client.ping()
        assert all(client.of(stream).body == b"" for stream in streams)
        order = list(enumerate(streams))
        random.Random(1).shuffle(order)
        for i, stream in order:
            give(client, stream, n + i)
        for i, stream in order:
            assert client.response(stream).body == pattern(n + i)


def test_a_connection_without_a_window(scene):
    """No DATA at all; but heads, empty responses, uploads and PING go on."""
    with scene.client(settings_pairs=[(h2.INITIAL_WINDOW_SIZE, h2.WIDE)]) as client:
        first = client.start(f"/down/{MEGABYTE}")
        client.read_until(lambda: len(client.of(first).body) == h2.DEFAULT_WINDOW)
        second = client.start("/down/1")
        assert client.status(second) == 200
        assert client.request("/down/100", method="HEAD").status == 200
        upload = client.start("/up", method="POST", end=False)
        client.send_body(upload, pattern(3 * MEGABYTE))
        assert client.status(upload) == 200
        client.ping()
        assert (client.of(upload).body, client.of(second).body) == (b"", b"")
        give(client, 0, h2.WIDE)
        assert json.loads(client.response(upload).body) == [3 * MEGABYTE, digest(pattern(3 * MEGABYTE))]
        assert client.response(first).body == pattern(MEGABYTE)
        assert client.response(second).body == pattern(1)


WINDOW_ORDERS = {
    "the connection's first": lambda c, s, n: (give(c, 0, n), give(c, s, n)),
    "the stream's first": lambda c, s, n: (give(c, s, n), c.ping(), give(c, 0, n)),
    "byte by byte": lambda c, s, n: (c.send(h2.window_update(0, 1) * 500, h2.window_update(s, 1) * 500),
                                     give(c, s, n), give(c, 0, n)),
    "by the setting": lambda c, s, n: (c.send(h2.settings((h2.INITIAL_WINDOW_SIZE, 1))),
                                       give(c, 0, n),
                                       c.send(h2.settings((h2.INITIAL_WINDOW_SIZE, n)))),
    "for streams that are not": lambda c, s, n: (give(c, s - 2, 5), give(c, 0, n), give(c, s, n)),
}


@pytest.mark.parametrize("order", WINDOW_ORDERS)
def test_window_updates_in_any_order(scene, order):
    n = 200_000
    with scene.client(settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 0)]) as client:
        assert client.request("/down/0").status == 200
        fill = client.start("/down/65535") # the connection's window is used up
        give(client, fill, 65_535)
        client.response(fill)
        stream = client.start(f"/down/{n}")
        assert client.status(stream) == 200
        WINDOW_ORDERS[order](client, stream, n)
        assert client.response(stream).body == pattern(n)


def test_a_window_that_becomes_negative(scene):
    """RFC 9113 section 6.9.2: a smaller initial window takes from those of open streams, below 0 if
    need be; then they wait until it is above 0 again."""
    with scene.client(settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 50_000)]) as client:
        give(client, 0, h2.WIDE)
        stream = client.start("/down/200000")
        client.read_until(lambda: len(client.of(stream).body) == 50_000)
        client.send(h2.settings((h2.INITIAL_WINDOW_SIZE, 0))) # -50,000
        for n in (20_000, 29_999, 1):
            give(client, stream, n)
            client.ping()
            assert len(client.of(stream).body) == 50_000
        give(client, stream, 1)
        client.read_until(lambda: len(client.of(stream).body) == 50_001)
        other = client.start("/down/100")
        assert client.status(other) == 200
        client.send(h2.settings((h2.INITIAL_WINDOW_SIZE, 100_000)))
        assert client.response(other).body == pattern(100)
        client.read_until(lambda: len(client.of(stream).body) == 150_001)
        give(client, stream, 49_999)
        assert client.response(stream).body == pattern(200_000)


@pytest.mark.parametrize("n", [1, 16_384, 16_385, 65_535, 65_536])
def test_trailers_behind_blocked_data(scene, n):
    """The window ends with the body, or one byte before it. Trailers take no window."""
    with scene.client(settings_pairs=[(h2.INITIAL_WINDOW_SIZE, n - 1)]) as client:
        give(client, 0, h2.WIDE)
        stream = client.start(f"/trailers/{n}", fields=[("te", "trailers")])
        client.read_until(lambda: client.of(stream).status and len(client.of(stream).body) == n - 1)
        client.ping()
        assert client.of(stream).trailers is None and not client.of(stream).is_complete
        give(client, stream, 1)
        response = client.response(stream)
        assert (response.body, response.trailers) == (pattern(n), [("x-sum", "7")])


@pytest.mark.parametrize("window", [0, 1])
def test_the_bare_end_of_a_response(stage, window):
    """Comes when the body is gone. RFC 9113 section 6.9 lets it go without a window; nghttp2 does
    not, so that a client that gives none has --send-timeout, like any other, and then a reset."""
    scene = Scene(stage, "--send-timeout", "400ms")
    with scene.client(settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 1000)]) as client:
        stream = client.start("/end/1000")
        client.read_until(lambda: len(client.of(stream).body) == 1000)
        began = time.monotonic()
        if window:
            give(client, stream, window)
        response = client.response(stream)
        assert (response.body, response.is_complete) == (pattern(1000), window > 0)
        if not window:
            assert response.reset_code == h2.CANCEL and time.monotonic() - began > 0.38
        check_small_requests(client)
    assert scene.lintel.counter("lintel_timeouts_total", timeout="client_write") == 1 - window


def test_large_responses_do_not_hold_a_small_one(scene):
    """Streams of one urgency take turns frame by frame: before a small response comes what the
    socket holds, not what the large ones still want to send."""
    with scene.client(wide=True, receive=65536) as client:
        large = [client.start(f"/down/{16 * MEGABYTE}") for _ in range(4)]
        for stream in large:
            assert client.status(stream) == 200
        client.response(client.start("/down/100"))
        assert not any(client.of(stream).is_complete for stream in large)


# ---- both directions ----

@pytest.mark.parametrize("first", ["upload", "download"])
@pytest.mark.parametrize("by", ["stream", "connection"])
def test_both_directions_stand_still(scene, by, first):
    """An upload waits for its endpoint, a download for the client; they are let go one after the
    other, in both orders, and each goes on alone."""
    is_stream = by == "stream"
    pairs = [(h2.INITIAL_WINDOW_SIZE, 1000 if is_stream else h2.WIDE)]
    with scene.client(settings_pairs=pairs) as client:
        if is_stream:
            give(client, 0, h2.WIDE)
        [(upload, sent)] = stall_uploads(client, "a")
        download = client.start(f"/down/{MEGABYTE}")
        most = 1000 if is_stream else h2.DEFAULT_WINDOW
        client.read_until(lambda: len(client.of(download).body) == most)

        def let_upload_go():
            scene.let_go("a")
            client.data(upload, end=True)
            assert client.status(upload) == 200

        def let_download_go():
            give(client, download if is_stream else 0, h2.WIDE)
            assert client.response(download).body == pattern(MEGABYTE)
        for step in (let_upload_go, let_download_go) if first == "upload" else (
                let_download_go, let_upload_go):
            step()
        assert json.loads(client.response(upload).body) == [len(sent), digest(sent)]


def test_a_large_upload_beside_a_download(scene):
    """Each larger than every window, the endpoint slow, the client's windows small."""
    up, down = 6 * MEGABYTE, 3 * MEGABYTE
    with scene.client(settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 20_000)]) as client:
        download = client.start(f"/down/{down}")
        upload = client.start("/slow", method="POST", end=False)
        rest, got = pattern(up), 0
        while rest or not client.of(download).is_complete:
            if rest:
                rest = client.send_some(upload, rest)
            client.read_frame()
            n = len(client.of(download).body) - got
            if n > 10_000:
                got += n
                client.send(h2.window_update(download, n), h2.window_update(0, n))
        assert client.of(download).body == pattern(down)
        assert json.loads(client.response(upload).body) == [up, digest(pattern(up))]


@pytest.mark.parametrize("first", ["client", "endpoint"])
def test_halves_of_a_stream(scene, first):
    """One side ends its message long before the other; what still comes is passed on."""
    with scene.client(settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 0)]) as client:
        if first == "client":
            stream = client.start("/echo", method="POST", end=False)
            client.send_body(stream, pattern(60_000))
            assert client.status(stream) == 200
            client.ping()
            give(client, stream, 60_001) # 1 for the end: test_the_bare_end_of_a_response
            assert client.response(stream).body == pattern(60_000)
        else: # nobody wants the rest of the request then: RFC 9113 section 8.1
            stream = client.start("/early", method="POST", end=False)
            assert client.status(stream) == 413
            client.data(stream, pattern(1000))
            give(client, stream, 2)
            assert client.response(stream).body == b"no"
            client.read_until(lambda: client.counts[h2.RST_STREAM])
        give(client, 0, h2.WIDE)
        client.send(h2.settings((h2.INITIAL_WINDOW_SIZE, 1000)))
        check_small_requests(client)


def test_as_many_streams_as_can_be_allowed(stage):
    """4,096, all open at once with their responses kept, none of which is lost."""
    scene = Scene(stage, "--http2-max-concurrent-streams", "4096")
    n = 1000 if IS_SANITIZED else 4000
    with scene.client(settings_pairs=[(h2.INITIAL_WINDOW_SIZE, 0)]) as client:
        give(client, 0, h2.WIDE)
        client.ping()
        streams = []
        for _ in range(n // 200): # more at a time than a listening queue holds are refused
            streams += [client.start("/down/10") for _ in range(200)]
            for stream in streams[-200:]:
                assert client.status(stream) == 200
        client.send(h2.settings((h2.INITIAL_WINDOW_SIZE, 10)))
        for stream in streams:
            assert client.response(stream).body == pattern(10)
    assert scene.lintel.counter("lintel_limits_total", limit="http2_memory") == 0


def test_200_streams(stage):
    """Interleaved frame by frame, both ways, each with other bytes and its own checksum."""
    scene = Scene(stage, "--http2-max-concurrent-streams", "256")
    chance = random.Random(2)
    with scene.client(wide=True) as client:
        client.ping()
        bodies = {client.start("/echo", method="POST", end=False):
                  pattern(chance.randrange(1, 60_000), i * 7) for i in range(200)}
        rest = dict(bodies)
        while rest:
            stream = chance.choice(list(rest))
            n = min(chance.randrange(1, 9000), client.room(stream))
            if n == 0:
                client.read_frame()
                continue
            piece, rest[stream] = rest[stream][:n], rest[stream][n:]
            client.data(stream, piece, end=not rest[stream])
            if not rest[stream]:
                del rest[stream]
        for stream, body in bodies.items():
            response = client.response(stream)
            assert digest(response.body) == digest(body), (stream, response)
    eventually(lambda: scene.lintel.counter("lintel_requests_in_flight") == 0)
