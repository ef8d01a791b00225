"""TLS clients of the standard library, for questions that curl and openssl do not answer.

    with TlsClient(lintel.https_port, "a.test", trusts=[root]) as client:
        client.request(host="a.test")          # as Client
        client.certificate, client.socket.version()

And what stands behind Lintel's side of it: site() is an Ingress with TLS.
"""
import re
import socket
import ssl
import subprocess
import tempfile
import warnings

from .client import TIMEOUT_S, Client
from .h2 import H2
from .manifests import ingress, rule

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def context(*, trusts=None, identity=None, alpn=(), lowest=V12, highest=V13, ciphers=None,
            tickets=True):
    """trusts: authorities whose certificates are believed; None believes anything. identity: what
    the client shows of itself when it is asked."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = trusts is not None
    made.verify_mode = ssl.CERT_NONE if trusts is None else ssl.CERT_REQUIRED
    for authority in trusts or ():
        made.load_verify_locations(cadata=authority.certificate)
    if identity is not None:
        with tempfile.TemporaryDirectory() as directory:
            made.load_cert_chain(*identity.write(directory))
    if alpn:
        made.set_alpn_protocols(list(alpn))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning) # old versions are what is tested
        made.minimum_version, made.maximum_version = lowest, highest
    if ciphers:
        made.set_ciphers(ciphers)
    if not tickets:
        made.options |= ssl.OP_NO_TICKET
    return made


class TlsClient(Client):
    """A shaken connection. name: the SNI, None for none; made: a context to use again (with session,
    of an earlier connection, to resume it)."""

    def __init__(self, port, name=None, *, made=None, session=None, before=b"", timeout=TIMEOUT_S,
                 address="127.0.0.1", **options):
        super().__init__(port, address, timeout=timeout)
        try:
            self.socket.sendall(before)
            self.context = made or context(**options)
            self.socket = self.context.wrap_socket(self.socket, server_hostname=name,
                                                   session=session)
        except OSError:
            self.socket.close()
            raise

    @property
    def certificate(self):
        """What the server showed, in DER."""
        return self.socket.getpeercert(binary_form=True)

    @property
    def alpn(self):
        return self.socket.selected_alpn_protocol()

    def finish(self):
        """close_notify, and waits for the server's."""
        try:
            self.socket.unwrap()
        except (OSError, ssl.SSLError):
            pass


def refusal(port, name=None, **options):
    """Why a handshake fails, as OpenSSL words the alert; None when it does not."""
    try:
        with TlsClient(port, name, **options) as client:
            client.socket.settimeout(0.5)
            try: # a TLS 1.3 server judges the client after the client believes to be done
                client.socket.recv(1)
            except socket.timeout:
                pass
        return None
    except ssl.SSLError as error: # the module knows the names of most alerts only
        return error.reason or re.search(r"\] ([a-z0-9 ]+) \(", str(error)).group(1)
    except ConnectionError as error:
        return type(error).__name__


def shown(port, name=None, **options):
    """The certificate that a server shows, in DER."""
    with TlsClient(port, name, **options) as client:
        return client.certificate


def h2_client(port, name=None, **options):
    """An HTTP/2 connection: see H2."""
    client = TlsClient(port, name, alpn=["h2"], **options)
    assert client.alpn == "h2", client.alpn
    made = H2(port, sock=client.socket, scheme="https")
    made.session, made.certificate = client.socket.session, client.certificate
    return made


# ---- openssl s_client ----

def s_client(port, name=None, *arguments, stdin=b"", has_failed=False, may_fail=False):
    """All that it says. stdin: what it sends, or its commands (-no_ign_eof, R, K, Q)."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}",
         *(["-servername", name] if name else ["-noservername"]), *arguments],
        input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False)
    text = (done.stdout + done.stderr).decode("latin-1")
    assert may_fail or (done.returncode != 0) == has_failed, text
    return text


def certificates_of(text):
    """Those that s_client -showcerts prints, in PEM."""
    return re.findall("-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n", text)


# ---- manifests ----

ANNOTATIONS = "nginx.ingress.kubernetes.io/"


def site(name, *hosts, secret=None, service="app:80", path="/", annotations=None, created=None,
         **options):
    """An Ingress of hosts over TLS. secret: of an entry of spec.tls that lists them all; several
    of them: an entry for each; None: one that names none. annotations: without their prefix, '_' for
    '-'."""
    names = secret if isinstance(secret, (list, tuple)) else [secret]
    entries = [{"hosts": list(hosts), **({"secretName": each} if each else {})} for each in names]
    return ingress(name, *[rule(host, (path, "Prefix", service)) for host in hosts], tls=entries,
                   created=created, annotations={ANNOTATIONS + key.replace("_", "-"): value for
                                                 key, value in (annotations or {}).items()},
                   **options)
