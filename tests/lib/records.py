"""TLS by hand: handshakes flight by flight, and records of one's own making once they are done.

    with Hands(port, "a.test", highest=V12) as hands:
        first = hands.flight()          # what a ClientHello is, not sent yet
        hands.shake()                   # the rest, to the end
        hands.send(APPLICATION, b"")    # a record without a byte
        kind, payload = hands.receive()

The handshake is OpenSSL's. Afterwards records are sealed and opened here, with the secrets that it
tells (SSLKEYLOGFILE): RFC 8446 section 5 and 7, RFC 5246 section 6, RFC 5288."""
import os
import socket
import ssl
import struct
import tempfile

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from . import tls
from .client import Client

TIMEOUT_S = 20
CHANGE_CIPHER, ALERT, HANDSHAKE, APPLICATION = 20, 21, 22, 23
HELLO_REQUEST, CLIENT_HELLO, NEW_SESSION_TICKET, KEY_UPDATE = 0, 1, 4, 24
WARNING, FATAL = 1, 2
CLOSE_NOTIFY, UNEXPECTED_MESSAGE, USER_CANCELED, NO_RENEGOTIATION = 0, 10, 90, 100
ALERTS = {0: "CLOSE_NOTIFY", 10: "UNEXPECTED_MESSAGE", 20: "BAD_RECORD_MAC", 22: "RECORD_OVERFLOW",
          40: "HANDSHAKE_FAILURE", 47: "ILLEGAL_PARAMETER", 49: "ACCESS_DENIED", 50: "DECODE_ERROR",
          51: "DECRYPT_ERROR", 70: "PROTOCOL_VERSION", 80: "INTERNAL_ERROR",
          86: "INAPPROPRIATE_FALLBACK", 100: "NO_RENEGOTIATION", 109: "MISSING_EXTENSION",
          112: "UNRECOGNIZED_NAME", 116: "CERTIFICATE_REQUIRED", 120: "NO_APPLICATION_PROTOCOL"}

SERVER_NAME = 0 # RFC 6066 section 1.1


# ---- plain records and ClientHellos ----

def record(kind, payload, version=0x0303):
    return struct.pack(">BHH", kind, version, len(payload)) + payload


def records_of(data):
    """Whole records, as (kind, payload)."""
    found, at = [], 0
    while at + 5 <= len(data):
        kind, _, n = struct.unpack(">BHH", data[at:at + 5])
        if at + 5 + n > len(data):
            break
        found.append((kind, data[at + 5:at + 5 + n]))
        at += 5 + n
    return found


def message(kind, payload):
    """Of the handshake."""
    return bytes([kind]) + struct.pack(">I", len(payload))[1:] + payload


def _extensions_at(hello):
    """Where the length of the extensions stands in a ClientHello without its record's header."""
    at = 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + struct.unpack(">H", hello[at:at + 2])[0]
    return at + 1 + hello[at]


def with_extension(hello, wanted, payload):
    """A record with a ClientHello whose extension of that type has this payload; None: is left out."""
    body = hello[5:]
    at = _extensions_at(body)
    kept, rest = b"", body[at + 2:]
    while rest:
        kind, n = struct.unpack(">HH", rest[:4])
        if kind != wanted:
            kept += rest[:4 + n]
        rest = rest[4 + n:]
    if payload is not None:
        kept = struct.pack(">HH", wanted, len(payload)) + payload + kept
    body = body[4:at] + struct.pack(">H", len(kept)) + kept
    return record(HANDSHAKE, message(CLIENT_HELLO, body), 0x0301)


def server_name(name):
    """What the extension says for one name."""
    return struct.pack(">HBH", len(name) + 3, 0, len(name)) + name


def key_update(asks_for_one=False):
    return message(KEY_UPDATE, bytes([asks_for_one]))


# ---- keys ----

class Direction:
    """Keys of one way, and how many records were sealed with them."""

    def __init__(self, cipher):
        self.digest = hashes.SHA384() if "SHA384" in cipher else hashes.SHA256()
        self.key_n = 16 if "AES_128" in cipher or "AES128" in cipher else 32
        self.maker = ChaCha20Poly1305 if "CHACHA20" in cipher else AESGCM
        self.n = 0

    def nonce(self):
        """RFC 8446 section 5.3."""
        self.n += 1
        return bytes(a ^ b for a, b in zip(self.iv, struct.pack(">4xQ", self.n - 1)))


class Direction13(Direction):
    def __init__(self, cipher, secret):
        super().__init__(cipher)
        self._take(secret)

    def _expand(self, secret, label, n):
        label = b"tls13 " + label
        info = struct.pack(">HB", n, len(label)) + label + b"\0"
        return HKDFExpand(self.digest, n, info).derive(secret)

    def _take(self, secret):
        self.secret, self.n = secret, 0
        self.aead = self.maker(self._expand(secret, b"key", self.key_n))
        self.iv = self._expand(secret, b"iv", 12)

    def update(self):
        """RFC 8446 section 7.2."""
        self._take(self._expand(self.secret, b"traffic upd", self.digest.digest_size))

    def seal(self, kind, payload, padding=0):
        head = struct.pack(">BHH", APPLICATION, 0x0303, len(payload) + 1 + padding + 16)
        return head + self.aead.encrypt(self.nonce(), payload + bytes([kind]) + bytes(padding), head)

    def open(self, head, payload):
        plain = self.aead.decrypt(self.nonce(), payload, head).rstrip(b"\0")
        return plain[-1], plain[:-1]


class Direction12(Direction):
    """AES-GCM only. The first record was Finished."""

    def __init__(self, cipher, master, randoms, is_client):
        super().__init__(cipher)
        block = self._prf(master, b"key expansion" + randoms[1] + randoms[0], 2 * self.key_n + 8)
        at = 0 if is_client else self.key_n
        self.aead = self.maker(block[at:at + self.key_n])
        at = 2 * self.key_n + (0 if is_client else 4)
        self.salt, self.n = block[at:at + 4], 1

    def _hmac(self, secret, data):
        made = HMAC(secret, self.digest)
        made.update(data)
        return made.finalize()

    def _prf(self, secret, seed, n):
        """RFC 5246 section 5."""
        out, a = b"", seed
        while len(out) < n:
            a = self._hmac(secret, a)
            out += self._hmac(secret, a + seed)
        return out[:n]

    def _around(self, kind, n):
        self.n += 1
        number = struct.pack(">Q", self.n - 1)
        return number, number + struct.pack(">BHH", kind, 0x0303, n)

    def seal(self, kind, payload, padding=0):
        assert padding == 0
        number, extra = self._around(kind, len(payload))
        return record(kind, number + self.aead.encrypt(self.salt + number, payload, extra))

    def open(self, head, payload):
        _, extra = self._around(head[0], len(payload) - 24)
        return head[0], self.aead.decrypt(self.salt + payload[:8], payload[8:], extra)


# ---- one connection ----

class Hands:
    """name: the SNI. extension: what is said instead of it, raw; then the handshake cannot succeed.
    Other options as in tls.context()."""

    def __init__(self, port, name=None, *, extension=None, made=None, session=None,
                 timeout=TIMEOUT_S, **options):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.directory = tempfile.TemporaryDirectory()
        self.context = made or tls.context(**options)
        self.context.keylog_filename = os.path.join(self.directory.name, "secrets")
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = self.context.wrap_bio(self.incoming, self.outgoing, server_hostname=name,
                                         session=session)
        self.extension, self.is_shaken = extension, False
        self.unread = self.sent = self.received = b""
        self.client_keys = self.server_keys = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        self.context.keylog_filename = None
        self.directory.cleanup()

    # ---- the handshake ----

    def flight(self):
        """The next bytes that the handshake would send; after the last it is shaken."""
        try:
            self.ssl.do_handshake()
            self.is_shaken = True
        except ssl.SSLWantReadError:
            pass
        data = self.outgoing.read()
        if not self.sent and self.extension is not None:
            data = with_extension(data, SERVER_NAME, self.extension)
        self.sent += data
        return data

    def listen(self):
        """What the server says next; False at its end."""
        data = self.socket.recv(65536)
        self.received += data
        self.incoming.write(data)
        return data != b""

    def shake(self, send=None):
        """To the end. send(data): how a flight goes out."""
        send = send or self.socket.sendall
        while True:
            data = self.flight()
            if data:
                send(data)
            if self.is_shaken:
                break
            if not self.listen():
                raise ConnectionError("closed in the handshake")
        self._keys_make()
        return self

    def refusal(self):
        """The alert by which the server refuses the handshake; None when it does not."""
        try:
            self.shake()
        except (ssl.SSLError, OSError):
            alerts = [payload for kind, payload in records_of(self.received) if kind == ALERT]
            return ALERTS.get(alerts[-1][1], alerts[-1][1]) if alerts else "closed"
        return None

    @property
    def certificate(self):
        return self.ssl.getpeercert(binary_form=True)

    def _secret(self, label):
        with open(self.context.keylog_filename, encoding="ascii") as file:
            lines = [line.split() for line in file if not line.startswith("#")]
        random = self._client_random().hex()
        return bytes.fromhex(next(value for name, owner, value in lines
                                  if name == label and owner == random))

    def _client_random(self):
        return self.sent[5 + 4 + 2:][:32]

    def _keys_make(self):
        cipher = self.ssl.cipher()[0]
        if self.ssl.version() == "TLSv1.3":
            self.client_keys = Direction13(cipher, self._secret("CLIENT_TRAFFIC_SECRET_0"))
            self.server_keys = Direction13(cipher, self._secret("SERVER_TRAFFIC_SECRET_0"))
        elif "GCM" in cipher:
            master = self._secret("CLIENT_RANDOM")
            randoms = (self._client_random(), self.received[5 + 4 + 2:][:32])
            self.client_keys = Direction12(cipher, master, randoms, True)
            self.server_keys = Direction12(cipher, master, randoms, False)

    # ---- records ----

    def seal(self, kind, payload, padding=0):
        return self.client_keys.seal(kind, payload, padding)

    def send(self, kind, payload, padding=0):
        self.socket.sendall(self.seal(kind, payload, padding))

    def update(self, asks_for_one=False):
        """A record with a KeyUpdate; from then on the new keys are used."""
        made = self.seal(HANDSHAKE, key_update(asks_for_one))
        self.client_keys.update()
        return made

    def _more(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.unread += data

    def receive(self):
        """The next record that is not a ticket: its kind, its payload. A KeyUpdate is obeyed."""
        while True:
            while not records_of(self.unread):
                self._more()
            n = 5 + struct.unpack(">H", self.unread[3:5])[0]
            head, payload, self.unread = self.unread[:5], self.unread[5:n], self.unread[n:]
            kind, plain = self.server_keys.open(head, payload)
            if kind == HANDSHAKE and plain[0] == KEY_UPDATE:
                self.server_keys.update()
            if kind != HANDSHAKE or plain[0] != NEW_SESSION_TICKET:
                return kind, plain

    def alert(self):
        """The next alert, by its name; "closed": the connection ends without one."""
        try:
            while True:
                kind, plain = self.receive()
                if kind == ALERT:
                    return ALERTS.get(plain[1], plain[1])
        except OSError:
            return "closed"

    def client(self, step=None):
        """An HTTP/1.1 client on it. step: bytes in a record."""
        made = Client.__new__(Client)
        made.socket, made.unread = RecordSocket(self, step), b""
        return made


class RecordSocket:
    """What Client and H2 need of a socket."""

    def __init__(self, hands, step=None):
        self.hands, self.step = hands, step or 1 << 14

    def sendall(self, data):
        self.hands.socket.sendall(b"".join(
            self.hands.seal(APPLICATION, data[at:at + self.step])
            for at in range(0, len(data), self.step)))

    def recv(self, _):
        while True:
            kind, plain = self.hands.receive()
            if kind == ALERT and plain[1] == CLOSE_NOTIFY:
                return b""
            if kind == ALERT:
                raise ConnectionError(ALERTS.get(plain[1]))
            if kind == APPLICATION and plain:
                return plain

    def setsockopt(self, *_):
        pass

    def settimeout(self, timeout):
        self.hands.socket.settimeout(timeout)

    def close(self):
        self.hands.close()
