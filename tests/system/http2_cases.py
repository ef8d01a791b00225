"""How the rows of http2_frames.py, http2_messages.py and http2_hpack.py are written down: what a client
must not send or a server must understand, by section, the frames, and the answer that is due.

A row's due is one of these:
  connection(codes)  GOAWAY with one of them, then the end
  stream(codes)      RST_STREAM on stream 1 with one of them, and a connection that goes on
  either(codes)      one of these two: a stream's error may be made the connection's (RFC 9113 5.4.1)
  status(code)       a response on stream 1
  refused(codes)     RST_STREAM or a response on stream 1 with one of them
  sees(fields)       200 on stream 1, and its endpoint has seen these fields
  FINE, FINE_1       200 on the next stream; on stream 1
or a function of the client that checks by itself.
"""
from lib.h2 import END_HEADERS, END_STREAM, HEADERS, frame

ROWS = []
FINE, FINE_1 = ("fine",), ("fine_1",)
GET = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")]
POST = [(":method", "POST"), *GET[1:]]
SLOW = [*GET[:2], (":path", "/slow"), GET[3]] # is not answered while the client is there


class Row:
    def __init__(self, section, text, due, send, has_preface=True):
        self.section, self.text, self.due, self.send = section, text, due, send
        self.has_preface = has_preface

    def __str__(self):
        return f"{self.section} {self.text}"


def due(kind):
    def make(*codes):
        return (kind, codes)
    return make


connection, stream, either, refused, status = map(
    due, ("connection", "stream", "either", "refused", "status"))


def sees(**fields):
    """x_a stands for x-a."""
    return ("sees", {name.replace("_", "-"): value for name, value in fields.items()})


def case(section, text, due_, **options):
    """For a function of the client that sends."""
    def note(function):
        ROWS.append(Row(section, text, due_, function, **options))
        return function
    return note


def frames(section, text, due_, *pieces, **options):
    """Frames that need no encoder."""
    ROWS.append(Row(section, text, due_, lambda client: client.send(*pieces), **options))


def behind(section, text, due_, fields, *pieces, end=False):
    """Frames behind a request on stream 1 that is open, or with `end` half-closed."""
    ROWS.append(Row(section, text, due_, lambda client: client.send(
        client.headers(1, fields, end=end), *pieces)))


def after(section, text, due_, how, *pieces):
    """Frames behind stream 1, which is over: "ended" by both, "reset" by the client, or "refused":
    reset by the server."""
    def send(client):
        if how == "ended":
            client.send(client.headers(1, GET))
            client.response(1)
        elif how == "reset":
            client.send(client.headers(1, POST, end=False), frame(3, 0, 1, b"\0\0\0\x08"))
        else:
            client.send(client.headers(1, [*POST, ("connection", "x")], end=False))
            client.response(1)
        client.ping()
        client.counts.clear()
        client.send(*(piece(client) if callable(piece) else piece for piece in pieces))
        client.next_stream = 3
    ROWS.append(Row(section, text, due_, send))


def head(section, text, due_, fields, end=True):
    """One request with these fields, in this order, exactly."""
    ROWS.append(Row(section, text, due_, lambda client: client.send(
        client.headers(client.new_stream(), fields, end=end))))


def block(section, text, due_, *blocks, end=True):
    """Header sections by their bytes, on stream 1, 3, ..."""
    ROWS.append(Row(section, text, due_, lambda client: client.send(*(
        frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), client.new_stream(), one)
        for one in blocks))))


def but(fields, **changes):
    """GET or POST with pseudo-fields replaced, or left out by None."""
    out = []
    for name, value in fields:
        key = name.lstrip(":")
        value = changes.get(key, value)
        if value is not None:
            out.append((name, value))
    return out
