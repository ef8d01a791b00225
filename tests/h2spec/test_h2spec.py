"""h2spec, somebody else's tests of HTTP/2, against Lintel. It goes by RFC 7540, which RFC 9113 has
replaced: what Lintel departs from is listed here with the reason, and the list must be exact."""
import os
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from lib.manifests import app, ingress, ingress_class, rule

KNOWN = {
    # The plain port speaks HTTP/1, too: what is no preface is answered so, with 400, and cut.
    "3.5. HTTP/2 Connection Preface: Sends invalid connection preface",
    # RFC 9113 section 5.1 lets a server throw away what comes on a stream that is over.
    "5.1. Stream States: closed: Sends a DATA frame after sending RST_STREAM frame",
    "5.1. Stream States: closed: Sends a HEADERS frame after sending RST_STREAM frame",
    "5.1. Stream States: closed: Sends a DATA frame",
    "5.1. Stream States: closed: Sends a HEADERS frame",
    # nghttp2 cannot tell it from the trailers of a stream that it has forgotten, and throws it away.
    "5.1.1. Stream Identifiers: Sends stream identifier that is numerically smaller than previous",
    # RFC 9113 section 5.3.2: priorities of that kind are not heeded.
    "5.3.1. Stream Dependencies: Sends PRIORITY frame that depend on itself",
}
CASES_MIN = 140


@pytest.fixture(name="lintel")
def fixture_lintel(stage):
    backend = stage.backend()
    return stage.run(ingress_class(), ingress("a", rule(None, ("/", "Prefix", "app:80"))),
                     app("app", backend.port))


def run(lintel, report):
    """{name of a case: has it failed?}"""
    subprocess.run([os.environ["H2SPEC"], "--host", "127.0.0.1", "--port", str(lintel.port), "--strict",
                    "--timeout", "5", "--junit-report", report], check=False, stdout=subprocess.DEVNULL,
                   timeout=300)
    cases = {}
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for case in suite.findall("testcase"):
            name = f"{suite.get('name')}: {case.get('classname')}"
            cases[name] = case.find("failure") is not None or case.find("error") is not None
    return cases


def test_h2spec(lintel, tmp_path):
    cases = run(lintel, tmp_path / "report.xml")
    assert len(cases) >= CASES_MIN
    assert {name for name, has_failed in cases.items() if has_failed} == KNOWN
    assert lintel.fetch("/", "127.0.0.1").status == 200
