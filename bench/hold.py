#!/usr/bin/env -S /usr/bin/python3 -B
"""Holds idle connections: hold.py PORT COUNT SOURCE [tls|h2]. Each makes one request first; says "ready
N" when all stand, and ends when its standard input does. Of TLS only the socket is kept: nobody will
say anything over it."""
import resource
import socket
import ssl
import sys


BODY_BYTES = 128
GET = b"GET /small HTTP/1.1\r\nHost: bench.local\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


# RFC 9113 section 3.4, RFC 7541 appendix A: GET, https, then path and authority as they are
GET2 = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(4, 1, 0) +
        frame(1, 5, 1, b"\x82\x87\x04\x06/small\x01\x0bbench.local"))


def is_answered(s, is_h2):
    """Everything has come, up to the end of the body."""
    held = b""
    while b"x" * BODY_BYTES not in held:
        piece = s.recv(4096)
        if not piece:
            return False
        held += piece
    return is_h2 or held.startswith(b"HTTP/1.1 200")


def tls_context(is_h2):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"] if is_h2 else ["http/1.1"])
    return context


def main():
    port, count, source = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    is_h2, held = sys.argv[4:] == ["h2"], []
    context = tls_context(is_h2) if sys.argv[4:] else None
    for _ in range(min(count, hard - 32)):
        s = socket.socket()
        s.settimeout(10)
        try:
            s.bind((source, 0))
            s.connect(("127.0.0.1", port))
            if context:
                s = context.wrap_socket(s, server_hostname="bench.local")
            s.sendall(GET2 if is_h2 else GET)
            if not is_answered(s, is_h2):
                break
        except OSError:
            break
        held.append(socket.socket(fileno=s.detach()) if context else s)
    print(f"ready {len(held)}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
