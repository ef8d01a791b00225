"""Ten thousand certificates: loaded when somebody asks for them, a few kilobytes each, and none of it
felt by those that ask for another one."""
import base64
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lib import pki
from lib.client import Client
from lib.lintel import IS_SANITIZED
from lib.manifests import app, ingress, ingress_class, rule, tls_secret
from lib.process import memory_of
from lib.records import Hands
from lib.tls import TlsClient, shown, site
from lib.wait import eventually

N, ASKED_N = (1000, 300) if IS_SANITIZED else (10_000, 1500)
UNLOADED_MAX, LOADED_MAX = 3 << 10, 8 << 10 # bytes of a worker for one certificate
ROOT = pki.Authority("Root")
FIRST = "c00000.test"


def name(i):
    return f"c{i:05}.test"


# ---- many certificates, quickly ----

def der(tag, content):
    n = len(content)
    length = bytes([n]) if n < 128 else bytes([0x82]) + n.to_bytes(2, "big")
    return bytes([tag]) + length + content


def pem(label, content):
    return f"-----BEGIN {label}-----\n{base64.b64encode(content).decode()}\n-----END {label}-----\n"


def public_bytes(key):
    return key.public_key().public_bytes(serialization.Encoding.X962,
                                         serialization.PublicFormat.UncompressedPoint)


class Mint:
    """Certificates like a first one, for other names and keys: what differs is as long."""

    ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")

    def __init__(self):
        self.first = ROOT.issue(FIRST)

    def pair(self, i):
        """The texts of certificate and key."""
        key = pki.make_key()
        signed = self.first.x509.tbs_certificate_bytes.replace(
            FIRST.encode(), name(i).encode()).replace(public_bytes(self.first.x509_key),
                                                      public_bytes(key))
        signature = ROOT.x509_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        whole = der(0x30, signed + self.ECDSA_SHA256 + der(3, b"\0" + signature))
        return pem("CERTIFICATE", whole), pki.key_text(key)


def indented(text):
    return "".join(f"    {line}\n" for line in text.splitlines())


def secrets_text(mint, n):
    made = []
    for i in range(n):
        certificate, key = mint.pair(i)
        made.append(f"---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\n"
                    f"metadata: {{name: c{i:05}, namespace: default}}\nstringData:\n"
                    f"  tls.crt: |\n{indented(certificate)}  tls.key: |\n{indented(key)}")
    return "".join(made)


def ingresses(n, each=500):
    """Ingresses of many hosts, each with its Secret."""
    made = []
    for at in range(0, n, each):
        item = site(f"part-{at}", *[name(i) for i in range(at, min(n, at + each))])
        item["spec"]["tls"] = [{"hosts": [name(i)], "secretName": f"c{i:05}"}
                               for i in range(at, min(n, at + each))]
        made.append(item)
    return made


def serve(stage, n):
    lintel = stage.lintel(stage.directory(f"m{n}"), "--ssl-redirect=false", access_log="off")
    lintel.manifests.write("a.yaml", ingress_class(), app("app", stage.backend().port),
                           tls_secret("other", ROOT.issue("other.test")),
                           site("other", "other.test", secret="other"))
    if n > 0:
        lintel.manifests.write("i.json", *ingresses(n))
        lintel.manifests.write("s.yaml", secrets_text(Mint(), n))
    lintel.start(wait=False)
    eventually(lambda: lintel.health("/readyz").status == 200, timeout=90, what="readiness")
    return lintel


# ---- handshakes, quickly ----

class Knock:
    """A ClientHello for each name, and no more: by the answer the certificate was loaded."""

    def __init__(self, port):
        self.port = port
        with Hands(port, FIRST) as client:
            self.hello = client.flight()

    def __call__(self, i):
        with socket.create_connection(("127.0.0.1", self.port), 20) as client:
            client.sendall(self.hello.replace(FIRST.encode(), name(i).encode()))
            assert client.recv(5)[:1] == b"\x16"


def worker_memory(lintel):
    worker, = lintel.workers()
    return memory_of(worker)


@pytest.fixture(scope="module", name="figures")
def fixture_figures(module_stage):
    """Memory of a worker without them, with them, and with many of them in use."""
    empty, lintel = serve(module_stage, 0), serve(module_stage, N)
    assert shown(empty.https_port, "other.test") and shown(lintel.https_port, "other.test")
    eventually(lambda: shown(lintel.https_port, name(N - 1)) and
               lintel.counter("lintel_tls_certificates_loaded") == 2)
    base, unloaded = worker_memory(empty), worker_memory(lintel)
    knock = Knock(lintel.https_port)
    with TlsClient(lintel.https_port, "other.test", trusts=[ROOT]) as client:
        for i in range(ASKED_N):
            knock(i)
            if i % 50 == 0:
                assert client.request(host="other.test").status == 200
    return lintel, {"unloaded": (unloaded - base) / N,
                    "loaded": (worker_memory(lintel) - unloaded) / ASKED_N}


def test_they_are_loaded_when_they_are_asked_for(figures):
    """The fixture has seen that nothing was loaded before."""
    lintel, _ = figures
    assert lintel.counter("lintel_tls_certificates_loaded") == ASKED_N + 2
    assert lintel.counter("lintel_limits_total", limit="tls_certificates") == 0


def test_each_has_its_own(figures):
    lintel, _ = figures
    for i in (0, 1, N // 2, N - 1):
        with TlsClient(lintel.https_port, name(i), trusts=[ROOT]) as client:
            assert client.request(host=name(i)).status == 200


def test_what_one_costs(figures):
    _, found = figures
    if not IS_SANITIZED: # a sanitizer's memory is not ours
        assert found["unloaded"] <= UNLOADED_MAX and found["loaded"] <= LOADED_MAX, found


def answered(lintel, until):
    """How many short requests to the health port, one after the other, are answered until then."""
    n = 0
    while not until.is_set():
        assert lintel.health("/healthz").status == 200
        n += 1
    return n


def test_the_page_of_them_holds_nobody_up(figures):
    """It takes seconds, but in many turns, between which others are answered (in one, three were) and
    changes are taken in."""
    lintel, _ = figures
    end = threading.Event()
    with ThreadPoolExecutor(2) as pool, Client(lintel.port) as client:
        page, others = pool.submit(lintel.health, "/debug/certs"), pool.submit(answered, lintel, end)
        lintel.manifests.write("late.yaml", ingress("late", rule("late.test", ("/", "Prefix", "app:80"))))
        eventually(lambda: client.request(host="late.test").status == 200, what="the change")
        assert not page.done()
        page = page.result()
        end.set()
        answered_n = others.result()
    rows = [row for row in json.loads(page.body) if row["role"] == "host"]
    assert len(rows) == N + 1 and all(row["isServed"] for row in rows)
    assert answered_n > 20, answered_n


def test_one_of_them_changes(figures):
    """Among ten thousand, as fast as alone."""
    lintel, _ = figures
    before = lintel.counter("lintel_tls_certificates_loaded")
    new = ROOT.issue("other.test")
    began = time.monotonic()
    lintel.manifests.write("a.yaml", ingress_class(), app("app", 1), tls_secret("other", new),
                           site("other", "other.test", secret="other"))
    eventually(lambda: shown(lintel.https_port, "other.test") == new.der)
    assert time.monotonic() - began < 2
    assert lintel.counter("lintel_tls_certificates_loaded") == before # the others stay loaded
