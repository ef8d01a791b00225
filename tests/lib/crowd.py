"""Many connections at once, without a thread for each: crowds of idle, slow and stuck peers."""
import contextlib
import resource
import select
import socket
import statistics
import time

from .client import Client, request_bytes


def connect(port, receive_bytes=None):
    sock = socket.socket()
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Crowd:
    """n connections that do the same."""

    def __init__(self, port, n, first=b"", receive_bytes=None):
        self.sockets = []
        for _ in range(n):
            sock = connect(port, receive_bytes)
            self.sockets.append(sock)
            if first:
                sock.sendall(first)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        while self.sockets:
            self.sockets.pop().close()

    def send(self, piece):
        """To each; those that Lintel has ended are passed over."""
        for sock in self.sockets:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(piece)

    def send_until_full(self, sock, piece):
        """As much as the kernel takes without waiting; the number of bytes."""
        sock.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while True:
                sent += sock.send(piece)
        sock.settimeout(30)
        return sent

    def ready(self):
        """Those with something to read: an answer, or the end of the connection."""
        poll = select.poll()
        numbers = {sock.fileno(): sock for sock in self.sockets}
        for number in numbers:
            poll.register(number, select.POLLIN)
        return [numbers[number] for number, _ in poll.poll(0)]

    def answers(self):
        """What each connection still gets until its end."""
        return [read_to_end(sock) for sock in self.sockets]


def read_to_end(sock):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            data += piece
    return data


def ask(sock, host, target="/"):
    """One request on a connection of a crowd."""
    sock.sendall(request_bytes(target=target, host=host))
    return read_response(sock)


def read_response(sock):
    client = Client.__new__(Client)
    client.socket, client.unread = sock, b""
    return client.read_response()


def latency(port, host, n=40, target="/", between=None):
    """Median time of a normal client's requests on one connection, in seconds; `between` is called
    before each of them. Every answer must be 200."""
    times = []
    with Client(port) as client:
        for _ in range(n):
            if between is not None:
                between()
            began = time.monotonic()
            assert client.request(target=target, host=host).status == 200
            times.append(time.monotonic() - began)
    return statistics.median(times)


def check_latency(alone, beside):
    """Generous: machines are loaded. Who waits for a slow peer even once waits far longer."""
    assert beside <= 10 * alone + 0.010, f"median {alone * 1e3:.2f} ms, then {beside * 1e3:.2f} ms"


def descriptors_to_spare():
    """How many connections this process, and another with the same limits, can hold."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - 1000
