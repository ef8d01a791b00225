#!/usr/bin/python3
"""Makes tests/fuzz/ocsp_world.h and the corpus of fuzz_ocsp: a certificate, its issuer, and what the
issuer's responder said of it at one time. The keys are thrown away: nobody can make another one.

    tests/fuzz/ocsp_make.py
"""
import datetime
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.x509 import ocsp as x509_ocsp  # noqa: E402
from lib import ocsp, pki  # noqa: E402

GOOD, REVOKED = x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.REVOKED
UNKNOWN = x509_ocsp.OCSPCertStatus.UNKNOWN
# What comes first in an input: which of the two parsers it is for.
RESPONSE, URL = b"r", b"u"


def array(name, data):
    lines = [", ".join(f"0x{byte:02x}" for byte in data[i:i + 16]) for i in range(0, len(data), 16)]
    text = ",\n    ".join(lines)
    return f"static const uint8_t {name}[] = {{\n    {text},\n}};\n"


def signed_part(response):
    return x509_ocsp.load_der_ocsp_response(response).tbs_response_bytes


def no_der(response):
    """The first SEQUENCE behind a time is marked as a primitive, which OpenSSL overlooks."""
    return response.replace(b"Z0", b"Z\x10", 1)


def seed(name, kind, data):
    with open(os.path.join(HERE, "corpus", "ocsp", name), "wb") as file:
        file.write(kind + data)


def main():
    authority = pki.Authority("Root").authority("Middle", ends=3650)
    site = authority.issue("a.example", responder="http://ocsp.example/", ends=3000)
    other = authority.issue("b.example", ends=3000)
    signer = authority.issue("responder", uses=[pki.OCSP_SIGNING], ends=3000)
    now = datetime.datetime.now(datetime.timezone.utc)
    valid = {
        "good": ocsp.response(authority, site),
        "revoked": ocsp.revoked(authority, site),
        "delegated": ocsp.response(authority, site, signer=signer, certificates=[signer]),
        "no_end": ocsp.response(authority, site, ends=None),
    }
    invalid = {
        "unknown": ocsp.response(authority, site, status=UNKNOWN),
        "expired": ocsp.response(authority, site, begins=-7200, ends=-3600),
        "other": ocsp.response(authority, other),
        "sha256_id": ocsp.response(authority, site, digest=hashes.SHA256),
        "by_the_site": ocsp.response(authority, site, signer=site, certificates=[site]),
        "try_later": ocsp.unsuccessful(),
        "no_der": no_der(valid["good"]),
    }
    urls = [b"http://ocsp.example/a/b?c=d", b"http://[2001:db8::1]:8080", b"https://ocsp.example/",
            b"http://user@ocsp.example/", b"HTTP://A.example./%20"]
    for name, data in {**valid, **invalid}.items():
        seed(name, RESPONSE, data)
    for i, url in enumerate(urls):
        seed(f"url_{i}", URL, url)
    der = serialization.Encoding.DER
    with open(os.path.join(HERE, "ocsp_world.h"), "w", encoding="ascii") as file:
        file.write("/* Made by ocsp_make.py. */\n#pragma once\n\n#include <stdint.h>\n\n")
        file.write(f"enum {{ WORLD_NOW = {int(now.timestamp())} }};\n\n")
        file.write(array("world_leaf", site.x509.public_bytes(der)) + "\n")
        file.write(array("world_issuer", authority.x509.public_bytes(der)) + "\n")
        file.write("/* What is signed of the responses that count. */\n")
        for name, data in valid.items():
            file.write(array(f"world_{name}", signed_part(data)) + "\n")


if __name__ == "__main__":
    main()
