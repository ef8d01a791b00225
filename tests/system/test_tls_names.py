"""Which certificate a client is shown, what is agreed on with it, and which requests a connection may
carry: the names of TLS."""
import pytest

from lib import pki, tls
from lib.curl import curl
from lib.lintel import command
from lib.manifests import app, backend, ingress, ingress_class, rule, tls_secret
from lib.records import Hands, server_name
from lib.tls import TlsClient, certificates_of, h2_client, s_client, shown, site
from lib.wait import eventually

ROOT = pki.Authority("Root")
MIDDLE = ROOT.authority("Middle")
LOWEST = MIDDLE.authority("Lowest")

EXACT = ROOT.issue("x.w.test")
WILD = ROOT.issue("*.w.test")
BOTH = ROOT.issue("one.test", "two.test")
OTHER = ROOT.issue("elsewhere.test")
DEEP = LOWEST.issue("deep.test")
FALLBACK = ROOT.issue("fallback.test")
KINDS = {kind: ROOT.issue("kinds.test", kind=kind) for kind in (pki.RSA, pki.EC, pki.ED25519)}
OWN = "Lintel default certificate"

SECRETS = {"exact": EXACT, "wild": WILD, "both": BOTH, "other": OTHER, "deep": DEEP,
           **{"kind-" + kind: identity for kind, identity in KINDS.items()}}

SITES = [
    site("wild", "*.w.test", secret="wild"), site("exact", "x.w.test", secret="exact"),
    site("one", "one.test", secret="both"), site("two", "two.test", secret="both"),
    site("three", "three.test", secret="other"), site("deep", "deep.test", secret="deep"),
    site("kinds", "kinds.test", secret=["kind-" + kind for kind in KINDS]),
    ingress("plain", rule("plain.test", ("/", "Prefix", "app:80"))),
]


def serve(stage, *objects, arguments=(), **options):
    return stage.run(ingress_class(), app("app", stage.backend().port), *objects,
                     arguments=["--ssl-redirect=false", *arguments], **options)


@pytest.fixture(scope="module")
def lintel(module_stage):
    return serve(module_stage, *[tls_secret(*item) for item in SECRETS.items()],
                 tls_secret("fallback", FALLBACK), *SITES,
                 arguments=["--default-ssl-certificate", "default/fallback"])


def subject_of(der):
    return pki.read(der).subject.rfc4514_string()


# ---- which certificate ----

@pytest.mark.parametrize("name, identity", [
    ("x.w.test", EXACT), ("X.W.TesT", EXACT), ("y.w.test", WILD), ("Y.w.TEST", WILD),
    ("x_y.w.test", WILD),
    ("z.y.w.test", FALLBACK), ("w.test", FALLBACK),
    ("one.test", BOTH), ("two.test", BOTH), ("elsewhere.test", FALLBACK),
    ("plain.test", FALLBACK), ("unknown.test", FALLBACK), ("fallback.test", FALLBACK),
    ("three.test", FALLBACK), ("127.0.0.1", FALLBACK), ("kubernetes", FALLBACK),
    (None, FALLBACK),
])
@pytest.mark.parametrize("version", [tls.V12, tls.V13])
def test_the_most_specific_name_decides(lintel, name, identity, version):
    """A certificate that is not for the name is not shown, whatever Secret the host names."""
    with Hands(lintel.https_port, name, lowest=version, highest=version) as hands:
        hands.shake()
        assert hands.certificate == identity.der


@pytest.mark.parametrize("name, identity", [
    ("x.w.test.", EXACT), ("y.w.test.", WILD), ("unknown.test.", FALLBACK), ("10.0.0.1", FALLBACK),
    ("a" * 253, FALLBACK)], ids=range(5))
def test_a_trailing_dot_does_not_matter(lintel, name, identity):
    """Nor does what is no name, as an address is none: RFC 6066 section 3."""
    text = s_client(lintel.https_port, name)
    assert certificates_of(text)[0] == identity.certificate


@pytest.mark.parametrize("name", [
    b"", b".", b"a" * 256, b"*.w.test", b"a b.test", b"a\0.test", b"a/b.test",
    "ü.test".encode(), b"a:443"])
def test_a_name_that_can_be_nobodys_is_refused(lintel, name):
    """RFC 6066 section 3: host names are ASCII."""
    failed = lintel.counter("lintel_tls_handshakes_total", result="failed")
    with Hands(lintel.https_port, extension=server_name(name)) as hands:
        assert hands.refusal() == "DECODE_ERROR"
    eventually(lambda: lintel.counter("lintel_tls_handshakes_total", result="failed") > failed)


@pytest.mark.parametrize("extension", [
    b"", b"\0", b"\0\0", b"\0\5\0\0\1", b"\0\4\0\0\1a\0", b"\0\4\1\0\1a",
    b"\0\10\0\0\1a\0\0\1b"], ids=["empty", "half", "no name", "cut", "more", "other type", "two"])
def test_a_malformed_extension_is_refused(lintel, extension):
    with Hands(lintel.https_port, extension=extension) as hands:
        assert hands.refusal() == "DECODE_ERROR"


def test_the_whole_chain_is_sent(lintel):
    """Those that signed, the root left out as the Secret does; so that one who knows the root alone
    believes it."""
    sent = certificates_of(s_client(lintel.https_port, "deep.test", "-showcerts"))
    assert "".join(sent) == DEEP.chain and len(sent) == 3
    with TlsClient(lintel.https_port, "deep.test", trusts=[ROOT]) as client:
        assert client.request(host="deep.test").status == 200
    sent = certificates_of(s_client(lintel.https_port, "x.w.test", "-showcerts"))
    assert "".join(sent) == EXACT.chain and len(sent) == 1


# ---- kinds of keys ----

@pytest.mark.parametrize("kind, arguments", [
    (pki.RSA, ["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"]),
    (pki.EC, ["-tls1_3", "-sigalgs", "ECDSA+SHA256"]),
    (pki.ED25519, ["-tls1_3", "-sigalgs", "ed25519"]),
    (pki.RSA, ["-tls1_2", "-sigalgs", "RSA+SHA256"]),
    (pki.RSA, ["-tls1_2", "-cipher", "aRSA"]),
    (pki.EC, ["-tls1_2", "-sigalgs", "ECDSA+SHA256"]),
    (pki.ED25519, ["-tls1_2", "-sigalgs", "ed25519"]),
    (pki.EC, ["-tls1_3", "-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256"]),
])
def test_a_client_gets_a_key_that_it_understands(lintel, kind, arguments):
    """One that understands several gets the one that is cheap."""
    text = s_client(lintel.https_port, "kinds.test", *arguments)
    assert certificates_of(text)[0] == KINDS[kind].certificate


def test_a_client_that_understands_none_is_refused(lintel):
    text = s_client(lintel.https_port, "x.w.test", "-sigalgs", "RSA-PSS+SHA256", has_failed=True)
    assert "handshake failure" in text


# ---- the default certificate ----

def test_without_any_it_is_one_of_our_own_making(stage):
    """That nobody trusts, nor is it for any name."""
    lintel = serve(stage, site("a", "a.test"))
    for name in ("a.test", None):
        text = subject_of(shown(lintel.https_port, name))
        assert text == "CN=" + OWN
    assert tls.refusal(lintel.https_port, "a.test", trusts=[ROOT]) == "CERTIFICATE_VERIFY_FAILED"
    with TlsClient(lintel.https_port, "a.test") as client: # an entry without a Secret: served
        assert client.request(host="a.test").status == 200


def test_the_secret_of_an_ingress_without_hosts_is_for_every_name(stage):
    """Until the option names another one."""
    lintel = serve(stage, tls_secret("both", BOTH), tls_secret("exact", EXACT),
                   site("exact", "x.w.test", secret="exact"),
                   ingress("all", default=backend("app:80"), tls=[{"secretName": "both"}]))
    for name, identity in (("x.w.test", EXACT), ("unknown.test", BOTH), (None, BOTH)):
        assert shown(lintel.https_port, name) == identity.der


def test_the_default_certificate_comes_changes_and_goes(stage):
    lintel = serve(stage, site("a", "a.test"),
                   arguments=["--default-ssl-certificate", "default/late"])
    assert lintel.wait_log(r"default-ssl-certificate: there is no Secret default/late")
    assert subject_of(shown(lintel.https_port)) == "CN=" + OWN
    for identity in (FALLBACK, OTHER):
        lintel.manifests.write("late.yaml", tls_secret("late", identity))
        eventually(lambda i=identity: shown(lintel.https_port, "b.test") == i.der)
    lintel.manifests.delete("late.yaml")
    eventually(lambda: subject_of(shown(lintel.https_port)) == "CN=" + OWN)


def test_a_secret_without_hosts_serves_those_that_it_is_for(stage):
    """spec.tls without hosts: the certificate's own names decide, among the hosts of the rules."""
    item = site("all", "one.test", "two.test", "three.test")
    item["spec"]["tls"] = [{"secretName": "both"}]
    lintel = serve(stage, tls_secret("both", BOTH), item,
                   arguments=["--default-ssl-certificate", "default/both"])
    own = serve(stage, tls_secret("both", BOTH), item)
    for name in ("one.test", "two.test"):
        assert shown(lintel.https_port, name) == shown(own.https_port, name) == BOTH.der
    assert subject_of(shown(own.https_port, "three.test")) == "CN=" + OWN


def test_the_oldest_ingress_with_a_good_certificate_decides(stage):
    old, new = ROOT.issue("a.test"), ROOT.issue("a.test")
    lintel = serve(
        stage, tls_secret("old", old), tls_secret("new", new), tls_secret("other", OTHER),
        site("first", "a.test", secret="other", path="/1", created="2026-01-01T00:00:00Z"),
        site("second", "a.test", secret="old", path="/2", created="2026-01-02T00:00:00Z"),
        site("third", "a.test", secret="new", path="/3", created="2026-01-03T00:00:00Z"))
    assert shown(lintel.https_port, "a.test") == old.der


def test_what_is_not_for_its_host_is_told(stage, lintel):
    """By lintel check and in the log, with Secret, Ingress and host."""
    done = command("check", lintel.manifests.path)
    assert done.returncode == 1
    for text in (done.stdout + done.stderr, lintel.log()):
        line, = [line for line in text.splitlines() if "CertificateMismatch" in line]
        assert "three.test" in line and "Secret other" in line and "Ingress default/three" in line


# ---- ALPN ----

@pytest.mark.parametrize("offered, agreed", [
    (["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["h2"], "h2"),
    (["http/1.1"], "http/1.1"), (["spdy/3", "http/1.1"], "http/1.1"), ([], None)])
@pytest.mark.parametrize("version", [tls.V12, tls.V13])
def test_protocols(lintel, offered, agreed, version):
    with TlsClient(lintel.https_port, "one.test", trusts=[ROOT], alpn=offered, lowest=version,
                   highest=version) as client:
        assert client.alpn == agreed
        if agreed != "h2":
            assert client.request(host="one.test").status == 200


@pytest.mark.parametrize("offered", [["ftp"], ["h3", "acme-tls/1"], ["h2c"], ["H2"], ["http/1.1 "]])
def test_a_client_that_speaks_something_else_is_refused(lintel, offered):
    """RFC 7301 section 3.2: what another protocol's client says shall not be taken for HTTP."""
    reason = tls.refusal(lintel.https_port, "one.test", alpn=offered)
    assert reason == "tlsv1 alert no application protocol"


@pytest.mark.parametrize("offered", [None, ["http/1.1"]])
def test_http2_is_spoken_only_when_it_was_agreed_on(lintel, offered):
    """RFC 9113 section 3.2: over TLS there is no prior knowledge."""
    with TlsClient(lintel.https_port, "one.test", alpn=offered or ()) as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert client.read_response().status in (400, 505)
        assert client.is_closed_by_peer()


# ---- requests and names ----

@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("name, host, status", [
    ("one.test", "one.test", 200), ("one.test", "ONE.test", 200), ("one.test", "one.test.", 200),
    ("one.test", "one.test:8443", 200),
    ("one.test", "two.test", 200),       # the same certificate
    ("y.w.test", "z.w.test", 200),
    ("one.test", "deep.test", 421), ("y.w.test", "x.y.w.test", 421), ("y.w.test", "w.test", 421),
    ("x.w.test", "y.w.test", 421),       # shown was the one for x.w.test alone
    ("y.w.test", "x.w.test", 200),       # the wildcard covers it, whatever it would be shown now
    ("one.test", "unknown.test", 421), ("one.test", "plain.test", 421),
    ("unknown.test", "unknown.test", 404), ("plain.test", "plain.test", 200),
    ("unknown.test", "one.test", 421), ("unknown.test", "fallback.test", 404),
    (None, "one.test", 200), (None, "unknown.test", 404), # no name was asked for
    ("one.test", "127.0.0.1", 421), (None, "127.0.0.1", 404)])
def test_a_connection_carries_what_its_certificate_is_for(lintel, version, name, host, status):
    """RFC 9110 section 15.5.20, RFC 9113 section 9.1.1: the client goes elsewhere with it; the
    connection stands."""
    if version == "2":
        with h2_client(lintel.https_port, name) as client:
            answers = [client.request(host=host) for _ in range(2)]
    else:
        with TlsClient(lintel.https_port, name, alpn=["http/1.1"]) as client:
            answers = [client.request(host=host) for _ in range(2)]
    assert [answer.status for answer in answers] == [status] * 2
    assert answers[1].why == {421: "misdirected", 404: "no_route"}.get(status)


def test_http2_connections_are_shared_by_hosts_of_one_certificate(lintel):
    with h2_client(lintel.https_port, "one.test", trusts=[ROOT]) as client:
        streams = [(client.start(host=host), status) for host, status in
                   [("one.test", 200), ("two.test", 200), ("deep.test", 421)] * 10]
        assert all(client.response(stream).status == status for stream, status in streams)


def test_an_endpoint_learns_that_it_is_https(lintel):
    with TlsClient(lintel.https_port, "one.test") as client:
        fields = {key.lower(): value for key, value in
                  client.request(host="one.test").echo["fields"]}
    assert fields["x-forwarded-proto"] == fields["x-scheme"] == "https"
    assert fields["x-forwarded-port"] == str(lintel.https_port)


def test_plain_requests_of_hosts_with_tls_are_redirected(stage):
    """Unless --ssl-redirect=false, with which all of this file was asked."""
    lintel = stage.run(ingress_class(), app("app", stage.backend().port), tls_secret("both", BOTH),
                       site("one", "one.test", secret="both"),
                       ingress("plain", rule("plain.test", ("/", "Prefix", "app:80"))))
    assert curl(lintel.port, "/a?b", "one.test").status == 308
    assert curl(lintel.port, "/a?b", "plain.test").status == 200
    with TlsClient(lintel.https_port, "one.test", trusts=[ROOT]) as client:
        assert client.request(host="one.test").status == 200
