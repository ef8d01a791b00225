"""What clients have to show of themselves (auth-tls-*): who gets in, what endpoints are told, and that
nothing of it can be claimed or carried from one host to another."""
import json
import urllib.parse

import pytest

from lib import pki, tls
from lib.lintel import command
from lib.manifests import app, ingress_class, secret, tls_secret
from lib.tls import TlsClient, h2_client, site
from lib.wait import eventually

SITES = pki.Authority("Sites")
SITE = SITES.issue(*[name + ".test" for name in (
    "open", "on", "twin", "optional", "any", "off", "deep0", "deep2", "both", "revoked", "page",
    "passed", "named", "missing", "elsewhere", "wrong")])
PEOPLE = pki.Authority("People")
MIDDLE = PEOPLE.authority("Middle")
LOWEST = MIDDLE.authority("Lowest")
OTHERS = pki.Authority("Others")

GOOD = PEOPLE.issue(common_name="good", organizations=["Shop", "Two, or more"], uses=(pki.CLIENT,))
RSA = PEOPLE.issue(common_name="rsa", kind=pki.RSA)
DEEP = MIDDLE.issue(common_name="deep")
DEEPER = LOWEST.issue(common_name="deeper")
OTHER = OTHERS.issue(common_name="other")
ALONE = pki.self_signed("alone.test")
OLD = PEOPLE.issue(common_name="old", begins=-10, ends=-1)
EARLY = PEOPLE.issue(common_name="early", begins=1, ends=10)
SERVER = PEOPLE.issue(common_name="server", uses=(pki.SERVER,))
WITHDRAWN = PEOPLE.issue(common_name="withdrawn")
PEOPLE.revoke(WITHDRAWN)
PAGE = "https://login.test/certificate?why=1"
VERSIONS = pytest.mark.parametrize("version", [tls.V12, tls.V13])


def authority(name, *texts, crl=None):
    return secret(name, {"ca.crt": "".join(texts), **({"ca.crl": crl} if crl else {})})


def guarded(host, *, people="people", **more):
    """An Ingress that wants certificates; more: the rest of auth-tls-*."""
    return site(host.split(".")[0], host, secret="site", annotations={
        "auth_tls_secret": f"default/{people}",
        **{f"auth_tls_{key}": value for key, value in more.items()}})


OBJECTS = [
    tls_secret("site", SITE), authority("people", PEOPLE.certificate),
    authority("both", PEOPLE.certificate, OTHERS.certificate),
    authority("revoked", PEOPLE.certificate, crl=PEOPLE.crl()),
    site("open", "open.test", secret="site"),
    guarded("on.test"), guarded("twin.test"),
    guarded("optional.test", verify_client="optional"),
    guarded("any.test", verify_client="optional_no_ca"),
    guarded("off.test", verify_client="off"),
    guarded("deep0.test", verify_depth="0"), guarded("deep2.test", verify_depth="2"),
    guarded("both.test", people="both"), guarded("revoked.test", people="revoked"),
    guarded("page.test", error_page=PAGE), guarded("passed.test", pass_certificate_to_upstream="true"),
    guarded("named.test", match_cn="CN=(good|rsa)(,|$)"),
    guarded("missing.test", people="nobody"), guarded("elsewhere.test", people="../other/people"),
    guarded("wrong.test", verify_client="sometimes"),
]


@pytest.fixture(scope="module")
def lintel(module_stage):
    return module_stage.run(ingress_class(), app("app", module_stage.backend().port), *OBJECTS,
                            arguments=["--ssl-redirect=false"])


def ask(lintel, host, identity=None, fields=(), **options):
    with TlsClient(lintel.https_port, host, trusts=[SITES], identity=identity, **options) as client:
        return client.request(host=host, fields=fields)


def told(response):
    """What the endpoint learns of the client."""
    return {key.lower(): value for key, value in response.echo["fields"]
            if key.lower().startswith("ssl-client")}


# ---- who gets in ----

NONE, BAD, IN = (400, "no_client_certificate"), (400, "bad_client_certificate"), (200, None)
DENIED = (403, "denied")

CASES = [
    ("on.test", None, NONE), ("on.test", GOOD, IN), ("on.test", RSA, IN), ("on.test", OTHER, BAD),
    ("on.test", ALONE, BAD), ("on.test", OLD, BAD), ("on.test", EARLY, BAD), ("on.test", SERVER, BAD),
    ("optional.test", None, IN), ("optional.test", GOOD, IN), ("optional.test", OTHER, BAD),
    ("optional.test", OLD, BAD), ("optional.test", ALONE, BAD),
    ("any.test", None, IN), ("any.test", GOOD, IN), ("any.test", OTHER, IN), ("any.test", ALONE, IN),
    ("any.test", OLD, BAD), ("any.test", SERVER, BAD),
    ("off.test", None, IN), ("off.test", OTHER, IN), ("open.test", OLD, IN),
    ("both.test", GOOD, IN), ("both.test", OTHER, IN), ("both.test", ALONE, BAD),
    ("deep0.test", GOOD, IN), ("deep0.test", DEEP, BAD), ("deep2.test", DEEPER, IN),
    ("on.test", DEEP, IN), ("on.test", DEEPER, BAD), # between it and an authority, as OpenSSL counts
    ("revoked.test", GOOD, IN), ("revoked.test", WITHDRAWN, BAD), ("on.test", WITHDRAWN, IN),
    ("named.test", GOOD, IN), ("named.test", RSA, IN), ("named.test", OTHER, BAD),
    ("named.test", WITHDRAWN, DENIED), ("named.test", None, NONE),
    ("missing.test", GOOD, DENIED), ("missing.test", None, DENIED),
    ("elsewhere.test", GOOD, DENIED), ("wrong.test", GOOD, DENIED), ("wrong.test", None, DENIED),
]


def name_of(identity):
    return "nobody" if identity is None else \
        next(key for key, value in globals().items() if value is identity).lower()


@VERSIONS
@pytest.mark.parametrize("host, identity, wanted", CASES,
                         ids=[f"{name_of(identity)}-{host}" for host, identity, _ in CASES])
def test_who_gets_in(lintel, host, identity, wanted, version):
    """The handshake succeeds whatever is shown, so that people see why: as nginx does it."""
    response = ask(lintel, host, identity, lowest=version, highest=version)
    assert (response.status, response.why) == wanted


@pytest.mark.parametrize("host, identity, wanted", [
    ("on.test", None, 400), ("on.test", GOOD, 200), ("on.test", OTHER, 400),
    ("optional.test", None, 200), ("missing.test", GOOD, 403)])
def test_over_http2(lintel, host, identity, wanted):
    with h2_client(lintel.https_port, host, identity=identity) as client:
        assert [client.request(host=host).status for _ in range(2)] == [wanted] * 2


@pytest.mark.parametrize("identity", [None, OTHER])
def test_a_page_says_how_to_get_one(lintel, identity):
    response = ask(lintel, "page.test", identity)
    assert (response.status, response["location"]) == (302, PAGE)
    assert ask(lintel, "page.test", GOOD).status == 200


def test_whose_certificates_are_wanted_is_told(lintel):
    """So that browsers know which ones to offer: RFC 8446 section 4.2.4."""
    said = tls.s_client(lintel.https_port, "both.test")
    wanted = said[said.index("Acceptable client certificate CA names"):]
    assert "CN = People" in wanted and "CN = Others" in wanted
    for host in ("open.test", "off.test", "missing.test"):
        assert "No client certificate CA names sent" in tls.s_client(lintel.https_port, host)


def test_without_tls_nobody_gets_in(lintel):
    for host, status in (("on.test", 403), ("missing.test", 403), ("named.test", 403),
                         ("optional.test", 200), ("off.test", 200), ("open.test", 200)):
        assert lintel.fetch(host=host).status == status


# ---- what endpoints are told ----

DN = "CN=good,O=Two\\, or more,O=Shop"

VERDICTS = [
    ("on.test", GOOD, {"ssl-client-verify": "SUCCESS", "ssl-client-subject-dn": DN,
                       "ssl-client-issuer-dn": "CN=People"}),
    ("optional.test", None, {"ssl-client-verify": "NONE"}),
    ("any.test", ALONE, {"ssl-client-verify": "FAILED:self-signed certificate",
                         "ssl-client-subject-dn": "CN=alone.test",
                         "ssl-client-issuer-dn": "CN=alone.test"}),
    ("any.test", OTHER, {"ssl-client-verify": "FAILED:unable to verify the first certificate",
                         "ssl-client-subject-dn": "CN=other", "ssl-client-issuer-dn": "CN=Others"}),
    ("open.test", GOOD, {}), ("off.test", GOOD, {}),
]


@pytest.mark.parametrize("host, identity, wanted", VERDICTS,
                         ids=[f"{name_of(identity)}-{host}" for host, identity, _ in VERDICTS])
def test_what_endpoints_are_told(lintel, host, identity, wanted):
    assert told(ask(lintel, host, identity)) == wanted


def test_the_certificate_itself(lintel):
    """Percent-encoded, as nginx' $ssl_client_escaped_cert has it."""
    fields = told(ask(lintel, "passed.test", GOOD))
    sent = fields.pop("ssl-client-cert")
    assert urllib.parse.unquote(sent) == GOOD.certificate and " " not in sent and "\n" not in sent
    assert fields["ssl-client-verify"] == "SUCCESS"
    assert "ssl-client-cert" not in told(ask(lintel, "on.test", GOOD))


CLAIMS = [("ssl-client-verify", "SUCCESS"), ("SSL-Client-Verify", "SUCCESS"),
          ("ssl_client_verify", "SUCCESS"), ("Ssl-Client_Subject-Dn", "CN=root"),
          ("ssl-client-cert", "x"), ("ssl-client-issuer-dn", "CN=People"),
          ("ssl-client-anything", "x")]


@pytest.mark.parametrize("host, identity", [
    ("on.test", GOOD), ("optional.test", None), ("any.test", ALONE), ("off.test", None),
    ("open.test", None)], ids=["on", "optional", "any", "off", "open"])
def test_claims_of_clients_do_not_pass(lintel, host, identity):
    honest = told(ask(lintel, host, identity))
    response = ask(lintel, host, identity, fields=CLAIMS)
    assert told(response) == honest
    assert not [key for key, _ in response.echo["fields"] if key.lower().startswith("ssl_client")]


def test_a_trusted_proxy_may_have_asked_instead(stage):
    """Where the host itself asks for nothing."""
    lintel = stage.run(ingress_class(), app("app", stage.backend().port), tls_secret("site", SITE),
                       authority("people", PEOPLE.certificate), site("open", "open.test", secret="site"),
                       guarded("optional.test", verify_client="optional"),
                       arguments=["--ssl-redirect=false", "--use-forwarded-headers",
                                  "--proxy-real-ip-cidr=127.0.0.0/8"])
    said = {"ssl-client-verify": "SUCCESS", "ssl-client-subject-dn": "CN=x"}
    assert told(ask(lintel, "open.test", fields=said.items())) == said
    assert told(ask(lintel, "optional.test", fields=said.items())) == {"ssl-client-verify": "NONE"}


@pytest.mark.parametrize("host", ["optional.test", "off.test", "open.test"])
def test_claims_do_not_pass_without_tls_either(lintel, host):
    fields = told(lintel.fetch(host=host, fields=CLAIMS))
    assert fields in ({}, {"ssl-client-verify": "NONE"})
    assert fields == {} or host == "optional.test"


# ---- one connection, several hosts ----

@pytest.mark.parametrize("name, host, status", [
    ("open.test", "on.test", 421),      # nobody has shown anything
    ("on.test", "open.test", 421),
    ("on.test", "twin.test", 200),      # the same was asked for
    ("on.test", "optional.test", 421), ("optional.test", "on.test", 421),
    ("both.test", "on.test", 421),      # other authorities
    ("deep2.test", "on.test", 421),     # another depth
    ("open.test", "off.test", 200), (None, "on.test", 421)])
def test_a_certificate_is_for_hosts_that_ask_the_same(lintel, name, host, status):
    with h2_client(lintel.https_port, name, identity=GOOD) as client:
        assert client.request(host=name or "open.test").status in (200, 404)
        assert client.request(host=host).status == status


@VERSIONS
def test_sessions_do_not_open_other_doors(lintel, version):
    """A session of a host that asks for nothing is none of a host that does; and a session of a
    client that was let in stays that client's."""
    made = tls.context(lowest=version, highest=version)
    with TlsClient(lintel.https_port, "open.test", made=made) as client:
        assert client.request(host="open.test").status == 200
        session = client.socket.session
    with TlsClient(lintel.https_port, "on.test", made=made, session=session) as client:
        assert not client.socket.session_reused
        assert client.request(host="on.test").status == 400


@VERSIONS
def test_who_resumes_a_session_is_who_began_it(lintel, version):
    made = tls.context(identity=GOOD, lowest=version, highest=version)
    answers = []
    session = None
    for _ in range(2):
        with TlsClient(lintel.https_port, "on.test", made=made, session=session) as client:
            answers.append(told(client.request(host="on.test")))
            session = client.socket.session
    assert answers[0] == answers[1] and answers[0]["ssl-client-subject-dn"] == DN


# ---- changes ----

def test_authorities_and_lists_change(stage):
    """New connections go by them at once; those that stand go on as they were judged."""
    def write(*people):
        lintel.manifests.write("people.yaml", *people)

    lintel = stage.run(ingress_class(), app("app", stage.backend().port), tls_secret("site", SITE),
                       guarded("on.test"), arguments=["--ssl-redirect=false"])
    assert ask(lintel, "on.test", GOOD).status == 403
    write(authority("people", OTHERS.certificate))
    eventually(lambda: ask(lintel, "on.test", OTHER).status == 200)
    assert ask(lintel, "on.test", GOOD).status == 400
    with TlsClient(lintel.https_port, "on.test", identity=OTHER) as client:
        assert client.request(host="on.test").status == 200
        write(authority("people", PEOPLE.certificate, crl=PEOPLE.crl()))
        eventually(lambda: ask(lintel, "on.test", GOOD).status == 200)
        assert client.request(host="on.test").status == 200
    assert ask(lintel, "on.test", WITHDRAWN).status == ask(lintel, "on.test", OTHER).status == 400
    write(authority("people", "no certificate"))
    lintel.wait_log(r"Secret default/people: .*ca.crt.*InvalidCertificate")
    write()
    eventually(lambda: ask(lintel, "on.test", GOOD).status == 403)


def test_what_is_wrong_is_told(lintel):
    done = command("check", "-o", "json", lintel.manifests.path)
    found = [(item["reason"], item["name"]) for item in json.loads(done.stdout)["diagnostics"]]
    assert ("SecretNotFound", "missing") in found
    assert ("InvalidAnnotation", "elsewhere") in found and ("InvalidAnnotation", "wrong") in found
    assert not [name for _, name in found if name not in ("missing", "elsewhere", "wrong")]
