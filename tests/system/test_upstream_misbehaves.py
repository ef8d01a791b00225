"""An upstream that dies or misbehaves at every stage of an exchange. The client gets the right
status and reason, or a connection that is visibly cut; the worker lives; the next request is fine;
nothing that one exchange left behind reaches another client."""
import contextlib
import socket
import struct
import threading

import pytest

from lib.client import Client, Closed, chunked, request_bytes
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import eventually

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
POISON = b"HTTP/1.1 200 OK\r\nX-Poison: yes\r\nContent-Length: 6\r\n\r\npoison"
COUNTED = (b"HTTP/1.1 200 OK\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nContent-Type: text/plain\r\n"
           b"X-Filler: 0123456789\r\nContent-Length: 100\r\n\r\n" + bytes(range(32, 132)))
IN_CHUNKS = (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
             + chunked(b"0123456789" * 5, b"x", b"abcdefghij" * 4))
TIME_S = 15


class Upstream:
    """Does on each connection what the target of the request asks for: /n runs the n-th of the
    scripts, everything else is answered well."""

    def __init__(self):
        self.scripts, self.requests = [], []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(TIME_S)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with contextlib.suppress(OSError), sock:
            head = b""
            while True:
                while b"\r\n\r\n" not in head:
                    piece = sock.recv(65536)
                    if not piece:
                        return
                    head += piece
                line = head.split(b"\r\n", 1)[0].decode()
                self.requests.append(line)
                number = line.split(" ")[1].strip("/")
                rest = head.split(b"\r\n\r\n", 1)[1]
                if number.isdigit():
                    if self.scripts[int(number)](sock, rest) != "go on":
                        return
                else:
                    sock.sendall(GOOD)
                head = b""

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def reset(sock):
    """The connection ends with RST when it is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def finish(sock):
    """An end in good order: what is still to be read is read, so that no RST overtakes the data."""
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536):
        pass


def says(*pieces, ends=True):
    """A script that sends this, then closes or goes on."""
    def script(sock, _rest):
        for piece in pieces:
            sock.sendall(piece)
        if not ends:
            return "go on"
        finish(sock)
        return None
    return script


class Stand:
    def __init__(self, stage, *arguments):
        self.upstream = Upstream()
        stage.others.append(self.upstream)
        self.lintel = stage.run(
            ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
            app("app", self.upstream.port), arguments=arguments)
        self.workers = self.lintel.workers()

    def target(self, script):
        self.upstream.scripts.append(script)
        return f"/{len(self.upstream.scripts) - 1}"

    def ask(self, script, method="GET", **options):
        """One request to the script on a connection of its own."""
        target = self.target(script)
        with Client(self.lintel.port, timeout=TIME_S) as client:
            return client.request(method, target, "a.test", **options)

    def cut(self, script, method="GET"):
        """The response must begin and not end; returns its head."""
        target = self.target(script)
        with Client(self.lintel.port, timeout=TIME_S) as client:
            client.send(request_bytes(method, target, "a.test"))
            head = client.read_head()
            client.unread = b"%s\r\n\r\n" % head_bytes(head) + client.unread
            with pytest.raises((Closed, ConnectionResetError)):
                client.read_response()
        return head

    def check_health(self):
        """The same worker, and nothing but its own answer for the next client, several times, so
        that every kept connection is tried."""
        for _ in range(3):
            response = self.lintel.fetch("/good", "a.test")
            assert (response.status, response.body) == (200, b"good"), response
        assert self.lintel.workers() == self.workers


def head_bytes(head):
    lines = [f"HTTP/1.1 {head.status} {head.reason}"] + [f"{k}: {v}" for k, v in head.fields]
    return "\r\n".join(lines).encode("latin-1")


@pytest.fixture(scope="module")
def made(module_stage):
    return Stand(module_stage)


@pytest.fixture
def stand(made):
    yield made
    made.check_health()


# ---- dying ----

def test_accepts_and_closes(stand):
    """Without reading; with FIN and with RST."""
    response = stand.ask(lambda sock, rest: None)
    assert (response.status, response.why) == (502, "upstream_reset")
    response = stand.ask(lambda sock, rest: reset(sock))
    assert (response.status, response.why) == (502, "upstream_reset")


@pytest.mark.parametrize("answer", [COUNTED, IN_CHUNKS], ids=["counted", "chunked"])
def test_closes_at_every_byte_of_a_response(stand, answer):
    head_n = answer.index(b"\r\n\r\n") + 4
    for n in range(len(answer)):
        if n < head_n:
            response = stand.ask(says(answer[:n]))
            assert (response.status, response.why) == (502, "upstream_reset"), n
        else:
            head = stand.cut(says(answer[:n]))
            assert head.status == 200, n
    assert stand.ask(says(answer)).status == 200


@pytest.mark.parametrize("answer", [COUNTED, IN_CHUNKS], ids=["counted", "chunked"])
def test_resets_within_a_response(stand, answer):
    """A reset may overtake what was sent before it: never a short body as a whole one."""
    whole = len(answer) - answer.index(b"\r\n\r\n") - 4
    for n in range(0, len(answer), 3):
        def script(sock, _rest, n=n):
            sock.sendall(answer[:n])
            reset(sock)
        try:
            response = stand.ask(script)
            assert (response.status, response.why) == (502, "upstream_reset"), (n, whole)
        except (Closed, ConnectionResetError):
            assert n > answer.index(b"\r\n\r\n"), n


def test_dies_on_a_kept_connection_without_answering_a_post(stand):
    """It may have been served: it is not sent again."""
    keep = stand.target(says(GOOD, ends=False))
    die = stand.target(lambda sock, rest: None)
    with Client(stand.lintel.port) as client:
        assert client.request("GET", keep, "a.test").status == 200
        before = len(stand.upstream.requests)
        response = client.request("POST", die, "a.test", body=b"x")
        assert (response.status, response.why) == (502, "upstream_reset")
        assert len(stand.upstream.requests) == before + 1


# ---- malformed answers ----

MALFORMED = {
    "nothing but noise": b"\x16\x03\x01\x02\x00\x01\x00",
    "no HTTP": b"220 mail ready\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2 settings": bytes.fromhex("000000040000000000"),
    "lower-case version": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status above 599": b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "status with a sign": b"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                     b"0\r\n\r\n",
    "both framings, turned": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                             b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "two equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "length in hex": b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nhello",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF throughout": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "bare LF after the status line": b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello",
    "bare LF in a value": b"HTTP/1.1 200 OK\r\nX: 1\n2\r\nContent-Length: 5\r\n\r\nhello",
    "bare CR in a value": b"HTTP/1.1 200 OK\r\nX: 1\r2\r\nContent-Length: 5\r\n\r\nhello",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 5\r\n\r\nhello",
    "NUL in the reason": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 5\r\n\r\nhello",
    "folded line": b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 5\r\n\r\nhello",
    "blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    "no colon": b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 5\r\n\r\nhello",
    "no name": b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 5\r\n\r\nhello",
    "an unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    "1 MB of one field": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n",
    "1 MB of fields": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 180_000 + b"\r\n",
    "1 MB of status line": b"HTTP/1.1 200 " + b"x" * (1 << 20) + b"\r\n\r\n",
    "200 fields": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"Content-Length: 0\r\n\r\n",
    "a flood of 100": b"HTTP/1.1 100 Continue\r\n\r\n" * 5000 + GOOD,
    "a chunk size that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_answer_is_not_passed_on(stand, what):
    def script(sock, _rest):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(MALFORMED[what])
            finish(sock)
    response = stand.ask(script)
    assert (response.status, response.why) == (502, "upstream_invalid")


def test_a_flood_of_103(stand):
    """Interim responses may be passed on, but not without an end."""
    def script(sock, _rest):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 20_000 + GOOD)
            finish(sock)
    try:
        response = stand.ask(script)
        assert (response.status, response.why) == (502, "upstream_invalid")
    except (Closed, ConnectionResetError):
        pass


@pytest.mark.parametrize("interim", [100, 102, 103, 199])
def test_interim_responses_before_the_final_one(stand, interim):
    response = stand.ask(says(b"HTTP/1.1 %d Wait\r\nX: 1\r\n\r\n" % interim * 2 + GOOD, ends=False))
    assert (response.status, response.body) == (200, b"good")


@pytest.mark.parametrize("body", [
    b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n-1\r\n\r\n", b"5\r\nhello\r\n0\r\nX : 1\r\n\r\n", b"5;\n\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n11111111111111111\r\n", b"5\r\nhello\r\n0\r\n" + b"X: 1\r\n" * 5000 + b"\r\n"],
    ids=["end", "lf after data", "lf after size", "sign", "trailer", "extension", "overflow",
         "trailer flood"])
def test_a_chunked_body_that_breaks_is_cut(stand, body):
    """The head and the first chunk may have gone; then only the end of the connection can tell."""
    def script(sock, _rest):
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(body)
            finish(sock)
    try:
        response = stand.ask(script)
        assert (response.status, response.why) == (502, "upstream_invalid")
    except (Closed, ConnectionResetError):
        pass


# ---- more than was asked for ----

EXTRA = {
    "after a counted body": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
    "after a chunked body": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                            b"4\r\ngood\r\n0\r\n\r\n",
    "after no body": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "after 204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "after 304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "after 204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n",
    "after 304 with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n",
    "after 204 with a coding": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("is_apart", [False, True], ids=["at once", "apart"])
@pytest.mark.parametrize("what", EXTRA)
def test_bytes_after_a_response_reach_nobody(stand, what, is_apart):
    """A whole response that nobody asked for, behind the one that was: the next client must not get
    it."""
    sent = threading.Event()

    def script(sock, _rest):
        if is_apart:
            sock.sendall(EXTRA[what])
        sock.sendall(POISON if is_apart else EXTRA[what] + POISON)
        sent.set()
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(65536):
                pass
    response = stand.ask(script)
    assert response.status in (200, 204, 304, 502) and response.get("x-poison") is None
    assert sent.wait(TIME_S)
    eventually(lambda: stand.lintel.counter("lintel_upstream_connections", state="busy") == 0)


@pytest.mark.parametrize("what", ["after a counted body", "after a chunked body"])
def test_a_body_on_head(stand, what):
    def script(sock, _rest):
        sock.sendall(EXTRA[what])
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(65536):
                pass
    target = stand.target(script)
    with Client(stand.lintel.port) as client:
        assert client.request("HEAD", target, "a.test").status == 200
        again = client.request("GET", "/good", "a.test")
        assert (again.status, again.body) == (200, b"good")


def test_a_length_on_204_does_not_confuse_the_client(stand):
    """RFC 9110 section 8.6: a 204 has no Content-Length; some clients would wait for the body."""
    response = stand.ask(says(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"))
    assert response.status == 204 and response.get("content-length") is None


# ---- bodies ----

def test_a_body_until_close_is_whole(stand):
    response = stand.ask(says(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100_000))
    assert response.body == b"x" * 100_000


def test_a_body_until_close_that_is_reset_is_cut(stand):
    ready = threading.Event()

    def script(sock, _rest):
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000)
        ready.wait(TIME_S)
        reset(sock)
    target = stand.target(script)
    with Client(stand.lintel.port, timeout=TIME_S) as client:
        client.send(request_bytes("GET", target, "a.test"))
        assert client.read_head().status == 200
        ready.set()
        with pytest.raises((Closed, ConnectionResetError)):
            client.read_chunks()


def test_a_body_until_close_for_an_old_client_that_is_reset_is_reset(stand):
    """Nothing but a reset tells an HTTP/1.0 client that the body is short."""
    ready = threading.Event()

    def script(sock, _rest):
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000)
        ready.wait(TIME_S)
        reset(sock)
    target = stand.target(script)
    with Client(stand.lintel.port, timeout=TIME_S) as client:
        client.send(f"GET {target} HTTP/1.0\r\nHost: a.test\r\n\r\n")
        client.read_until(b"\r\n\r\n")
        ready.set()
        with pytest.raises(ConnectionResetError):
            client.read_to_end()


def test_a_head_in_single_bytes(stand):
    def script(sock, _rest):
        for i in range(len(COUNTED)):
            sock.sendall(COUNTED[i:i + 1])
        return "go on"
    assert stand.ask(script).body == COUNTED[-100:]


# ---- answers that come early ----

def test_an_answer_before_the_request_was_read(stand):
    """The whole response is sent on accept: it may be taken or refused, but not mixed up."""
    sock_of = socket.create_server(("127.0.0.1", 0))

    def accept():
        with contextlib.suppress(OSError):
            while True:
                sock, _ = sock_of.accept()
                with contextlib.suppress(ConnectionResetError), sock:
                    sock.sendall(GOOD)
                    finish(sock)
    threading.Thread(target=accept, daemon=True).start()
    manifests = stand.lintel.manifests
    manifests.write("early.yaml", app("early", sock_of.getsockname()[1]),
                    ingress("early", rule("early.test", ("/", "Prefix", "early:80"))))
    eventually(lambda: stand.lintel.fetch("/", "early.test").status != 404)
    for _ in range(10):
        response = stand.lintel.fetch("/", "early.test")
        assert (response.status, response.body) == (200, b"good") or response.status == 502
    sock_of.close()


@pytest.mark.parametrize("ending", ["kept", "closed", "reset"])
def test_an_answer_while_the_body_is_still_coming(stand, ending):
    """The client gets the answer, whatever becomes of the rest of its body."""
    def script(sock, _rest):
        sock.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        if ending == "closed":
            finish(sock)
        elif ending == "kept":
            with contextlib.suppress(OSError):
                while sock.recv(65536):
                    pass
    target = stand.target(script)
    with Client(stand.lintel.port, timeout=TIME_S) as client:
        client.send(request_bytes("POST", target, "a.test", [("Content-Length", "1000000")]),
                    b"x" * 1000)
        response = client.read_response()
        assert (response.status, response.body) == (413, b"big")


def test_an_answer_to_a_large_body_that_nobody_reads(stand):
    """The upstream answers and closes without reading: its reset may not hide the answer when it
    has arrived; 502 is right when it has not."""
    def script(sock, _rest):
        sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        finish(sock)
    target = stand.target(script)
    with Client(stand.lintel.port, timeout=TIME_S) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(request_bytes("POST", target, "a.test", body=b"x" * 3_000_000))
        response = client.read_response()
        assert response.status in (403, 502)


def test_an_answer_that_ends_before_the_request_does_not_keep_the_upstream(stand):
    """The rest of the body must not become the next request on that connection."""
    def script(sock, _rest):
        sock.sendall(GOOD)
        with contextlib.suppress(OSError):
            while sock.recv(65536):
                pass
    target = stand.target(script)
    with Client(stand.lintel.port, timeout=TIME_S) as client:
        client.send(request_bytes("POST", target, "a.test", [("Content-Length", "100")]), b"x" * 10)
        assert client.read_response().body == b"good"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(b"y" * 90)
    stand.check_health()
    assert not any(line.startswith("y") for line in stand.upstream.requests)


# ---- slow ones ----

@pytest.fixture(scope="module")
def hurried(module_stage):
    """With small timeouts."""
    return Stand(module_stage, "--proxy-read-timeout", "1s", "--proxy-send-timeout", "1s")


@pytest.fixture
def impatient(hurried):
    yield hurried
    hurried.check_health()


def wait_for_end(sock):
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


def test_never_answers(impatient):
    response = impatient.ask(lambda sock, rest: wait_for_end(sock))
    assert (response.status, response.why) == (504, "upstream_timeout")
    response = impatient.ask(lambda sock, rest: wait_for_end(sock), method="POST", body=b"x")
    assert (response.status, response.why) == (504, "upstream_timeout")


@pytest.mark.parametrize("start", [b"H", COUNTED[:40], COUNTED[:COUNTED.index(b"\r\n\r\n") + 3]],
                         ids=["one byte", "half a head", "all but one byte"])
def test_stalls_within_the_head(impatient, start):
    def script(sock, _rest):
        sock.sendall(start)
        wait_for_end(sock)
    response = impatient.ask(script)
    assert (response.status, response.why) == (504, "upstream_timeout")


def test_a_head_that_drips_for_ever(impatient):
    """Each byte comes in time; the head as a whole does not."""
    done = threading.Event()

    def script(sock, _rest):
        sock.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        with contextlib.suppress(OSError):
            while not done.wait(0.2):
                sock.sendall(b"x")
    try:
        response = impatient.ask(script)
        assert (response.status, response.why) == (504, "upstream_timeout")
    finally:
        done.set()


@pytest.mark.parametrize("answer", [COUNTED, IN_CHUNKS], ids=["counted", "chunked"])
def test_stalls_within_the_body(impatient, answer):
    def script(sock, _rest):
        sock.sendall(answer[:-20])
        wait_for_end(sock)
    assert impatient.cut(script).status == 200


def test_a_slow_but_steady_body_is_let_be(impatient):
    """The time is for one wait, not for the whole."""
    def script(sock, _rest):
        sock.sendall(COUNTED[:-100])
        for i in range(10):
            threading.Event().wait(0.2)
            sock.sendall(COUNTED[len(COUNTED) - 100 + 10 * i:][:10])
        return "go on"
    assert impatient.ask(script).body == COUNTED[-100:]


def test_takes_no_body(impatient):
    """The upstream stops reading in mid-request."""
    gone = threading.Event()
    target = impatient.target(lambda sock, rest: gone.wait(TIME_S) and None)
    with Client(impatient.lintel.port, timeout=TIME_S) as client:
        def feed():
            with contextlib.suppress(OSError):
                client.send(request_bytes("POST", target, "a.test",
                                          [("Content-Length", "100000000")]))
                for _ in range(1000):
                    client.send(b"x" * 100_000)
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        try:
            response = client.read_response()
            assert (response.status, response.why) == (504, "upstream_timeout")
        except ConnectionResetError:
            pass # the answer came, and the rest of the body overtook it
        finally:
            gone.set()
    feeder.join(TIME_S)


# ---- many at once ----

def test_good_requests_beside_bad_ones(stand):
    """Every other client meets a bad upstream; each gets its own answer and nobody else's."""
    bad = stand.target(says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngo"))
    mixed = stand.target(says(EXTRA["after a counted body"] + POISON))
    clients = [Client(stand.lintel.port, timeout=TIME_S) for _ in range(60)]
    try:
        for i, client in enumerate(clients):
            client.send(request_bytes("GET", ("/good", bad, mixed)[i % 3], "a.test"))
        for i, client in enumerate(clients):
            if i % 3 == 1:
                with pytest.raises((Closed, ConnectionResetError)):
                    client.read_response()
            else:
                assert client.read_response().body == b"good"
    finally:
        for client in clients:
            client.close()
