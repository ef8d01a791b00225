"""The test library's certificates, judged by openssl: a good one that is not good, or a bad one that
is not bad, would make every test of TLS pass."""
import subprocess

import pytest

from lib import pki


def verify(tmp_path, root, identity, *arguments):
    """What openssl says; empty: it is good."""
    def write(name, text):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", write("ca", root.certificate), "-untrusted",
         write("chain", identity.chain), *arguments, write("leaf", identity.certificate)],
        capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("kind", [pki.RSA, pki.EC, pki.EC384, pki.ED25519])
def test_what_an_authority_signs_is_good(tmp_path, kind):
    root = pki.Authority("Root", kind=kind)
    site = root.authority("Middle", kind=kind).issue("a.example", "*.b.example", "10.0.0.1", "::1",
                                                     kind=kind)
    assert site.chain.count("BEGIN CERTIFICATE") == 2
    for name in (["-verify_hostname", "a.example"], ["-verify_hostname", "x.b.example"],
                 ["-verify_ip", "10.0.0.1"], ["-verify_ip", "::1"]):
        assert verify(tmp_path, root, site, "-purpose", "sslserver", *name) == ""
    assert "hostname mismatch" in verify(tmp_path, root, site, "-verify_hostname", "b.example")
    assert "IP address mismatch" in verify(tmp_path, root, site, "-verify_ip", "10.0.0.2")


def test_what_shall_be_bad_is_bad(tmp_path):
    root, other = pki.Authority("Root"), pki.Authority("Root")
    assert "certificate has expired" in verify(tmp_path, root, root.issue("a", begins=-9, ends=-1))
    assert "not yet valid" in verify(tmp_path, root, root.issue("a", begins=1, ends=2))
    assert verify(tmp_path, other, root.issue("a")) != ""
    assert "self-signed" in verify(tmp_path, root, pki.self_signed("a"))
    assert "purpose" in verify(tmp_path, root, root.issue("a", uses=[pki.CLIENT]), "-purpose",
                               "sslserver")
    shallow = root.authority("Shallow", depth=0)
    assert verify(tmp_path, root, shallow.issue("a")) == ""
    assert "path length" in verify(tmp_path, root, shallow.authority("Deep").issue("a"))


def test_a_revoked_one_is_on_the_list(tmp_path):
    root = pki.Authority("Root")
    good, bad = root.issue("a"), root.issue("b")
    root.revoke(bad)
    (tmp_path / "crl").write_text(root.crl())
    options = ["-crl_check", "-CRLfile", str(tmp_path / "crl")]
    assert verify(tmp_path, root, good, *options) == ""
    assert "certificate revoked" in verify(tmp_path, root, bad, *options)


def test_keys_are_what_was_asked_for(tmp_path):
    root = pki.Authority("Root")
    site = root.issue("a")
    assert root.issue("b").key != site.key
    assert root.issue("b", key=site.x509_key).key == site.key
    chain, key = site.write(tmp_path)
    done = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, text=True,
                          check=True)
    of_chain = subprocess.run(["openssl", "x509", "-in", chain, "-noout", "-pubkey"],
                              capture_output=True, text=True, check=True)
    assert done.stdout == of_chain.stdout
