"""lintel certs: certificates of hosts, and each way in which one cannot be used."""
import base64
import json
import subprocess

import pytest

from lib.lintel import command
from lib.manifests import Directory, app, ingress, ingress_class, metadata, rule


def make_pair(folder, name, *names, days=90, key=("ec", "ec_paramgen_curve:prime256v1"),
              subject="/CN=test"):
    key_file, chain = folder / f"{name}.key", folder / f"{name}.crt"
    option = ["-pkeyopt", key[1]] if key[1] else []
    subprocess.run(["openssl", "req", "-x509", "-newkey", key[0], *option, "-nodes", "-keyout",
                    key_file, "-out", chain, "-days", str(days), "-subj", subject, "-addext",
                    "subjectAltName=" + ",".join(f"DNS:{each}" for each in names)],
                   check=True, capture_output=True)
    return chain.read_bytes(), key_file.read_bytes()


def secret(name, data, kind="Opaque"):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata(name, "default"), "type": kind,
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()}}


def tls_ingress(name, secret_name, *hosts, **more):
    item = ingress(name, *[rule(host, ("/", "Prefix", "app:80")) for host in hosts], **more)
    item["spec"]["tls"] = [{"hosts": list(hosts), **({"secretName": secret_name} if secret_name
                                                     else {})}]
    return item


@pytest.fixture(name="load")
def fixture_load(tmp_path):
    def load(*items):
        made = Directory(tmp_path / "manifests")
        made.write("all.yaml", ingress_class(), app("app", 8080), *items)
        return made
    return load


def told(made, check):
    """Of hosts; the default certificate is test_certs.py's."""
    done = command("certs", "-o", "json", "--manifests", made.path, check=check)
    return [row for row in json.loads(done.stdout) if row["role"] == "host"]


def test_a_good_one(tmp_path, load):
    chain, key = make_pair(tmp_path, "good", "shop.test", "*.shop.test", subject="/CN=shop.test/O=Shop")
    made = load(secret("cert", {"tls.crt": chain, "tls.key": key}, "kubernetes.io/tls"),
                tls_ingress("shop", "cert", "shop.test", "www.shop.test", "*.shop.test"))
    rows = told(made, check=0)
    assert [row["host"] for row in rows] == ["shop.test", "www.shop.test", "*.shop.test"]
    for row in rows:
        assert row["names"] == ["shop.test", "*.shop.test"] and row["secret"] == "cert"
        assert row["subject"] == row["issuer"] == "O=Shop,CN=shop.test"
        assert row["keyType"] == "EC prime256v1" and row["daysLeft"] in (89, 90)
        assert row["problem"] is None
    text = command("certs", "--manifests", made.path, check=0).stdout
    assert "\033" not in text and "within" not in text
    lines = text.splitlines()
    assert len(lines) == 5 and lines[4].startswith("(default)")
    assert len({line.index("EC prime") for line in lines[1:4]}) == 1


def test_one_that_ends_soon_is_no_error(tmp_path, load):
    chain, key = make_pair(tmp_path, "soon", "shop.test", days=13, key=("rsa:2048", None))
    made = load(secret("cert", {"tls.crt": chain, "tls.key": key}),
                tls_ingress("shop", "cert", "shop.test"))
    assert "1 of 1 end within 14 days" in command("certs", "--manifests", made.path, check=0).stdout
    assert told(made, check=0)[0]["keyType"] == "RSA 2048"


@pytest.mark.parametrize("case, problem", [
    ("missing", "there is no such Secret"),
    ("unnamed", "names no Secret"),
    ("no certificate", "has no certificate"),
    ("no key", "has no private key"),
    ("mismatch", "has a private key of another certificate"),
    ("broken", "has a certificate that cannot be read"),
    ("other host", "does not cover the host"),
    ("two labels", "does not cover the host"),
])
def test_what_is_wrong(tmp_path, load, case, problem):
    chain, key = make_pair(tmp_path, "a", "*.test" if case == "two labels" else "shop.test")
    other_key = make_pair(tmp_path, "b", "shop.test")[1]
    data = {"missing": None, "unnamed": None, "no certificate": {"tls.key": key},
            "no key": {"tls.crt": chain}, "mismatch": {"tls.crt": chain, "tls.key": other_key},
            "broken": {"tls.crt": chain[:200] + b"\n-----END CERTIFICATE-----\n", "tls.key": key},
            }.get(case, {"tls.crt": chain, "tls.key": key})
    host = {"other host": "else.test", "two labels": "a.shop.test"}.get(case, "shop.test")
    made = load(*([secret("cert", data)] if data is not None else []),
                tls_ingress("shop", None if case == "unnamed" else "cert", host))
    row, = told(made, check=1)
    assert row["problem"] == problem and row["mend"]
    done = command("certs", "--manifests", made.path, check=1)
    assert problem in done.stdout
    assert b"PRIVATE" not in (done.stdout + done.stderr).encode()


def test_an_expired_one(load, tmp_path):
    """Signed with dates of the past, which req alone cannot do."""
    key, request, chain = (tmp_path / name for name in ("e.key", "e.csr", "e.crt"))
    subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=shop.test"], check=True,
                   capture_output=True)
    subprocess.run(["openssl", "x509", "-req", "-in", request, "-signkey", key, "-days", "-1", "-out",
                    chain], check=True, capture_output=True)
    made = load(secret("cert", {"tls.crt": chain.read_bytes(), "tls.key": key.read_bytes()}),
                tls_ingress("shop", "cert", "shop.test"))
    row, = told(made, check=1)
    assert row["problem"] == "has expired" and row["daysLeft"] == 0


def test_only_those_of_our_ingresses(load):
    made = load(tls_ingress("theirs", "gone", "shop.test", class_name="other"))
    assert told(made, check=0) == []
    assert "no Ingress of ours has spec.tls" in command("certs", "--manifests", made.path,
                                                        check=0).stdout
