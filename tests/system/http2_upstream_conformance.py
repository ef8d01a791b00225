"""What an endpoint may not send, by section of RFC 9113 (and RFC 7541): the frames, and what is due.
A table for test_http2_upstream_rules.py. Each function gets the endpoint's end of the connection
and the stream of a POST that waits for its answer.

Due is ("connection", codes): GOAWAY with one of these, then the end, and the request gets 502;
("stream", codes): RST_STREAM with one of these, 502, and the connection goes on; ("either", codes):
one of both; ("unread", codes): as stream, for a client that reads nothing; "fine": the request is
answered; "cut": its response is cut off, behind what came.
"""
import struct

from lib.h2 import (ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM,
                    FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, HEADERS, PADDED, PING,
                    PRIORITIZED, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS,
                    STREAM_CLOSED, WINDOW_UPDATE, frame, reset, settings, window_update)

CASES = []
FIRST = []  # before the endpoint's SETTINGS


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
    """Frames that need no encoder; behind them the answer, unless the connection ends. Pieces may be
    functions of the stream."""
    def send(server, number):
        server.send(*[piece(number) if callable(piece) else piece for piece in pieces])
        if due == "fine":
            server.answer(number)
    CASES.append((section, text, due, send))


def head(section, text, due, fields, body=b"ok"):
    """One response with these fields, in this order, exactly."""
    def send(server, number):
        server.send(server.headers(number, fields, end=body is None))
        if body is not None:
            server.data(number, body, end=True)
    CASES.append((section, text, due, send))


OK = (":status", "200")

# ---- 3.4: the preface; 4: frames ----

FIRST.append(("3.4", "the first frame is no SETTINGS", (PROTOCOL_ERROR,),
              frame(PING, 0, 0, b"12345678")))
FIRST.append(("3.4", "the first frame is an acknowledgement", (PROTOCOL_ERROR,),
              frame(SETTINGS, ACK)))
FIRST.append(("3.4", "an HTTP/1.1 server", (PROTOCOL_ERROR, FRAME_SIZE_ERROR),
              b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
FIRST.append(("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE beyond the maximum", (FLOW_CONTROL_ERROR,),
              settings((4, 1 << 31))))

frames("4.1", "unknown frame types are passed over", "fine", frame(0x42, 0xff, 0, b"whatever"),
       frame(0xfa, 0, 7, b""))
frames("4.1", "unknown flags are passed over", "fine", frame(PING, 0xfe, 0, b"12345678"))
frames("4.1", "the reserved bit is passed over", "fine", frame(PING, 0, 0x80000000, b"12345678"))
frames("4.2", "a frame above SETTINGS_MAX_FRAME_SIZE", connection(FRAME_SIZE_ERROR),
       frame(0x42, 0, 0, b"x" * 16385))
frames("4.2", "HEADERS above SETTINGS_MAX_FRAME_SIZE", connection(FRAME_SIZE_ERROR),
       lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s, b"\0" * 16385))
frames("4.3", "a header section that is no HPACK", connection(COMPRESSION_ERROR),
       lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s, b"\xff\xff\xff\xff\xff\xff"))
frames("4.3", "another frame within a header section", connection(PROTOCOL_ERROR),
       lambda s: frame(HEADERS, END_STREAM, s, b"\x88"), frame(PING, 0, 0, b"12345678"))
frames("4.3", "another stream's CONTINUATION within a header section", connection(PROTOCOL_ERROR),
       lambda s: frame(HEADERS, END_STREAM, s, b"\x88"),
       lambda s: frame(CONTINUATION, END_HEADERS, s + 2, b""))
frames("4.3", "a header section in several frames", "fine",
       lambda s: frame(HEADERS, 0, s, b"\x08\x03"), lambda s: frame(CONTINUATION, 0, s, b"10"),
       lambda s: frame(CONTINUATION, END_HEADERS, s, b"3"))

# ---- 5: streams ----

frames("5.1", "DATA before the response's head", ("either", (PROTOCOL_ERROR,)),
       lambda s: frame(DATA, END_STREAM, s, b"x"))
frames("5.1", "DATA on an idle stream", connection(PROTOCOL_ERROR, STREAM_CLOSED),
       lambda s: frame(DATA, 0, s + 2, b"x"))
frames("5.1", "RST_STREAM on an idle stream", connection(PROTOCOL_ERROR), lambda s: reset(s + 2))
frames("5.1", "WINDOW_UPDATE on an idle stream", connection(PROTOCOL_ERROR),
       lambda s: window_update(s + 2, 1))
frames("5.1", "HEADERS on an idle stream of ours", connection(PROTOCOL_ERROR),
       lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s + 2, b"\x88"))
frames("5.1", "HEADERS on a stream that was not promised", connection(PROTOCOL_ERROR),
       frame(HEADERS, END_HEADERS | END_STREAM, 2, b"\x88"))
frames("5.1", "CONTINUATION on an idle stream", connection(PROTOCOL_ERROR),
       lambda s: frame(CONTINUATION, END_HEADERS, s + 2, b""))


# nghttp2 does not remember streams that are over; it throws away what comes on them. Section 5.1
# wants STREAM_CLOSED, but nobody is harmed.
@case("5.1", "frames on a stream that ended are thrown away", "fine")
def _(server, number):
    server.answer(number)
    server.send(frame(DATA, 0, number, b"x"), window_update(number, 5), reset(number))


# ---- 6.1 DATA, 6.2 HEADERS, 6.3 PRIORITY, 6.4 RST_STREAM ----

frames("6.1", "DATA on stream 0", connection(PROTOCOL_ERROR), frame(DATA, 0, 0, b"x"))


@case("6.1", "more padding than frame", connection(PROTOCOL_ERROR))
def _(server, number):
    server.send(server.headers(number, [OK], end=False), frame(DATA, PADDED, number, b"\x05abc"))


@case("6.1", "padding is allowed", "fine")
def _(server, number):
    server.send(server.headers(number, [OK], end=False),
                frame(DATA, PADDED, number, b"\x03\0\0\0"),
                frame(DATA, PADDED | END_STREAM, number, b"\x01ok\0"))


frames("6.2", "HEADERS on stream 0", connection(PROTOCOL_ERROR),
       frame(HEADERS, END_HEADERS, 0, b"\x88"))
frames("6.2", "more padding than frame", connection(PROTOCOL_ERROR),
       lambda s: frame(HEADERS, END_HEADERS | PADDED, s, b"\xf0\x88"))


@case("6.2", "padding and priority are allowed", "fine")
def _(server, number):
    server.send(frame(HEADERS, END_HEADERS | PADDED | PRIORITIZED, number,
                      b"\x02" + struct.pack(">IB", 0, 15) + b"\x88\0\0"))
    server.data(number, b"ok", end=True)


frames("6.3", "PRIORITY is passed over", "fine",
       lambda s: frame(PRIORITY, 0, s, struct.pack(">IB", 0, 1)))
frames("6.3", "PRIORITY on stream 0", connection(PROTOCOL_ERROR),
       frame(PRIORITY, 0, 0, struct.pack(">IB", 1, 1)))
frames("6.3", "PRIORITY of 4 bytes", ("either", (FRAME_SIZE_ERROR,)),
       lambda s: frame(PRIORITY, 0, s, b"\0\0\0\0"))
frames("6.4", "RST_STREAM on stream 0", connection(PROTOCOL_ERROR), reset(0))
frames("6.4", "RST_STREAM of 3 bytes", connection(FRAME_SIZE_ERROR),
       lambda s: frame(RST_STREAM, 0, s, b"\0\0\0"))

# ---- 6.5 SETTINGS ----

frames("6.5", "SETTINGS on a stream", connection(PROTOCOL_ERROR), lambda s: frame(SETTINGS, 0, s))
frames("6.5", "an acknowledgement with a payload", connection(FRAME_SIZE_ERROR),
       frame(SETTINGS, ACK, 0, b"\0\1\0\0\0\1"))
frames("6.5", "SETTINGS of 5 bytes", connection(FRAME_SIZE_ERROR), frame(SETTINGS, 0, 0, b"\0\1\0\0\0"))
frames("6.5", "an unasked-for acknowledgement", connection(PROTOCOL_ERROR), frame(SETTINGS, ACK))
frames("6.5.2", "SETTINGS_ENABLE_PUSH of a server", connection(PROTOCOL_ERROR), settings((2, 1)))
frames("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE beyond the maximum", connection(FLOW_CONTROL_ERROR),
       settings((4, 1 << 31)))
frames("6.5.2", "SETTINGS_MAX_FRAME_SIZE below the minimum", connection(PROTOCOL_ERROR),
       settings((5, 16383)))
frames("6.5.2", "SETTINGS_MAX_FRAME_SIZE beyond the maximum", connection(PROTOCOL_ERROR),
       settings((5, 1 << 24)))
frames("6.5.2", "unknown settings are passed over", "fine", settings((0xfff, 7), (0x1234, 9)))
frames("8441 3", "SETTINGS_ENABLE_CONNECT_PROTOCOL of 2", connection(PROTOCOL_ERROR),
       settings((8, 2)))

# ---- 6.6 PUSH_PROMISE, 6.7 PING, 6.8 GOAWAY ----

frames("8.4", "PUSH_PROMISE, which our SETTINGS forbid", connection(PROTOCOL_ERROR),
       lambda s: frame(PUSH_PROMISE, END_HEADERS, s, struct.pack(">I", 2) + b"\x82\x84\x86\x41\x01a"))
frames("6.7", "PING on a stream", connection(PROTOCOL_ERROR),
       lambda s: frame(PING, 0, s, b"12345678"))
frames("6.7", "PING of 7 bytes", connection(FRAME_SIZE_ERROR), frame(PING, 0, 0, b"1234567"))
frames("6.7", "an unasked-for answer to a PING is passed over", "fine",
       frame(PING, ACK, 0, b"12345678"))
frames("6.8", "GOAWAY on a stream", connection(PROTOCOL_ERROR),
       lambda s: frame(GOAWAY, 0, s, struct.pack(">II", s, 0)))
frames("6.8", "GOAWAY of 7 bytes", connection(FRAME_SIZE_ERROR), frame(GOAWAY, 0, 0, b"\0" * 7))
frames("6.8", "GOAWAY whose last stream goes up again", connection(PROTOCOL_ERROR),
       lambda s: frame(GOAWAY, 0, 0, struct.pack(">II", s, 0)),
       lambda s: frame(GOAWAY, 0, 0, struct.pack(">II", s + 2, 0)))
frames("6.8", "what is not above the last stream is answered yet", "fine",
       frame(GOAWAY, 0, 0, struct.pack(">II", 0x7fffffff, 0)),
       lambda s: frame(GOAWAY, 0, 0, struct.pack(">II", s, 0)))

# ---- 6.9 WINDOW_UPDATE, 6.10 CONTINUATION ----

frames("6.9", "WINDOW_UPDATE by 0 of the connection", connection(PROTOCOL_ERROR),
       window_update(0, 0))
frames("6.9", "WINDOW_UPDATE by 0 of a stream", ("either", (PROTOCOL_ERROR,)),
       lambda s: window_update(s, 0))
frames("6.9", "WINDOW_UPDATE of 3 bytes", connection(FRAME_SIZE_ERROR),
       frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"))
frames("6.9.1", "a window of the connection beyond the maximum", connection(FLOW_CONTROL_ERROR),
       window_update(0, 0x7fffffff))
frames("6.9.1", "a window of a stream beyond the maximum", stream(FLOW_CONTROL_ERROR),
       lambda s: window_update(s, 0x7fffffff))


@case("6.9.1", "more than the window of the stream", ("unread", (FLOW_CONTROL_ERROR,)))
def _(server, number):
    server.send(server.headers(number, [OK], end=False))
    for _ in range(200):  # more than window and buffers hold
        server.send(frame(DATA, 0, number, b"x" * 16384))


frames("6.10", "CONTINUATION without HEADERS", connection(PROTOCOL_ERROR),
       lambda s: frame(CONTINUATION, END_HEADERS, s, b"\x88"))

# ---- 8.1: messages ----


@case("8.1", "trailers without the end of the stream", "cut")
def _(server, number):
    server.send(server.headers(number, [OK], end=False), frame(DATA, 0, number, b"ok"),
                server.headers(number, [("x-t", "1")], end=False))


@case("8.1", "a second response", "cut")
def _(server, number):
    server.send(server.headers(number, [OK], end=False), frame(DATA, 0, number, b"ok"),
                server.headers(number, [OK]))


head("8.1", "an interim response that ends the stream", stream(PROTOCOL_ERROR),
     [(":status", "103")], body=None)
head("8.6", "status 101", stream(PROTOCOL_ERROR), [(":status", "101")])
head("8.1.1", "a body shorter than its content-length", "cut", [OK, ("content-length", "3")])
head("8.1.1", "a body longer than its content-length", "cut", [OK, ("content-length", "1")])
head("8.1.1", "an end where content-length promises a body", stream(PROTOCOL_ERROR),
     [OK, ("content-length", "3")], body=None)
head("8.1.1", "a content-length that is no number", stream(PROTOCOL_ERROR),
     [OK, ("content-length", "2x")])
head("8.1.1", "two content-lengths", stream(PROTOCOL_ERROR),
     [OK, ("content-length", "2"), ("content-length", "3")])
head("8.1.1", "a body of a 204", "cut", [(":status", "204")])
head("8.1.1", "a 304 whose content-length belongs to no body", "fine",
     [(":status", "304"), ("content-length", "2")], body=None)

# ---- 8.2: fields ----

head("8.2", "an upper-case name", stream(PROTOCOL_ERROR), [OK, ("X-A", "1")])
head("8.2.1", "a name with a blank", stream(PROTOCOL_ERROR), [OK, ("x a", "1")])
head("8.2.1", "a name with a colon", stream(PROTOCOL_ERROR), [OK, ("x:a", "1")])
head("8.2.1", "an empty name", stream(PROTOCOL_ERROR), [OK, ("", "1")])
head("8.2.1", "a value with a NUL", stream(PROTOCOL_ERROR), [OK, ("x-a", "a\0b")])
head("8.2.1", "a value with a line feed", stream(PROTOCOL_ERROR), [OK, ("x-a", "a\nb")])
head("8.2.1", "a value with a carriage return", stream(PROTOCOL_ERROR), [OK, ("x-a", "a\rb")])
for name in ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"):
    head("8.2.2", f"the field {name}", stream(PROTOCOL_ERROR), [OK, (name, "close")])

# ---- 8.3: pseudo-fields ----

head("8.3", "a pseudo-field behind a field", stream(PROTOCOL_ERROR), [("x-a", "1"), OK])
head("8.3", "an unknown pseudo-field", stream(PROTOCOL_ERROR), [OK, (":what", "1")])
head("8.3", "a pseudo-field of requests", stream(PROTOCOL_ERROR), [OK, (":path", "/")])
head("8.3.2", "no status", stream(PROTOCOL_ERROR), [("x-a", "1")])
head("8.3.2", "two statuses", stream(PROTOCOL_ERROR), [OK, OK])
for status in ("", "20", "2000", "2x0", "+20"):
    head("8.3.2", f"the status {status!r}", stream(PROTOCOL_ERROR), [(":status", status)])


@case("8.3", "a pseudo-field among trailers", "cut")
def _(server, number):
    server.send(server.headers(number, [OK], end=False), frame(DATA, 0, number, b"ok"),
                server.headers(number, [("x-t", "1"), (":status", "200")]))


# ---- RFC 7541 ----

HPACK = {
    "6.1 index 0": b"\x80",
    "6.1 an index beyond the tables": b"\xff\x20",
    "6.3 a table larger than allowed": b"\x3f\xff\xff\x03\x88",
    "4.2 a table size behind a field": b"\x88\x20",
    "5.2 a string whose padding is no end": b"\x48\x81\x00",
    "6 cut off within a field": b"\x40\x05ab",
}
for text, block in HPACK.items():
    frames("HPACK " + text.split(" ")[0], text, connection(COMPRESSION_ERROR),
           lambda s, block=block: frame(HEADERS, END_HEADERS | END_STREAM, s, block))

