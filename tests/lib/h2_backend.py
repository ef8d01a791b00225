"""Programmable HTTP/2 servers to stand behind Lintel, by hand: a script for each connection, which
says every frame. The default one answers every request with 200 and "ok"."""
import contextlib
import socket
import threading

from . import h2
from .h2 import H2


class Connection(H2):
    """The server's end. requests: fields by stream; bodies by stream are in of(stream).body."""

    def __init__(self, backend, sock, number):
        super().__init__(backend.port, preface=False, sock=sock)
        self.backend, self.number = backend, number
        self.requests, self.trailers, self.order = {}, {}, []
        self.fault = None  # an assertion that failed in the script

    def read_until_preface(self):
        assert self._read(len(h2.PREFACE)) == h2.PREFACE

    def greet(self, *pairs):
        """Reads the preface and sends SETTINGS."""
        self.read_until_preface()
        self.send(h2.settings(*pairs))

    def _note_fields(self, got):
        if got.stream in self.requests:
            self.trailers[got.stream] = got.fields
        else:
            self.requests[got.stream] = got.fields
            self.order.append(got.stream)
            self.backend.note(self, got.stream, got.fields)

    def next_request(self):
        """The number of the stream of a request that no call has told of yet."""
        self.read_until(lambda: self.order)
        return self.order.pop(0)

    def read_request(self):
        """The same, and its body is complete."""
        stream = self.next_request()
        self.read_until(lambda: self.of(stream).is_complete)
        return stream

    def field(self, stream, name):
        return dict(self.requests[stream]).get(name)

    def answer(self, stream, body=b"ok", status="200", fields=(), end=True):
        self.send(self.headers(stream, [(":status", status), *fields], end=end and not body))
        for at in range(0, len(body), 16384):
            self.data(stream, body[at:at + 16384], end=end and at + 16384 >= len(body))

    def serve(self):
        """Answers whatever comes, until the end."""
        while True:
            self.answer(self.read_request())

    def drain(self):
        """Reads to the end."""
        with contextlib.suppress(OSError):
            self.read_to_end()


def serve(connection):
    connection.greet()
    connection.serve()


class H2Backend:
    """Connections take the scripts given to script() first, then the default."""

    def __init__(self, default=serve):
        self.default, self.scripts = default, []
        self.lock = threading.Lock()
        self.connections, self.requests, self.faults = [], [], []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("0.0.0.0", 0))
        self.listener.listen(512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def script(self, *scripts):
        """For the next connections, one each."""
        with self.lock:
            self.scripts += scripts

    def note(self, connection, stream, fields):
        with self.lock:
            self.requests.append((connection, stream, dict(fields)))

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                connection = Connection(self, sock, len(self.connections) + 1)
                self.connections.append(connection)
                script = self.scripts.pop(0) if self.scripts else self.default
            threading.Thread(target=self._run, args=(connection, script), daemon=True).start()

    def _run(self, connection, script):
        try:
            script(connection)
        except OSError:
            pass  # Lintel went away: tests look at what was recorded
        except AssertionError as error:
            with self.lock:
                self.faults.append(error)
        finally:
            connection.socket.close()

    def check(self):
        """No assertion of a script has failed."""
        with self.lock:
            if self.faults:
                raise self.faults[0]

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
