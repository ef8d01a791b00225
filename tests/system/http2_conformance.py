"""What a client may not send, by section of RFC 9113 (and RFC 7541): the frames, and the answer that is
due. A table for test_http2_rules.py.

An answer is ("connection", code): GOAWAY with one of these codes, then the end; ("stream", code):
RST_STREAM on the first stream and a connection that goes on; ("either", code): one of these;
("status", code): a response; ("refused", codes): RST_STREAM or a response with one of these; "fine":
the next request is answered with 200; "fine_1": this one.
"""
import struct

from lib.h2 import (ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM,
                    FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, HEADERS,
                    PADDED, PING, PRIORITIZED, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE,
                    RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, frame, reset,
                    settings, window_update)

CASES = []
GET = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")]
POST = [(":method", "POST"), *GET[1:]]


def case(section, text, due):
    def note(function):
        CASES.append((section, text, due, function))
        return function
    return note


def connection(*codes):
    return ("connection", codes)


def stream(*codes):
    return ("stream", codes)


def frames(section, text, due, *pieces):
    """Frames that need no encoder."""
    CASES.append((section, text, due, lambda client: client.send(*pieces)))


def head(section, text, due, fields, end=True):
    """One request with these fields, in this order, exactly."""
    CASES.append((section, text, due, lambda client: client.send(
        client.headers(client.new_stream(), fields, end=end))))


def but(fields, **changes):
    """GET or POST with pseudo-fields replaced, or left out by None."""
    out = []
    for name, value in fields:
        key = name.lstrip(":")
        value = changes.get(key, value)
        if value is not None:
            out.append((name, value))
    return out


# ---- 3.4: the preface; 4: frames ----

CASES.append(("3.4", "the first frame is no SETTINGS", connection(PROTOCOL_ERROR), "first",
              frame(PING, 0, 0, b"12345678")))
CASES.append(("3.4", "the first frame is an acknowledgement", connection(PROTOCOL_ERROR), "first",
              frame(SETTINGS, ACK)))
frames("4.1", "unknown frame types are passed over", "fine", frame(0x42, 0xff, 0, b"whatever"),
       frame(0xfa, 0, 7, b""))
frames("4.1", "unknown flags are passed over", "fine", frame(PING, 0xfe, 0, b"12345678"))
frames("4.1", "the reserved bit is passed over", "fine",
       frame(PING, 0, 0x80000000, b"12345678"))
frames("4.2", "a frame above SETTINGS_MAX_FRAME_SIZE", connection(FRAME_SIZE_ERROR),
       frame(0x42, 0, 0, b"x" * 16385))


@case("4.2", "DATA above SETTINGS_MAX_FRAME_SIZE", connection(FRAME_SIZE_ERROR))
def _(client):
    client.send(client.headers(1, POST, end=False), frame(DATA, 0, 1, b"x" * 16385))


frames("4.2", "HEADERS above SETTINGS_MAX_FRAME_SIZE", connection(FRAME_SIZE_ERROR),
       frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0" * 16385))
frames("4.3", "a header section that is no HPACK", connection(COMPRESSION_ERROR),
       frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff"))


@case("4.3", "another frame within a header section", connection(PROTOCOL_ERROR))
def _(client):
    block = client.block_of(GET)
    client.send(frame(HEADERS, END_STREAM, 1, block[:4]), frame(PING, 0, 0, b"12345678"))


@case("4.3", "another stream's CONTINUATION within a header section", connection(PROTOCOL_ERROR))
def _(client):
    block = client.block_of(GET)
    client.send(frame(HEADERS, END_STREAM, 1, block[:4]),
                frame(CONTINUATION, END_HEADERS, 3, block[4:]))


# ---- 5: streams ----

frames("5.1", "DATA on an idle stream", connection(PROTOCOL_ERROR, STREAM_CLOSED),
       frame(DATA, 0, 1, b"x"))
frames("5.1", "RST_STREAM on an idle stream", connection(PROTOCOL_ERROR), reset(1))
frames("5.1", "WINDOW_UPDATE on an idle stream", connection(PROTOCOL_ERROR), window_update(1, 1))
frames("5.1", "CONTINUATION on an idle stream", connection(PROTOCOL_ERROR),
       frame(CONTINUATION, END_HEADERS, 1, b""))


@case("5.1", "DATA on a half-closed stream",
      ("either", (STREAM_CLOSED,)))
def _(client):
    client.send(client.headers(1, [*GET[:2], (":path", "/slow"), GET[3]]), frame(DATA, END_STREAM, 1, b"x"))


@case("5.1", "HEADERS on a half-closed stream", ("either", (STREAM_CLOSED,)))
def _(client):
    client.send(client.headers(1, [*GET[:2], (":path", "/slow"), GET[3]]), client.headers(1, GET))


# nghttp2 does not remember streams that are over; it throws away what comes on them. Section 5.1
# wants STREAM_CLOSED, but nobody is harmed: the next request is served.
@case("5.1", "DATA on a stream that ended is thrown away", "fine")
def _(client):
    client.send(client.headers(1, GET))
    client.response(1)
    client.send(frame(DATA, 0, 1, b"x"))
    client.next_stream = 3


@case("5.1", "HEADERS on a stream that the client has reset are thrown away", "fine")
def _(client):
    client.send(client.headers(1, POST, end=False), reset(1))
    client.ping()
    client.send(client.headers(1, GET))
    client.next_stream = 3


@case("5.1", "WINDOW_UPDATE and RST_STREAM on a stream that ended are passed over", "fine")
def _(client):
    client.send(client.headers(1, GET))
    client.response(1)
    client.send(window_update(1, 5), reset(1))
    client.next_stream = 3


@case("5.1.1", "an even stream number", connection(PROTOCOL_ERROR))
def _(client):
    client.send(client.headers(2, GET))


@case("5.1.1", "a stream number that was passed over is thrown away", "fine")
def _(client):
    client.send(client.headers(5, GET))
    client.response(5)
    client.send(client.headers(3, GET))
    client.next_stream = 7


@case("5.3.1", "a stream that depends on itself is not minded: priorities are off", "fine")
def _(client):
    client.send(frame(PRIORITY, 0, 9, struct.pack(">IB", 9, 1)))


# ---- 6.1 DATA ----

frames("6.1", "DATA on stream 0", connection(PROTOCOL_ERROR), frame(DATA, 0, 0, b"x"))


@case("6.1", "more padding than frame", connection(PROTOCOL_ERROR))
def _(client):
    client.send(client.headers(1, POST, end=False), frame(DATA, PADDED, 1, b"\x05abc"))


@case("6.1", "padding that fills the frame is allowed", "fine_1")
def _(client):
    client.send(client.headers(1, POST, end=False),
                frame(DATA, PADDED | END_STREAM, 1, b"\x03\0\0\0"))


# ---- 6.2 HEADERS ----

@case("6.2", "HEADERS on stream 0", connection(PROTOCOL_ERROR))
def _(client):
    client.send(client.headers(0, GET))


@case("6.2", "more padding than frame", connection(PROTOCOL_ERROR))
def _(client):
    client.send(frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\xf0" + client.block_of(GET)))


@case("6.2", "padding and priority are allowed", "fine_1")
def _(client):
    client.send(frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITIZED, 1,
                      b"\x02" + struct.pack(">IB", 0, 16) + client.block_of(GET) + b"\0\0"))


@case("6.2", "a priority that does not fit", connection(FRAME_SIZE_ERROR, PROTOCOL_ERROR))
def _(client):
    client.send(frame(HEADERS, END_HEADERS | END_STREAM | PRIORITIZED, 1, b"\0\0"))


# ---- 6.3 PRIORITY, 6.4 RST_STREAM ----

frames("6.3", "PRIORITY on stream 0", connection(PROTOCOL_ERROR),
       frame(PRIORITY, 0, 0, struct.pack(">IB", 1, 1)))
CASES.append(("6.3", "PRIORITY of another length than 5", ("either", (FRAME_SIZE_ERROR,)),
              lambda client: client.send(client.headers(1, [*GET[:2], (":path", "/slow"), GET[3]]),
                                         frame(PRIORITY, 0, 1, b"\0\0\0\0"))))
frames("6.4", "RST_STREAM on stream 0", connection(PROTOCOL_ERROR), reset(0))
CASES.append(("6.4", "RST_STREAM of another length than 4", connection(FRAME_SIZE_ERROR),
              lambda client: client.send(client.headers(1, POST, end=False),
                                         frame(RST_STREAM, 0, 1, b"\0\0\0"))))

# ---- 6.5 SETTINGS ----

frames("6.5", "an acknowledgement with a payload", connection(FRAME_SIZE_ERROR),
       frame(SETTINGS, ACK, 0, b"\0\1\0\0\0\0"))
frames("6.5", "SETTINGS on a stream", connection(PROTOCOL_ERROR), frame(SETTINGS, 0, 1))
frames("6.5", "SETTINGS of no multiple of 6", connection(FRAME_SIZE_ERROR),
       frame(SETTINGS, 0, 0, b"\0\1\0"))
frames("6.5.2", "ENABLE_PUSH above 1", connection(PROTOCOL_ERROR), settings((2, 2)))
frames("6.5.2", "INITIAL_WINDOW_SIZE above 2^31-1", connection(FLOW_CONTROL_ERROR),
       settings((4, 1 << 31)))
frames("6.5.2", "MAX_FRAME_SIZE below 2^14", connection(PROTOCOL_ERROR), settings((5, 16383)))
frames("6.5.2", "MAX_FRAME_SIZE above 2^24-1", connection(PROTOCOL_ERROR), settings((5, 1 << 24)))
frames("6.5.2", "unknown settings are passed over", "fine", settings((0x7777, 5)))
frames("6.5.3", "SETTINGS are acknowledged", "fine", settings((1, 100)))

# ---- 6.6 to 6.10 ----

frames("6.6", "PUSH_PROMISE from a client", connection(PROTOCOL_ERROR),
       frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"))
frames("6.7", "PING on a stream", connection(PROTOCOL_ERROR), frame(PING, 0, 1, b"12345678"))
frames("6.7", "PING of another length than 8", connection(FRAME_SIZE_ERROR),
       frame(PING, 0, 0, b"1234567"))
frames("6.7", "an acknowledgement that nobody asked for", "fine", frame(PING, ACK, 0, b"12345678"))
frames("6.8", "GOAWAY on a stream", connection(PROTOCOL_ERROR), frame(GOAWAY, 0, 1, b"\0" * 8))
frames("6.9", "WINDOW_UPDATE by 0 on the connection", connection(PROTOCOL_ERROR), window_update(0, 0))
CASES.append(("6.9", "WINDOW_UPDATE by 0 on a stream", ("either", (PROTOCOL_ERROR,)),
              lambda client: client.send(client.headers(1, POST, end=False), window_update(1, 0))))
frames("6.9", "WINDOW_UPDATE of another length than 4", connection(FRAME_SIZE_ERROR),
       frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"))
frames("6.9.1", "a connection window above 2^31-1", connection(FLOW_CONTROL_ERROR),
       window_update(0, 0x7fffffff))
CASES.append(("6.9.1", "a stream's window above 2^31-1", stream(FLOW_CONTROL_ERROR),
              lambda client: client.send(client.headers(1, POST, end=False),
                                         window_update(1, 0x7fffffff))))


@case("6.9.1", "more DATA than a stream's window", ("either", (FLOW_CONTROL_ERROR,)))
def _(client):
    client.ping()
    client.send(client.headers(1, but(POST, path="/deaf"), end=False),
                *[frame(DATA, 0, 1, b"x" * 16384)] * 1000)


@case("6.9.2", "a new initial window that makes another one too large",
      ("either", (FLOW_CONTROL_ERROR,)))  # of the connection, says the section; nghttp2: the stream
def _(client):
    client.send(client.headers(1, POST, end=False), window_update(1, 0x7fffffff - 65535),
                settings((4, 65536)))


frames("6.10", "CONTINUATION on stream 0", connection(PROTOCOL_ERROR),
       frame(CONTINUATION, END_HEADERS, 0, b""))


@case("6.10", "CONTINUATION behind a complete header section", connection(PROTOCOL_ERROR))
def _(client):
    client.send(client.headers(1, POST, end=False), frame(CONTINUATION, END_HEADERS, 1, b""))


# ---- 8.1: messages ----

@case("8.1", "a second HEADERS without END_STREAM", stream(PROTOCOL_ERROR))
def _(client):
    client.send(client.headers(1, POST, end=False), client.headers(1, [("x-a", "b")], end=False))


@case("8.1", "a pseudo-field in trailers", stream(PROTOCOL_ERROR))
def _(client):
    client.send(client.headers(1, POST, end=False), client.headers(1, [(":path", "/")]))


def length(text, claimed, *pieces, due=stream(PROTOCOL_ERROR)):
    def send(client):
        out = [client.headers(1, [*POST, ("content-length", claimed)], end=not pieces)]
        for i, piece in enumerate(pieces):
            out.append(frame(DATA, END_STREAM if i == len(pieces) - 1 else 0, 1, piece))
        client.send(*out)
    CASES.append(("8.1.1", text, due, send))


length("less DATA than content-length", "5", b"abc")
length("more DATA than content-length", "5", b"abcdef")
length("more DATA than content-length in two frames", "5", b"abc", b"def")
length("no DATA where content-length says some", "5")
length("DATA where content-length says none", "0", b"a")
length("content-length is no number", "five", b"abcde")
length("content-length is negative", "-1", b"")
length("content-length is a list", "3, 3", b"abc")
length("content-length is right", "5", b"ab", b"cde", due="fine_1")
head("8.1.1", "content-length twice", stream(PROTOCOL_ERROR),
     [*POST, ("content-length", "0"), ("content-length", "0")])

# ---- 8.2: fields ----

head("8.2", "an upper-case field name", stream(PROTOCOL_ERROR), [*GET, ("X-Upper", "a")])
for bad in (" ", "\0", "\n", "\r", "\x7f", "\xe4", "(", "@"):
    head("8.2.1", f"a field name with {bad!r}", stream(PROTOCOL_ERROR), [*GET, (f"x{bad}y", "a")])
head("8.2.1", "an empty field name", stream(PROTOCOL_ERROR), [*GET, ("", "a")])
for bad in ("\0", "\n", "\r", "a\r\nhost: b"):
    head("8.2.1", f"a field value with {bad!r}", stream(PROTOCOL_ERROR), [*GET, ("x", f"a{bad}b")])
for bad in (" a", "a ", "\ta", "a\t"):
    head("8.2.1", f"a field value that begins or ends with a blank: {bad!r}", stream(PROTOCOL_ERROR),
         [*GET, ("x", bad)])
for name, value in (("connection", "close"), ("keep-alive", "timeout=5"), ("upgrade", "foo"),
                    ("proxy-connection", "keep-alive"), ("transfer-encoding", "chunked")):
    head("8.2.2", f"the connection's own field {name}", stream(PROTOCOL_ERROR),
         [*GET, (name, value)])
head("8.2.2", "TE other than trailers", stream(PROTOCOL_ERROR), [*GET, ("te", "gzip")])
head("8.2.2", "TE: trailers", "fine_1", [*GET, ("te", "trailers")])

# ---- 8.3: pseudo-fields ----

for missing in ("method", "scheme", "path"):
    head("8.3.1", f"no :{missing}", stream(PROTOCOL_ERROR), but(GET, **{missing: None}))
for name, value in GET:
    head("8.3.1", f"{name} twice", stream(PROTOCOL_ERROR), [*GET, (name, value)])
head("8.3", "a pseudo-field behind a field", stream(PROTOCOL_ERROR),
     [*GET[:3], ("x", "y"), GET[3]])
head("8.3", "an unknown pseudo-field", stream(PROTOCOL_ERROR), [*GET, (":foo", "bar")])
head("8.3", "a response's pseudo-field", stream(PROTOCOL_ERROR), [*GET, (":status", "200")])
head("8.3.1", "an empty :path", stream(PROTOCOL_ERROR), but(GET, path=""))
head("8.3.1", ":path without a slash", stream(PROTOCOL_ERROR), but(GET, path="x"))
head("8.3.1", ":path * with another method than OPTIONS", stream(PROTOCOL_ERROR), but(GET, path="*"))
head("8.3.1", "a fragment in :path", ("status", 400), but(GET, path="/a#b"))
head("8.3.1", "a blank in :path", ("refused", (PROTOCOL_ERROR, 400)), but(GET, path="/a b"))
head("8.3.1", "a method that is no token", ("refused", (PROTOCOL_ERROR, 400)),
     but(GET, method="GE T"))
head("8.3.1", "userinfo in :authority", ("refused", (PROTOCOL_ERROR, 400)),
     but(GET, authority="me@a.test"))
head("8.3.1", "Host and :authority differ", ("status", 400), [*GET, ("host", "b.test")])
head("8.3.1", "Host and :authority agree", "fine_1", [*GET, ("host", "a.test")])
head("8.3.1", "Host instead of :authority", "fine_1", [*but(GET, authority=None), ("host", "a.test")])
head("8.3.1", "Host twice", ("refused", (PROTOCOL_ERROR, 400)),
     [*but(GET, authority=None), ("host", "a.test"), ("host", "a.test")])
head("8.3.1", "no host at all", ("refused", (PROTOCOL_ERROR, 400)), but(GET, authority=None))

# ---- 8.5 CONNECT, RFC 8441 ----

head("8.5", "CONNECT with :path", stream(PROTOCOL_ERROR),
     [(":method", "CONNECT"), (":path", "/"), (":authority", "a.test:80")], end=False)
head("8.5", "CONNECT without :authority", stream(PROTOCOL_ERROR), [(":method", "CONNECT")], end=False)
head("8441.4", ":protocol without CONNECT", stream(PROTOCOL_ERROR), [*GET, (":protocol", "websocket")])
head("8441.4", "an unknown :protocol", ("status", 501),
     [*but(GET, method="CONNECT"), (":protocol", "foo")], end=False)

# ---- RFC 7541: HPACK ----

HPACK = {
    "2.3.3 index 0": b"\x80",
    "2.3.3 an index beyond the tables": b"\xff\x80\x01",
    "4.2 a table size above the limit": b"\x3f\xe2\x1f",
    "5.1 an integer that does not end": b"\x0f" + b"\xff" * 10,
    "5.2 a string longer than the section": b"\x40\x7fabc",
    "5.2 Huffman padding of 8 bits": b"\x40\x01x\x82\xff\xff",
    "5.2 Huffman padding that is no EOS": b"\x40\x01x\x81\x00",
    "5.2 EOS in a Huffman string": b"\x40\x01x\x84\xff\xff\xff\xff",
    "4.2 a table size behind a field": b"\x82\x20",
    "6 cut off within a field": b"\x40\x05ab",
}
for text, block in HPACK.items():
    frames("HPACK " + text.split(" ")[0], text, connection(COMPRESSION_ERROR),
           frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
