"""TLS sessions that clients keep (--ssl-session-tickets): by every worker, by replicas that share the
Secret of the keys, and across the rotation of these keys."""
import base64
import os

import pytest

from lib import pki, tls
from lib.manifests import app, ingress, ingress_class, metadata, rule, tls_secret
from lib.manifests import tls as tls_entry
from lib.tls import TlsClient
from lib.wait import eventually

ON = ["--ssl-session-tickets", "--ssl-redirect=false"]
SHARED = [*ON, "--ssl-session-ticket-secret", "default/keys"]
VERSIONS = pytest.mark.parametrize("version", [tls.V12, tls.V13])


def key():
    return os.urandom(80)


def keys_secret(*keys):
    data = base64.b64encode(b"".join(keys)).decode()
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata("keys", "default"),
            "data": {"ticket.key": data}}


class Site:
    """a.test with one certificate, served by any number of Lintels."""

    def __init__(self, stage):
        self.stage, self.root = stage, pki.Authority()
        self.objects = [ingress_class(), tls_secret("a", self.root.issue("a.test")),
                        ingress("a", rule("a.test", ("/", "Prefix", "app:80")),
                                tls=[tls_entry("a", "a.test")]),
                        app("app", stage.backend().port)]

    def run(self, *objects, arguments=SHARED, **options):
        return self.stage.run(*self.objects, *objects, arguments=arguments, **options)

    def context(self, version):
        return tls.context(trusts=[self.root], lowest=version, highest=version)


def visit(lintel, made, session=None):
    """(Was the session resumed, the session to go on with)."""
    with TlsClient(lintel.https_port, "a.test", made=made, session=session) as client:
        assert client.request(host="a.test").status == 200 # tickets of TLS 1.3 have come by then
        return client.socket.session_reused, client.socket.session


@VERSIONS
def test_every_worker_opens_them(stage, version):
    site = Site(stage)
    lintel = site.run(arguments=ON, workers=2)
    made = site.context(version)
    for _ in range(20): # the kernel spreads connections over the workers: half of them change
        _, session = visit(lintel, made)
        assert visit(lintel, made, session)[0]
    assert lintel.counter("lintel_tls_handshakes_total", result="resumed") == 20


def test_each_connection_brings_the_next_ticket(stage):
    """RFC 8446 appendix C.4: clients of TLS 1.3 offer a ticket once."""
    site = Site(stage)
    lintel = site.run(arguments=ON)
    made = site.context(tls.V13)
    _, session = visit(lintel, made)
    for _ in range(3):
        reused, following = visit(lintel, made, session)
        assert reused and following.has_ticket and following.id != session.id
        session = following


@VERSIONS
def test_replicas_with_the_same_secret_open_them(stage, version):
    site, shared = Site(stage), keys_secret(key())
    replicas = [site.run(shared), site.run(shared), site.run(keys_secret(key()))]
    made = site.context(version)
    _, session = visit(replicas[0], made)
    assert [visit(replica, made, session)[0] for replica in replicas[1:]] == [True, False]


@VERSIONS
def test_keys_are_rotated(stage, version):
    """The old one opens tickets as long as it is in the Secret, and they are renewed."""
    site, old, new = Site(stage), key(), key()
    lintel = site.run(keys_secret(old))
    made = site.context(version)
    _, first = visit(lintel, made)
    lintel.manifests.write("all.yaml", *site.objects, keys_secret(new, old))
    only_new = site.run(keys_secret(new))

    def renewed():
        reused, session = visit(lintel, made, first)
        return reused and visit(only_new, made, session)[0]

    eventually(renewed, what="tickets of the new key")
    lintel.manifests.write("all.yaml", *site.objects, keys_secret(new))
    eventually(lambda: not visit(lintel, made, first)[0], what="the end of the old key")


@pytest.mark.parametrize("length", [0, 79, 81, 9 * 80])
def test_bad_keys_change_nothing(stage, length):
    site = Site(stage)
    lintel = site.run(keys_secret(key()))
    made = site.context(tls.V12)
    _, session = visit(lintel, made)
    lintel.manifests.write("all.yaml", *site.objects, keys_secret(bytes(length)))
    lintel.wait_log(rf"Secret default/keys: data\[ticket.key\]: has {length} bytes.*80 random bytes")
    lintel.wait_log(r"--ssl-session-ticket-secret.*ticket.key cannot be used")
    assert visit(lintel, made, session)[0]


def test_without_the_secret_they_are_random(stage):
    site = Site(stage)
    lintel = site.run()
    lintel.wait_log(r"--ssl-session-ticket-secret.*there is no Secret default/keys.*random keys")
    made = site.context(tls.V13)
    _, session = visit(lintel, made)
    assert visit(lintel, made, session)[0]
    shared = keys_secret(key())
    other = site.run(shared)
    lintel.manifests.write("all.yaml", *site.objects, shared) # it comes

    def is_known_there():
        _, session = visit(lintel, made)
        return visit(other, made, session)[0]

    eventually(is_known_there, what="tickets that the other one opens")
    lintel.manifests.write("all.yaml", *site.objects) # and goes
    eventually(lambda: not is_known_there(), what="random keys")
    _, session = visit(lintel, made)
    assert visit(lintel, made, session)[0]
