"""However the bytes of a request are cut into pieces, the outcome is the same: what the client gets,
and what the backend gets, byte for byte. Each request is cut in two at every offset, and sent byte
by byte."""
import re

import pytest

from lib.client import Client, Closed
from lib.lintel import IS_SANITIZED
from lib.manifests import app, ingress, ingress_class, rule
from lib.recorder import Recorder

TIME_S = 20
ID = b"X-Request-ID: 0000-0000"  # each connection puts its own number there


def get(*fields, line=b"GET /a?b HTTP/1.1"):
    return b"\r\n".join([line, b"Host: a.test", ID, *fields, b"", b""])


def post(*fields, body=b""):
    return get(*fields, line=b"POST /p HTTP/1.1") + body


CHUNKS = b"3;x=\"y\"\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"

# name: (bytes, statuses)
REQUESTS = {
    "get": (get(), [200]),
    "fields": (get(b"X-A:1", b"X-B: \t two \t", b"X-C:", b"Cookie: a=b; c=d"), [200]),
    "an empty line before": (b"\r\n" + get(), [200]),
    "absolute target": (get(line=b"GET http://a.test/x?y HTTP/1.1"), [200]),
    "body": (post(b"Content-Length: 10", body=b"0123456789"), [200]),
    "chunks": (post(b"Transfer-Encoding: chunked", body=CHUNKS), [200]),
    "pipeline": (get() + post(b"Content-Length: 3", body=b"abc") + get(), [200, 200, 200]),
    "close": (get(b"Connection: close"), [200]),
    "http 1.0": (get(line=b"GET / HTTP/1.0"), [200]),
    "expect": (post(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"), [200]),
    "no route": (get().replace(b"a.test", b"b.test"), [404]),
    "blank before the colon": (get(b"X-A : 1"), [400]),
    "bare LF": (get(b"X-A: 1\nX-B: 2"), [400]),
    "bare CR": (get(b"X-A: 1\rX-B: 2"), [400]),
    "folded": (get(b"X-A: 1\r\n 2"), [400]),
    "both framings": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked",
                           body=b"0\r\n\r\n"), [400]),
    "bad chunk size": (post(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\nx\r\n"), [400]),
    "bad chunk end": (post(b"Transfer-Encoding: chunked", body=b"3\r\nabcXX0\r\n\r\n"), [400]),
    "good then bad": (get() + get(b"X : 1"), [200, 400]),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
}


class Stand:
    def __init__(self, stage):
        self.recorder = Recorder()
        stage.others.append(self.recorder)
        self.lintel = stage.run(
            ingress_class(), app("app", self.recorder.port),
            ingress("a", rule("a.test", ("/", "Prefix", "app:80"))), access_log="off")
        self.other = Client(self.lintel.port)

    def barrier(self):
        """The one worker has met everything that was sent before: events come in order."""
        assert self.other.request("GET", "/barrier", "a.test").status == 200


@pytest.fixture(scope="module")
def stand(module_stage):
    return Stand(module_stage)


def numbered(data, number):
    return data.replace(ID, ID[:-9] + b"%04d-%04d" % divmod(number, 10_000))


def send(client, piece):
    try:
        client.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass # refused by what came before


def plain(response):
    """What must not differ."""
    fields = [(k.lower(), v) for k, v in response.fields if k.lower() != "date"]
    return response.status, fields, response.body


def read_outcome(client, n):
    """The responses, and whether the connection ended after them."""
    responses = [plain(client.read_response()) for _ in range(n)]
    try:
        send(client, b"GET /end HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: end\r\n\r\n")
        return responses, client.read_response().status
    except (Closed, ConnectionResetError):
        return responses, "closed"


def seen_by_number(recorder):
    """number -> the requests as they arrived. Chunks may be cut elsewhere: the body counts."""
    seen, breaches = recorder.take()
    assert breaches == []
    found = {}
    for one in seen:
        match = re.fullmatch(r"(\d{4})-(\d{4})", one.get("x-request-id"))
        if match:
            number = int(match[1]) * 10_000 + int(match[2])
            head = one.head.replace(match[0].encode(), b"*")
            found.setdefault(number, []).append((head, one.body))
    return found


def cut_in_two(stand, data, statuses, offsets):
    """offset -> outcome of the request cut there."""
    clients = {offset: Client(stand.lintel.port, timeout=TIME_S) for offset in offsets}
    try:
        for offset, client in clients.items():
            send(client, numbered(data, offset)[:offset])
        stand.barrier()
        for offset, client in clients.items():
            send(client, numbered(data, offset)[offset:])
        return {offset: read_outcome(client, len(statuses)) for offset, client in clients.items()}
    finally:
        for client in clients.values():
            client.close()


def whole(stand, data, statuses):
    """The outcome that all others are compared with, and what the backend saw."""
    with Client(stand.lintel.port, timeout=TIME_S) as client:
        client.send(data)
        outcome = read_outcome(client, len(statuses))
    stand.barrier()
    assert [response[0] for response in outcome[0]] == statuses
    return outcome, seen_by_number(stand.recorder).get(0, [])


@pytest.mark.parametrize("name", REQUESTS)
def test_cut_in_two_at_every_offset(stand, name):
    data, statuses = REQUESTS[name]
    outcome, seen = whole(stand, data, statuses)
    step = 100
    for start in range(1, len(data), step):
        offsets = range(start, min(start + step, len(data)))
        found = cut_in_two(stand, data, statuses, offsets)
        stand.barrier()
        arrived = seen_by_number(stand.recorder)
        for offset in offsets:
            cut = f"{data[:offset][-30:]!r} | {data[offset:][:30]!r}"
            assert found[offset] == outcome, cut
            assert arrived.get(offset, []) == seen, cut


@pytest.mark.parametrize("name", REQUESTS)
def test_byte_by_byte(stand, name):
    data, statuses = REQUESTS[name]
    outcome, seen = whole(stand, data, statuses)
    data = numbered(data, 7)
    with Client(stand.lintel.port, timeout=TIME_S) as client:
        for i in range(len(data)):
            send(client, data[i:i + 1])
            stand.barrier()
        assert read_outcome(client, len(statuses)) == outcome
    stand.barrier()
    assert seen_by_number(stand.recorder).get(7, []) == seen


def test_many_random_cuts(stand):
    """Three to ten pieces at offsets of a fixed generator, all requests beside each other."""
    state = 12345
    jobs = []
    for number in range(100 if IS_SANITIZED else 300):
        name = list(REQUESTS)[number % len(REQUESTS)]
        data, statuses = REQUESTS[name]
        cuts = set()
        for _ in range(3 + number % 8):
            state = (state * 1103515245 + 12345) % (1 << 31)
            cuts.add(1 + state // 65536 % (len(data) - 1))
        bounds = [0, *sorted(cuts), len(data)]
        data = numbered(data, 100 + number)
        jobs.append((name, statuses, [data[a:b] for a, b in zip(bounds, bounds[1:])]))
    expected = {name: whole(stand, *REQUESTS[name]) for name in REQUESTS}
    clients = [Client(stand.lintel.port, timeout=TIME_S) for _ in jobs]
    for i in range(max(len(pieces) for _, _, pieces in jobs)):
        for client, (_, _, pieces) in zip(clients, jobs):
            if i < len(pieces):
                send(client, pieces[i])
        stand.barrier()
    for client, (name, statuses, _) in zip(clients, jobs):
        assert read_outcome(client, len(statuses)) == expected[name][0], name
        client.close()
    stand.barrier()
    arrived = seen_by_number(stand.recorder)
    for number, (name, _, _) in enumerate(jobs):
        assert arrived.get(100 + number, []) == expected[name][1], name
