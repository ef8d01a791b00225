"""HTTP/2 by hand: frames as they are wished for, and a reader that knows each frame and decodes
header sections strictly. Nothing is answered on its own but SETTINGS and PING, unless told not to.
The windows that Lintel gives are kept in mind, for those who want to heed them."""
import collections
import socket
import struct

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TIMEOUT_S = 20

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, \
    FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, \
    ENHANCE_YOUR_CALM = range(12)

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, \
    MAX_HEADER_LIST_SIZE = range(1, 7)
ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES, PRIORITY_UPDATE = 8, 9, 0x10

DEFAULT_WINDOW, WIDE = 65535, 1 << 30


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) \
        + payload


def settings(*pairs):
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def window_update(stream, n):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload
        self.fields = None

    @property
    def code(self):
        """Of RST_STREAM and GOAWAY."""
        at = 4 if self.kind == GOAWAY else 0
        return struct.unpack(">I", self.payload[at:at + 4])[0]

    @property
    def last_stream(self):
        return struct.unpack(">I", self.payload[:4])[0] & 0x7fffffff

    @property
    def is_end(self):
        return self.kind in (DATA, HEADERS) and self.flags & END_STREAM != 0

    def __repr__(self):
        return f"<{self.kind} flags={self.flags:#x} stream={self.stream} " \
               f"{self.fields or self.payload[:60]!r}>"


class Response:
    def __init__(self):
        self.status, self.fields, self.body, self.trailers = None, None, bytearray(), None
        self.interim, self.reset_code, self.is_complete = [], None, False

    def get(self, name, default=None):
        return dict(self.fields or []).get(name, default)

    @property
    def why(self):
        return self.get("x-lintel-reason")

    def __repr__(self):
        return f"<{self.status} {self.fields} {bytes(self.body[:200])!r} reset={self.reset_code}>"


class H2:
    """wide: takes whatever comes, as fast as it comes. receive: bytes of the socket's buffer."""

    def __init__(self, port, *, preface=True, settings_pairs=(), timeout=TIMEOUT_S, receive=None,
                 sock=None, wide=False, scheme="http"):
        self.socket = sock or socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.scheme = scheme
        self.socket.settimeout(timeout)
        if sock is None:
            self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = Encoder(), Decoder()
        self.unread, self.block = b"", None
        self.next_stream, self.answers, self.responses = 1, True, {}
        self.seen, self.goaway, self.is_closed, self.sent_n = [], None, False, 0
        self.counts = collections.Counter() # frames by kind
        self.window, self.windows, self.initial_window = DEFAULT_WINDOW, {}, DEFAULT_WINDOW
        if preface:
            pairs = [(INITIAL_WINDOW_SIZE, WIDE), *settings_pairs] if wide else settings_pairs
            self.send(PREFACE, settings(*pairs), window_update(0, WIDE) if wide else b"")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *pieces):
        data = b"".join(pieces)
        self.socket.sendall(data)
        self.sent_n += len(data)

    def new_stream(self):
        self.next_stream += 2
        return self.next_stream - 2

    def block_of(self, fields):
        return self.encoder.encode([(k.encode("latin-1"), v.encode("latin-1")) for k, v in fields])

    def head(self, path="/", host="a.test", method="GET", fields=()):
        return [(":method", method), (":scheme", self.scheme), (":path", path), (":authority", host),
                *fields]

    def headers(self, stream, fields, *, end=True, extra=0):
        block = self.block_of(fields)
        pieces = [block[at:at + 16384] for at in range(0, len(block), 16384)]
        out = frame(HEADERS, (END_STREAM if end else 0) | extra | (0 if pieces[1:] else END_HEADERS),
                    stream, pieces[0])
        for i, piece in enumerate(pieces[1:]):
            out += frame(CONTINUATION, END_HEADERS if i == len(pieces) - 2 else 0, stream, piece)
        return out

    def start(self, path="/", host="a.test", method="GET", fields=(), end=True):
        """Sends a request's head; returns the stream's number."""
        stream = self.new_stream()
        self.send(self.headers(stream, self.head(path, host, method, fields), end=end))
        return stream

    def data(self, stream, data=b"", end=False):
        self.send(frame(DATA, END_STREAM if end else 0, stream, data))
        self.windows[stream] = self.window_of(stream) - len(data)
        self.window -= len(data)

    def window_of(self, stream):
        return self.windows.setdefault(stream, self.initial_window)

    def room(self, stream):
        """Bytes of one DATA frame that Lintel must take now."""
        return max(0, min(16384, self.window, self.window_of(stream)))

    def send_some(self, stream, body, end=True):
        """As much of body as the windows allow; what is left."""
        while body and self.room(stream):
            piece, body = body[:self.room(stream)], body[self.room(stream):]
            self.data(stream, piece, end=end and not body)
        return body

    def send_body(self, stream, body, end=True):
        """All of it, waiting for the windows."""
        if not body and end:
            self.data(stream, end=True)
        while body := self.send_some(stream, body, end):
            self.read_frame()

    # ---- reading ----

    def _read(self, n):
        while len(self.unread) < n:
            data = self.socket.recv(65536)
            if not data:
                self.is_closed = True
                raise ConnectionError(f"closed; {self.goaway}")
            self.unread += data
        out, self.unread = self.unread[:n], self.unread[n:]
        return out

    def read_frame(self):
        head = self._read(9)
        n = int.from_bytes(head[:3], "big")
        got = Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), self._read(n))
        self._note(got)
        return got

    def _note(self, got):
        self.seen.append(got)
        self.counts[got.kind] += 1
        if got.kind in (HEADERS, CONTINUATION):
            self.block = (self.block or b"") + got.payload
            if got.flags & END_HEADERS:
                got.fields = [(k, v) for k, v in self.decoder.decode(self.block)]
                self.block = None
                self._note_fields(got)
        elif got.kind == DATA:
            self.of(got.stream).body += got.payload
        elif got.kind == RST_STREAM:
            response = self.of(got.stream)
            if not (response.is_complete and got.code == NO_ERROR):
                response.reset_code = got.code
        elif got.kind == GOAWAY:
            self.goaway = got
        elif got.kind == WINDOW_UPDATE:
            self._note_window(got.stream, int.from_bytes(got.payload, "big"))
        elif got.kind == SETTINGS and not got.flags & ACK:
            self._note_settings(got.payload)
            if self.answers:
                self.send(frame(SETTINGS, ACK))
        elif got.kind == PING and not got.flags & ACK and self.answers:
            self.send(frame(PING, ACK, 0, got.payload))
        if got.is_end:
            self.of(got.stream).is_complete = True

    def _note_window(self, stream, n):
        if stream == 0:
            self.window += n
        else:
            self.windows[stream] = self.window_of(stream) + n

    def _note_settings(self, payload):
        for at in range(0, len(payload), 6):
            name, value = struct.unpack(">HI", payload[at:at + 6])
            if name == INITIAL_WINDOW_SIZE:
                for stream in self.windows:
                    self.windows[stream] += value - self.initial_window
                self.initial_window = value

    def _note_fields(self, got):
        response = self.of(got.stream)
        first = got.fields[0]
        if first[0] != ":status":
            assert response.status and got.flags & END_STREAM, got
            response.trailers = got.fields
        elif first[1].startswith("1"):
            response.interim.append((int(first[1]), got.fields[1:]))
        else:
            assert response.status is None, got
            response.status, response.fields = int(first[1]), got.fields[1:]

    def of(self, stream):
        return self.responses.setdefault(stream, Response())

    def read_until(self, is_done):
        while not is_done():
            self.read_frame()

    def response(self, stream):
        """The complete response of a stream, or how far it came before its reset."""
        self.read_until(lambda: self.of(stream).is_complete or self.of(stream).reset_code is not None)
        return self.of(stream)

    def request(self, path="/", host="a.test", method="GET", fields=(), body=None):
        stream = self.start(path, host, method, fields, end=body is None)
        if body is not None:
            self.send_body(stream, body)
        return self.response(stream)

    def status(self, stream):
        """The head of a stream's response has come."""
        self.read_until(lambda: self.of(stream).status or self.of(stream).reset_code is not None)
        return self.of(stream).status

    def read_to_end(self):
        """Until the peer closes; what came is in seen, responses and goaway."""
        try:
            while True:
                self.read_frame()
        except ConnectionError:
            return self

    def ping(self):
        """Everything before is processed when this returns."""
        self.send(frame(PING, 0, 0, b"lintel-p"))
        n = len(self.seen)
        self.read_until(lambda: any(f.kind == PING and f.flags & ACK for f in self.seen[n:]))
