"""What handshakes and records have to be like: versions, ciphers, pieces, what is refused in the
middle of a connection, who may keep others waiting, and what a client learns who speaks no TLS."""
import re
import socket
import ssl
import time

import pytest

from lib import pki, tls
from lib.client import Client, request_bytes
from lib.crowd import Crowd
from lib.h2 import PREFACE
from lib.manifests import app, ingress_class, tls_secret
from lib.records import (ALERT, APPLICATION, CHANGE_CIPHER, CLIENT_HELLO, HANDSHAKE, USER_CANCELED,
                         WARNING, Hands, message, record)
from lib.tls import TlsClient, h2_client, s_client, site
from lib.wait import eventually

ROOT = pki.Authority("Root")
SECRETS = {"rsa": ROOT.issue("a.test", kind=pki.RSA), "ec": ROOT.issue("a.test")}
V10, V11 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
VERSIONS = pytest.mark.parametrize("version", [tls.V12, tls.V13])


def serve(stage, *arguments, **options):
    """a.test, with a key of each kind."""
    return stage.run(ingress_class(), app("app", stage.backend().port),
                     *[tls_secret(*item) for item in SECRETS.items()],
                     site("a", "a.test", secret=list(SECRETS)),
                     arguments=["--ssl-redirect=false", *arguments], **options)


@pytest.fixture(scope="module")
def lintel(module_stage):
    return serve(module_stage)


def hands(lintel, version=tls.V13, **options):
    return Hands(lintel.https_port, "a.test", lowest=version, highest=version, **options)


def is_served(lintel):
    with TlsClient(lintel.https_port, "a.test", trusts=[ROOT]) as client:
        return client.request(host="a.test").status == 200


# ---- versions and ciphers ----

@pytest.mark.parametrize("setting, agreed", [
    (None, {V10: None, V11: None, tls.V12: "TLSv1.2", tls.V13: "TLSv1.3"}),
    ("TLSv1.3", {tls.V12: None, tls.V13: "TLSv1.3"}),
    ("TLSv1.2", {tls.V12: "TLSv1.2", tls.V13: None})])
def test_versions(stage, lintel, setting, agreed):
    """RFC 8996: what is older than 1.2 is refused, whatever is asked for."""
    chosen = lintel if setting is None else serve(stage, "--ssl-protocols", setting)
    for version, name in agreed.items():
        with hands(chosen, version, ciphers="ALL:@SECLEVEL=0") as client:
            if name is None:
                assert client.refusal() == "PROTOCOL_VERSION"
            else:
                assert client.shake().ssl.version() == name
    with TlsClient(chosen.https_port, "a.test", trusts=[ROOT]) as client: # that speaks both
        assert client.socket.version() == [name for name in agreed.values() if name][-1]


def agreed_cipher(lintel, offered, is_new=False):
    """None: there is none in common."""
    option = ("-tls1_3", "-ciphersuites", offered) if is_new else ("-tls1_2", "-cipher", offered)
    with_failure = s_client(lintel.https_port, "a.test", *option, may_fail=True)
    line = next(line for line in with_failure.splitlines() if "Cipher is" in line)
    name = line.rsplit(" ", 1)[1]
    return None if name == "(NONE)" else name


@pytest.mark.parametrize("name", [
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"])
def test_ciphers(lintel, name):
    assert agreed_cipher(lintel, name) == name


@pytest.mark.parametrize("offered", [
    "AES128-GCM-SHA256:AES256-SHA", "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384",
    "DHE-RSA-AES128-GCM-SHA256", "PSK:@SECLEVEL=0", "aNULL:eNULL:@SECLEVEL=0"])
def test_weak_ciphers_are_refused(lintel, offered):
    """Without forward secrecy, authenticated encryption or a certificate: RFC 9325 section 4.1."""
    assert agreed_cipher(lintel, offered) is None


def test_ciphers_are_a_choice(stage):
    lintel = serve(stage, "--ssl-ciphers", "ECDHE-RSA-AES256-GCM-SHA384")
    assert agreed_cipher(lintel, "ALL") == "ECDHE-RSA-AES256-GCM-SHA384"
    assert agreed_cipher(lintel, "ECDHE-RSA-AES128-GCM-SHA256") is None
    assert agreed_cipher(lintel, "TLS_AES_128_GCM_SHA256", is_new=True) # no matter to TLS 1.3


def agreed_group(lintel, offered):
    """As openssl calls it; None: there is none in common."""
    said = s_client(lintel.https_port, "a.test", "-tls1_3", "-groups", offered, may_fail=True)
    names = re.findall("Server Temp Key: (?:ECDH, )?([^,]+)", said)
    assert names or "handshake failure" in said
    return names[0] if names else None


@pytest.mark.parametrize("offered, agreed", [
    ("X25519", "X25519"), ("P-256", "prime256v1"), ("P-384", "secp384r1"),
    ("P-521:P-384", "secp384r1"), ("X448:P-256", "prime256v1"), ("P-521", None), ("ffdhe2048", None)])
def test_groups(lintel, offered, agreed):
    """Where the client has guessed wrong it is asked again: RFC 8446 section 4.1.4."""
    assert agreed_group(lintel, offered) == agreed


def test_groups_are_a_choice(stage):
    lintel = serve(stage, "--ssl-ecdh-curve", "P-384")
    assert agreed_group(lintel, "X25519:P-384") == "secp384r1"
    assert agreed_group(lintel, "X25519") is None


# ---- pieces ----

def in_records(flight, n):
    """One handshake record as records of n bytes."""
    payload = flight[5:]
    return b"".join(record(HANDSHAKE, payload[at:at + n], 0x0301)
                    for at in range(0, len(payload), n))


@VERSIONS
@pytest.mark.parametrize("record_n, segment_n", [(None, 1), (1, None), (1, 3), (50, 7), (None, 60)])
def test_a_client_hello_comes_in_pieces(lintel, version, record_n, segment_n):
    """RFC 8446 section 5.1: a message may be spread over records, a record over segments."""
    with hands(lintel, version) as client:
        first = client.flight()
        first = first if record_n is None else in_records(first, record_n)
        step = segment_n or len(first)
        for at in range(0, len(first), step):
            client.socket.sendall(first[at:at + step])
        client.listen()
        client.shake()
        assert client.client().request(host="a.test").status == 200


@VERSIONS
def test_requests_come_in_records_of_a_byte(lintel, version):
    with hands(lintel, version, ciphers="ECDHE+AESGCM") as shaken:
        client = shaken.shake().client(step=1)
        for _ in range(3):
            assert client.request("POST", host="a.test", body=b"x" * 50).echo["body_n"] == 50


def test_padding_is_no_content(lintel):
    with hands(lintel) as shaken:
        shaken.shake().send(APPLICATION, request_bytes(host="a.test"), padding=10000)
        assert shaken.client().read_response().status == 200


# ---- in the middle of a connection ----

CIPHERS = {"ciphers": "ECDHE+AESGCM"}
AGAIN = message(CLIENT_HELLO, b"\3\3" + bytes(33) + b"\0\2\xc0\x2f\1\0")


def test_renegotiation_is_refused(lintel):
    """With a warning, RFC 5246 section 7.2.2: the connection goes on."""
    with hands(lintel, tls.V12, **CIPHERS) as shaken:
        shaken.shake().send(HANDSHAKE, AGAIN)
        assert shaken.alert() == "NO_RENEGOTIATION"
        assert shaken.client().request(host="a.test").status == 200


def test_renegotiation_without_end_is_cut(lintel):
    with hands(lintel, tls.V12, **CIPHERS) as shaken:
        shaken.shake()
        with pytest.raises(OSError):
            for _ in range(1000):
                shaken.send(HANDSHAKE, AGAIN)
                shaken.receive()
    assert is_served(lintel)


@pytest.mark.parametrize("asks", [False, True])
def test_keys_are_updated(lintel, asks):
    """RFC 8446 section 4.6.3, also when ours are asked for."""
    with hands(lintel) as shaken:
        client = shaken.shake().client()
        for _ in range(5):
            shaken.socket.sendall(shaken.update(asks) + shaken.seal(
                APPLICATION, request_bytes(host="a.test")))
            assert client.read_response().status == 200


FLOODS = {
    "new keys": (tls.V13, lambda client: client.update()),
    "empty records": (tls.V13, lambda client: client.seal(APPLICATION, b"")),
    "padding": (tls.V13, lambda client: client.seal(APPLICATION, b"", padding=100)),
    "empty records of TLS 1.2": (tls.V12, lambda client: client.seal(APPLICATION, b"")),
    "warnings": (tls.V12, lambda client: client.seal(ALERT, bytes([WARNING, USER_CANCELED]))),
}


@pytest.mark.parametrize("name", FLOODS)
def test_what_carries_nothing_does_not_go_on_for_ever(lintel, name):
    version, piece = FLOODS[name]
    with hands(lintel, version, **(CIPHERS if version == tls.V12 else {})) as shaken:
        shaken.shake()
        try:
            for _ in range(200):
                shaken.socket.sendall(piece(shaken))
        except OSError:
            pass # cut in between
        assert shaken.alert() in ("UNEXPECTED_MESSAGE", "closed")
    assert is_served(lintel)


@VERSIONS
@pytest.mark.parametrize("kind, payload", [
    (HANDSHAKE, message(2, b"x")), (HANDSHAKE, message(20, b"x" * 32)), (CHANGE_CIPHER, b"\1"),
    (99, b"x"), (ALERT, b"\2"), (ALERT, b"\2\x28")],
    ids=["hello", "finished", "cipher", "unknown", "half alert", "alert"])
def test_records_out_of_place_end_the_connection(lintel, version, kind, payload):
    with hands(lintel, version, **(CIPHERS if version == tls.V12 else {})) as shaken:
        shaken.shake().send(kind, payload)
        assert shaken.alert() in ("UNEXPECTED_MESSAGE", "DECODE_ERROR", "closed")


def test_forged_records_end_the_connection(lintel):
    with hands(lintel) as shaken:
        made = bytearray(shaken.shake().seal(APPLICATION, request_bytes(host="a.test")))
        made[-1] ^= 1
        shaken.socket.sendall(made)
        assert shaken.alert() == "BAD_RECORD_MAC"


# ---- handshakes that do not end ----

def hello():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with Hands(listener.getsockname()[1], "a.test") as client:
            return client.flight()


@pytest.mark.parametrize("part", ["nothing", "a byte", "half", "all"])
def test_half_open_handshakes_end(stage, part):
    """By --client-header-timeout; nobody else waits for them."""
    lintel = serve(stage, "--client-header-timeout=400ms")
    first = {"nothing": b"", "a byte": hello()[:1], "half": hello()[:100], "all": hello()}[part]
    n = 100
    began = time.monotonic()
    with Crowd(lintel.https_port, n, first=first) as crowd:
        assert is_served(lintel)
        crowd.answers() # to their ends
        assert time.monotonic() - began >= 0.4
    eventually(lambda: lintel.counter("lintel_timeouts_total", timeout="client_handshake") == n)
    eventually(lambda: lintel.counter("lintel_connections", state="active") == 0)
    assert is_served(lintel)


def test_a_flood_of_handshakes_holds_nobody_up(stage):
    """Handshakes take turns with requests: those that stand do not wait for hundreds of signatures,
    which would take ten times as long as this allows."""
    lintel = serve(stage, "--client-header-timeout=2s")
    first, times = hello(), []
    with TlsClient(lintel.https_port, "a.test", trusts=[ROOT]) as client:
        for _ in range(5):
            with Crowd(lintel.https_port, 300) as crowd:
                crowd.send(first) # to each: they stand in a queue
                began = time.monotonic()
                assert client.request(host="a.test").status == 200
                times.append(time.monotonic() - began)
    assert min(times) < 0.1, times
    eventually(lambda: lintel.counter("lintel_connections", state="active") == 0)


# ---- no TLS ----

def test_plain_requests_are_told(lintel):
    """As nginx does it: people type http:// where https:// is spoken."""
    def answers():
        return sum(n for _, n in lintel.metrics().all("lintel_answers_total", reason="plain_http"))

    before = answers()
    requests = [request_bytes(method, host="a.test") for method in
                ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE")]
    requests += [b"GET / HTTP/1.0\r\n\r\n", request_bytes("PUT", host="a.test", body=b"x" * 100000),
                 PREFACE, b"GET", b"G"]
    for sent in requests:
        with Client(lintel.https_port) as client:
            client.send(sent)
            response = client.read_response()
            assert (response.status, response.why) == (400, "plain_http")
            assert response["connection"] == "close" and b"https" in response.body
            client.shutdown()
            assert client.is_closed_by_peer()
    assert answers() == before + len(requests)
    assert lintel.wait_access_log_json(reason="plain_http")["status"] == 400
    assert is_served(lintel)


@pytest.mark.parametrize("sent", [
    b"\0" * 100, b"\x80\x2e\1\3\1" + b"\0" * 60, b"SSH-2.0-x\r\n"[::-1], b"\x16\x03\x01\xff\xff",
    b"\x16\x03\x01\0\0", b"\x15\x03\x01\0\2\2\x28", b"\x17\x03\x03\0\1x", b"get / HTTP/1.1\r\n\r\n",
    record(HANDSHAKE, message(CLIENT_HELLO, b"")), record(HANDSHAKE, message(2, b"x" * 40)),
    record(HANDSHAKE, message(CLIENT_HELLO, b"\3\3" + b"x" * 500)),
    record(HANDSHAKE, b"\1\xff\xff\xff" + b"x" * 100) * 3])
def test_garbage_is_closed(lintel, sent):
    failed = lintel.counter("lintel_tls_handshakes_total", result="failed")
    with Client(lintel.https_port) as client:
        client.send(sent)
        client.shutdown()
        answer = b""
        try:
            answer = client.read_to_end()
        except OSError:
            pass # what was not read makes it a reset
    assert answer == b"" or answer[0] == ALERT and len(answer) == 7
    eventually(lambda: lintel.counter("lintel_tls_handshakes_total", result="failed") == failed + 1)


def test_a_client_hello_on_a_port_without_tls(lintel):
    """The other way round: a ClientHello where plain HTTP is spoken."""
    with Client(lintel.port) as client:
        client.send(hello())
        assert client.read_response().status == 400
