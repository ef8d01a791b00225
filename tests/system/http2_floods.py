"""Floods of HTTP/2 frames: how each goes, what is due, and the limit that counts it. A table for
test_http2_floods.py.

An attack makes frames without end: begin(client) prepares a connection and returns a function of i
that gives the bytes of the i-th turn. due: codes of the GOAWAY that ends it, or SERVED where nothing
but the work it makes is to be bounded: then `turns` of them are sent. counter: of lintel_limits_total;
None: a fault that ends the connection at once needs none.
"""
import struct

from lib import h2

SERVED = ()
ATTACKS = {}


class Attack:
    def __init__(self, begin, due, counter, turns):
        self.begin, self.due, self.counter, self.turns = begin, due, counter, turns


def attack(name, due=(h2.ENHANCE_YOUR_CALM,), counter=None, turns=20_000):
    def note(begin):
        ATTACKS[name] = Attack(begin, due, counter, turns)
        return begin
    return note


def same(frame):
    """The same bytes again and again."""
    return lambda client: lambda i: frame


def repeat(name, frame, *due, counter=None, turns=20_000):
    ATTACKS[name] = Attack(same(frame), due or (h2.ENHANCE_YOUR_CALM,), counter, turns)


def requests(name, path, behind, *due, counter=None, fields=(), turns=20_000):
    """A new stream each turn, its request left open, and what comes behind it."""
    def begin(client):
        client.request() # its fields are in the tables now
        head = client.head(path, method="POST", fields=fields)

        def turn(_):
            stream = client.new_stream()
            return client.headers(stream, head, end=False) + behind(client, stream)
        return turn
    ATTACKS[name] = Attack(begin, due or (h2.ENHANCE_YOUR_CALM,), counter, turns)


# ---- streams that end at once: CVE-2023-44487, and those whose reset the peer provokes: CVE-2025-8671

requests("rapid reset", "/slow", lambda c, s: h2.reset(s), counter="http2_resets")
requests("rapid reset of requests that were answered", "/", lambda c, s: h2.reset(s),
         counter="http2_resets")
requests("a window that overflows", "/slow", lambda c, s: h2.window_update(s, 0x7fffffff),
         counter="http2_provoked")
requests("a body longer than its length", "/slow", lambda c, s: h2.frame(h2.DATA, 1, s, b"ab"),
         counter="http2_provoked", fields=[("content-length", "1")])
requests("a body shorter than its length", "/slow", lambda c, s: h2.frame(h2.DATA, 1, s),
         counter="http2_provoked", fields=[("content-length", "1")])
requests("trailers with a pseudo-field", "/slow",
         lambda c, s: c.headers(s, [(":path", "/")]), counter="http2_provoked")
requests("trailers that do not end", "/slow",
         lambda c, s: c.headers(s, [("x", "y")], end=False), counter="http2_provoked")
requests("a field that is none", "/slow", lambda c, s: b"", counter="http2_provoked",
         fields=[("connection", "x")])
requests("more streams than are allowed", "/slow", lambda c, s: b"", h2.PROTOCOL_ERROR)
requests("an increment of 0", "/slow", lambda c, s: h2.window_update(s, 0), h2.PROTOCOL_ERROR)
requests("DATA behind the end", "/slow",
         lambda c, s: h2.frame(h2.DATA, 1, s, b"a") + h2.frame(h2.DATA, 0, s, b"a"),
         h2.STREAM_CLOSED)
requests("HEADERS behind the end", "/slow",
         lambda c, s: h2.frame(h2.DATA, 1, s, b"a") + c.headers(s, [("x", "y")]), h2.STREAM_CLOSED)
requests("PRIORITY of 4 bytes", "/slow", lambda c, s: h2.frame(h2.PRIORITY, 0, s, b"\0\0\0\0"),
         h2.FRAME_SIZE_ERROR)
requests("more DATA than the window", "/deaf",
         lambda c, s: h2.frame(h2.DATA, 0, s, b"x" * 16384) * 300, turns=100, counter="http2_other")


@attack("empty HEADERS", counter="http2_provoked")
def _(client):
    return lambda i: h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, client.new_stream())


# ---- frames that are no part of a message

repeat("PING", h2.frame(h2.PING, 0, 0, b"12345678"), counter="http2_pings")
repeat("PING acknowledged unasked", h2.frame(h2.PING, h2.ACK, 0, b"12345678"), counter="http2_other")
repeat("SETTINGS", h2.settings((h2.INITIAL_WINDOW_SIZE, 65535)), counter="http2_settings")
repeat("SETTINGS that are empty", h2.settings(), counter="http2_settings")
repeat("SETTINGS acknowledged unasked", h2.frame(h2.SETTINGS, h2.ACK), h2.PROTOCOL_ERROR)
repeat("SETTINGS with too many entries", h2.settings(*[(0x4242, i) for i in range(33)]))
repeat("WINDOW_UPDATE of the connection", h2.window_update(0, 1), counter="http2_other")
repeat("unknown frames", h2.frame(0x42, 0, 0, b""), counter="http2_other")
repeat("unknown frames of 1,000 bytes", h2.frame(0x42, 0, 0, b"x" * 1000), counter="http2_other")
repeat("ALTSVC", h2.frame(0xa, 0, 0, b"\0\0h2=\":1\""), counter="http2_other")
repeat("ORIGIN", h2.frame(0xc, 0, 0, b"\0\1a"), counter="http2_other")
repeat("PRIORITY", h2.frame(h2.PRIORITY, 0, 1001, struct.pack(">IB", 0, 1)), counter="http2_other")
repeat("PUSH_PROMISE", h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, b"\0\0\0\2"), h2.PROTOCOL_ERROR)


@attack("WINDOW_UPDATE of a stream", counter="http2_other")
def _(client):
    stream = client.start("/slow", method="POST", end=False)
    return lambda i: h2.window_update(stream, 1)


@attack("GOAWAY", counter="http2_other")
def _(client): # the first one ends a connection without streams
    client.start("/slow")
    return lambda i: h2.frame(h2.GOAWAY, 0, 0, b"\0" * 8 + b"debug")


@attack("PRIORITY_UPDATE of one stream", counter="http2_other")
def _(client):
    return lambda i: h2.frame(h2.PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"u=%d" % (i % 8))


@attack("PRIORITY_UPDATE of idle streams", due=(h2.PROTOCOL_ERROR, h2.ENHANCE_YOUR_CALM))
def _(client): # RFC 9218 section 7.1: no more of them than may be open
    return lambda i: h2.frame(h2.PRIORITY_UPDATE, 0, 0, struct.pack(">I", 2 * i + 1) + b"u=1")


@attack("INITIAL_WINDOW_SIZE with all streams open", counter="http2_settings")
def _(client):
    for _ in range(100):
        client.start("/slow", method="POST", end=False)
    return lambda i: h2.settings((h2.INITIAL_WINDOW_SIZE, i % 2))


@attack("HEADER_TABLE_SIZE up and down", counter="http2_settings")
def _(client):
    return lambda i: h2.settings((h2.HEADER_TABLE_SIZE, i % 2 * 4096))


# ---- parts of messages that carry nothing

@attack("DATA without a byte", counter="http2_empty")
def _(client):
    stream = client.start("/slow", method="POST", end=False)
    return lambda i: h2.frame(h2.DATA, 0, stream)


@attack("DATA that is all padding", counter="http2_empty")
def _(client):
    stream = client.start("/slow", method="POST", end=False)
    return lambda i: h2.frame(h2.DATA, h2.PADDED, stream, b"\xff" + b"\0" * 255)


@attack("DATA on a stream that is over", counter="http2_other")
def _(client):
    client.request()
    return lambda i: h2.frame(h2.DATA, 0, 1, b"")


@attack("HEADERS on a stream that is over", counter="http2_other")
def _(client):
    client.request()
    block = client.block_of(client.head())
    return lambda i: h2.frame(h2.HEADERS, h2.END_HEADERS, 1, block)


@attack("CONTINUATION without end", counter="http2_continuations")
def _(client): # CVE-2024-24549 and its like
    client.send(h2.frame(h2.HEADERS, 0, client.new_stream(), client.block_of(client.head())))
    return lambda i: h2.frame(h2.CONTINUATION, 0, 1, b"\0\1x\1y")


@attack("CONTINUATION without a byte", counter="http2_continuations")
def _(client):
    client.send(h2.frame(h2.HEADERS, 0, client.new_stream(), client.block_of(client.head())))
    return lambda i: h2.frame(h2.CONTINUATION, 0, 1, b"")


# ---- HPACK

def local(client):
    """Fields of a request that Lintel answers itself, at once, and that need no dynamic table."""
    return b"\x82\x86\x84\x01\x0aother.test"


def with_large_entry(client, n=3900):
    """The newest entry of the dynamic table has n bytes; one byte names it. And a request that
    Lintel answers itself, at once."""
    block = local(client)
    client.request(fields=[("x-bomb", "b" * n)])
    return block, b"\xbe"


def sections(client, block):
    return lambda i: h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, client.new_stream(), block)


@attack("a section that unpacks without end", counter="head_bytes")
def _(client):
    block, bomb = with_large_entry(client)
    return sections(client, block + bomb * 10_000)


@attack("sections that unpack to 500 KB", due=SERVED, turns=300)
def _(client): # 431 each
    block, bomb = with_large_entry(client)
    return sections(client, block + bomb * 128)


@attack("sections that unpack to 30 KB and stay", counter="http2_provoked")
def _(client): # refused, until that is too often: limit http2_heads
    _, bomb = with_large_entry(client)
    return sections(client, b"\x82\x86\x04\x05/slow\x01\x06a.test" + bomb * 7)


@attack("cookie crumbs", due=SERVED, turns=500)
def _(client): # RFC 9113 section 8.2.3; 431 beyond HTTP2_COOKIE_CRUMBS_MAX
    client.request(fields=[("cookie", "a")])
    return sections(client, local(client) + b"\xbe" * 10_000)


@attack("many fields", due=SERVED, turns=500)
def _(client):
    return sections(client, local(client) + b"\x90" * 10_000)


@attack("table sizes within sections", due=SERVED, turns=1000)
def _(client): # RFC 7541 section 4.2: two of them are enough for anybody
    return sections(client, b"\x20\x3f\xe1\x1f" * 2000 + local(client))


@attack("entries that evict each other", due=SERVED, turns=1000)
def _(client):
    return sections(client, local(client) + b"".join(
        b"\x40\x02x%c\x7f\xd1\x0e" % (97 + i) + b"v" * 2000 for i in range(8)))


# ---- what is allowed costs no more than it is worth

@attack("DATA byte by byte", due=SERVED)
def _(client):
    stream = client.start("/up", method="POST", end=False)
    return lambda i: h2.frame(h2.DATA, 0, stream, b"x")


@attack("DATA with more padding than bytes", due=SERVED, turns=2000)
def _(client):
    stream = client.start("/up", method="POST", end=False)
    return lambda i: h2.frame(h2.DATA, h2.PADDED, stream, b"\xffx" + b"\0" * 255)
