"""OCSP responders: openssl's own, and one that says whatever a test wants; and what a client gets of it
in a handshake.

    real = OpensslResponder(directory, authority)       # of authority's certificates
    site = authority.issue("a.test", responder=real.url)
    real.know(site); real.revoke(site)

    fake = Responder(lambda request: fake.answer(200, good(authority, site)))

    staple(lintel.https_port, "a.test")                 # a Staple, or None
"""
import datetime
import os
import re
import signal
import subprocess
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from .lintel import free_port
from .servers import find_program
from .wait import eventually

TYPE = "application/ocsp-response"


class OpensslResponder:
    """`openssl ocsp`, with a response that is good for a minute."""

    def __init__(self, directory, authority, signer=None):
        """signer: of the responses, if not authority itself."""
        self.directory = str(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.authority, self.lines = authority, {}
        self._write_index()
        ca, _ = authority.write(self.directory, "ca")
        certificate, key = (signer or authority).write(self.directory, "signer")
        with open(os.path.join(self.directory, "output"), "wb") as output:
            self.child = subprocess.Popen(
                [find_program("openssl", package="openssl"), "ocsp", "-port", str(self.port),
                 "-index", os.path.join(self.directory, "index"), "-CA", ca, "-rsigner", certificate,
                 "-rkey", key, "-nmin", "1"], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True)
        eventually(self._is_up, what="openssl ocsp")

    def _is_up(self):
        with open(os.path.join(self.directory, "output"), encoding="latin-1") as file:
            text = file.read()
        assert self.child.poll() is None, text
        return "waiting for OCSP client connections" in text

    def _write_index(self):
        for name, text in (("index", "".join(self.lines.values())),
                           ("index.attr", "unique_subject = no\n")):
            path = os.path.join(self.directory, name)
            with open(path + ".new", "w", encoding="ascii") as file:
                file.write(text)
            os.rename(path + ".new", path)

    def _line(self, identity, status, revoked):
        serial = f"{identity.x509.serial_number:X}"
        serial = "0" * (len(serial) % 2) + serial
        end = identity.x509.not_valid_after.strftime("%y%m%d%H%M%SZ")
        self.lines[serial] = f"{status}\t{end}\t{revoked}\t{serial}\tunknown\t/CN=x\n"
        self._write_index()
        self._ask(identity) # between two requests it looks for a new index

    def _ask(self, identity):
        request = ocsp.OCSPRequestBuilder().add_certificate(
            identity.x509, self.authority.x509, hashes.SHA1()).build()
        urllib.request.urlopen(urllib.request.Request(
            self.url, request.public_bytes(serialization.Encoding.DER),
            {"Content-Type": "application/ocsp-request"}), timeout=10).close()

    def know(self, identity):
        self._line(identity, "V", "")

    def revoke(self, identity):
        self._line(identity, "R", datetime.datetime.utcnow().strftime("%y%m%d%H%M%SZ"))

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()


def _seconds(number):
    return datetime.datetime.utcnow().replace(microsecond=0) + datetime.timedelta(seconds=number)


def response(authority, identity, *, signer=None, certificates=(), begins=-60, ends=3600,
             status=ocsp.OCSPCertStatus.GOOD, digest=hashes.SHA1):
    """In DER. signer: who signs, if not authority; certificates: that are sent along."""
    signer = signer or authority
    is_revoked = status == ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=identity.x509, issuer=authority.x509, algorithm=digest(), cert_status=status,
        this_update=_seconds(begins), next_update=None if ends is None else _seconds(ends),
        revocation_time=_seconds(-60) if is_revoked else None, revocation_reason=None).responder_id(
        ocsp.OCSPResponderEncoding.HASH, signer.x509)
    if certificates:
        builder = builder.certificates([other.x509 for other in certificates])
    return builder.sign(signer.x509_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def revoked(authority, identity, **options):
    return response(authority, identity, status=ocsp.OCSPCertStatus.REVOKED, **options)


def unsuccessful(status=ocsp.OCSPResponseStatus.TRY_LATER):
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(
        serialization.Encoding.DER)


class Responder:
    """script(handler, serial): answers by handler.answer(). requests: the serials that were asked
    for."""

    def __init__(self, script, host="127.0.0.1"):
        self.script, self.requests, self.heads = script, [], []
        self.released = threading.Event() # for scripts that hang
        responder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                serial = ocsp.load_der_ocsp_request(body).serial_number
                responder.heads.append((self.path, dict(self.headers)))
                responder.requests.append(serial)
                responder.script(self, serial)

            def answer(self, body, status=200, **fields):
                self.send_response(status)
                self.send_header("Content-Type", TYPE)
                self.send_header("Content-Length", str(len(body)))
                for name, value in fields.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def hang(self):
                responder.released.wait()
                self.close_connection = True

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer((host, 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://{host}:{self.port}/ocsp"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Staple:
    """What came with a handshake, as `openssl s_client -status` shows it."""

    def __init__(self, text):
        self.text = text
        self.status = re.search(r"Cert Status: (\w+)", text).group(1)
        self.serial = int(re.search(r"Serial Number: ([0-9A-F]+)", text).group(1), 16)


def staple(port, name, *options, asks=True):
    """None: none came. options: of s_client, as "-tls1_2". name None: see -noservername."""
    done = subprocess.run(
        [find_program("openssl", package="openssl"), "s_client", "-connect", f"127.0.0.1:{port}",
         *(["-servername", name] if name else []), *(["-status"] if asks else []), *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert "-----BEGIN CERTIFICATE-----" in done.stdout, done.stdout + done.stderr
    if "OCSP Response Status: successful" not in done.stdout:
        assert not asks or "OCSP response: no response sent" in done.stdout, done.stdout
        return None
    return Staple(done.stdout)
