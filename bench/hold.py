#!/usr/bin/env -S /usr/bin/python3 -B
"""Holds idle connections: hold.py PORT COUNT SOURCE [tls]. Each makes one request first; says "ready N"
when all stand, and ends when its standard input does. Of TLS only the socket is kept: nobody will
say anything over it."""
import resource
import socket
import ssl
import sys


def tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def main():
    port, count, source = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = b"GET /small HTTP/1.1\r\nHost: bench.local\r\n\r\n"
    context, held = tls_context() if sys.argv[4:] == ["tls"] else None, []
    for _ in range(min(count, hard - 32)):
        s = socket.socket()
        s.settimeout(10)
        try:
            s.bind((source, 0))
            s.connect(("127.0.0.1", port))
            if context:
                s = context.wrap_socket(s, server_hostname="bench.local")
            s.sendall(request)
            if not s.recv(4096).startswith(b"HTTP/1.1 200"):
                break
        except OSError:
            break
        held.append(socket.socket(fileno=s.detach()) if context else s)
    print(f"ready {len(held)}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
