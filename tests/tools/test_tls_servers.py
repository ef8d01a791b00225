"""The servers over TLS that tests put behind Lintel, asked by Python's own client: they show what they
were given, want what they were told to, and say what they saw."""
import http.client
import socket
import ssl

import pytest

from lib import pki
from lib.servers import SServer, TlsNginx, server_context
from lib.wait import eventually


@pytest.fixture(scope="module")
def root():
    return pki.Authority("Root")


def client_context(root, ours=None, directory=None):
    context = ssl.create_default_context(cadata=root.certificate)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if ours is not None:
        context.load_cert_chain(*ours.write(directory, "ours"))
    return context


def ask(port, context, name="a.example", session=None):
    """Returns the body and the session to resume."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, context.wrap_socket(
            plain, server_hostname=name, session=session) as sock:
        sock.sendall(b"GET /mark HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        response = http.client.HTTPResponse(sock)
        response.begin()
        return response.read(), sock.session


def test_nginx(tmp_path, root):
    ours = root.issue(common_name="lintel")
    server = TlsNginx(tmp_path, root.authority("Middle").issue("a.example"), clients=root)
    try:
        context = client_context(root, ours, tmp_path)
        body, session = ask(server.port, context)
        ask(server.port, context, session=session)
        lines = eventually(lambda: len(server.log_lines()) == 2 and server.log_lines(), what="log")
        assert body == b"nginx\n"
        assert lines[0] == "GET /mark HTTP/1.1 a.example TLSv1.3 . SUCCESS"
        assert lines[1] == "GET /mark HTTP/1.1 a.example TLSv1.3 r SUCCESS"
        assert b"No required SSL certificate" in ask(server.port, client_context(root))[0]
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server.port, context, name="b.example")
    finally:
        server.stop()


def test_s_server(tmp_path, root):
    ours = root.issue(common_name="lintel")
    server = SServer(tmp_path, root.issue("a.example"), "-tls1_2", clients=root)
    try:
        body, _ = ask(server.port, client_context(root, ours, tmp_path))
        said = server.answer(body)
        assert said["Protocol"] == "TLSv1.2" and b"lintel" in body
        with pytest.raises(OSError):
            ask(server.port, client_context(root))
    finally:
        server.stop()


@pytest.mark.parametrize("has_notice", [True, False])
def test_a_backend(tmp_path, root, stage, has_notice):
    ours = root.issue(common_name="lintel")
    backend = stage.backend(tls=server_context(root.issue("a.example"), clients=root),
                            ends_with_notice=has_notice)
    ask(backend.port, client_context(root, ours, tmp_path))
    tls = backend.wait_for_requests(1)[0].tls
    assert (tls.version, tls.name, tls.is_resumed) == ("TLSv1.3", "a.example", False)
    assert tls.client == ours.der
    with pytest.raises(OSError):
        ask(backend.port, client_context(root))
    eventually(lambda: backend.tls_failures, what="a handshake that fails")


@pytest.mark.parametrize("has_notice", [True, False])
def test_how_a_backend_ends(root, stage, has_notice):
    def script(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        exchange.end()
    backend = stage.backend(script, tls=server_context(root.issue("a.example")),
                            ends_with_notice=has_notice)
    with socket.create_connection(("127.0.0.1", backend.port), timeout=10) as plain, \
            client_context(root).wrap_socket(plain, server_hostname="a.example",
                                             suppress_ragged_eofs=False) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        got = b""
        if has_notice:
            while piece := sock.recv(100):
                got += piece
        else:
            with pytest.raises(ssl.SSLError, match="unexpected eof"):
                while piece := sock.recv(100):
                    got += piece
        assert got.endswith(b"some")
