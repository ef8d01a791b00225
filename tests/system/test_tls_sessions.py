"""TLS sessions that Lintel keeps (tickets are off by default): resumed with any worker and across
changes, for the same host alone. What clients keep themselves is in test_tls_tickets.py."""
import os
import signal

import pytest

from lib import pki, tls
from lib.manifests import app, ingress_class, tls_secret
from lib.tls import TlsClient, site
from lib.wait import eventually

ROOT = pki.Authority("Root")
BOTH = ROOT.issue("a.test", "b.test")
VERSIONS = pytest.mark.parametrize("version", [tls.V12, tls.V13])


class Visits:
    """A client that keeps its sessions, as browsers do."""

    def __init__(self, stage, version, *arguments, **options):
        self.lintel = stage.run(
            ingress_class(), app("app", stage.backend().port), tls_secret("both", BOTH),
            site("a", "a.test", secret="both"), site("b", "b.test", secret="both"),
            arguments=["--ssl-redirect=false", *arguments], **options)
        self.made = tls.context(trusts=[ROOT], lowest=version, highest=version)

    def visit(self, host="a.test", session=None):
        """(Was the session resumed, the session to go on with, the certificate)."""
        with TlsClient(self.lintel.https_port, host, made=self.made, session=session) as client:
            assert client.request(host=host).status == 200 # what TLS 1.3 sends later has come
            return client.socket.session_reused, client.socket.session, client.certificate

    def resumes(self, session, host="a.test"):
        return self.visit(host, session)[0]


@VERSIONS
def test_every_worker_resumes_them(stage, version):
    """The kernel spreads connections over the workers: half of them change."""
    visits, n = Visits(stage, version, workers=3), 20
    for _ in range(n):
        reused, session, _ = visits.visit()
        assert not reused and session.has_ticket == (version == tls.V13)
        assert visits.resumes(session)
    assert visits.lintel.counter("lintel_tls_handshakes_total", result="resumed") == n
    assert visits.lintel.counter("lintel_tls_handshakes_total", result="full") == n


@VERSIONS
def test_they_outlive_workers(stage, version):
    visits = Visits(stage, version, workers=2)
    _, session, _ = visits.visit()
    before = visits.lintel.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    visits.lintel.wait_workers(before)
    visits.lintel.wait_ready()
    assert eventually(lambda: visits.resumes(session))


@VERSIONS
def test_a_new_certificate_does_not_end_them(stage, version):
    """Who resumes has seen the old one, and it was good."""
    visits = Visits(stage, version)
    _, session, _ = visits.visit()
    new = ROOT.issue("a.test", "b.test")
    visits.lintel.manifests.write("all.yaml", ingress_class(), tls_secret("both", new),
                                  app("app", stage.others[0].port),
                                  site("a", "a.test", secret="both"))
    eventually(lambda: visits.visit()[2] == new.der)
    assert visits.resumes(session)


@VERSIONS
def test_they_are_for_one_host(stage, version):
    """RFC 6066 section 3: never with another name than they began with."""
    visits = Visits(stage, version)
    _, session, _ = visits.visit("a.test")
    assert not visits.resumes(session, "b.test")
    assert visits.resumes(session, "a.test")


@VERSIONS
def test_none_may_be_kept(stage, version):
    visits = Visits(stage, version, "--ssl-session-cache-size=0")
    _, session, _ = visits.visit()
    assert session is None or not visits.resumes(session)


def test_made_up_ones_are_none(stage):
    """Names of places in memory that nobody has given out, and of other Lintels."""
    mine, other = Visits(stage, tls.V12), Visits(stage, tls.V12)
    other.made = mine.made
    _, session, _ = mine.visit()
    assert not other.resumes(session)
    assert mine.resumes(session)


def test_old_ones_make_room(stage):
    """With memory for a few: the newest are there, and nothing breaks."""
    visits = Visits(stage, tls.V12, "--ssl-session-cache-size=4096")
    sessions = [visits.visit()[1] for _ in range(30)]
    assert visits.resumes(sessions[-1])
    assert not visits.resumes(sessions[0])
