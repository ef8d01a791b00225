"""A backend that trusts nothing: it keeps every byte it gets, parses requests by a strict reading of
its own, and calls whatever it cannot read so a breach. What it saw is what a real backend may see:
the desync detector of the adversarial and the fragmentation tests."""
import contextlib
import re
import selectors
import socket
import threading

from .wait import eventually

REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x22\x24-\x7e]+) HTTP/1\.1")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
# Names that frame a message or say who the client is: with '_' for '-' they must never pass, since
# CGI, WSGI and PHP servers take both for the same.
GUARDED = {"content-length", "transfer-encoding", "host", "connection", "proxy", "x-real-ip",
           "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"}
FOR_ONE_HOP = {"connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings",
               "proxy-authorization", "proxy-authenticate", "expect", "proxy"}
# What a proxy may say there for itself.
FOR_NEXT_HOP = {("connection", "keep-alive"), ("connection", "close"), ("connection", "upgrade"),
                ("upgrade", "websocket"), ("connection", "te"), ("te", "trailers")}


class Breach(ValueError):
    """Bytes that no proxy should have forwarded."""


class Seen:
    """One request as it arrived."""

    def __init__(self, head):
        self.head, self.body, self.raw_body = head, b"", b""
        lines = head[:-4].split(b"\r\n")
        match = REQUEST_LINE.fullmatch(lines[0])
        if not match:
            raise Breach(f"request line {lines[0]!r}")
        self.method, self.target = match[1].decode(), match[2].decode()
        self.fields = [self._field(line) for line in lines[1:]]
        self._check()

    @staticmethod
    def _field(line):
        match = FIELD_LINE.fullmatch(line)
        if not match:
            raise Breach(f"field line {line!r}")
        return match[1].decode().lower(), match[2].decode("latin-1")

    def _check(self):
        names = [name for name, _ in self.fields]
        if names.count("host") != 1:
            raise Breach(f"Host: {self.all('host')}")
        if "content-length" in names and "transfer-encoding" in names:
            raise Breach("both framings")
        if names.count("content-length") > 1 or not re.fullmatch(
                r"[0-9]{1,19}", self.get("content-length", "0")):
            raise Breach(f"Content-Length: {self.all('content-length')}")
        if self.all("transfer-encoding") not in ([], ["chunked"]):
            raise Breach(f"Transfer-Encoding: {self.all('transfer-encoding')}")
        spoofed = [name for name in names if "_" in name and name.replace("_", "-") in GUARDED]
        if spoofed:
            raise Breach(f"underscored {spoofed}")
        for name in {"te", "upgrade"}.intersection(names):  # RFC 9110 sections 7.8 and 10.1.4
            if name not in self.get("connection", "").lower():
                raise Breach(f"{name} that Connection does not name")
        for name in FOR_ONE_HOP.intersection(names):
            if (name, self.get(name).lower()) not in FOR_NEXT_HOP:
                raise Breach(f"hop-by-hop field {name}: {self.get(name)}")

    @property
    def line(self):
        return f"{self.method} {self.target}"

    def all(self, name):
        return [value for key, value in self.fields if key == name]

    def get(self, name, default=None):
        return next(iter(self.all(name)), default)


def read_chunks(data):
    """(body, bytes consumed) of a whole chunked body; None when more is needed."""
    body, at = b"", 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", data[at:end]):
            raise Breach(f"chunk size {data[at:end]!r}")
        n, at = int(data[at:end], 16), end + 2
        if n == 0:
            break
        if len(data) < at + n + 2:
            return None
        if data[at + n:at + n + 2] != b"\r\n":
            raise Breach("a chunk does not end with CRLF")
        body, at = body + data[at:at + n], at + n + 2
    if data[at:at + 2] == b"\r\n":
        return body, at + 2
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    for line in data[at:end].split(b"\r\n"):
        match = FIELD_LINE.fullmatch(line)
        if not match or match[1].lower().decode().replace("_", "-") in GUARDED | FOR_ONE_HOP:
            raise Breach(f"trailer {line!r}")
    return body, end + 4


class Connection:
    def __init__(self, sock):
        self.socket = sock
        self.data = b""     # all of it
        self.at = 0         # behind the last whole request

    def next(self):
        """The next whole request, or None."""
        end = self.data.find(b"\r\n\r\n", self.at)
        if end < 0:
            return None
        seen = Seen(self.data[self.at:end + 4])
        rest = self.data[end + 4:]
        if seen.get("transfer-encoding"):
            found = read_chunks(rest)
            if found is None:
                return None
            seen.body, n = found
        else:
            n = int(seen.get("content-length", "0"))
            if len(rest) < n:
                return None
            seen.body = rest[:n]
        seen.raw_body = rest[:n]
        self.at = end + 4 + n
        return seen


class Recorder:
    """Answers each whole request with 200 and a small body."""

    def __init__(self, name="recorder"):
        self.name = name
        self.seen, self.breaches, self.partial = [], [], []
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.is_stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.is_stopping:
            for key, _ in self.selector.select(0.2):
                if key.data is None:
                    sock, _ = self.listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.selector.register(sock, selectors.EVENT_READ, Connection(sock))
                else:
                    self._receive(key.data)

    def _receive(self, connection):
        try:
            piece = connection.socket.recv(1 << 18)
            connection.data += piece
            while (seen := connection.next()) is not None:
                self._answer(connection, seen)
        except Breach as breach:
            with self.lock:
                self.breaches.append((str(breach), connection.data[connection.at:][:400]))
            piece = b""
        except OSError:
            piece = b""
        if not piece:
            self._close(connection)

    def _answer(self, connection, seen):
        with self.lock:
            self.seen.append(seen)
        body = b"" if seen.method == "HEAD" else b"seen\n"
        connection.socket.sendall(b"HTTP/1.1 200 OK\r\nX-Backend: %s\r\nContent-Length: 5\r\n\r\n%s"
                                  % (self.name.encode(), body))

    def _close(self, connection):
        rest = connection.data[connection.at:]
        if rest:
            with self.lock:
                self.partial.append(rest)
        self.selector.unregister(connection.socket)
        connection.socket.close()

    def take(self):
        """(requests, breaches) since the last call."""
        with self.lock:
            found = self.seen, self.breaches
            self.seen, self.breaches, self.partial = [], [], []
        return found

    def wait_for(self, n):
        eventually(lambda: len(self.seen) >= n, what=f"{n} requests at {self.name}")

    def stop(self):
        self.is_stopping = True
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            with contextlib.suppress(OSError):
                key.fileobj.close()
        self.selector.close()
