"""Certificates change under load: every handshake succeeds with a certificate that is or just was in
service, connections in use notice nothing, and WebSockets over TLS live on, HTTP/2's too; until they
are idle for too long."""
import asyncio
import contextlib
import socket
import threading
import time

import pytest
import websockets

from lib import pki, tls
from lib.h2 import window_update
from lib.lintel import IS_SANITIZED
from lib.manifests import app, dump_yaml, ingress, ingress_class, rule, tls_secret
from lib.process import memory_of
from lib.tls import TlsClient, h2_client, shown, site
from lib.wait import eventually

ROOT = pki.Authority("Root")
SITES = [ROOT.issue("a.test", kind=kind) for kind in (pki.EC, pki.EC, pki.RSA, pki.EC)]
TEXTS = [dump_yaml([tls_secret("a", identity)]) for identity in SITES]
ROTATIONS = 100 if IS_SANITIZED else 1000


def serve(stage, backend_port, *arguments, **options):
    return stage.run(ingress_class(), app("app", backend_port), site("a", "a.test", secret="a"),
                     tls_secret("a", SITES[-1]), arguments=["--ssl-redirect=false", *arguments],
                     **options)


class Busy:
    """A thread that does the same again and again, and what went wrong with it."""

    def __init__(self, act):
        self.act, self.n, self.errors = act, 0, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def _run(self):
        while not self.stopping.is_set() and len(self.errors) < 10:
            try:
                self.act()
                self.n += 1
            except (OSError, AssertionError) as error:
                self.errors.append(repr(error))


# ---- certificates ----

def visit(lintel, made):
    """The certificate of a connection that is used: one that ends at once may have failed, for all the
    server knows."""
    with TlsClient(lintel.https_port, "a.test", made=made) as client:
        assert client.request(host="a.test").status == 200
        return client.certificate


def rotate(lintel, n):
    """n certificates after each other, each until it is seen."""
    made = tls.context(trusts=[ROOT])
    for i in range(n):
        lintel.manifests.write("secret.yaml", TEXTS[i % len(TEXTS)])
        wanted = SITES[i % len(SITES)].der
        eventually(lambda w=wanted: visit(lintel, made) == w,
                   interval=0.001, what=f"certificate {i}")


def start_for_rotation(stage, *arguments, **options):
    lintel = stage.lintel(stage.directory(), "--ssl-redirect=false", *arguments, **options)
    lintel.manifests.write("all.yaml", ingress_class(), app("app", stage.backend().port),
                           site("a", "a.test", secret="a"))
    lintel.manifests.write("secret.yaml", TEXTS[-1])
    return lintel.start()


def test_a_thousand_certificates_under_load(stage):
    lintel = start_for_rotation(stage, workers=2, access_log="off")
    contexts = [tls.context(trusts=[ROOT], lowest=version, highest=version)
                for version in (tls.V12, tls.V13)]

    def shake():
        for made in contexts:
            visit(lintel, made)

    with TlsClient(lintel.https_port, "a.test", trusts=[ROOT]) as old, \
            h2_client(lintel.https_port, "a.test", trusts=[ROOT]) as old2:
        def use():
            assert old.request(host="a.test").status == 200
            response = old2.request(host="a.test")
            assert response.status == 200
            old2.send(window_update(0, len(response.body)))
            time.sleep(0.005)

        with Busy(shake) as shaking, Busy(use) as using:
            rotate(lintel, ROTATIONS)
    assert not shaking.errors and not using.errors, (shaking.errors, using.errors)
    assert shaking.n > ROTATIONS / 20 and using.n > ROTATIONS / 20
    assert lintel.counter("lintel_tls_handshakes_total", result="failed") == 0
    assert lintel.counter("lintel_tls_certificates_loaded") <= 4 # the old ones are forgotten


def test_memory_does_not_grow_with_rotations(stage):
    """What connections do not use any more is freed."""
    lintel = start_for_rotation(stage, access_log="off")
    processes = [lintel.controller(), *lintel.workers(), lintel.supervisor]
    rotate(lintel, 40) # warm
    before = [memory_of(pid) for pid in processes]
    rotate(lintel, 200)
    grown = [memory_of(pid) - n for pid, n in zip(processes, before)]
    if not IS_SANITIZED: # a sanitizer's memory is not ours
        assert max(grown) < 1 << 20, grown


# ---- WebSockets ----

class WebsocketServer:
    """python-websockets' own, in a thread; says everything again."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.stop = self.loop.create_future()
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self._serve(),))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set_result, None)
        self.thread.join()
        self.loop.close()

    async def _serve(self):
        async def echo(connection, *_):
            with contextlib.suppress(websockets.ConnectionClosed):
                async for message in connection:
                    await connection.send(message)

        async with websockets.serve(echo, sock=self.socket, ping_interval=None):
            await self.stop


def websocket(lintel, **options):
    return websockets.connect("wss://a.test/chat", host="127.0.0.1", port=lintel.https_port,
                              server_hostname="a.test", ssl=tls.context(trusts=[ROOT], **options),
                              ping_interval=None)


def changes(lintel, port):
    """Of the configuration around a connection: what has changed, each time once it has."""
    lintel.manifests.write("more.yaml", ingress("more", rule("more.test", ("/", "Prefix", "app:80"))))
    eventually(lambda: lintel.fetch(host="more.test").status != 404)
    yield "another Ingress"
    lintel.manifests.write("all.yaml", ingress_class(), app("app", port),
                           site("a", "a.test", secret="a"), tls_secret("a", SITES[0]))
    eventually(lambda: shown(lintel.https_port, "a.test") == SITES[0].der)
    yield "another certificate"
    lintel.manifests.write("all.yaml", ingress_class())
    eventually(lambda: lintel.fetch(host="a.test").status == 404)
    yield "nothing of it any more"


@pytest.mark.parametrize("version", [tls.V12, tls.V13])
def test_a_websocket_survives_changes(stage, version):
    async def talk(server, lintel):
        async with websocket(lintel, lowest=version, highest=version) as connection:
            for text in ("begin", *changes(lintel, server.port)):
                for message in (text, b"\0" * 100000, ""):
                    await connection.send(message)
                    assert await connection.recv() == message
        assert connection.close_code == 1000

    with WebsocketServer() as server:
        asyncio.run(talk(server, serve(stage, server.port)))


def test_an_idle_websocket_ends(stage):
    """By --proxy-read-timeout, counted from the last message of either side; pings keep it alive."""
    async def talk(lintel):
        async with websocket(lintel) as connection:
            began = time.monotonic()
            while time.monotonic() - began < 1.5: # longer than the timeout
                await asyncio.wait_for(await connection.ping(), 5)
                await asyncio.sleep(0.1)
            last = time.monotonic()
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(connection.recv(), 10)
            assert time.monotonic() - last >= 0.7

    with WebsocketServer() as server:
        asyncio.run(talk(serve(stage, server.port, "--proxy-read-timeout=1s")))


def test_many_websockets_at_once(stage):
    async def one(lintel, i):
        async with websocket(lintel) as connection:
            for n in range(3):
                await connection.send(f"{i}/{n}")
                assert await connection.recv() == f"{i}/{n}"
                await asyncio.sleep(0)

    async def all_of_them(lintel):
        await asyncio.gather(*(one(lintel, i) for i in range(50)))

    with WebsocketServer() as server:
        lintel = serve(stage, server.port, workers=2)
        asyncio.run(all_of_them(lintel))
        eventually(lambda: lintel.counter("lintel_connections", state="active") == 0)


# ---- over HTTP/2 ----

def tunnel(exchange):
    """An endpoint that takes any upgrade, and says everything again in capitals."""
    exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                  b"Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
    while data := exchange.connection.reader.read1(65536):
        exchange.send(data.upper())
    exchange.end()


def open_stream(client):
    """RFC 8441."""
    client.ping() # the server has said by then that it takes such
    stream = client.new_stream()
    client.send(client.headers(stream, [
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/chat"),
        (":authority", "a.test"), ("sec-websocket-version", "13")], end=False))
    client.read_until(lambda: client.of(stream).status or client.of(stream).reset_code)
    assert client.of(stream).status == 200
    return stream


def say(client, stream, word):
    response = client.of(stream)
    before = len(response.body)
    client.data(stream, word)
    client.read_until(lambda: len(response.body) == before + len(word)
                      or response.reset_code is not None)
    assert response.body[before:] == word.upper()


def test_a_websocket_in_a_stream_survives_changes(stage):
    backend = stage.backend(tunnel)
    lintel = serve(stage, backend.port)
    with h2_client(lintel.https_port, "a.test", trusts=[ROOT]) as client:
        streams = [open_stream(client) for _ in range(3)]
        for text in ("begin", *changes(lintel, backend.port)):
            for stream in streams:
                say(client, stream, text.encode() * 50)
        for stream in streams:
            client.data(stream, end=True)
            assert client.response(stream).is_complete
        assert client.goaway is None


def test_an_idle_websocket_in_a_stream_ends(stage):
    """That stream alone: the connection and its others go on."""
    lintel = serve(stage, stage.backend(tunnel).port, "--proxy-read-timeout=1s")
    with h2_client(lintel.https_port, "a.test", trusts=[ROOT]) as client:
        idle, busy = open_stream(client), open_stream(client)
        began = time.monotonic()
        while not (client.of(idle).is_complete or client.of(idle).reset_code is not None):
            assert time.monotonic() - began < 10
            say(client, busy, b"x")
            time.sleep(0.05)
        assert time.monotonic() - began >= 0.9
        say(client, busy, b"still there")
