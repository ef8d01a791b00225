"""`make run` does what it prints; the examples are free of diagnostics."""
import os
import signal
import subprocess

from lib.lintel import BUILD, ROOT, command
from lib.wait import eventually

QUICKSTART = os.path.join(ROOT, "examples", "quickstart")


def start(*arguments, out):
    return subprocess.Popen(
        ["/usr/bin/python3", os.path.join(ROOT, "scripts", "run"), *arguments], cwd=ROOT,
        env={**os.environ, "LINTEL_BUILD": BUILD}, stdout=out, stderr=subprocess.STDOUT,
        start_new_session=True)


def test_each_printed_line_gives_the_printed_answer(tmp_path):
    log = tmp_path / "log"
    with open(log, "wb") as out:
        child = start("--check", out=out)
        status = child.wait(120)
    text = log.read_text()
    assert status == 0, text
    assert "8 of 8 answers are right" in text


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


def test_the_examples_are_without_fault():
    done = command("check", QUICKSTART)
    assert done.returncode == 0
    # The one warning is what asleep.yaml is there to show.
    others = [line for line in done.stdout.splitlines()
              if "warning:" in line and "asleep" not in line]
    assert not others, others
