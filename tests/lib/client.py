"""A raw HTTP/1.1 client: sends exactly the bytes it is told to, in the pieces it is told to, and
reads responses strictly, so that a malformed one is a failure and never repaired."""
import json
import socket

TIMEOUT_S = 30


class Response:
    def __init__(self, status, reason, fields, body):
        self.status, self.reason, self.fields, self.body = status, reason, fields, body

    def __repr__(self):
        return f"<{self.status} {dict(self.fields)} {self.body[:200]!r}>"

    def __getitem__(self, name):
        """The value of a field that must be there exactly once."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in {self}"
        return values[0]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    @property
    def why(self):
        """Lintel's own reason; None when the upstream answered."""
        return self.get("x-lintel-reason")

    @property
    def echo(self):
        """What the echo backend saw of the request."""
        return json.loads(self.body)


class Closed(ConnectionError):
    """The peer closed where a response, or more of it, was due."""


class Client:
    def __init__(self, port, host="127.0.0.1", timeout=TIMEOUT_S, source=None):
        self.socket = socket.create_connection((host, port), timeout=timeout,
                                               source_address=source and (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, *pieces):
        """Each piece in a write of its own."""
        for piece in pieces:
            self.socket.sendall(piece if isinstance(piece, bytes) else piece.encode("latin-1"))

    def send_in_steps(self, data, step):
        self.send(*(data[i:i + step] for i in range(0, len(data), step)))

    def shutdown(self):
        """No more from us; still reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def request(self, method="GET", target="/", host="example.com", fields=(), body=None,
                is_head=None):
        self.send(request_bytes(method, target, host, fields, body))
        return self.read_response(is_head=method == "HEAD" if is_head is None else is_head)

    def _more(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise Closed(f"closed after {self.unread[:200]!r}")
        self.unread += piece

    def read_until(self, mark):
        while mark not in self.unread:
            self._more()
        head, _, self.unread = self.unread.partition(mark)
        return head

    def read_exactly(self, n):
        while len(self.unread) < n:
            self._more()
        data, self.unread = self.unread[:n], self.unread[n:]
        return data

    def read_to_end(self):
        """Everything until the peer closes in good order."""
        while True:
            piece = self.socket.recv(65536)
            if not piece:
                data, self.unread = self.unread, b""
                return data
            self.unread += piece

    def is_closed_by_peer(self):
        """Waits for the end of the connection; false when bytes come instead."""
        try:
            return self.unread == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def read_head(self):
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, reason = lines[0].split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), lines[0]
        fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon and name and name == name.strip(), f"malformed field line {line!r}"
            fields.append((name, value.strip(" \t")))
        return Response(int(status), reason, fields, b"")

    def read_response(self, is_head=False):
        """The next final response; interim ones are read and dropped."""
        while True:
            response = self.read_head()
            if response.status >= 200:
                break
        lengths, codings = response.all("content-length"), response.all("transfer-encoding")
        assert not (lengths and codings), f"both framings: {response}"
        if is_head or response.status in (204, 304):
            return response
        if codings:
            assert codings == ["chunked"], response
            response.body = self.read_chunks()
        elif lengths:
            assert len(lengths) == 1, response
            response.body = self.read_exactly(int(lengths[0]))
        else:
            response.body = self.read_to_end()
        return response

    def read_chunks(self):
        body = b""
        while True:
            n = int(self.read_until(b"\r\n").split(b";")[0], 16)
            if n == 0:
                while self.read_until(b"\r\n"):
                    pass # trailer field
                return body
            body += self.read_exactly(n)
            assert self.read_exactly(2) == b"\r\n", "a chunk does not end with CRLF"


def request_bytes(method="GET", target="/", host="example.com", fields=(), body=None):
    lines = [f"{method} {target} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def fetch(port, target="/", host="example.com", method="GET", fields=(), body=None):
    """One request on a connection of its own."""
    with Client(port) as client:
        return client.request(method, target, host, fields, body)
