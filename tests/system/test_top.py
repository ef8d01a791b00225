"""lintel top: one view, JSON, a stream of views, and the page on a terminal."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from lib.lintel import LINTEL, command, environment
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import DEADLINE_S, eventually


@pytest.fixture(scope="module")
def lintel(module_stage):
    stage = module_stage
    made = stage.run(ingress_class(), app("app", stage.backend().port),
                     ingress("shop", rule("a.test", ("/cart", "Prefix", "app:80"))), workers=2)
    made.fetch("/cart", "a.test")
    made.fetch("/none", "a.test")
    return made


def server(lintel):
    return ["--server", f"127.0.0.1:{lintel.health_port}", "--interval", "100ms"]


def test_once(lintel):
    text = command("top", "--once", *server(lintel), check=0).stdout
    assert "workers 2/2" in text and "a.test/cart" in text and "default/shop app" in text
    assert re.search(r"^no_route +0\.0 +1$", text, re.MULTILINE), text
    assert all(name in text for name in ("supervisor", "controller", "worker-0", "worker-1"))
    assert "\033" not in text


def test_json_counts_what_comes_in_between(lintel):
    child = subprocess.Popen([LINTEL, "top", "-o", "json", *server(lintel)], text=True,
                             stdout=subprocess.PIPE, env=environment())
    try:
        first = json.loads(child.stdout.readline())
        assert first["generation"] >= 1 and first["interval_us"] > 50000
        for _ in range(7):
            assert lintel.fetch("/cart/1", "a.test").status == 200
        seen, deadline = 0, time.monotonic() + DEADLINE_S
        while seen < 7:
            assert time.monotonic() < deadline, seen
            view = json.loads(child.stdout.readline())
            route = [r for r in view["routes"] if r["path"] == "/cart"][0]
            seen += route["requests"]
            assert route["responses"]["2xx"] == route["requests"]
            assert (route["p99_us"] > 0) == (route["requests"] > 0)
        assert seen == 7
        assert {p["name"] for p in view["processes"]} == {"supervisor", "controller", "worker-0",
                                                          "worker-1"}
    finally:
        child.send_signal(signal.SIGTERM)
        assert child.wait(DEADLINE_S) == 0
        child.stdout.close()


def test_nobody_there(lintel):
    done = command("top", "--once", "--server", f"127.0.0.1:{lintel.port}", check=1)
    assert "health port" in done.stderr or "status 404" in done.stderr


def test_a_wrong_command_line():
    command("top", "--interval", "1ms", check=2)
    command("top", "surplus", check=2)


class Terminal:
    """`lintel top` on a terminal of its own."""

    def __init__(self, lintel, rows=30, columns=100):
        self.parent, self.child_fd = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.child_fd)
        self.child = subprocess.Popen(
            [LINTEL, "top", *server(lintel)], stdin=self.child_fd, stdout=self.child_fd,
            stderr=self.child_fd, env={**environment(), "TERM": "xterm"}, start_new_session=True)
        self.output = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.parent, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text, after=0):
        def seen():
            while select.select([self.parent], [], [], 0.05)[0]:
                self.output += os.read(self.parent, 65536)
            return text in self.output[after:]
        eventually(seen, what=f"{text!r} on the terminal")

    def type(self, keys):
        os.write(self.parent, keys)

    def end(self):
        """Its exit status; what it printed last is read before."""
        status = self.child.wait(DEADLINE_S)
        while select.select([self.parent], [], [], 0.05)[0]:
            self.output += os.read(self.parent, 65536)
        assert termios.tcgetattr(self.child_fd) == self.before, "the terminal was not put back"
        assert self.output.endswith(b"\033[?25h\033[?1049l"), self.output[-40:]
        os.close(self.parent)
        os.close(self.child_fd)
        return status


@pytest.mark.parametrize("key", [b"q", b"\x03", b"xyzQ"])
def test_the_page_ends_with_a_key(lintel, key):
    terminal = Terminal(lintel)
    terminal.wait_for(b"a.test/cart")
    assert b"\033[?1049h\033[?25l" in terminal.output # a screen of its own, no cursor
    terminal.type(key)
    assert terminal.end() == 0


def test_the_page_ends_with_a_signal(lintel):
    terminal = Terminal(lintel)
    terminal.wait_for(b"requests/s")
    terminal.child.send_signal(signal.SIGTERM)
    assert terminal.end() == 0


def test_the_page_fits_the_window(lintel):
    terminal = Terminal(lintel, rows=5, columns=40)
    terminal.wait_for(b"requests/s")
    terminal.wait_for(b"\033[J")
    page = re.sub(rb"\033\[[0-9;?]*[a-zA-Z]", b"", terminal.output.split(b"\033[H")[2].split(b"\033[J")[0])
    lines = [line.rstrip(b"\r") for line in page.split(b"\n")]
    assert len(lines) <= 5 and all(len(line) <= 40 for line in lines), lines
    at = len(terminal.output)
    terminal.resize(30, 110)
    os.killpg(terminal.child.pid, signal.SIGWINCH)
    terminal.wait_for(b"a.test/cart", after=at)
    terminal.type(b"q")
    assert terminal.end() == 0


def test_the_page_outlives_a_restart_of_the_controller(lintel):
    terminal = Terminal(lintel)
    terminal.wait_for(b"requests/s")
    before = lintel.controller()
    os.kill(before, signal.SIGKILL)
    lintel.wait_controller(other_than=before)
    lintel.wait_ready()
    at = len(terminal.output)
    terminal.wait_for(b"requests/s", after=at)
    terminal.type(b"q")
    assert terminal.end() == 0
