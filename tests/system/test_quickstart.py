"""`make run` does what it prints; the examples are free of diagnostics."""
import os
import re
import signal
import subprocess

from lib import pki
from lib.lintel import BUILD, ROOT, command
from lib.manifests import Directory, tls_secret
from lib.wait import eventually

QUICKSTART = os.path.join(ROOT, "examples", "quickstart")


def start(*arguments, out):
    return subprocess.Popen(
        ["/usr/bin/python3", os.path.join(ROOT, "scripts", "run"), *arguments], cwd=ROOT,
        env={**os.environ, "LINTEL_BUILD": BUILD}, stdout=out, stderr=subprocess.STDOUT,
        start_new_session=True,
        # who is started in the background of a shell without jobs has learnt to ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def test_each_printed_line_gives_the_printed_answer(tmp_path):
    log = tmp_path / "log"
    with open(log, "wb") as out:
        child = start("--check", out=out)
        status = child.wait(120)
    text = log.read_text()
    assert status == 0, text
    assert "10 of 10 answers are right" in text


def test_it_says_that_it_is_ready_and_ends_on_ctrl_c(tmp_path):
    log = tmp_path / "log"
    with open(log, "wb") as out:
        child = start(out=out)
        try:
            eventually(lambda: "Lintel is ready" in log.read_text() and
                       "Ctrl-C" in log.read_text(), what="readiness")
        finally:
            child.send_signal(signal.SIGINT)
            status = child.wait(60)
    text = log.read_text()
    assert status == 0, text
    assert "curl -s -H 'Host: shop.example.com'" in text
    assert "\033[" not in text, "no colours in a file"
    certificate = re.search(r"curl -s --cacert (\S+) .* https://secure\.example\.com:", text).group(1)
    assert not os.path.exists(os.path.dirname(certificate)), "the private key ends with the run"


def test_the_examples_are_without_fault(tmp_path):
    """But for the Secret, which is not kept with them."""
    Directory(tmp_path).write("secret.yaml", tls_secret("secure-tls", pki.self_signed(
        "secure.example.com")))
    done = command("check", QUICKSTART, tmp_path)
    assert done.returncode == 0, done.stdout
    # The one warning is what asleep.yaml is there to show.
    others = [line for line in done.stdout.splitlines()
              if "warning:" in line and "asleep" not in line]
    assert not others, others
