"""PROXY headers ahead of HTTP: by hand, by HAProxy, nginx and curl; who may send them, what becomes of
broken ones, of slow ones and of many; and whether others read them as we do."""
import json
import socket
import subprocess
import time

import pytest

from lib import process
from lib.client import Client, Closed, request_bytes
from lib.crowd import Crowd
from lib.h2 import H2
from lib.lintel import IS_SANITIZED
from lib.manifests import app, ingress, ingress_class, rule
from lib.proxies import (LOCAL, PROXY, SIGNATURE, TCP4, TYPE_ALPN, TYPE_AUTHORITY, TYPE_NOOP,
                         TYPE_SSL, UDP4, UNIX, UNSPEC, HaproxyReader, HaproxySender, NginxReader,
                         NginxSender, extra, v1, v2, v2_raw, with_checksum)
from lib.settings import covers
from lib.wait import eventually

REQUEST = request_bytes(host="a.test")
V4 = socket.inet_aton("203.0.113.9") + socket.inet_aton("203.0.113.1") + b"\x13\x88\x00\x50"


def serve(stage, *arguments, **options):
    """Trusts 127.0.0.1 only."""
    backend = stage.backend()
    backend.keeps_requests = False
    return stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                     app("app", backend.port),
                     arguments=["--use-proxy-protocol", "--proxy-real-ip-cidr",
                                "127.0.0.1/32,2001:db8:7::/48", *arguments], **options)


def seen_by_endpoint(response):
    assert response.status == 200, response
    return {name.lower(): value for name, value in response.echo["fields"]}


def ask(lintel, *pieces, source=None):
    """The fields that the endpoint got of a request behind these bytes."""
    with Client(lintel.port, source=source) as client:
        client.send(*pieces)
        return seen_by_endpoint(client.read_response())


def headers(lintel, result):
    return lintel.counter("lintel_proxy_headers_total", result=result)


# ---- what is taken ----

@pytest.mark.parametrize("make", [v1, v2])
@pytest.mark.parametrize("source,destination", [("203.0.113.9", "203.0.113.1"),
                                                ("2001:db8::9", "2001:db8::1")])
def test_the_client_is_who_the_header_says(stage, make, source, destination):
    lintel = serve(stage)
    fields = ask(lintel, make(source, destination, 5000, 8443) + REQUEST)
    assert fields["x-real-ip"] == fields["x-forwarded-for"] == source
    assert fields["x-forwarded-port"] == "8443"
    assert fields["x-forwarded-proto"] == fields["x-scheme"] == "http"
    line = lintel.wait_access_log_json(status=200)
    assert line["remote_addr"] == source and line["reason"] == "none"
    assert headers(lintel, "taken") == 1


def test_https_in_front(stage):
    """Port 443, as ingress-nginx has it, or the sender's word."""
    lintel = serve(stage)
    is_tls = extra(TYPE_SSL, b"\x01\0\0\0\0" + extra(0x21, b"TLSv1.3"))
    for header, scheme, port in [(v1(destination_port=443), "https", "443"),
                                 (v2(destination_port=443), "https", "443"),
                                 (v1(destination_port=444), "http", "444"),
                                 (v2(destination_port=8443, extras=is_tls), "https", "8443")]:
        fields = ask(lintel, header + REQUEST)
        assert (fields["x-forwarded-proto"], fields["x-forwarded-port"]) == (scheme, port)


@pytest.mark.parametrize("header", [
    b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::1 1 443\r\n", v2_raw(LOCAL, UNSPEC),
    v2_raw(LOCAL, TCP4, V4), v2_raw(PROXY, UNSPEC), v2_raw(PROXY, UDP4, V4),
    v2_raw(PROXY, UNIX, bytes(216))])
def test_a_sender_that_speaks_for_itself(stage, header):
    """Health checks: the addresses are the connection's own."""
    lintel = serve(stage)
    fields = ask(lintel, header + REQUEST)
    assert fields["x-real-ip"] == "127.0.0.1"
    assert fields["x-forwarded-port"] == str(lintel.port)
    assert fields["x-forwarded-proto"] == "http"
    assert headers(lintel, "local") == 1


def test_every_request_of_the_connection(stage):
    lintel = serve(stage)
    with Client(lintel.port) as client:
        client.send(v2())
        for _ in range(3):
            fields = seen_by_endpoint(client.request(host="a.test"))
            assert fields["x-real-ip"] == "203.0.113.9"
    assert headers(lintel, "taken") == 1


@pytest.mark.parametrize("make", [v1, v2])
@pytest.mark.parametrize("step", [1, 3, 16])
def test_in_pieces(stage, make, step):
    lintel = serve(stage)
    with Client(lintel.port) as client:
        client.send_in_steps(make() + REQUEST, step)
        assert seen_by_endpoint(client.read_response())["x-real-ip"] == "203.0.113.9"


def test_what_a_sender_adds(stage):
    lintel = serve(stage)
    extras = extra(TYPE_ALPN, b"h2") + extra(TYPE_AUTHORITY, b"a.test") + \
        extra(TYPE_NOOP, bytes(3000)) + extra(0xea, b"\x01vpce-1")
    header = with_checksum(v2(extras=extras))
    assert ask(lintel, header + REQUEST)["x-real-ip"] == "203.0.113.9"
    with Client(lintel.port) as client:
        client.send(header[:-1] + bytes([header[-1] ^ 1]) + REQUEST)
        assert client.is_closed_by_peer()
    assert (headers(lintel, "taken"), headers(lintel, "invalid")) == (1, 1)


def test_http2_behind_a_header(stage):
    lintel = serve(stage)
    sock = socket.create_connection(("127.0.0.1", lintel.port))
    sock.sendall(v2())
    with H2(lintel.port, sock=sock) as client:
        response = client.request()
        assert response.status == 200
        assert dict(map(tuple, json.loads(response.body)["fields"]))["X-Real-IP"] == "203.0.113.9"


def test_forwarded_fields_are_believed_by_the_header_s_client(stage):
    """A CDN in front of the balancer: who is trusted by address may say who came to it."""
    lintel = serve(stage, "--use-forwarded-headers")
    request = request_bytes(host="a.test", fields=[("X-Forwarded-For", "198.51.100.1")])
    assert ask(lintel, v1("203.0.113.9") + request)["x-real-ip"] == "203.0.113.9"
    assert ask(lintel, v1("2001:db8:7::1", "::1") + request)["x-real-ip"] == "198.51.100.1"


# ---- what is not ----

@pytest.mark.parametrize("start,result", [
    (REQUEST, "invalid"), (b"\x16\x03\x01\x02\x00\x01", "invalid"), (b"\0", "invalid"),
    (b"PROXY TCP4 203.0.113.9 203.0.113.1 5000\r\n", "invalid"),
    (b"PROXY TCP4 2001:db8::9 2001:db8::1 5000 80\r\n", "invalid"),
    (SIGNATURE + b"\x31\x11\0\x0c" + V4, "invalid"),
    (v2_raw(PROXY, TCP4, V4[:-1]), "invalid"), (v2_raw(PROXY, TCP4, V4 + b"\x04\0\x09"), "invalid"),
    (b"PROXY UNKNOWN " + b"x" * 93, "too_long"), (SIGNATURE + b"\x21\x11\xff\xff", "too_long")])
def test_no_header(stage, start, result):
    """Closed, counted, and told in the log; nothing reaches an endpoint, nobody else notices."""
    lintel = serve(stage)
    with Client(lintel.port) as other, Client(lintel.port) as client:
        other.send(v1())
        client.send(start)
        assert client.is_closed_by_peer()
        assert headers(lintel, result) == 1
        assert lintel.counter("lintel_answers_total", reason="bad_proxy_header") == 1
        line = lintel.wait_access_log_json(reason="bad_proxy_header")
        assert line["remote_addr"] == "127.0.0.1"
        assert other.request(host="a.test").status == 200


def test_an_end_behind_a_part(stage):
    lintel = serve(stage)
    with Client(lintel.port) as client:
        client.send(b"PROXY TCP4 203.")
        client.shutdown()
        assert client.is_closed_by_peer()
    assert headers(lintel, "cut") == 1
    with Client(lintel.port): # a look at the port
        pass
    eventually(lambda: lintel.counter("lintel_connections", state="idle") == 0)
    assert headers(lintel, "cut") == 1
    assert lintel.access_log() == "" or lintel.access_log().count("bad_proxy_header") == 1


def test_not_from_anybody(stage):
    """From an address that is not trusted: no header is wanted, and none is taken."""
    lintel = serve(stage)
    fields = ask(lintel, REQUEST, source="127.0.0.2")
    assert fields["x-real-ip"] == "127.0.0.2"
    for header in (v1(), v2()):
        with Client(lintel.port, source="127.0.0.2") as client:
            client.send(header + REQUEST)
            response = client.read_response()
            assert (response.status, response.why) == (400, "bad_request")
        assert lintel.wait_access_log_json(status=400)["remote_addr"] == "127.0.0.2"
    assert sum(headers(lintel, r) for r in ("taken", "local", "invalid", "too_long", "cut")) == 0


@covers("use-proxy-protocol")
def test_off_by_default(stage):
    backend = stage.backend()
    lintel = stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       app("app", backend.port))
    assert lintel.fetch(host="a.test").status == 200
    with Client(lintel.port) as client:
        client.send(v1() + REQUEST)
        assert client.read_response().status == 400


# ---- slow ones, many ones ----

@covers("proxy-protocol-header-timeout")
def test_slow_headers_end(stage):
    """The time is for the whole header; silence is not told in the log."""
    lintel = serve(stage, "--proxy-protocol-header-timeout", "600ms")
    with Client(lintel.port) as silent, Client(lintel.port) as slow:
        began = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for byte in v1() * 10:
                slow.send(bytes([byte]))
                time.sleep(0.03)
        assert 0.5 < time.monotonic() - began < 10
        assert silent.is_closed_by_peer()
    assert lintel.counter("lintel_timeouts_total", timeout="proxy_header") == 2
    assert lintel.wait_access_log("bad_proxy_header")
    assert lintel.access_log().count("bad_proxy_header") == 1
    assert ask(lintel, v1() + REQUEST)["x-real-ip"] == "203.0.113.9"


STUCK_N, STUCK_BYTES_MAX = 1000, 1024


def test_many_that_are_stuck(stage):
    """In the middle of a header: little memory, one descriptor each, all gone in the end."""
    lintel = serve(stage, "--proxy-protocol-header-timeout", "60s",
                   "--upstream-keepalive-connections", "1")
    worker = lintel.wait_workers()[0]
    assert ask(lintel, v1() + REQUEST)
    memory, descriptors = process.memory_of(worker), process.descriptor_count(worker)
    with Crowd(lintel.port, STUCK_N, v2()[:20]) as crowd:
        eventually(lambda: lintel.counter("lintel_connections", state="idle") == STUCK_N)
        assert process.descriptor_count(worker) <= descriptors + STUCK_N
        each = (process.memory_of(worker) - memory) / STUCK_N
        if not IS_SANITIZED: # a sanitizer's memory is not ours
            assert each <= STUCK_BYTES_MAX, f"{each:.0f} bytes for each"
        assert ask(lintel, v1() + REQUEST)
        crowd.send(v2()[20:] + REQUEST)
        for sock in crowd.sockets:
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    eventually(lambda: process.descriptor_count(worker) <= descriptors, what="closed descriptors")
    assert lintel.counter("lintel_connections", state="idle") == 0


def test_those_that_wait_count(stage):
    """Against --max-worker-connections, like any other."""
    lintel = serve(stage, "--max-worker-connections", "3")
    with Client(lintel.port) as one, Client(lintel.port) as two, Client(lintel.port) as three:
        for client in (one, two, three):
            client.send(b"PROXY")
        eventually(lambda: lintel.counter("lintel_connections", state="idle") == 3)
        with Client(lintel.port) as late:
            late.send(v1() + REQUEST)
            eventually(lambda: lintel.counter("lintel_limits_total", limit="connections") > 0)
            late.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.socket.recv(1)
            late.socket.settimeout(30)
            one.close()
            assert late.read_response().status == 200


def test_a_drain_does_not_wait_for_them(stage):
    """Those that have said nothing are closed at once; those that have begun are served still."""
    lintel = serve(stage)
    with Client(lintel.port) as silent, Client(lintel.port) as begun:
        begun.send(v1()[:10])
        eventually(lambda: lintel.counter("lintel_connections", state="idle") == 2)
        lintel.child.terminate()
        assert silent.is_closed_by_peer()
        begun.send(v1()[10:] + REQUEST)
        response = begun.read_response()
        assert response.status == 200 and response.get("connection") == "close"
    assert lintel.wait() == 0


# ---- real senders ----

def test_curl(stage):
    """Its header tells its own addresses."""
    lintel = serve(stage)
    done = subprocess.run(
        ["curl", "-sS", "--haproxy-protocol", "--interface", "127.0.0.1", "-H", "Host: a.test",
         f"http://127.0.0.1:{lintel.port}/"], capture_output=True, text=True, check=True, timeout=60)
    fields = {name.lower(): value for name, value in json.loads(done.stdout)["fields"]}
    assert fields["x-real-ip"] == "127.0.0.1"
    assert headers(lintel, "taken") == 1


def through(sender, source="127.0.0.5"):
    """A request through the sender, from an address that only its header can tell."""
    with Client(sender.port, host=sender.bind, source=source) as client:
        fields = seen_by_endpoint(client.request(host="a.test"))
    assert fields["x-forwarded-port"] == str(sender.port)
    return fields["x-real-ip"]


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2",
                                     "send-proxy-v2 proxy-v2-options authority,crc32c,unique-id"])
def test_haproxy(stage, tmp_path, options):
    lintel = serve(stage)
    sender = HaproxySender(tmp_path / "haproxy", lintel.port, options)
    stage.others.append(sender)
    assert through(sender) == "127.0.0.5"


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_haproxy_ipv6(stage, tmp_path, options):
    lintel = serve(stage)
    sender = HaproxySender(tmp_path / "haproxy", lintel.port, options, bind="::1")
    stage.others.append(sender)
    assert through(sender, "::1") == "::1"


@pytest.mark.parametrize("options,result", [("send-proxy", "taken"), ("send-proxy-v2", "local")])
def test_haproxy_s_health_checks(stage, tmp_path, options, result):
    """Header and end, again and again; in version 1 with the addresses of its own connection."""
    lintel = serve(stage)
    sender = HaproxySender(tmp_path / "haproxy", lintel.port,
                           options + " check check-send-proxy inter 100")
    stage.others.append(sender)
    eventually(lambda: headers(lintel, result) >= 3, what="health checks")
    assert through(sender) == "127.0.0.5"
    assert headers(lintel, "invalid") + headers(lintel, "cut") == 0


def test_nginx(stage, tmp_path):
    lintel = serve(stage)
    sender = NginxSender(tmp_path / "nginx", lintel.port)
    stage.others.append(sender)
    assert through(sender) == "127.0.0.5"


# ---- second opinions ----

GOOD = [v1(), v2(), v1("2001:db8::9", "2001:db8::1"), v2("2001:db8::9", "2001:db8::1"),
        v1("0.0.0.0", "255.255.255.255", 0, 65535), v2("0.0.0.0", "255.255.255.255", 0, 65535),
        v1("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, 65535), with_checksum(v2()),
        v2(extras=extra(TYPE_NOOP, bytes(200))), v2(extras=extra(TYPE_AUTHORITY, b"a.test"))]
BAD = [REQUEST, b"PROXY TCP4 203.0.113.9\r\n", b"PROXY TCP4 a b c d\r\n", b"PROXY TCP5 1\r\n",
       b"PROXY\r\n", b"\r\n\r\n\0\r\n\r\n", SIGNATURE + b"\x11\x11\0\x0c" + V4,
       v2_raw(PROXY, TCP4, V4[:-1])]
# nginx does not look at what follows the addresses, HAProxy cuts a port that is too large.
BAD_TO_NGINX = [b"PROXY TCP4 203.0.113.9 203.0.113.1 5000 99999\r\n"]
BAD_TO_HAPROXY = [with_checksum(v2())[:-1] + b"\0", v2_raw(PROXY, TCP4, V4 + b"\x04\0\x09")]


def opinion(port, header):
    """What the reader makes of it: the text of its answer, or None."""
    with Client(port, timeout=10) as client:
        try:
            client.send(header + request_bytes(host="a.test", fields=[("Connection", "close")]))
            response = client.read_response()
        except (Closed, ConnectionResetError, BrokenPipeError):
            return None
        return response if response.status == 200 else None


def ours_of(response):
    """The client's address and the port that it came to, as we tell the endpoint."""
    fields = seen_by_endpoint(response)
    return fields["x-real-ip"], fields["x-forwarded-port"]


@pytest.mark.parametrize("reader,bad", [(HaproxyReader, BAD + BAD_TO_HAPROXY),
                                        (NginxReader, BAD + BAD_TO_NGINX)])
def test_others_read_them_alike(stage, tmp_path, reader, bad):
    lintel = serve(stage)
    other = reader(tmp_path / "reader")
    stage.others.append(other)
    for header in GOOD:
        ours, theirs = opinion(lintel.port, header), opinion(other.port, header)
        source, _, _, destination_port = theirs.body.decode().split("|")
        assert ours_of(ours) == (source, destination_port or "0"), header
    for header in bad:
        assert opinion(lintel.port, header) is None, header
        assert opinion(other.port, header) is None, header
