"""Certificates that cannot be used: told on the Secret and on each Ingress that names it; what was good
before stays in service for as long as it is valid; nobody else notices."""
import base64
import warnings

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from lib import pki
from lib.manifests import app, ingress_class, metadata, secret, tls_secret
from lib.tls import TlsClient, shown, site
from lib.wait import eventually

ROOT = pki.Authority("Root")
GOOD = ROOT.issue("*.a.test", kind=pki.RSA)
OTHER = ROOT.issue("b.test")
OWN = "CN=Lintel default certificate"


def encrypted(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.BestAvailableEncryption(b"secret")).decode()


def old_encrypted(key):
    return key.private_bytes(serialization.Encoding.PEM,
                             serialization.PrivateFormat.TraditionalOpenSSL,
                             serialization.BestAvailableEncryption(b"secret")).decode()


def public(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def weak(made):
    return ROOT.issue("*.a.test", key=made)


def chain_of(n):
    """A good one, with so many certificates."""
    at = ROOT
    for i in range(n - 1):
        at = at.authority(f"Middle {i}")
    return at.issue("*.a.test")


def cut(text):
    lines = text.splitlines(keepends=True)
    return "".join(lines[:5] + lines[-1:])


NEW = ROOT.issue("*.a.test")
MIDDLE = ROOT.authority("Middle")
BELOW = MIDDLE.issue("*.a.test")
WEAK = {"rsa": weak(rsa.generate_private_key(65537, 1024)),
        "ec": weak(ec.generate_private_key(ec.SECP192R1())),
        "dsa": weak(dsa.generate_private_key(2048))}
with warnings.catch_warnings():
    warnings.simplefilter("ignore") # that it is weak
    WEAK["sha1"] = ROOT.issue("*.a.test", kind=pki.RSA, digest="SHA1")
LONG = chain_of(11)
EXPIRED, EARLY = (ROOT.issue("*.a.test", begins=b, ends=e) for b, e in ((-10, -1), (1, 10)))

# (what tls.crt has, what tls.key has, what is said of it)
FAULTS = {
    "empty certificate": ("", NEW.key, "has no certificate"),
    "text": ("hello", NEW.key, "has no certificate"),
    "zeros": ("\0" * 100, NEW.key, "has no certificate"),
    "key for certificate": (NEW.key, NEW.key, "has no certificate"),
    "cut certificate": (cut(NEW.chain), NEW.key, "has a certificate that cannot be read"),
    "cut issuer": (BELOW.certificate + cut(MIDDLE.certificate), BELOW.key,
                   "has a certificate that cannot be read"),
    "empty key": (NEW.chain, "", "has no private key"),
    "certificate for key": (NEW.chain, NEW.chain, "has no private key"),
    "public key for key": (NEW.chain, public(NEW.x509_key), "has no private key"),
    "cut key": (NEW.chain, cut(ROOT.issue("*.a.test", kind=pki.RSA).key),
                "has a private key that cannot be read"),
    "encrypted key": (NEW.chain, encrypted(NEW.x509_key), "has an encrypted private key"),
    "old encrypted key": (NEW.chain, old_encrypted(NEW.x509_key), "has an encrypted private key"),
    "other key": (NEW.chain, OTHER.key, "has a private key of another certificate"),
    "other kind of key": (NEW.chain, GOOD.key, "has a private key of another certificate"),
    "wrong order": (MIDDLE.certificate + BELOW.certificate, BELOW.key,
                    "has a private key of another certificate"),
    "weak rsa": (WEAK["rsa"].chain, WEAK["rsa"].key, "is too weak"),
    "weak ec": (WEAK["ec"].chain, WEAK["ec"].key, "is too weak"),
    "dsa": (WEAK["dsa"].chain, WEAK["dsa"].key, "is too weak"),
    "sha1": (WEAK["sha1"].chain, WEAK["sha1"].key, "is too weak"),
    "long chain": (LONG.chain, LONG.key, "has too many certificates"),
    "large chain": (NEW.chain + "#" * (256 << 10), NEW.key, "is too large"),
    "large key": (NEW.chain, NEW.key + "#" * (64 << 10), "is too large"),
    "expired": (EXPIRED.chain, EXPIRED.key, "has expired"),
    "not yet": (EARLY.chain, EARLY.key, "is not valid yet"),
}


def slug(name):
    return name.replace(" ", "-")


def host_of(name):
    return slug(name) + ".a.test"


def pair(name, chain, key):
    return secret(slug(name), {"tls.crt": chain, "tls.key": key}, kind="kubernetes.io/tls")


def bad(names=tuple(FAULTS)):
    return [pair(name, *FAULTS[name][:2]) for name in names]


def good(identity=GOOD, names=tuple(FAULTS)):
    return [pair(name, identity.chain, identity.key) for name in names]


def serve(stage, secrets, names=tuple(FAULTS)):
    lintel = stage.run(ingress_class(), app("app", stage.backend().port), tls_secret("b", OTHER),
                       site("b", "b.test", secret="b"),
                       *[site(slug(name), host_of(name), secret=slug(name)) for name in names],
                       arguments=["--ssl-redirect=false"])
    change(lintel, secrets)
    return lintel


def change(lintel, secrets):
    lintel.manifests.write("secrets.yaml", "" if secrets == [] else secrets)


def is_shown(lintel, name, identity):
    return shown(lintel.https_port, host_of(name)) == identity.der


def subject(lintel, name):
    return pki.read(shown(lintel.https_port, host_of(name))).subject.rfc4514_string()


def check_others(lintel):
    assert shown(lintel.https_port, "b.test") == OTHER.der


def check_told(lintel, name, consequence):
    name, what = slug(name), FAULTS[name][2]
    lintel.wait_log(rf"Secret default/{name}: data\[tls.crt\]: [^\n]*{what}")
    lintel.wait_log(rf"Ingress default/{name}: spec.tls\[0\].secretName: names Secret {name}, which "
                    rf"[^\n]*{what}[^\n]*{consequence}")


def check_no_secrets(log):
    for identity in (GOOD, NEW, OTHER):
        assert not [line for line in identity.key.splitlines()[1:-1] if line in log]


@pytest.fixture(scope="module", name="replaced")
def fixture_replaced(module_stage):
    """Where each was good, on a connection that stands, before it was changed to what is bad."""
    made = serve(module_stage, good())
    for name in FAULTS:
        eventually(lambda n=name: is_shown(made, n, GOOD))
    made.client = TlsClient(made.https_port, host_of("text"))
    change(made, bad())
    yield made
    made.client.close()
    check_no_secrets(made.log())


@pytest.fixture(scope="module", name="new")
def fixture_new(module_stage):
    """Where they were bad from the beginning."""
    made = serve(module_stage, bad())
    yield made
    check_no_secrets(made.log())


@pytest.mark.parametrize("name", FAULTS)
def test_what_was_good_before_stays(replaced, name):
    check_told(replaced, name, "stays in service")
    assert is_shown(replaced, name, GOOD)


def test_connections_that_stand_do_not_notice(replaced):
    assert replaced.client.request(host=host_of("text")).status == 200
    check_others(replaced)


@pytest.mark.parametrize("name", FAULTS)
def test_without_a_good_one_before_it_is_the_default(new, name):
    """But one that has expired is used: clients that do not look at dates are served."""
    if name in ("expired", "not yet"):
        identity = EXPIRED if name == "expired" else EARLY
        check_told(new, name, "")
        eventually(lambda: is_shown(new, name, identity))
    else:
        check_told(new, name, "get the default certificate")
        assert subject(new, name) == OWN


def test_others_do_not_notice(new):
    check_others(new)


@pytest.mark.parametrize("data", [
    {"tls.crt": "%%%", "tls.key": "%%%"}, {"tls.crt": 7}, ["x"], "x",
    {"tls.crt": base64.b64encode(b"\xff" * 50).decode() + "="}],
    ids=["no base64", "number", "list", "text", "padding"])
def test_what_is_no_secret_changes_nothing(stage, data):
    lintel = serve(stage, good(names=["x"]), ["x"])
    eventually(lambda: is_shown(lintel, "x", GOOD))
    change(lintel, [{"apiVersion": "v1", "kind": "Secret", "data": data,
                     "metadata": metadata("x", "default")}])
    lintel.wait_log("(error|warning): Secret default/x")
    assert is_shown(lintel, "x", GOOD)


def test_it_is_mended(stage):
    lintel = serve(stage, bad(["text"]), ["text"])
    check_told(lintel, "text", "get the default certificate")
    change(lintel, good(names=["text"]))
    eventually(lambda: is_shown(lintel, "text", GOOD))
    lintel.wait_log("mended: [^\n]*Secret default/text")
    lintel.wait_log("mended: [^\n]*Ingress default/text")


def test_the_largest_that_are_taken(stage):
    """Ten certificates, and texts with much else in them."""
    long, notes = chain_of(10), "# notes\n" * 1000
    lintel = serve(stage, [pair("x", long.chain, long.key),
                           pair("z", notes + NEW.chain, notes + NEW.key)], ["x", "z"])
    eventually(lambda: is_shown(lintel, "x", long))
    eventually(lambda: is_shown(lintel, "z", NEW))


def test_a_secret_that_goes_takes_its_certificate_along(stage):
    """Who deletes one wants it to be gone: its key may be known to others."""
    lintel = serve(stage, good(names=["x"]), ["x"])
    eventually(lambda: is_shown(lintel, "x", GOOD))
    change(lintel, [])
    eventually(lambda: subject(lintel, "x") == OWN)
    lintel.wait_log(r"Ingress default/x: spec.tls\[0\].secretName: there is no Secret default/x")


def test_a_broken_one_does_not_keep_what_has_ended(stage):
    lintel = serve(stage, good(EXPIRED, ["text"]), ["text"])
    eventually(lambda: is_shown(lintel, "text", EXPIRED))
    change(lintel, bad(["text"]))
    check_told(lintel, "text", "get the default certificate")
    eventually(lambda: subject(lintel, "text") == OWN)
