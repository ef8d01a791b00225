"""TLS that goes on to the endpoints as it is: whose certificate a client sees, what becomes of each
ClientHello, tunnels from their first byte to their last, and PROXY headers ahead of them."""
import contextlib
import socket
import ssl
import threading
import time

import pytest

from lib.client import Client, Closed
from lib.lintel import command, free_port
from lib.manifests import (app, endpoint_slice, ingress, ingress_class, rule, service, tls,
                           tls_secret)
from lib.pki import CLIENT, Authority
from lib.proxies import TlsHaproxyReader, TlsNginxReader, v1, v2
from lib.servers import SServer, TlsNginx, server_context
from lib.settings import covers
from lib.tls import TlsClient, context, refusal
from lib.wait import always, eventually

PASSED = {"nginx.ingress.kubernetes.io/ssl-passthrough": "true"}
HEADER = "lintel.dev/passthrough-proxy-protocol"
HELLO_BYTES_MAX = 16384  # CLIENT_HELLO_BYTES_MAX


class World:
    """Certificates: what the endpoints show and what Lintel does; root has signed both."""

    def __init__(self):
        self.root = Authority("Root")
        self.theirs = self.root.issue("p.test", "x.w.test")
        self.ours = self.root.issue("p.test", "t.test", "*.w.test")


@pytest.fixture(scope="module", name="world")
def make_world():
    return World()


def passed(name="passed", host="p.test", to="app:443", *, annotations=None, **more):
    return ingress(name, rule(host, ("/", "Prefix", to)),
                   annotations={**PASSED, **(annotations or {})}, **more)


def terminated(*hosts):
    return ingress("terminated", *(rule(host, ("/", "Prefix", "plain:80")) for host in hosts),
                   tls=[tls("ours", *hosts)])


def objects(world, port, *more, addresses=("127.0.0.1",), plain=None):
    """plain: the port of the endpoint behind TLS that ends at Lintel."""
    return [ingress_class(), tls_secret("ours", world.ours), *more,
            *app("app", port, *addresses, port=443), *app("plain", plain or port)]


def serve(stage, world, port, *more, arguments=(), addresses=("127.0.0.1",), plain=None, **options):
    return stage.run(*objects(world, port, *more, addresses=addresses, plain=plain),
                     arguments=["--enable-ssl-passthrough", *arguments], **options)


def tls_backend(stage, world, **options):
    return stage.backend(tls=server_context(world.theirs, **options))


def is_theirs(lintel, world, name="p.test"):
    """The endpoint answers the handshake, and not Lintel."""
    with TlsClient(lintel.https_port, name, trusts=[world.root]) as client:
        assert client.certificate in (world.theirs.der, world.ours.der)
        return client.certificate == world.theirs.der


def hellos(lintel, result):
    return lintel.counter("lintel_client_hellos_total", result=result)


def tunnels(lintel):
    return lintel.counter("lintel_tunnels")


class RawServer:
    """What it makes of a connection is the script's business: it gets the socket, in a thread."""

    def __init__(self, script):
        self.script, self.connections = script, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        with contextlib.suppress(OSError):
            self.script(connection)

    def stop(self):
        self.listener.close()
        for connection in self.connections:
            connection.close()


def raw_server(stage, script):
    made = RawServer(script)
    stage.others.append(made)
    return made


def read_all(sock):
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


class Handshake:
    """A TLS client whose bytes the test carries, to cut the first ones as it likes."""

    def __init__(self, name, made=None):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = (made or context()).wrap_bio(self.incoming, self.outgoing,
                                                   server_hostname=name)
        with pytest.raises(ssl.SSLWantReadError):
            self.object.do_handshake()
        self.hello = self.outgoing.read()

    def finish(self, sock):
        """Behind the ClientHello; the certificate that was shown."""
        while True:
            try:
                self.object.do_handshake()
                sock.sendall(self.outgoing.read())
                return self.object.getpeercert(binary_form=True)
            except ssl.SSLWantReadError:
                sock.sendall(self.outgoing.read())
                data = sock.recv(65536)
                if not data:
                    raise Closed("closed during the handshake") from None
                self.incoming.write(data)


def as_records(hello, step):
    """The same message in records of step bytes each."""
    message = hello[5:]
    return b"".join(b"\x16\x03\x01" + len(message[i:i + step]).to_bytes(2, "big") +
                    message[i:i + step] for i in range(0, len(message), step))


def hello_of(name, n):
    """A handshake whose ClientHello is n bytes long, by the protocols that it offers: each takes a
    byte more than its name has."""
    def made(offered_n):
        sizes = [100] * (offered_n // 100 - 1) + [100 + offered_n % 100]
        return Handshake(name, context(alpn=["http/1.1", *("x" * (size - 1) for size in sizes)]))
    return made(1000 + n - len(made(1000).hello))


# ---- whose certificate ----

def test_the_endpoint_answers_the_handshake(stage, world):
    """Beside a host whose TLS ends here, on the same port."""
    backend, plain = tls_backend(stage, world), stage.backend()
    lintel = serve(stage, world, backend.port, passed(), terminated("t.test"), plain=plain.port)
    with TlsClient(lintel.https_port, "p.test", trusts=[world.root]) as client:
        assert client.certificate == world.theirs.der
        fields = client.request(host="p.test").echo["fields"]
        assert not [name for name, _ in fields if name.lower().startswith("x-")]
    with TlsClient(lintel.https_port, "t.test", trusts=[world.root]) as client:
        assert client.certificate == world.ours.der
        assert dict(client.request(host="t.test").echo["fields"])["X-Forwarded-Proto"] == "https"
    assert [request.tls.name for request in backend.requests] == ["p.test"]
    assert (hellos(lintel, "passed"), hellos(lintel, "terminated")) == (1, 1)


def test_the_access_log(stage, world):
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed())
    with context().wrap_socket(socket.create_connection(
            ("127.0.0.1", lintel.https_port), source_address=("127.0.0.9", 0)),
            server_hostname="p.test") as made:
        made.sendall(b"GET / HTTP/1.1\r\nHost: p.test\r\nConnection: close\r\n\r\n")
        assert read_all(made).startswith(b"HTTP/1.1 200")
        made.unwrap()
    line = lintel.wait_access_log_json(protocol="tcp/passthrough")
    assert line["remote_addr"] == "127.0.0.9" and line["host"] == "p.test"
    # the client's close_notify may come when the endpoint is gone: a tunnel cannot tell it from a cut
    assert line["reason"] in ("none", "upstream_cut")
    assert f"127.0.0.1:{backend.port}" in str(line)


@pytest.mark.parametrize("server", [TlsNginx, SServer])
def test_real_servers(stage, world, tmp_path, server):
    made = server(tmp_path / "server", world.theirs)
    stage.others.append(made)
    lintel = serve(stage, world, made.port, passed())
    with TlsClient(lintel.https_port, "p.test", trusts=[world.root]) as client:
        assert client.certificate == world.theirs.der
        client.send("GET / HTTP/1.1\r\nHost: p.test\r\nConnection: close\r\n\r\n")
        assert client.read_head().status == 200


def test_sessions_of_the_endpoint_are_resumed(stage, world, tmp_path):
    """They are the endpoint's; nothing of TLS is Lintel's."""
    made = TlsNginx(tmp_path / "nginx", world.theirs, protocols="TLSv1.2")
    stage.others.append(made)
    lintel = serve(stage, world, made.port, passed())
    own = context()
    with TlsClient(lintel.https_port, "p.test", made=own) as client:
        session = client.socket.session
    with TlsClient(lintel.https_port, "p.test", made=own, session=session) as client:
        assert client.socket.session_reused


def test_certificates_of_clients_reach_the_endpoint(stage, world):
    backend = tls_backend(stage, world, clients=world.root)
    lintel = serve(stage, world, backend.port, passed())
    alice = world.root.issue("alice", uses=(CLIENT,))
    with TlsClient(lintel.https_port, "p.test", identity=alice) as client:
        assert client.request(host="p.test").status == 200
    assert backend.requests[0].tls.client == alice.der


def test_wildcard_and_exact_side_by_side(stage, world):
    """A star is not passed through, though its Ingress asks for it."""
    backend, plain = tls_backend(stage, world), stage.backend()
    wild = ingress("wild", rule("*.w.test", ("/", "Prefix", "plain:80")),
                   tls=[tls("ours", "*.w.test")], annotations=PASSED)
    lintel = serve(stage, world, backend.port, wild, passed(host="x.w.test"), plain=plain.port)
    assert is_theirs(lintel, world, "x.w.test")
    assert not is_theirs(lintel, world, "y.w.test")
    with TlsClient(lintel.https_port, "y.w.test") as client:
        assert client.request(host="y.w.test").status == 200


def test_no_name_and_other_names(stage, world):
    """Get the default certificate."""
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed())
    for name in (None, "q.test", "x.p.test"):
        with TlsClient(lintel.https_port, name) as client:
            assert client.certificate not in (world.theirs.der, world.ours.der)
    assert (hellos(lintel, "passed"), hellos(lintel, "terminated")) == (0, 3)
    assert backend.connection_n == 0


def test_plain_requests_have_their_routes(stage, world):
    backend = tls_backend(stage, world)
    both = passed(annotations={"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"})
    lintel = serve(stage, world, backend.port, both)
    assert lintel.fetch(host="p.test").status == 200
    assert backend.requests[0].get("x-forwarded-proto") == "http"
    assert is_theirs(lintel, world)


def test_a_request_on_a_connection_for_another_host(stage, world):
    """The certificate covers both, so browsers try; 421 makes them open one that is passed through."""
    backend, plain = tls_backend(stage, world), stage.backend()
    lintel = serve(stage, world, backend.port, passed(), terminated("t.test"), plain=plain.port)
    with TlsClient(lintel.https_port, "t.test") as client:
        response = client.request(host="p.test")
        assert (response.status, response.why) == (421, "misdirected")
        assert client.request(host="t.test").status == 200
    assert not backend.requests


def test_off_by_default(stage, world):
    backend, plain = tls_backend(stage, world), stage.backend()
    lintel = stage.run(*objects(world, backend.port, passed(to="plain:80", tls=[tls("ours", "p.test")]),
                                plain=plain.port))
    assert not is_theirs(lintel, world)
    assert "--enable-ssl-passthrough" in lintel.log()
    assert hellos(lintel, "terminated") == 0


# ---- the ClientHello ----

@pytest.mark.parametrize("cut", [
    lambda hello: [bytes([byte]) for byte in hello],
    lambda hello: [as_records(hello, 1)],
    lambda hello: [bytes([byte]) for byte in as_records(hello, 7)],
    lambda hello: [hello[:5], hello[5:]]], ids=["bytes", "records", "both", "head"])
@pytest.mark.parametrize("name", ["p.test", "t.test"])
def test_in_pieces(stage, world, cut, name):
    backend, plain = tls_backend(stage, world), stage.backend()
    lintel = serve(stage, world, backend.port, passed(), terminated("t.test"), plain=plain.port)
    shake = Handshake(name)
    with Client(lintel.https_port) as client:
        client.send(*cut(shake.hello))
        shown = shake.finish(client.socket)
    assert shown == (world.theirs if name == "p.test" else world.ours).der


def test_the_longest_one(stage, world):
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed())
    shake = hello_of("p.test", HELLO_BYTES_MAX)
    assert len(shake.hello) == HELLO_BYTES_MAX
    with Client(lintel.https_port) as client:
        client.send(shake.hello)
        assert shake.finish(client.socket) == world.theirs.der


@pytest.mark.parametrize("n", [HELLO_BYTES_MAX + 1, 3 * HELLO_BYTES_MAX])
def test_one_that_is_too_long(stage, world, n):
    """Refused by an alert, instead of shown a certificate that is not the host's."""
    backend, plain = tls_backend(stage, world), stage.backend()
    lintel = serve(stage, world, backend.port, passed(tls=[tls("ours", "p.test")]),
                   terminated("t.test"), plain=plain.port)
    for name, is_served in (("p.test", False), ("t.test", True)):
        shake = hello_of(name, n)
        assert len(shake.hello) >= n
        with Client(lintel.https_port) as client:
            client.send(shake.hello)
            if is_served:
                assert shake.finish(client.socket) == world.ours.der
            else:
                with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
                    shake.finish(client.socket)
    assert hellos(lintel, "too_long") == 2 and backend.connection_n == 0


@pytest.mark.parametrize("start,result", [(b"GET / HTTP/1.1\r\n\r\n", "unreadable"),
                                          (b"\x16\x03\x01\x00\x00", "unreadable"),
                                          (b"\x16\x03\x01\x02\x00\x01\x00", "cut")])
def test_what_is_none(stage, world, start, result):
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed())
    with Client(lintel.https_port) as client:
        client.send(start)
        client.shutdown()
        with contextlib.suppress(ConnectionResetError):
            client.read_to_end()
    eventually(lambda: hellos(lintel, result) == 1)
    assert is_theirs(lintel, world)


def test_a_slow_one_ends(stage, world):
    """By the same time as any handshake."""
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed(),
                   arguments=["--client-header-timeout", "500ms"])
    with Client(lintel.https_port) as client:
        client.send(Handshake("p.test").hello[:40])
        assert client.is_closed_by_peer()
    assert lintel.counter("lintel_timeouts_total", timeout="client_handshake") == 1


# ---- endpoints ----

def test_endpoints_take_turns(stage, world):
    addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed(), addresses=addresses)
    seen = []
    for _ in range(9):
        with TlsClient(lintel.https_port, "p.test") as client:
            seen += [client.request(host="p.test")["x-backend"] for _ in range(2)]
    assert {address: seen.count(address) for address in addresses} == dict.fromkeys(addresses, 6)
    assert seen[::2] == seen[1::2] # a connection stays where it is


def test_an_endpoint_that_refuses(stage, world):
    """Alone: the client's connection is closed at once. Beside another one: nobody notices."""
    backend = tls_backend(stage, world)
    port = stage.refused_port()
    alone = ingress("alone", rule("alone.test", ("/", "Prefix", "alone:443")), annotations=PASSED)
    none = ingress("none", rule("none.test", ("/", "Prefix", "none:443")), annotations=PASSED)
    lintel = serve(stage, world, backend.port, passed(), alone, none,
                   *app("alone", port, port=443), service("none", 443),
                   endpoint_slice("app", "127.0.0.1", port=port, name="app-down"))
    for name, why in (("alone.test", "connect_refused"), ("none.test", "no_endpoints")):
        began = time.monotonic()
        assert refusal(lintel.https_port, name) is not None
        assert time.monotonic() - began < 4
        assert lintel.wait_access_log_json(host=name)["reason"] == why
    for _ in range(6):
        assert is_theirs(lintel, world)
    eventually(lambda: tunnels(lintel) == 0)


def test_an_endpoint_that_dies(stage, world):
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed())
    with TlsClient(lintel.https_port, "p.test") as client:
        assert client.request(host="p.test").status == 200
        backend.close_connections()
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            assert client.socket.recv(1) == b""
    eventually(lambda: tunnels(lintel) == 0)


def test_either_half_may_end_first(stage, world):
    """What the other side has to say still arrives, in both directions."""
    def late(sock): # what came, when all of it has
        sock.sendall(b"[" + read_all(sock) + b"]")
        sock.shutdown(socket.SHUT_WR)

    def early(sock): # its end first
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        got.append(read_all(sock))
    got = []
    one, two = raw_server(stage, late), raw_server(stage, early)
    other = ingress("other", rule("o.test", ("/", "Prefix", "other:443")), annotations=PASSED)
    lintel = serve(stage, world, one.port, passed(), other, *app("other", two.port, port=443))
    hello, bulk = Handshake("p.test").hello, bytes(range(256)) * 4096
    with Client(lintel.https_port) as client:
        client.send(hello, bulk)
        client.shutdown()
        assert client.read_to_end() == b"[" + hello + bulk + b"]"
    hello = Handshake("o.test").hello
    with Client(lintel.https_port) as client:
        client.send(hello)
        assert client.read_to_end() == b"bye"
        client.send(bulk)
        client.shutdown()
        eventually(lambda: got, what="the rest at the endpoint")
    assert got == [hello + bulk]
    eventually(lambda: tunnels(lintel) == 0)


# ---- changes ----

def test_tunnels_outlive_changes(stage, world):
    """Of whatever led to them; new connections go by what is new."""
    backend, plain = tls_backend(stage, world), stage.backend()
    lintel = serve(stage, world, backend.port, passed(), plain=plain.port)
    manifests = lintel.manifests
    with TlsClient(lintel.https_port, "p.test") as client:
        assert client.request(host="p.test").status == 200
        manifests.write("all.yaml", *objects(world, backend.port, terminated("p.test"),
                                             plain=plain.port))
        eventually(lambda: not is_theirs(lintel, world), what="TLS that ends here")
        assert client.request(host="p.test")["x-backend"] == "127.0.0.1"
        assert tunnels(lintel) == 1
        manifests.delete("all.yaml")
        eventually(lambda: refusal(lintel.https_port, "p.test", trusts=[world.root]) is not None)
        assert client.request(host="p.test").status == 200
    eventually(lambda: tunnels(lintel) == 0)


def test_passthrough_that_comes_and_goes(stage, world):
    """A connection that was made for the other way serves nobody any more (421), or goes on."""
    backend, plain = tls_backend(stage, world), stage.backend()
    ends = objects(world, backend.port, terminated("p.test"), plain=plain.port)
    passes = objects(world, backend.port, passed(), plain=plain.port)
    lintel = serve(stage, world, backend.port, terminated("p.test"), plain=plain.port)
    for _ in range(3):
        with TlsClient(lintel.https_port, "p.test") as client:
            assert client.certificate == world.ours.der
            assert client.request(host="p.test").status == 200
            lintel.manifests.write("all.yaml", *passes)
            eventually(lambda: is_theirs(lintel, world), what="the endpoint's certificate")
            response = client.request(host="p.test")
            assert (response.status, response.why) == (421, "misdirected")
        lintel.manifests.write("all.yaml", *ends)
        eventually(lambda: not is_theirs(lintel, world), what="our own certificate")


def test_the_older_ingress_decides(stage, world):
    backend, plain = tls_backend(stage, world), stage.backend()
    older = ingress("older", rule("p.test", ("/", "Prefix", "plain:80")), created="2020-01-01T00:00:00Z",
                    tls=[tls("ours", "p.test")])
    younger = passed(created="2021-01-01T00:00:00Z")
    lintel = serve(stage, world, backend.port, older, younger, plain=plain.port)
    assert not is_theirs(lintel, world)
    lintel.wait_log("AnnotationConflict")
    lintel.manifests.write("all.yaml", *objects(world, backend.port, younger, plain=plain.port))
    eventually(lambda: is_theirs(lintel, world), what="the endpoint's certificate")


def test_a_drain_waits_for_tunnels_and_not_for_ever(stage, world):
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed(), arguments=["--drain-timeout", "2s"])
    with TlsClient(lintel.https_port, "p.test") as client:
        assert client.request(host="p.test").status == 200
        lintel.child.terminate()
        lintel.wait_log("drain")
        assert client.request(host="p.test").status == 200
        with contextlib.suppress(ConnectionResetError):
            assert client.socket.recv(1) == b""
    assert lintel.wait() == 0


# ---- time ----

@covers("proxy-stream-timeout")
def test_a_tunnel_that_is_silent_for_too_long_is_closed(stage, world):
    """Whoever speaks, or only listens to the other one, keeps it open."""
    def speak(sock):
        while True:
            sock.sendall(b".")
            time.sleep(0.1)
    backend, speaker = tls_backend(stage, world), raw_server(stage, speak)
    talks = ingress("talks", rule("s.test", ("/", "Prefix", "speaker:443")), annotations=PASSED)
    lintel = serve(stage, world, backend.port, passed(), talks,
                   *app("speaker", speaker.port, port=443),
                   arguments=["--proxy-stream-timeout", "700ms"])
    with TlsClient(lintel.https_port, "p.test") as silent, Client(lintel.https_port) as listener:
        listener.send(Handshake("s.test").hello)
        assert silent.request(host="p.test").status == 200
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            assert silent.socket.recv(1) == b""
        assert 0.6 < time.monotonic() - began < 10
        assert lintel.wait_access_log_json(reason="tunnel_idle")["host"] == "p.test"
        assert lintel.counter("lintel_timeouts_total", timeout="tunnel_idle") == 1
        always(lambda: tunnels(lintel) == 1, seconds=1.5)
        assert listener.read_exactly(15) == b"." * 15


# ---- PROXY headers ----

READERS = [TlsNginxReader, TlsHaproxyReader]


def told_by(reader, lintel, before=b"", source=None):
    """What the endpoint knows of the client: its address, its port, and where it went."""
    sock = socket.create_connection(("127.0.0.1", lintel.https_port),
                                    source_address=source and (source, 0))
    port = sock.getsockname()[1]
    sock.sendall(before)
    with contextlib.closing(context().wrap_socket(sock, server_hostname="p.test")) as made:
        assert made.getpeercert(binary_form=True) == reader.identity.der
        made.sendall(b"GET / HTTP/1.1\r\nHost: p.test\r\nConnection: close\r\n\r\n")
        return read_all(made).split(b"\r\n\r\n")[1].decode(), port


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("reader", READERS)
def test_a_header_ahead(stage, world, tmp_path, reader, version):
    made = reader(tmp_path / "reader", world.theirs)
    stage.others.append(made)
    lintel = serve(stage, world, made.port, passed(annotations={HEADER: version}))
    said, port = told_by(made, lintel, source="127.0.0.5")
    assert said == f"127.0.0.5|{port}|127.0.0.1|{lintel.https_port}"


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("arriving", [v1, v2])
@pytest.mark.parametrize("source,destination", [("203.0.113.9", "203.0.113.1"),
                                                ("2001:db8::9", "2001:db8::1")])
def test_a_header_in_and_a_header_out(stage, world, tmp_path, version, arriving, source, destination):
    """What the balancer in front says of the client is passed on."""
    made = TlsHaproxyReader(tmp_path / "reader", world.theirs)
    stage.others.append(made)
    lintel = serve(stage, world, made.port, passed(annotations={HEADER: version}),
                   arguments=["--use-proxy-protocol", "--proxy-real-ip-cidr", "127.0.0.1/32"])
    said, _ = told_by(made, lintel, before=arriving(source, destination, 5000, 443))
    assert said == f"{source}|5000|{destination}|443"
    assert lintel.wait_access_log_json(protocol="tcp/passthrough")["remote_addr"] == source


def test_a_header_in_and_none_out(stage, world):
    """What comes behind the header is the first that the endpoint sees."""
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed(),
                   arguments=["--use-proxy-protocol", "--proxy-real-ip-cidr", "127.0.0.1/32"])
    with TlsClient(lintel.https_port, "p.test", before=v2("203.0.113.9")) as client:
        assert client.request(host="p.test").status == 200
    assert lintel.wait_access_log_json(protocol="tcp/passthrough")["remote_addr"] == "203.0.113.9"


def test_one_port_with_and_without_header(stage, world, tmp_path):
    """Two Ingresses lead to one Service port in two ways."""
    reader = TlsHaproxyReader(tmp_path / "reader", world.theirs)
    stage.others.append(reader)
    lintel = serve(stage, world, reader.port, passed(annotations={HEADER: "v2"}),
                   passed("bare", "bare.test"))
    assert told_by(reader, lintel, source="127.0.0.6")[0].startswith("127.0.0.6|")
    assert refusal(lintel.https_port, "bare.test") is not None # it insists on a header


# ---- asking ----

def test_explain_and_backends(stage, world):
    backend = tls_backend(stage, world)
    lintel = serve(stage, world, backend.port, passed())
    told = lintel.explain("https://p.test/a")
    assert told["result"]["isPassedThrough"] and told["result"]["isForwarded"]
    assert told["backends"][0]["endpoints"][0]["port"] == backend.port
    assert not lintel.explain("http://p.test/a")["result"]["isPassedThrough"]
    options = ["--manifests", lintel.manifests.path, "--enable-ssl-passthrough"]
    assert "passed through" in command("explain", *options, "https://p.test/", check=0).stdout
    assert "p.test" in command("backends", *options, "default/app", check=0).stdout
    assert "tcp" in command("dump", *options, check=0).stdout


def test_a_port_that_nobody_can_reach_is_told_by_explain(stage, world):
    lintel = serve(stage, world, free_port(), passed(), service("gone", 443),
                   passed("gone", "gone.test", "gone:443"))
    told = lintel.explain("https://gone.test/")
    assert told["result"]["reason"] == "no_endpoints" and told["result"]["isPassedThrough"]
