"""OCSP stapling (--enable-ocsp): what clients that ask for it get with the handshake, from responders
that work, lie, hang and are gone."""
import os
import signal
import socket
import time

import pytest
from lib import ocsp, pki
from lib.client import fetch
from lib.manifests import app, ingress, ingress_class, metadata, rule, tls_secret
from lib.manifests import tls as tls_entry
from lib.ocsp import OpensslResponder, Responder, response, revoked, staple
from lib.settings import covers
from lib.tls import TlsClient
from lib.wait import always, eventually

ON = ["--enable-ocsp", "--ocsp-responder-cidr", "127.0.0.0/8", "--ssl-redirect=false",
      "--log-level", "debug"]
V12, V13 = ["-tls1_2"], ["-tls1_3"]
VERSIONS = pytest.mark.parametrize("version", [V12, V13])


class Town:
    """Sites of one authority, whose certificate stands behind theirs."""

    def __init__(self, stage):
        self.stage = stage
        self.authority = pki.Authority("Root").authority("Middle")
        self.backend = stage.backend().port

    def objects(self, *sites):
        """sites: (name of the host, identities)."""
        made = [ingress_class(), app("app", self.backend)]
        for host, *identities in sites:
            name = host.replace(".", "-")
            secrets = [f"{name}-{i}" for i in range(len(identities))]
            made += [tls_secret(secret, identity)
                     for secret, identity in zip(secrets, identities)]
            made.append(ingress(name, rule(host, ("/", "Prefix", "app:80")),
                                tls=[tls_entry(secret, host) for secret in secrets]))
        return made

    def run(self, *sites, arguments=ON, **options):
        return self.stage.run(*self.objects(*sites), arguments=arguments, **options)

    def responder(self, script):
        made = Responder(script)
        self.stage.others.append(made)
        return made

    def openssl(self, **options):
        made = OpensslResponder(self.stage.path / "responder", self.authority, **options)
        self.stage.others.append(made)
        return made


@pytest.fixture
def town(stage):
    return Town(stage)


def stapled(lintel, host, *options):
    """The first one that comes."""
    return eventually(lambda: staple(lintel.https_port, host, *options), what="a staple",
                      interval=0.1)


def wait_failures(lintel, number):
    eventually(lambda: lintel.counter("lintel_ocsp_requests_total", result="failed") >= number,
               what="failures")


# ---- what works ----

@VERSIONS
def test_openssls_own_responder(town, version):
    real = town.openssl()
    site = town.authority.issue("a.test", responder=real.url)
    real.know(site)
    lintel = town.run(("a.test", site))
    got = stapled(lintel, "a.test", *version)
    assert (got.status, got.serial) == ("good", site.x509.serial_number)
    assert staple(lintel.https_port, "a.test", *version, asks=False) is None
    assert lintel.counter("lintel_tls_status_requests_total", result="stapled") == 1
    assert lintel.counter("lintel_ocsp_certificates", state="stapled") == 1


def test_the_responders_answer_changes(town):
    """At half of its minute it is asked for again."""
    real = town.openssl()
    site = town.authority.issue("a.test", responder=real.url)
    real.know(site)
    lintel = town.run(("a.test", site))
    assert stapled(lintel, "a.test").status == "good"
    real.revoke(site)
    eventually(lambda: staple(lintel.https_port, "a.test").status == "revoked", timeout=50,
               interval=0.5, what="a response that says it is revoked")
    lintel.wait_log(r"Secret default/a-test-0: data\[tls.crt\]: is revoked.*CertificateRevoked")


def test_a_delegated_signer(town):
    signer = town.authority.issue("responder", uses=[pki.OCSP_SIGNING])
    real = town.openssl(signer=signer)
    site = town.authority.issue("a.test", responder=real.url)
    real.know(site)
    assert stapled(town.run(("a.test", site)), "a.test").status == "good"


@pytest.mark.parametrize("version, options", [
    (V12, (["-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"])),
    (V13, (["-sigalgs", "rsa_pss_rsae_sha256"], ["-sigalgs", "ecdsa_secp256r1_sha256"]))])
def test_each_of_a_hosts_certificates_has_its_own(town, version, options):
    answers = {}
    fake = town.responder(lambda handler, serial: handler.answer(answers[serial]))
    sites = [town.authority.issue("a.test", kind=kind, responder=fake.url)
             for kind in (pki.RSA, pki.EC)]
    answers.update({site.x509.serial_number: response(town.authority, site) for site in sites})
    lintel = town.run(("a.test", *sites))
    for site, chosen in zip(sites, options):
        assert stapled(lintel, "a.test", *version, *chosen).serial == site.x509.serial_number


def test_the_default_certificate(town):
    """For names that nobody has, and for clients that say none."""
    fake = town.responder(lambda handler, _: handler.answer(response(town.authority, site)))
    site = town.authority.issue("default.test", responder=fake.url)
    lintel = town.stage.run(*town.objects(), tls_secret("default", site), arguments=[
        *ON, "--default-ssl-certificate", "default/default"])
    assert stapled(lintel, "nobody.test").serial == site.x509.serial_number
    assert staple(lintel.https_port, None, "-noservername").serial == site.x509.serial_number


def test_the_request(town):
    fake = town.responder(lambda handler, _: handler.answer(response(town.authority, site)))
    site = town.authority.issue("a.test", responder=fake.url + "/a%20b?c=d")
    stapled(town.run(("a.test", site)), "a.test")
    path, fields = fake.heads[0]
    assert path == "/ocsp/a%20b?c=d"
    assert fields["Host"] == f"127.0.0.1:{fake.port}"
    assert fields["Content-Type"] == "application/ocsp-request"
    assert "Expect" not in fields


def test_many_certificates_are_asked_about_in_turn(town):
    """More than may be asked about at a time."""
    under_way, most = [], []

    def script(handler, serial):
        under_way.append(serial)
        most.append(len(under_way))
        time.sleep(0.05)
        under_way.remove(serial)
        handler.answer(answers[serial])

    fake = town.responder(script)
    key = pki.make_key()
    sites = {f"h{i}.test": town.authority.issue(f"h{i}.test", key=key, responder=fake.url)
             for i in range(40)}
    answers = {site.x509.serial_number: response(town.authority, site) for site in sites.values()}
    lintel = town.run(*sites.items())
    eventually(lambda: lintel.counter("lintel_ocsp_certificates", state="stapled") == 40,
               what="responses for all")
    assert max(most) <= 4 # OCSP_QUESTIONS_PER_NAMESPACE
    assert len(fake.requests) == 40
    for host in ("h0.test", "h39.test"):
        assert stapled(lintel, host).serial == sites[host].x509.serial_number


# ---- what ends ----

def test_a_response_that_has_ended_is_not_stapled(town):
    def script(handler, serial):
        if len(fake.requests) == 1:
            handler.answer(response(town.authority, site, ends=7))
        else:
            handler.hang()
    fake = town.responder(script)
    site = town.authority.issue("a.test", responder=fake.url)
    lintel = town.run(("a.test", site))
    assert stapled(lintel, "a.test").status == "good"
    eventually(lambda: staple(lintel.https_port, "a.test") is None, what="the end of the response")
    eventually(lambda: lintel.counter("lintel_ocsp_certificates", state="stapled") == 0,
               what="that it is forgotten")


def test_it_is_refreshed_before_its_end(town):
    def script(handler, serial):
        handler.answer(response(town.authority, site, begins=-30, ends=24))
    fake = town.responder(script)
    site = town.authority.issue("a.test", responder=fake.url)
    lintel = town.run(("a.test", site))
    stapled(lintel, "a.test")
    begin = time.monotonic()
    eventually(lambda: len(fake.requests) == 2, what="the second question")
    assert time.monotonic() - begin < 16
    always(lambda: staple(lintel.https_port, "a.test") is not None, seconds=0.5,
           what="the response")


def test_an_older_response_does_not_take_its_place(town):
    """Of a responder that is behind, or of somebody who has kept one from before the revocation."""
    def script(handler, serial):
        if len(fake.requests) == 1:
            handler.answer(revoked(town.authority, site, begins=-30, ends=24))
        else:
            handler.answer(response(town.authority, site, begins=-90, ends=3600))
    fake = town.responder(script)
    site = town.authority.issue("a.test", responder=fake.url)
    lintel = town.run(("a.test", site))
    assert stapled(lintel, "a.test").status == "revoked"
    eventually(lambda: lintel.counter("lintel_ocsp_requests_total", result="older") == 1,
               what="the second response")
    assert staple(lintel.https_port, "a.test").status == "revoked"


def test_on_failure_the_old_one_stays(town):
    def script(handler, serial):
        if len(fake.requests) == 1:
            handler.answer(response(town.authority, site, begins=-30, ends=40))
        else:
            handler.answer(b"", status=503)
    fake = town.responder(script)
    site = town.authority.issue("a.test", responder=fake.url)
    lintel = town.run(("a.test", site))
    stapled(lintel, "a.test")
    eventually(lambda: lintel.counter("lintel_ocsp_requests_total", result="failed") == 2,
               timeout=40, what="two failures")
    lintel.wait_log(r"Secret default/a-test-0: data\[tls.crt\]: has an OCSP responder whose response "
                    r"cannot be had: it gives no response; clients go on getting the response from "
                    r"before.*StapleUnavailable")
    assert staple(lintel.https_port, "a.test").status == "good"


def test_a_new_certificate_has_its_own_response(town):
    answers = {}
    fake = town.responder(lambda handler, serial: handler.answer(answers[serial])
                          if serial in answers else handler.hang())
    old, new = (town.authority.issue("a.test", responder=fake.url) for _ in range(2))
    answers[old.x509.serial_number] = response(town.authority, old)
    lintel = town.run(("a.test", old))
    assert stapled(lintel, "a.test").serial == old.x509.serial_number
    lintel.manifests.write("all.yaml", *town.objects(("a.test", new)))

    def is_new():
        with TlsClient(lintel.https_port, "a.test") as client:
            return client.certificate == new.der

    eventually(is_new, what="the new certificate")
    assert staple(lintel.https_port, "a.test") is None # the old one's is gone in the same moment
    answers[new.x509.serial_number] = response(town.authority, new)
    fake.released.set()
    assert stapled(lintel, "a.test").serial == new.x509.serial_number


# ---- what does not count ----

def _tampered(town, site, _):
    """One bit of what is signed: the time at its end."""
    made = bytearray(response(town.authority, site))
    made[made.index(b"Z\xa0") + 10] ^= 1
    return bytes(made)


BAD = {
    "tampered": _tampered,
    "expired": lambda town, site, _: response(town.authority, site, begins=-7200, ends=-3600),
    "not-yet-valid": lambda town, site, _: response(town.authority, site, begins=3000, ends=7200),
    "too-old-without-an-end": lambda town, site, _: response(town.authority, site, begins=-7200,
                                                             ends=None),
    "of-another-certificate": lambda town, _, other: response(town.authority, other),
    "of-another-authority": lambda town, site, _: response(
        town.authority, site, signer=pki.Authority("Root").authority("Middle")),
    "by-a-server": lambda town, site, other: response(town.authority, site, signer=other,
                                                      certificates=[other]),
    "of-itself": lambda town, site, _: response(town.authority, site, signer=site,
                                                certificates=[site]),
    "unknown": lambda town, site, _: response(town.authority, site,
                                              status=ocsp.ocsp.OCSPCertStatus.UNKNOWN),
    "try-later": lambda *_: ocsp.unsuccessful(),
    "nothing": lambda *_: b"",
    "no-asn1": lambda *_: b"<html>login</html>",
    "something-behind": lambda town, site, _: response(town.authority, site) + b"\0",
    "too-long": lambda *_: bytes(16385),
}


def test_what_is_no_valid_response_is_not_stapled(town):
    answers = {}
    fake = town.responder(lambda handler, serial: handler.answer(answers[serial]))
    key = pki.make_key()
    other = town.authority.issue("other.test", responder=fake.url)
    sites = {f"{kind}.test": town.authority.issue(f"{kind}.test", key=key, responder=fake.url)
             for kind in BAD}
    for kind, site in zip(BAD, sites.values()):
        answers[site.x509.serial_number] = BAD[kind](town, site, other)
    lintel = town.run(*sites.items())
    wait_failures(lintel, 2 * len(BAD))
    for kind in BAD:
        assert staple(lintel.https_port, f"{kind}.test") is None, kind
        lintel.wait_log(rf"Secret default/{kind}-test-0: .*clients get none.*StapleUnavailable")


def test_redirects_are_not_followed(town):
    good = town.responder(lambda handler, _: handler.answer(response(town.authority, site)))
    fake = town.responder(lambda handler, _: handler.answer(b"", status=302, Location=good.url))
    site = town.authority.issue("a.test", responder=fake.url)
    wait_failures(town.run(("a.test", site)), 2)
    assert good.requests == []


# ---- who is not asked ----

def test_the_loopback_is_not_asked(town):
    fake = town.responder(lambda handler, _: handler.answer(response(town.authority, site)))
    hosts = ["127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0", "[::]",
             "169.254.169.254", "[fe80::1]", "224.0.0.1"]
    key = pki.make_key()
    sites = {f"h{i}.test": town.authority.issue(
        f"h{i}.test", key=key, responder=f"http://{host}:{fake.port}/ocsp")
        for i, host in enumerate(hosts)}
    lintel = town.run(*sites.items(), arguments=["--enable-ocsp", "--ssl-redirect=false"])
    for i, _ in enumerate(hosts):
        lintel.wait_log(rf"Secret default/h{i}-test-0: .*it is at an address that may not be asked; "
                        r"clients get none.*StapleUnavailable")
    assert fake.requests == []


def test_only_what_is_allowed_is_asked(town):
    fake = town.responder(lambda handler, _: handler.answer(response(town.authority, site)))
    site = town.authority.issue("a.test", responder=fake.url)
    lintel = town.run(("a.test", site), arguments=[
        "--enable-ocsp", "--ocsp-responder-cidr=127.0.0.2/32,10.0.0.0/8", "--ssl-redirect=false"])
    lintel.wait_log(r"it is at an address that may not be asked")
    assert fake.requests == []


def test_other_urls_are_told(town):
    urls = ["https://127.0.0.1/", "ldap://127.0.0.1/", "http://user@127.0.0.1/"]
    sites = {f"h{i}.test": town.authority.issue(f"h{i}.test", responder=url)
             for i, url in enumerate(urls)}
    lintel = town.run(*sites.items())
    for i, _ in enumerate(urls):
        lintel.wait_log(rf"Secret default/h{i}-test-0: .*cannot be asked: it is not reached by a plain "
                        r"http URL.*StapleUnavailable")
    assert lintel.counter("lintel_ocsp_requests_total", result="failed") == 0


def test_the_issuer_has_to_be_in_the_chain(town):
    root = pki.Authority("Root")
    site = root.issue("a.test", responder="http://127.0.0.1:1/") # what roots sign stands alone
    lintel = town.run(("a.test", site))
    lintel.wait_log(r"Secret default/a-test-0: .*cannot be asked: .*the issuer's is not in tls.crt")


def test_without_a_responder_nothing_is_said(town):
    real = town.openssl()
    asked, silent = town.authority.issue("a.test", responder=real.url), town.authority.issue("b.test")
    real.know(asked)
    lintel = town.run(("a.test", asked), ("b.test", silent))
    stapled(lintel, "a.test")
    assert staple(lintel.https_port, "b.test") is None
    assert lintel.counter("lintel_ocsp_certificates", state="followed") == 1
    assert "StapleUnavailable" not in lintel.log()


# ---- nobody waits ----

def test_requests_are_served_while_the_responder_hangs(town):
    fake = town.responder(lambda handler, _: handler.hang())
    names = [f"h{i}.test" for i in range(20)]
    lintel = town.run(*((name, town.authority.issue(name, responder=fake.url)) for name in names))
    eventually(lambda: len(fake.requests) >= 4, what="questions")
    for name in names:
        begin = time.monotonic()
        with TlsClient(lintel.https_port, name) as client:
            assert client.request(host=name).status == 200
        assert time.monotonic() - begin < 2
        assert staple(lintel.https_port, name) is None
    # Nor does the compiler wait.
    begin = time.monotonic()
    lintel.manifests.write("more.yaml", ingress("new", rule("new.test", ("/", "Prefix", "app:80"))))
    eventually(lambda: fetch(lintel.port, host="new.test").status == 200, what="a new route")
    assert time.monotonic() - begin < 5


def test_nobodys_responder_keeps_others_waiting(town):
    """Those of a namespace whose responder hangs."""
    hanging = town.responder(lambda handler, _: handler.hang())
    fake = town.responder(lambda handler, _: handler.answer(response(town.authority, site)))
    key = pki.make_key()
    site = town.authority.issue("good.test", responder=fake.url)
    objects = town.objects(*((f"h{i}.test", town.authority.issue(
        f"h{i}.test", key=key, responder=hanging.url)) for i in range(40)))
    objects += [tls_secret("good", site, namespace="other"), app("app", town.backend, namespace="other"),
                ingress("good", rule("good.test", ("/", "Prefix", "app:80")), namespace="other",
                        tls=[tls_entry("good", "good.test")])]
    begin = time.monotonic()
    lintel = town.stage.run(*objects, arguments=ON)
    stapled(lintel, "good.test")
    assert time.monotonic() - begin < 8 # before the first of them are given up
    assert len(hanging.requests) <= 4


def test_a_responder_that_is_not_there(town):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0)) # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        lintel = town.run(("a.test", town.authority.issue("a.test", responder=url)))
        wait_failures(lintel, 2)
        lintel.wait_log(r"it gives no response; clients get none")


# ---- on and off ----

def config(value):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("lintel", "default"),
            "data": {"enable-ocsp": value}}


@covers("enable-ocsp")
def test_it_is_off_by_default_and_switched_by_the_configmap(town):
    real = town.openssl()
    site = town.authority.issue("a.test", responder=real.url)
    real.know(site)
    lintel = town.run(("a.test", site), arguments=[
        "--configmap", "default/lintel", "--ocsp-responder-cidr=127.0.0.0/8", "--ssl-redirect=false"])
    assert staple(lintel.https_port, "a.test") is None
    lintel.manifests.write("config.yaml", config("true"))
    stapled(lintel, "a.test")
    lintel.manifests.write("config.yaml", config("false"))
    eventually(lambda: staple(lintel.https_port, "a.test") is None, what="the end of it")
    lintel.manifests.write("config.yaml", config("true"))
    stapled(lintel, "a.test")


def test_responses_outlive_the_controller(town):
    """With a snapshot file: the new one takes them over, and does not ask before it is time."""
    fake = town.responder(lambda handler, _: handler.answer(response(town.authority, site)))
    site = town.authority.issue("a.test", responder=fake.url)
    lintel = town.run(("a.test", site), arguments=[
        *ON, "--snapshot-file", str(town.stage.path / "snapshot")])
    stapled(lintel, "a.test")
    eventually((town.stage.path / "snapshot").exists, what="the snapshot file")
    time.sleep(1.5) # SAVED_DELAY: it may have been written before the response came
    old = lintel.controller()
    lintel.expects_death = True
    os.kill(old, signal.SIGKILL)
    lintel.wait_controller(other_than=old)
    lintel.wait_log(r"serving the saved snapshot")
    always(lambda: staple(lintel.https_port, "a.test") is not None, seconds=2, what="the response")
    assert len(fake.requests) == 1
