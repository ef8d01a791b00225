"""lintel certs over a running process and over manifests: everything that is served, and what is not
and why; and what scripts make of its exit status."""
import json

import pytest

from lib import pki
from lib.lintel import command
from lib.ocsp import Responder, response, revoked
from lib.manifests import app, ingress, ingress_class, rule, secret, tls, tls_secret
from lib.wait import eventually

NGINX = "nginx.ingress.kubernetes.io/"


def site(name, *entries, hosts=None, **options):
    """hosts: of its rules; those of its entries where nothing else is said."""
    hosts = hosts or [host for entry in entries for host in entry["hosts"]]
    return ingress(name, *(rule(host, ("/", "Prefix", "app:80")) for host in hosts),
                   tls=list(entries), **options)


class Asker:
    """Asks both ways; what they say has to be the same but for what only the process knows."""

    def __init__(self, stage, *objects, arguments=()):
        self.arguments = arguments
        self.lintel = stage.run(ingress_class(), app("app", stage.backend().port), *objects,
                                arguments=arguments)

    def source(self, is_running):
        if is_running:
            return ["--server", f"127.0.0.1:{self.lintel.health_port}"]
        return ["--manifests", self.lintel.manifests.path, *self.arguments]

    def ask(self, *more, is_running=True, check=0):
        return command("certs", *self.source(is_running), *more, check=check).stdout

    def rows(self, is_running=True, check=0, **wanted):
        """Those that have what is wanted."""
        told = json.loads(self.ask("-o", "json", is_running=is_running, check=check))
        return [row for row in told if all(row[key] == value for key, value in wanted.items())]

    def row(self, **wanted):
        made, = self.rows(**wanted)
        return made


@pytest.mark.parametrize("is_running", [False, True], ids=["manifests", "server"])
def test_a_host_with_two_kinds_of_keys_and_one_that_only_a_rule_names(stage, is_running):
    root = pki.Authority("Root")
    asker = Asker(stage, tls_secret("rsa", root.issue("a.test", "b.test", kind=pki.RSA)),
                  tls_secret("ec", root.issue("a.test")),
                  site("shop", tls("rsa", "a.test"), tls("ec", "a.test"), hosts=["a.test", "b.test"]))
    rows = asker.rows(is_running, role="host")
    assert [(row["host"], row["secret"], row["keyType"]) for row in rows] == [
        ("a.test", "rsa", "RSA 2048"), ("a.test", "ec", "EC prime256v1"),
        ("b.test", "rsa", "RSA 2048")]
    for row in rows:
        assert row["isServed"] and row["problem"] is None and row["note"] is None
        assert (row["namespace"], row["ingress"], row["issuer"]) == ("default", "shop", "CN=Root")
        assert row["daysLeft"] in (29, 30) and row["serialNumber"].isdigit()
    text = asker.ask(is_running=is_running)
    assert [line.split()[0] for line in text.splitlines()] == [
        "HOST", "a.test", "a.test", "b.test", "(default)"]
    assert "PRIVATE" not in text


def test_the_default_certificate(stage):
    root = pki.Authority("Root")
    own = Asker(stage, site("plain", hosts=["a.test"]))
    row = own.row(role="default")
    assert row["secret"] == "" and row["isServed"] and "own making" in row["note"]
    assert row["names"] == ["lintel.invalid"] and 363 <= row["daysLeft"] <= 365
    assert "no Ingress of ours has spec.tls" in own.ask()
    named = Asker(stage, tls_secret("fallback", root.issue("*.test")),
                  arguments=["--default-ssl-certificate", "default/fallback"])
    for is_running in (False, True):
        row, = named.rows(is_running, role="default")
        assert (row["namespace"], row["secret"], row["ingress"]) == ("default", "fallback", "")
        assert row["isServed"] and row["names"] == ["*.test"] and row["note"] is None
    named.lintel.manifests.write("all.yaml", ingress_class())
    eventually(lambda: named.rows(role="default", check=None)[0]["problem"],
               what="the Secret is missed")
    assert "there is no such Secret" in named.ask(check=1)


def test_one_that_is_broken_later_stays_in_service(stage):
    root = pki.Authority("Root")
    good, other = root.issue("a.test"), root.issue("a.test")
    asker = Asker(stage, site("shop", tls("cert", "a.test")))
    lintel = asker.lintel
    assert asker.row(host="a.test", check=1)["problem"] == "there is no such Secret"
    lintel.manifests.write("secret.yaml", tls_secret("cert", good))
    eventually(lambda: asker.rows(host="a.test", check=None)[0]["isServed"], what="it is served")
    lintel.manifests.write("secret.yaml", secret("cert", {"tls.crt": good.chain,
                                                          "tls.key": other.key}))
    eventually(lambda: asker.rows(host="a.test", check=None)[0]["problem"], what="it is told")
    row = asker.row(host="a.test", check=1)
    assert row["problem"] == "has a private key of another certificate"
    assert row["isServed"] and row["note"] == "the one that was there before stays in service"
    assert row["subject"] == "CN=a.test" and row["daysLeft"] in (29, 30)
    assert not asker.row(host="a.test", check=1, is_running=False)["isServed"]


def test_who_comes_second_is_not_served(stage):
    root = pki.Authority("Root")
    asker = Asker(stage, tls_secret("first", root.issue("a.test")),
                  tls_secret("second", root.issue("a.test")),
                  site("one", tls("first", "a.test"), created="2026-01-01T00:00:00Z"),
                  site("two", tls("second", "a.test"), created="2026-01-02T00:00:00Z"))
    assert asker.row(secret="first")["isServed"]
    row = asker.row(secret="second")
    assert not row["isServed"] and row["problem"] is None and "older Ingress" in row["note"]


@pytest.mark.parametrize("is_running", [False, True], ids=["manifests", "server"])
def test_authorities_of_clients(stage, is_running):
    first, second, over = (pki.Authority(name, begins=-9, ends=ends) for name, ends in (
        ("Long", 300), ("Short", 20), ("Over", -1)))
    texts = first.certificate + second.certificate + over.certificate
    asker = Asker(stage, secret("ca", {"ca.crt": texts}), secret("old", {"ca.crt": over.certificate}),
                  secret("empty", {"ca.crt": "nothing"}),
                  *(site(name, hosts=[f"{name}.test"],
                         annotations={NGINX + "auth-tls-secret": f"default/{name}"})
                    for name in ("ca", "old", "empty", "gone")))
    rows = {row["ingress"]: row for row in asker.rows(is_running, 1, role="clientAuthority")}
    assert rows["ca"]["certificates"] == 3 and rows["ca"]["problem"] is None
    assert rows["ca"]["subject"] == "CN=Short" and rows["ca"]["daysLeft"] in (19, 20)
    assert rows["ca"]["isServed"]
    assert rows["old"]["problem"] == "has expired"
    assert rows["empty"]["problem"] == "has no certificate of an authority"
    assert rows["gone"]["problem"] == "there is no such Secret"
    assert not rows["empty"]["isServed"] and not rows["gone"]["isServed"]
    assert "client authorities" in asker.ask(is_running=is_running, check=1)


def secured(ingress_name, protocol="HTTPS", **more):
    """An Ingress without TLS of its own whose backends are spoken to over TLS."""
    annotations = {f"{NGINX}proxy-ssl-{key}": value for key, value in more.items()}
    return site(ingress_name, hosts=[f"{ingress_name}.test"],
                annotations={f"{NGINX}backend-protocol": protocol, **annotations})


@pytest.mark.parametrize("is_running", [False, True], ids=["manifests", "server"])
def test_what_is_for_endpoints(stage, is_running):
    root = pki.Authority("Root", ends=300)
    ours = root.issue("lintel", ends=20)
    asker = Asker(stage, tls_secret("both", ours, ca=root.certificate), tls_secret("ours", ours),
                  secret("ended", {"ca.crt": pki.Authority("Over", begins=-9, ends=-1).certificate}),
                  secured("strict", secret="default/both", verify="on", name="a.test"),
                  secured("lax", secret="default/both"), secured("shown", secret="default/ours"),
                  secured("plain", "HTTP", secret="default/ours"),
                  secured("lacks", secret="default/ours", verify="on", name="a.test"),
                  secured("old", secret="default/ended", verify="on", name="a.test"),
                  secured("gone", secret="default/nobody"),
                  secured("foreign", secret="other/ours"))
    rows = {(row["ingress"], row["role"].removeprefix("upstream")): row
            for row in asker.rows(is_running, 1) if row["role"].startswith("upstream")}
    assert set(rows) == {
        ("strict", "Certificate"), ("strict", "Authority"), ("lax", "Certificate"),
        ("lax", "Authority"), ("shown", "Certificate"), ("plain", "Certificate"),
        ("lacks", "Certificate"), ("lacks", "Authority"), ("old", "Authority"),
        ("gone", "Certificate"), ("foreign", "Certificate")}
    used = {key for key, row in rows.items() if row["isServed"]}
    assert used == {("strict", "Certificate"), ("strict", "Authority"), ("lax", "Certificate"),
                    ("shown", "Certificate"), ("lacks", "Certificate"), ("old", "Authority")}
    shown, expected = rows["strict", "Certificate"], rows["strict", "Authority"]
    assert (shown["subject"], shown["secret"]) == ("CN=lintel", "both")
    assert shown["daysLeft"] in (19, 20) and shown["problem"] is None and shown["note"] is None
    assert expected["subject"] == "CN=Root" and expected["certificates"] == 1
    assert "proxy-ssl-verify is not on" in rows["lax", "Authority"]["note"]
    assert "without TLS" in rows["plain", "Certificate"]["note"]
    assert {key: row["problem"] for key, row in rows.items() if row["problem"]} == {
        ("lacks", "Authority"): "has no certificate of an authority",
        ("old", "Authority"): "has expired", ("gone", "Certificate"): "there is no such Secret",
        ("foreign", "Certificate"): "is no Secret of the Ingress' namespace"}
    text = asker.ask(is_running=is_running, check=1)
    assert "shown to endpoints" in text and "authorities of endpoints" in text
    asker.ask("--expiring-within", f"{20 * 24}h", is_running=is_running, check=1)


def test_what_authorities_say(stage):
    """Good, revoked, not yet; and no word of it where nobody asks."""
    root = pki.Authority("Root").authority("Middle")

    def script(handler, serial):
        if serial == sites["hung"].x509.serial_number:
            handler.answer(b"", status=500)
            return
        make = revoked if serial == sites["bad"].x509.serial_number else response
        handler.answer(make(root, next(site for site in sites.values()
                                       if site.x509.serial_number == serial)))

    responder = Responder(script)
    stage.others.append(responder)
    sites = {name: root.issue(f"{name}.test", responder=responder.url)
             for name in ("good", "bad", "hung")}
    sites["none"] = root.issue("none.test")
    asker = Asker(stage, *(tls_secret(name, made) for name, made in sites.items()),
                  *(site(name, tls(name, f"{name}.test")) for name in sites),
                  arguments=["--enable-ocsp", "--ocsp-responder-cidr", "127.0.0.0/8"])

    def told():
        return {row["secret"]: row for row in asker.rows(role="host", check=None)}

    def statuses():
        return {name: row["ocsp"]["status"] for name, row in told().items()}

    eventually(lambda: statuses() == {"good": "good", "bad": "revoked", "hung": "none",
                                      "none": "noResponder"}, what="what there is to be known")
    rows = told()
    good = rows["good"]["ocsp"]
    assert good["nextUpdate"] - good["thisUpdate"] == 3660 and good["problem"] is None
    assert rows["good"]["problem"] is None and "thisUpdate" not in rows["hung"]["ocsp"]
    assert rows["bad"]["problem"] == "is revoked, says its authority"
    text = asker.ask(check=1)
    assert " OCSP " in text and "good until 20" in text and "revoked until 20" in text
    asker.arguments = () # what comes of manifests alone
    assert all("ocsp" not in row for row in asker.rows(is_running=False))
    assert " OCSP " not in asker.ask(is_running=False)


@pytest.mark.parametrize("is_running", [False, True], ids=["manifests", "server"])
def test_scripts_ask_what_ends_soon(stage, is_running):
    root = pki.Authority("Root")
    asker = Asker(stage, tls_secret("cert", root.issue("a.test", ends=10)),
                  site("shop", tls("cert", "a.test")))
    asker.ask(is_running=is_running)
    asker.ask("--expiring-within", f"{9 * 24}h", is_running=is_running)
    for form in ("text", "json"):
        asker.ask("--expiring-within", f"{10 * 24}h", "-o", form, is_running=is_running, check=1)


def test_check_tells_the_same(stage):
    """In the words of its other findings."""
    root = pki.Authority("Root")
    manifests = stage.directory()
    pair, other = root.issue("a.test"), root.issue("a.test")
    manifests.write("all.yaml", ingress_class(), app("app", 80), tls_secret("good", pair),
                    secret("broken", {"tls.crt": pair.chain, "tls.key": other.key}),
                    tls_secret("ended", root.issue("c.test", begins=-9, ends=-1)),
                    tls_secret("soon", root.issue("d.test", ends=5)),
                    site("one", tls("good", "b.test")), site("two", tls("broken", "a.test")),
                    site("three", tls("ended", "c.test")), site("four", tls("soon", "d.test")),
                    site("five", tls("gone", "e.test")),
                    site("six", hosts=["f.test"],
                         annotations={NGINX + "auth-tls-secret": "default/nobody"}))
    text = command("check", manifests.path, check=1).stdout
    for words in (
            "Ingress default/one: spec.tls[0].hosts[0]: is \"b.test\", but the certificate in Secret "
            "good is not for it",
            "Ingress default/two: spec.tls[0].secretName: names Secret broken, which has a private key "
            "of another certificate",
            "Secret default/broken: data[tls.crt]: has a private key of another certificate",
            "Ingress default/three: spec.tls[0].secretName: names Secret ended, which has expired",
            "Secret default/soon: data[tls.crt]: ends on ",
            "Ingress default/five: spec.tls[0].secretName: there is no Secret default/gone",
            "auth-tls-secret]: there is no Secret default/nobody"):
        assert words in text, words
    assert "PRIVATE" not in text


def test_what_it_is_to_look_at():
    for arguments in ([], ["--server", "127.0.0.1:1", "--manifests", "/"]):
        assert "--server" in command("certs", *arguments, check=2).stderr
    assert "cannot be asked" in command("certs", "--server", "127.0.0.1:1", check=1).stderr
    assert "--expiring-within" in command("certs", "--expiring-within", "soon", check=2).stderr


def test_a_running_one_shows_no_keys(stage):
    root = pki.Authority("Root")
    identity = root.issue("a.test")
    asker = Asker(stage, tls_secret("cert", identity), site("shop", tls("cert", "a.test")))
    dump = command("dump", "--server", f"127.0.0.1:{asker.lintel.health_port}", check=0).stdout
    for word in ("kind: \"tls_host\"", "kind: \"certificate\"", "key_kind: \"EC\"",
                 "ssl_min_version: 12", "\"default/cert\""):
        assert word in dump, word
    secret_line = identity.key.splitlines()[1]
    for view in ("certs", "dump", "diagnostics"):
        body = asker.lintel.health(f"/debug/{view}").body.decode()
        assert secret_line not in body and "PRIVATE" not in body
        assert "\"key\"" not in body.replace("\"key\":\"", "")
