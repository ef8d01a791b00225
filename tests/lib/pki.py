"""Authorities, certificates and revocation lists, made in memory and as PEM text.

    root = Authority("Root")
    middle = root.authority("Middle")
    site = middle.issue("shop.example.com", "*.example.org", "10.0.0.1", kind=RSA)
    site.chain, site.key            # the texts of tls.crt and tls.key: its own certificate and Middle's
    root.certificate                # the text of ca.crt
    middle.revoke(site); middle.crl()

Days are counted from now: begins=-10, ends=-1 has expired yesterday. Nothing is cached: each has a
key of its own unless one is given.
"""
import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

# Kinds of keys.
RSA, EC, EC384, ED25519 = "rsa", "ec", "ec384", "ed25519"
# What a certificate is for.
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
OCSP_SIGNING = ExtendedKeyUsageOID.OCSP_SIGNING

MAKERS = {
    RSA: lambda: rsa.generate_private_key(65537, 2048),
    EC: lambda: ec.generate_private_key(ec.SECP256R1()),
    EC384: lambda: ec.generate_private_key(ec.SECP384R1()),
    ED25519: ed25519.Ed25519PrivateKey.generate,
}


def make_key(kind=EC):
    return MAKERS[kind]()


def key_text(key):
    """PKCS #8 in PEM."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()).decode()


def read(der):
    """An x509.Certificate."""
    return x509.load_der_x509_certificate(der)


def _text(made):
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _day(days):
    return datetime.datetime.utcnow() + datetime.timedelta(days=days)


def _subject(name, organizations):
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in organizations]
    if name is not None:
        parts.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    return x509.Name(parts)


def _alternative(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _digest(key, name):
    """What key signs with: Ed25519 brings its own."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else getattr(hashes, name)()


class Identity:
    """A certificate and its key; issuers: those between it and the root, the nearest first."""

    def __init__(self, x509_certificate, x509_key, issuers=()):
        self.x509, self.x509_key, self.issuers = x509_certificate, x509_key, tuple(issuers)

    @property
    def certificate(self):
        return _text(self.x509)

    @property
    def chain(self):
        return "".join(_text(made) for made in (self.x509, *self.issuers))

    @property
    def key(self):
        return key_text(self.x509_key)

    @property
    def der(self):
        return self.x509.public_bytes(serialization.Encoding.DER)

    def write(self, directory, name="tls"):
        """As NAME.crt (the chain) and NAME.key; returns both paths."""
        paths = [os.path.join(str(directory), f"{name}.{kind}") for kind in ("crt", "key")]
        for path, text in zip(paths, (self.chain, self.key)):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        os.chmod(paths[1], 0o600)
        return tuple(paths)


class Authority(Identity):
    """Signs itself, or is signed by parent. depth: how many more may stand between it and a leaf."""

    def __init__(self, name="Test Authority", *, parent=None, kind=EC, depth=None, begins=-1,
                 ends=30):
        key, subject = make_key(kind), _subject(name, ())
        signer = key if parent is None else parent.x509_key
        issuer = subject if parent is None else parent.x509.subject
        builder = _as_authority(_builder(subject, issuer, key, begins, ends), signer, depth)
        super().__init__(builder.sign(signer, _digest(signer, "SHA256")), key,
                         () if parent is None else parent.passed_on())
        self.is_root, self.revoked = parent is None, []

    def authority(self, name, **options):
        """One below this one."""
        return Authority(name, parent=self, **options)

    def passed_on(self):
        """What the chains of those below hold of it: nothing of the root."""
        return () if self.is_root else (self.x509, *self.issuers)

    def issue(self, *names, kind=EC, common_name=None, organizations=(), uses=(SERVER, CLIENT),
              begins=-1, ends=30, digest="SHA256", key=None, has_names=True, responder=None):
        """names: host names, wildcards and addresses. common_name: the first of them where nothing
        else is said. has_names=False: without subjectAltName. key: of somebody else. responder: the
        URL of the one that tells by OCSP whether it is revoked."""
        key = make_key(kind) if key is None else key
        subject = _subject(common_name or (names[0] if names else None), organizations)
        builder = _builder(subject, self.x509.subject, key, begins, ends).add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.x509_key.public_key()), False)
        if uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(uses)), critical=False)
        if names and has_names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        if responder is not None:
            builder = builder.add_extension(x509.AuthorityInformationAccess([x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(responder))]),
                critical=False)
        signed = builder.sign(self.x509_key, _digest(self.x509_key, digest))
        return Identity(signed, key, self.passed_on())

    def revoke(self, identity):
        self.revoked.append(identity.x509.serial_number)

    def crl(self, *, begins=-1, ends=30):
        """The text of a list of what was revoked so far."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(
            self.x509.subject).last_update(_day(begins)).next_update(_day(ends))
        for number in self.revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(number).revocation_date(
                    _day(begins)).build())
        return _text(builder.sign(self.x509_key, _digest(self.x509_key, "SHA256")))


def self_signed(*names, kind=EC, begins=-1, ends=30):
    """A server's certificate that nobody else has signed."""
    key = make_key(kind)
    subject = _subject(names[0], ())
    made = _builder(subject, subject, key, begins, ends).add_extension(
        x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
    return Identity(made.sign(key, _digest(key, "SHA256")), key)


def _builder(subject, issuer, key, begins, ends):
    return x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(
        key.public_key()).serial_number(x509.random_serial_number()).not_valid_before(
        _day(begins)).not_valid_after(_day(ends)).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _as_authority(builder, signer, depth):
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=depth), critical=True).add_extension(
        x509.KeyUsage(digital_signature=True, content_commitment=False, key_encipherment=False,
                      data_encipherment=False, key_agreement=False, key_cert_sign=True,
                      crl_sign=True, encipher_only=False, decipher_only=False),
        critical=True).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
