"""A crowd in a process of its own: more connections than one process may have descriptors.

Run as a program it holds the connections and does what its standard input says.
"""
import os
import socket
import subprocess
import sys

from .crowd import ask, descriptors_to_spare


class FarCrowd:
    """n connections from `source`, an address of the loopback, as each has its own ports. With a
    host, each makes one request for it first."""

    def __init__(self, port, n, source, host=""):
        self.n = n
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lib.far_crowd", str(port), str(n), source, host], text=True,
            cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        status = self.process.wait(60)
        self.process.stdout.close()
        assert status == 0, status

    def wait(self):
        """Until all stand."""
        assert self.process.stdout.readline() == f"{self.n}\n"
        return self

    def ask(self, step, host):
        """One request on each step-th connection; how many were answered with 200."""
        print(step, host, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


def connect(port, source):
    sock = socket.socket()
    sock.settimeout(30)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", port))
    return sock


def main(port, n, source, host):
    descriptors_to_spare() # raises the limit
    sockets = []
    for _ in range(int(n)):
        sock = connect(int(port), source)
        if host:
            assert ask(sock, host).status == 200
        sockets.append(sock)
    print(len(sockets), flush=True)
    for line in sys.stdin:
        step, host = line.split()
        print(sum(ask(sock, host).status == 200 for sock in sockets[::int(step)]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
