"""Programmable servers to stand behind Lintel.

A backend listens on every loopback address at one port, and can tell by the address that was dialed
which endpoint it is: thousands of endpoints (127.a.b.c) need just one of it. Without a script it
answers 200 with what it saw, as JSON. A script is a function that takes an Exchange.
"""
import contextlib
import hashlib
import json
import socket
import struct
import threading

from .wait import eventually


class Request:
    def __init__(self, method, target, fields, address, connection):
        self.method, self.target, self.fields = method, target, fields
        self.address = address        # that the client, Lintel, dialed
        self.connection = connection  # number of the connection, from 1
        self.body = None              # once it was read
        self.tls = None               # a Tls, when it came over TLS

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default


class Exchange:
    """One request on a connection, and everything a script may do with it."""

    def __init__(self, connection, request):
        self.connection, self.request = connection, request
        self.is_over = False  # the connection ends after this exchange

    def read_body(self):
        request, reader = self.request, self.connection.reader
        coding, length = request.get("transfer-encoding"), request.get("content-length")
        if coding is not None:
            assert coding.lower() == "chunked" and length is None, request.fields
            request.body = read_chunks(reader)
        else:
            request.body = read_exactly(reader, int(length or 0))
        return request.body

    def send(self, *pieces):
        for piece in pieces:
            self.connection.socket.sendall(piece)

    def respond(self, status=200, body=b"", fields=(), *, is_chunked=False, step=None):
        lines = [f"HTTP/1.1 {status} Status"] + [f"{k}: {v}" for k, v in fields]
        lines.append("Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if self.request.method == "HEAD":
            return
        step = step or max(1, len(body))
        for at in range(0, len(body), step):
            piece = body[at:at + step]
            self.send(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
        if is_chunked:
            self.send(b"0\r\n\r\n")

    def end(self):
        """Closes in good order."""
        self.is_over = True

    def reset(self):
        """Closes with a reset."""
        self.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                          struct.pack("ii", 1, 0))
        self.is_over = True


def echo(exchange):
    """The script that is used when there is no other."""
    request = exchange.request
    body = exchange.read_body()
    text = json.dumps({
        "method": request.method, "target": request.target, "fields": request.fields,
        "address": request.address, "connection": request.connection, "backend":
        exchange.connection.backend.name, "body_n": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest()}).encode()
    exchange.respond(body=text, fields=[("Content-Type", "application/json"),
                                        ("X-Backend", request.address)])


def read_exactly(reader, n):
    data = reader.read(n)
    if len(data) != n:
        raise ConnectionError("the body ended early")
    return data


def read_chunks(reader):
    body = b""
    while True:
        n = int(reader.readline().split(b";")[0], 16)
        if n == 0:
            while reader.readline() not in (b"\r\n", b""):
                pass
            return body
        body += read_exactly(reader, n)
        end = read_exactly(reader, 2)
        assert end == b"\r\n", end


class Tls:
    """What a handshake came to."""

    def __init__(self, sock):
        self.version, self.is_resumed = sock.version(), sock.session_reused
        self.name = getattr(sock, "lintel_name", None)  # that was asked for (SNI)
        self.protocol = sock.selected_alpn_protocol()
        self.client = sock.getpeercert(binary_form=True)  # the client's certificate in DER


class Connection:
    def __init__(self, backend, sock, number):
        self.backend, self.socket, self.number = backend, sock, number
        self.reader = sock.makefile("rb")
        self.address = sock.getsockname()[0]
        self.tls = None

    def shake(self, context):
        self.reader.close()
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.reader = self.socket.makefile("rb")
        self.tls = Tls(self.socket)

    def say_goodbye(self):
        """close_notify, without waiting for the peer's."""
        self.socket.setblocking(False)
        with contextlib.suppress(OSError, ValueError):
            self.socket.unwrap()

    def serve(self):
        while True:
            request = self.read_head()
            if request is None:
                return
            request.tls = self.tls
            exchange = Exchange(self, request)
            self.backend.note(request)
            self.backend.script(exchange)
            if exchange.is_over or (request.get("connection") or "").lower() == "close":
                return

    def read_head(self):
        line = self.reader.readline().decode("latin-1")
        if not line:
            return None
        method, target, _ = line.rstrip("\r\n").split(" ", 2)
        fields = []
        while True:
            line = self.reader.readline().decode("latin-1").rstrip("\r\n")
            if not line:
                return Request(method, target, fields, self.address, self.number)
            name, _, value = line.partition(":")
            fields.append((name, value.strip()))

    def close(self):
        # The descriptor is shared with the reader: shut down first, so that the peer sees an end.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.reader.close()
        self.socket.close()


class Backend:
    """tls: an ssl.SSLContext (servers.server_context()); handshakes that fail are in tls_failures.
    ends_with_notice: a connection over TLS ends with close_notify, which many servers leave out.
    receive: bytes of a connection's receive buffer, so that few lie there unread."""

    def __init__(self, script=echo, name="backend", port=0, family=socket.AF_INET, *, tls=None,
                 ends_with_notice=True, receive=None):
        self.script, self.name = script, name
        self.tls, self.ends_with_notice, self.tls_failures = tls, ends_with_notice, []
        self.lock = threading.Lock()
        self.requests, self.open, self.connection_n = [], set(), 0
        self.keeps_requests = True
        self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive: # inherited by what is accepted
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.listener.bind(("::1" if family == socket.AF_INET6 else "0.0.0.0", port))
        self.listener.listen(512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connection_n += 1
                connection = Connection(self, sock, self.connection_n)
                self.open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _shake(self, connection):
        try:
            connection.shake(self.tls)
        except OSError as error:
            with self.lock:
                self.tls_failures.append(str(error))
            raise

    def _serve(self, connection):
        try:
            if self.tls is not None:
                self._shake(connection)
            connection.serve()
            if self.tls is not None and self.ends_with_notice:
                connection.say_goodbye()
        except (OSError, ValueError):
            pass # the peer went away, or sent what is no HTTP: tests look at what was recorded
        finally:
            with self.lock:
                self.open.discard(connection)
            # A linger option set by reset() must see a plain close.
            with contextlib.suppress(OSError):
                connection.reader.close()
                connection.socket.close()

    def note(self, request):
        with self.lock:
            if self.keeps_requests:
                self.requests.append(request)

    def wait_for_requests(self, n):
        eventually(lambda: len(self.requests) >= n, what=f"{n} requests at {self.name}")
        return self.requests

    def close_connections(self):
        """Ends every open connection, idle or not."""
        with self.lock:
            connections = list(self.open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def stop(self):
        """No new connections are taken (they are refused), the open ones end."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.close_connections()


class RefusedPort:
    """A port that is ours and at which nobody listens: connecting is refused."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def stop(self):
        self.socket.close()
