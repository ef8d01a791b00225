#!/usr/bin/env -S /usr/bin/python3 -B
"""Holds idle connections: hold.py PORT COUNT SOURCE. Each makes one request first; says "ready N" when
all stand, and ends when its standard input does."""
import resource
import socket
import sys


def main():
    port, count, source = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = b"GET /small HTTP/1.1\r\nHost: bench.local\r\n\r\n"
    held = []
    for _ in range(min(count, hard - 32)):
        s = socket.socket()
        s.settimeout(10)
        try:
            s.bind((source, 0))
            s.connect(("127.0.0.1", port))
            s.sendall(request)
            if not s.recv(4096).startswith(b"HTTP/1.1 200"):
                break
        except OSError:
            break
        held.append(s)
    print(f"ready {len(held)}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
