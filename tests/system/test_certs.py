"""lintel certs over a running process and over manifests: everything that is served, and what is not
and why; and what scripts make of its exit status."""
import json

import pytest

from lib import pki
from lib.lintel import command
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
    assert "CLIENT AUTHORITIES" in asker.ask(is_running=is_running, check=1)


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
