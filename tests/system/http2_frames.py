"""RFC 9113 sections 3 to 7 and RFC 9218: connections, frames, streams. Rows for test_http2_rules.py; how
to read them: http2_cases.py."""
import struct

from http2_cases import (FINE, FINE_1, GET, POST, SLOW, after, behind, case, connection, either, frames,
                         stream)
from lib.h2 import (ACK, COMPRESSION_ERROR, CONTINUATION, DATA, ENABLE_CONNECT_PROTOCOL, ENABLE_PUSH,
                    END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY,
                    HEADERS, HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE,
                    MAX_HEADER_LIST_SIZE, NO_RFC7540_PRIORITIES, PADDED, PING, PREFACE, PRIORITIZED, PRIORITY,
                    PRIORITY_UPDATE, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS,
                    STREAM_CLOSED, WINDOW_UPDATE, frame, reset, settings, window_update)

PING_FRAME = frame(PING, 0, 0, b"12345678")
LARGE = b"x" * 16384 # SETTINGS_MAX_FRAME_SIZE, as long as we do not say otherwise


def depends(on=0, weight=1):
    return struct.pack(">IB", on, weight)


# ---- 3.4: the preface ----

def check_http1(client):
    """Everything else is HTTP/1, and answered so."""
    answer = b""
    while data := client.socket.recv(65536):
        answer += data
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 ")), answer


frames("3.4", "a preface with a wrong byte is bad HTTP/1", check_http1,
       PREFACE[:-4] + b"X\r\n\r\n" + settings(), has_preface=False)
frames("3.4", "frames without a preface are bad HTTP/1", check_http1,
       settings(), b"\r\n\r\n", has_preface=False)
frames("3.4", "the first frame is no SETTINGS", connection(PROTOCOL_ERROR), PREFACE, PING_FRAME,
       has_preface=False)
frames("3.4", "the first frame is an acknowledgement", connection(PROTOCOL_ERROR), PREFACE,
       frame(SETTINGS, ACK), has_preface=False)
frames("3.4", "the first frame is a request", connection(PROTOCOL_ERROR), PREFACE,
       frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x86\x84\x01\x06a.test"), has_preface=False)


@case("3.4", "a request right behind the preface, before our SETTINGS are seen", FINE_1,
      has_preface=False)
def _(client):
    client.send(PREFACE, settings(), client.headers(1, GET))


# ---- 4.1, 4.2: frames, 5.5: extensions ----

frames("4.1", "unknown frame types are passed over", FINE, frame(0x42, 0xff, 0, b"whatever"),
       frame(0xfa, 0, 7, b""), frame(0xff, 0, 2, b""))
behind("4.1", "unknown frame types on an open stream", FINE_1, POST, frame(0x42, 0xff, 1, b"whatever"),
       frame(DATA, END_STREAM, 1, b"x"))
behind("4.1", "unknown frame types on a half-closed stream", FINE_1, GET, frame(0x42, 0xff, 1, b"x"),
       end=True)
after("4.1", "unknown frame types on a stream that is over", FINE, "ended", frame(0x42, 0xff, 1, b"x"))
frames("4.1", "unknown flags are passed over", FINE, frame(PING, 0xfe, 0, b"12345678"))
frames("4.1", "the reserved bit is passed over", FINE, frame(PING, 0, 0x80000000, b"12345678"))
frames("4.2", "an unknown frame of SETTINGS_MAX_FRAME_SIZE", FINE, frame(0x42, 0, 0, LARGE))
behind("4.2", "DATA of SETTINGS_MAX_FRAME_SIZE", FINE_1, POST, frame(DATA, END_STREAM, 1, LARGE))
for name, one in {"an unknown frame": frame(0x42, 0, 0, LARGE + b"x"),
                  "PING": frame(PING, 0, 0, LARGE + b"x"),
                  "SETTINGS": frame(SETTINGS, 0, 0, b"\0" * 16386),
                  "GOAWAY": frame(GOAWAY, 0, 0, b"\0" * 16385),
                  "HEADERS": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0" * 16385)}.items():
    frames("4.2", f"{name} above SETTINGS_MAX_FRAME_SIZE", connection(FRAME_SIZE_ERROR), one)
behind("4.2", "DATA above SETTINGS_MAX_FRAME_SIZE", either(FRAME_SIZE_ERROR), POST,
       frame(DATA, 0, 1, LARGE + b"x"))


@case("4.2", "CONTINUATION above SETTINGS_MAX_FRAME_SIZE", connection(FRAME_SIZE_ERROR))
def _(client):
    client.send(frame(HEADERS, END_STREAM, 1, client.block_of(GET)),
                frame(CONTINUATION, END_HEADERS, 1, LARGE + b"x"))


# ---- 4.3: header sections are one run of frames; they are decoded whatever becomes of them ----

frames("4.3", "a section that is no HPACK", connection(COMPRESSION_ERROR),
       frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff"))
behind("4.3", "trailers that are no HPACK", connection(COMPRESSION_ERROR), POST,
       frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"))
after("4.3", "no HPACK on a stream that is over", connection(COMPRESSION_ERROR), "ended",
      frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"))

BETWEEN = {
    "PING": PING_FRAME, "DATA": frame(DATA, 0, 1, b"x"), "SETTINGS": settings(),
    "WINDOW_UPDATE": window_update(0, 1), "PRIORITY": frame(PRIORITY, 0, 1, depends()),
    "RST_STREAM": reset(1), "GOAWAY": frame(GOAWAY, 0, 0, b"\0" * 8),
    "PUSH_PROMISE": frame(PUSH_PROMISE, 0, 1, b"\0\0\0\2"),
    "HEADERS": frame(HEADERS, END_HEADERS, 3, b"\x82"),
    "the same HEADERS": frame(HEADERS, END_HEADERS, 1, b"\x82"),
    "another stream's CONTINUATION": frame(CONTINUATION, END_HEADERS, 3, b"\x82"),
    "an extension's frame (5.5)": frame(0x42, 0, 1, b""),
    "PRIORITY_UPDATE (5.5)": frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"u=1"),
}
for name, one in BETWEEN.items():
    frames("4.3", f"within a section: {name}", connection(PROTOCOL_ERROR),
           frame(HEADERS, END_STREAM, 1, b"\x82\x86"), one)


@case("4.3", "a section in nine pieces, some of them empty", FINE_1)
def _(client):
    block = client.block_of(GET)
    pieces = [b"", block[:1], b"", block[1:2], block[2:3], block[3:4], b"", block[4:], b""]
    client.send(frame(HEADERS, END_STREAM, 1, pieces[0]),
                *(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1]),
                frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))


# ---- 5.1: streams ----

for number, whose in ((1, "its"), (2, "our")):
    frames("5.1", f"DATA on an idle stream of {whose} kind", connection(PROTOCOL_ERROR, STREAM_CLOSED),
           frame(DATA, 0, number, b"x"))
    frames("5.1", f"RST_STREAM on an idle stream of {whose} kind", connection(PROTOCOL_ERROR),
           reset(number))
    frames("5.1", f"WINDOW_UPDATE on an idle stream of {whose} kind", connection(PROTOCOL_ERROR),
           window_update(number, 1))
    frames("5.1", f"CONTINUATION on an idle stream of {whose} kind", connection(PROTOCOL_ERROR),
           frame(CONTINUATION, END_HEADERS, number, b""))
frames("5.1", "PRIORITY on an idle stream", FINE, frame(PRIORITY, 0, 5, depends()))
behind("5.1", "DATA on a half-closed stream", either(STREAM_CLOSED), SLOW,
       frame(DATA, END_STREAM, 1, b"x"), end=True)
behind("5.1", "empty DATA on a half-closed stream", either(STREAM_CLOSED), SLOW, frame(DATA, 0, 1),
       end=True)


@case("5.1", "HEADERS on a half-closed stream", either(STREAM_CLOSED))
def _(client):
    client.send(client.headers(1, SLOW), client.headers(1, GET))


behind("5.1", "CONTINUATION on a half-closed stream", connection(PROTOCOL_ERROR), SLOW,
       frame(CONTINUATION, END_HEADERS, 1, b"\x82"), end=True)
behind("5.1", "WINDOW_UPDATE and PRIORITY on a half-closed stream", FINE_1, GET, window_update(1, 5),
       frame(PRIORITY, 0, 1, depends()), end=True)


def check_quiet(client):
    """No RST_STREAM answers it (section 5.4.2), and the next request is served."""
    assert client.request().status == 200
    assert client.counts[RST_STREAM] == 0


# A server MAY take what comes on a closed stream for an error. nghttp2 remembers no streams that are
# over and throws it away, also where RFC 7540 wanted STREAM_CLOSED: nobody is harmed, connection
# windows and HPACK tables stay right, and http2_floods.py bounds it.
for how in ("ended", "reset", "refused"):
    after("5.1", f"DATA on a stream that was {how} is thrown away", check_quiet, how,
          frame(DATA, END_STREAM, 1, b"x"))
    after("5.1", f"HEADERS on a stream that was {how} are thrown away", check_quiet, how,
          lambda client: client.headers(1, [("x-late", "a")]))
    after("5.1", f"RST_STREAM on a stream that was {how} is passed over", check_quiet, how, reset(1))
    after("5.1", f"WINDOW_UPDATE on a stream that was {how} is passed over", check_quiet, how,
          window_update(1, 5), window_update(1, 0x7fffffff))
    after("5.1", f"PRIORITY on a stream that was {how} is passed over", check_quiet, how,
          frame(PRIORITY, 0, 1, depends()))


@case("5.1", "what is thrown away has still been decoded", lambda client: check_late_field(client))
def _(client):
    client.send(client.headers(1, [*POST, ("connection", "x")], end=False))
    client.response(1)
    client.send(client.headers(1, [("x-late", "known from then on")]))
    client.next_stream = 3


def check_late_field(client):
    """By one byte: the newest entry of the table."""
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x82\x86\x84\x01\x06a.test\xbe"))
    assert b"known from then on" in client.response(3).body


# ---- 5.1.1, 5.1.2: numbers ----

@case("5.1.1", "an even stream number", connection(PROTOCOL_ERROR))
def _(client):
    client.send(client.headers(2, GET))


@case("5.1.1", "stream 0", connection(PROTOCOL_ERROR))
def _(client):
    client.send(client.headers(0, GET))


@case("5.1.1", "the largest stream number", lambda client: check_status(client, 0x7fffffff))
def _(client):
    client.send(client.headers(0x7fffffff, GET))


def check_status(client, number):
    assert client.response(number).status == 200


# Section 5.1.1 wants PROTOCOL_ERROR. For nghttp2 it may be the trailers of a stream that it does not
# remember; they are thrown away, and the request gets no answer: the client's own fault.
@case("5.1.1", "a stream number that was passed over is thrown away", FINE)
def _(client):
    client.send(client.headers(5, GET))
    client.response(5)
    client.send(client.headers(3, GET))
    client.next_stream = 7


# The limit is refused as long as the client may not know of it; later it is an error.
@case("5.1.2", "one stream more than SETTINGS_MAX_CONCURRENT_STREAMS",
      lambda client: check_excess(client, REFUSED_STREAM), has_preface=False)
def _(client):
    client.answers = False
    client.send(PREFACE, settings(), *(client.headers(client.new_stream(), SLOW) for _ in range(129)))


@case("5.1.2", "the same, acknowledged", connection(PROTOCOL_ERROR))
def _(client):
    client.ping()
    client.send(*(client.headers(client.new_stream(), SLOW) for _ in range(129)))


def check_excess(client, code):
    assert client.response(257).reset_code == code
    client.send(reset(1))
    client.ping()
    assert client.request().status == 200


@case("5.1.2", "as many streams as are allowed, one after the other is reset, again", FINE)
def _(client):
    for _ in range(2):
        streams = [client.new_stream() for _ in range(100)]
        client.send(*(client.headers(number, SLOW) for number in streams))
        client.send(*(reset(number) for number in streams))
    client.ping()


# ---- 5.3: priorities of RFC 7540, which are off here ----

frames("5.3", "a stream that depends on itself", FINE, frame(PRIORITY, 0, 9, depends(9)))
frames("5.3", "a circle of streams", FINE, frame(PRIORITY, 0, 9, depends(11)),
       frame(PRIORITY, 0, 11, depends(9)))
frames("5.3", "an exclusive one of weight 256", FINE, frame(PRIORITY, 0, 9, depends(0x80000003, 255)))


# nghttp2 minds here what it does not mind in PRIORITY; RFC 7540 section 5.3.1 called it an error.
@case("5.3", "HEADERS that depend on their own stream", either(PROTOCOL_ERROR))
def _(client):
    client.send(frame(HEADERS, END_HEADERS | END_STREAM | PRIORITIZED, 1,
                      depends(1) + client.block_of(GET)))


# ---- 6.1 DATA ----

frames("6.1", "DATA on stream 0", connection(PROTOCOL_ERROR), frame(DATA, 0, 0, b"x"))
behind("6.1", "more padding than frame", connection(PROTOCOL_ERROR), POST,
       frame(DATA, PADDED, 1, b"\x05abc"))
behind("6.1", "one byte more padding than frame", connection(PROTOCOL_ERROR), POST,
       frame(DATA, PADDED, 1, b"\x04abc"))
behind("6.1", "no room for the length of the padding", connection(PROTOCOL_ERROR, FRAME_SIZE_ERROR), POST,
       frame(DATA, PADDED, 1))
behind("6.1", "padding that fills the frame is allowed", FINE_1, POST,
       frame(DATA, PADDED | END_STREAM, 1, b"\x03\0\0\0"))
behind("6.1", "padding of 0 bytes is allowed", FINE_1, POST, frame(DATA, PADDED | END_STREAM, 1, b"\0abc"))
# A sender MUST use zeros; a receiver may verify that, and nobody does.
behind("6.1", "padding that is no zeros is allowed", FINE_1, POST,
       frame(DATA, PADDED | END_STREAM, 1, b"\x02axx"))
behind("6.1", "a body of nothing", FINE_1, POST, frame(DATA, END_STREAM, 1))


# ---- 6.2 HEADERS ----

@case("6.2", "more padding than frame", connection(PROTOCOL_ERROR))
def _(client):
    client.send(frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\xf0" + client.block_of(GET)))


frames("6.2", "no room for the length of the padding", connection(PROTOCOL_ERROR, FRAME_SIZE_ERROR),
       frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1))
frames("6.2", "padding that leaves nothing", stream(PROTOCOL_ERROR),
       frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\3\0\0\0"))
frames("6.2", "padding that reaches into the priority", connection(PROTOCOL_ERROR, FRAME_SIZE_ERROR),
       frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITIZED, 1, b"\2" + depends()))


@case("6.2", "padding and priority are allowed", FINE_1)
def _(client):
    client.send(frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITIZED, 1,
                      b"\x02" + depends(0, 16) + client.block_of(GET) + b"\0\0"))


frames("6.2", "a priority that does not fit", connection(FRAME_SIZE_ERROR, PROTOCOL_ERROR),
       frame(HEADERS, END_HEADERS | END_STREAM | PRIORITIZED, 1, b"\0\0"))
frames("6.2", "an empty section", stream(PROTOCOL_ERROR), frame(HEADERS, END_HEADERS | END_STREAM, 1))

# ---- 6.3 PRIORITY, 6.4 RST_STREAM ----

frames("6.3", "PRIORITY on stream 0", connection(PROTOCOL_ERROR), frame(PRIORITY, 0, 0, depends()))
for n in (0, 4, 6):
    behind("6.3", f"PRIORITY of {n} bytes", either(FRAME_SIZE_ERROR), SLOW,
           frame(PRIORITY, 0, 1, b"\0" * n), end=True)
frames("6.4", "RST_STREAM on stream 0", connection(PROTOCOL_ERROR), reset(0))
for n in (0, 3, 5):
    behind("6.4", f"RST_STREAM of {n} bytes", connection(FRAME_SIZE_ERROR), POST,
           frame(RST_STREAM, 0, 1, b"\0" * n))


@case("7", "RST_STREAM with a code that nobody knows", FINE)
def _(client):
    client.send(client.headers(client.new_stream(), POST, end=False), reset(1, 0xdeadbeef))


# ---- 6.5 SETTINGS ----

frames("6.5", "an acknowledgement with a payload", connection(FRAME_SIZE_ERROR),
       frame(SETTINGS, ACK, 0, b"\0\1\0\0\0\0"))
frames("6.5", "an acknowledgement that nobody asked for", connection(PROTOCOL_ERROR),
       frame(SETTINGS, ACK) * 2)
frames("6.5", "SETTINGS on a stream", connection(PROTOCOL_ERROR), frame(SETTINGS, 0, 1))
behind("6.5", "SETTINGS on a stream that is open", connection(PROTOCOL_ERROR), POST, frame(SETTINGS, 0, 1))
for n in (1, 5, 7):
    frames("6.5", f"SETTINGS of {n} bytes", connection(FRAME_SIZE_ERROR), frame(SETTINGS, 0, 0, b"\0" * n))
frames("6.5", "as many entries as we take", FINE, settings(*[(0x7777, i) for i in range(32)]))
frames("6.5", "one more", connection(ENHANCE_YOUR_CALM), settings(*[(0x7777, i) for i in range(33)]))

BAD_VALUES = {
    "6.5.2 ENABLE_PUSH": (ENABLE_PUSH, 2, PROTOCOL_ERROR),
    "6.5.2 INITIAL_WINDOW_SIZE above 2^31-1": (INITIAL_WINDOW_SIZE, 1 << 31, FLOW_CONTROL_ERROR),
    "6.5.2 INITIAL_WINDOW_SIZE of 2^32-1": (INITIAL_WINDOW_SIZE, (1 << 32) - 1, FLOW_CONTROL_ERROR),
    "6.5.2 MAX_FRAME_SIZE below 2^14": (MAX_FRAME_SIZE, 16383, PROTOCOL_ERROR),
    "6.5.2 MAX_FRAME_SIZE of 0": (MAX_FRAME_SIZE, 0, PROTOCOL_ERROR),
    "6.5.2 MAX_FRAME_SIZE above 2^24-1": (MAX_FRAME_SIZE, 1 << 24, PROTOCOL_ERROR),
    "8441.3 ENABLE_CONNECT_PROTOCOL": (ENABLE_CONNECT_PROTOCOL, 2, PROTOCOL_ERROR),
    "9218.2.1 NO_RFC7540_PRIORITIES": (NO_RFC7540_PRIORITIES, 2, PROTOCOL_ERROR),
}
for text, (name, value, code) in BAD_VALUES.items():
    section, _, text = text.partition(" ")
    frames(section, f"{text} out of its range: {value}", connection(code), settings((name, value)))
for text, name, values in (
        ("HEADER_TABLE_SIZE", HEADER_TABLE_SIZE, (0, 1, 4096, 1 << 16, (1 << 32) - 1)),
        ("ENABLE_PUSH", ENABLE_PUSH, (0, 1)),
        ("MAX_CONCURRENT_STREAMS", MAX_CONCURRENT_STREAMS, (0, 1, (1 << 32) - 1)),
        ("INITIAL_WINDOW_SIZE", INITIAL_WINDOW_SIZE, ((1 << 31) - 1, 1000)),
        ("MAX_FRAME_SIZE", MAX_FRAME_SIZE, (16384, (1 << 24) - 1)),
        ("MAX_HEADER_LIST_SIZE", MAX_HEADER_LIST_SIZE, (0, (1 << 32) - 1)), # advice
        ("ENABLE_CONNECT_PROTOCOL", ENABLE_CONNECT_PROTOCOL, (0, 1)),
        ("an unknown one", 0x7777, (0, (1 << 32) - 1))):
    for value in values:
        frames("6.5.2", f"{text} of {value}", FINE, settings((name, value)))
frames("9218.2.1", "NO_RFC7540_PRIORITIES that changes", connection(PROTOCOL_ERROR),
       settings((NO_RFC7540_PRIORITIES, 1)), settings((NO_RFC7540_PRIORITIES, 0)))
frames("6.5.3", "a setting twice in a frame: the last one holds", FINE,
       settings((INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 65535)))
# Section 6.5.3: in the order of the frame. nghttp2 looks at the last value only; the first never held.
frames("6.5.3", "a value out of range before one that is not", FINE,
       settings((ENABLE_PUSH, 2), (ENABLE_PUSH, 0)))


@case("6.5.3", "each SETTINGS is acknowledged, once", lambda client: check_acknowledged(client, 4))
def _(client):
    client.send(settings((1, 100)), settings(), settings((4, 70000)))


def check_acknowledged(client, n):
    client.ping()
    assert sum(f.kind == SETTINGS and f.flags & ACK for f in client.seen) == n


@case("6.5.3", "a table size is heeded from the acknowledgement on",
      lambda client: check_small_table(client))
def _(client):
    assert client.request().status == 200 # its fields are in the table
    client.send(settings((HEADER_TABLE_SIZE, 0)))
    client.next_stream = 3


def check_small_table(client):
    """The decoder is strict: RFC 7541 section 4.2 wants the change said first, then no entry."""
    client.ping()
    client.decoder.max_allowed_table_size = 0
    assert client.request().status == 200 and client.request().status == 200
    assert len(client.decoder.header_table.dynamic_entries) == 0


# ---- 6.6 PUSH_PROMISE, 6.7 PING, 6.8 GOAWAY ----

frames("6.6", "PUSH_PROMISE from a client", connection(PROTOCOL_ERROR),
       frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"))
behind("6.6", "PUSH_PROMISE on an open stream", connection(PROTOCOL_ERROR), POST,
       frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2\x82"))
frames("6.6", "PUSH_PROMISE on stream 0", connection(PROTOCOL_ERROR),
       frame(PUSH_PROMISE, END_HEADERS, 0, b"\0\0\0\2"))
frames("6.7", "PING on a stream", connection(PROTOCOL_ERROR), frame(PING, 0, 1, b"12345678"))
for n in (0, 7, 9):
    frames("6.7", f"PING of {n} bytes", connection(FRAME_SIZE_ERROR), frame(PING, 0, 0, b"1" * n))
frames("6.7", "an acknowledgement that nobody asked for", FINE, frame(PING, ACK, 0, b"12345678"))


@case("6.7", "PING is answered by its bytes, its acknowledgement by nothing",
      lambda client: check_pings(client))
def _(client):
    client.send(frame(PING, 0, 0, b"abcdefgh"), frame(PING, ACK, 0, b"ijklmnop"))


def check_pings(client):
    client.read_until(lambda: client.counts[PING] == 1)
    client.ping()
    assert [f.payload for f in client.seen if f.kind == PING] == [b"abcdefgh", b"lintel-p"]


frames("6.8", "GOAWAY on a stream", connection(PROTOCOL_ERROR), frame(GOAWAY, 0, 1, b"\0" * 8))
for n in (0, 7):
    frames("6.8", f"GOAWAY of {n} bytes", connection(FRAME_SIZE_ERROR), frame(GOAWAY, 0, 0, b"\0" * n))
behind("6.8", "GOAWAY of a client lets its requests be answered", FINE_1, POST,
       frame(GOAWAY, 0, 0, b"\0" * 8 + b"bye"), frame(DATA, END_STREAM, 1, b"x"))
behind("6.8", "GOAWAY with a code that nobody knows (7)", FINE_1, POST,
       frame(GOAWAY, 0, 0, b"\0\0\0\0\xff\xff\xff\xff"), frame(DATA, END_STREAM, 1, b"x"))
behind("6.8", "GOAWAY that takes back what an earlier one said", connection(PROTOCOL_ERROR), POST,
       frame(GOAWAY, 0, 0, b"\0\0\0\2\0\0\0\0"), frame(GOAWAY, 0, 0, b"\0\0\0\4\0\0\0\0"))

# ---- 6.9 WINDOW_UPDATE ----

frames("6.9", "an increment of 0 on the connection", connection(PROTOCOL_ERROR), window_update(0, 0))
behind("6.9", "an increment of 0 on a stream", either(PROTOCOL_ERROR), POST, window_update(1, 0))
for n in (0, 3, 5):
    frames("6.9", f"WINDOW_UPDATE of {n} bytes", connection(FRAME_SIZE_ERROR),
           frame(WINDOW_UPDATE, 0, 0, b"\0" * n))
    behind("6.9", f"WINDOW_UPDATE of {n} bytes on a stream", connection(FRAME_SIZE_ERROR), POST,
           frame(WINDOW_UPDATE, 0, 1, b"\1" * n))
frames("6.9", "the reserved bit is passed over", FINE, window_update(0, 0x80000001))
frames("6.9.1", "a connection window of 2^31-1", FINE, window_update(0, 0x7fffffff - 65535))
frames("6.9.1", "a connection window above 2^31-1", connection(FLOW_CONTROL_ERROR),
       window_update(0, 0x7fffffff - 65535), window_update(0, 1))
behind("6.9.1", "a stream's window of 2^31-1", FINE_1, POST, window_update(1, 0x7fffffff - 65535),
       frame(DATA, END_STREAM, 1))
behind("6.9.1", "a stream's window above 2^31-1", stream(FLOW_CONTROL_ERROR), POST,
       window_update(1, 0x7fffffff - 65535), window_update(1, 1))
behind("6.9.1", "more DATA than a stream's window", either(FLOW_CONTROL_ERROR),
       [POST[0], POST[1], (":path", "/deaf"), POST[3]], *[frame(DATA, 0, 1, LARGE)] * 1000)
# The section says of the connection; nghttp2 resets the stream, and the others go on.
behind("6.9.2", "an initial window that makes another one too large", either(FLOW_CONTROL_ERROR), POST,
       window_update(1, 0x7fffffff - 65535), settings((INITIAL_WINDOW_SIZE, 65536)))

# ---- 6.10 CONTINUATION ----

frames("6.10", "CONTINUATION on stream 0", connection(PROTOCOL_ERROR),
       frame(CONTINUATION, END_HEADERS, 0, b""))
behind("6.10", "CONTINUATION behind a complete section", connection(PROTOCOL_ERROR), POST,
       frame(CONTINUATION, END_HEADERS, 1, b""))
behind("6.10", "CONTINUATION behind DATA", connection(PROTOCOL_ERROR), POST, frame(DATA, 0, 1, b"x"),
       frame(CONTINUATION, END_HEADERS, 1, b""))

# ---- RFC 9218: priorities ----


def update(number, value=b"u=1", on=0):
    return frame(PRIORITY_UPDATE, 0, on, struct.pack(">I", number) + value)


behind("9218.7.1", "PRIORITY_UPDATE on a stream", connection(PROTOCOL_ERROR), POST, update(1, on=1))
# The section wants PROTOCOL_ERROR; nghttp2 takes it for a stream that is over. It has no effect.
frames("9218.7.1", "PRIORITY_UPDATE of stream 0 is passed over", FINE, update(0))
frames("9218.7.1", "PRIORITY_UPDATE of a push that was not promised", connection(PROTOCOL_ERROR), update(2))
for n in (0, 3):
    frames("9218.7.1", f"PRIORITY_UPDATE of {n} bytes", connection(FRAME_SIZE_ERROR),
           frame(PRIORITY_UPDATE, 0, 0, b"\0" * n))
frames("9218.7.1", "PRIORITY_UPDATE of a stream to come", FINE, update(1), update(1, b"u=0, i"))
after("9218.7.1", "PRIORITY_UPDATE of a stream that is over", check_quiet, "ended", update(1))


@case("9218.7.1", "PRIORITY_UPDATE of more streams than may be open", connection(PROTOCOL_ERROR))
def _(client):
    client.ping()
    client.send(*(update(2 * i + 1) for i in range(129)))


for value in (b"", b"u=8", b"u=-1", b"u=7, i=?0", b"u=\"1\"", b"u", b"\xff\0", b"i;u=3", b"x=1",
              b"u=1" + b", x=y" * 300):
    frames("9218.4", f"a value that is unusual or none: {value[:20]!r}", FINE, update(1, value))
