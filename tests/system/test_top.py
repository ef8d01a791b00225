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
import threading
import time

import pytest

from lib.backend import echo
from lib.client import Client, request_bytes
from lib.lintel import LINTEL, command, environment
from lib.manifests import app, endpoint_slice, ingress, ingress_class, rule, service
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


def endpoints(lintel):
    """By address, as one view shows them."""
    text = command("top", "--once", "-o", "json", *server(lintel), check=0).stdout
    return {e["address"]: e for e in json.loads(text)["endpoints"]}


class Held:
    """An answer to /held waits; whoever asks meanwhile is served."""
    def __init__(self):
        self.come, self.go = threading.Event(), threading.Event()

    def __call__(self, exchange):
        if exchange.request.target == "/held":
            self.come.set()
            self.go.wait(60)
        echo(exchange)


def two_endpoints(stage, good, bad, **options):
    slices = [endpoint_slice("app", "127.0.0.1", ports=[("web", good)], name="good"),
              endpoint_slice("app", "127.0.0.1", ports=[("web", bad)], name="bad")]
    return stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", "app:web"))),
                     service("app", ("web", 80, "w")), *slices, **options)


def test_an_endpoint_that_is_ejected(stage):
    good, bad = stage.backend().port, stage.refused_port()
    lintel = two_endpoints(stage, good, bad)
    assert endpoints(lintel) == {} # nobody has asked for one
    for _ in range(10):
        assert lintel.fetch("/", "a.test").status == 200
    seen = endpoints(lintel)
    one, other = seen[f"127.0.0.1:{bad}"], seen[f"127.0.0.1:{good}"]
    assert list(seen) == [one["address"], other["address"]] # the ill one first
    assert (one["state"], one["last_failure"]) == ("ejected", "connect")
    assert 0 <= one["ejected_for_us"] <= 60_000_000
    assert one["workers"] == one["workers_ejecting"] == 1
    assert (other["state"], other["last_failure"]) == ("ok", "")
    assert other["service"] == "default/app/web"
    assert (other["connections_idle"], other["connections_busy"], other["in_flight"]) == (1, 0, 0)
    text = command("top", "--once", *server(lintel), check=0).stdout
    assert re.search(rf"^127\.0\.0\.1:{bad} +default/app/web +ejected ([0-9]+s )?connect +"
                     r"[0-9]", text, re.MULTILINE), text
    assert re.search(rf"^127\.0\.0\.1:{good} +default/app/web +ok +[0-9]", text, re.MULTILINE), text


def served_without(lintel, worker):
    """By the other one. The sleeping one may be the one that is told of a new connection, once."""
    os.kill(worker, signal.SIGSTOP)
    try:
        clients = [Client(lintel.port) for _ in range(3)]
        for client in clients:
            assert client.request(host="a.test").status == 200
            client.close()
    finally:
        os.kill(worker, signal.SIGCONT)


def test_what_two_workers_see_of_an_endpoint(stage):
    """One row, whoever of them served; and what was true of a worker ends with it."""
    backend = stage.backend()
    lintel = stage.run(ingress_class(), app("app", backend.port),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80"))), workers=2)
    name, workers = f"127.0.0.1:{backend.port}", lintel.wait_workers()
    for asleep in workers:
        served_without(lintel, asleep)
    seen = endpoints(lintel)[name]
    assert (seen["workers"], seen["connections_idle"] >= 2) == (2, True)
    os.kill(workers[0], signal.SIGKILL)
    lintel.wait_workers(other_than=workers[:1])
    assert endpoints(lintel)[name]["workers"] == 1


def test_an_endpoint_that_leaves(stage):
    """Draining until its last request is done, then gone."""
    held = Held()
    old, new = stage.backend(held).port, stage.backend().port
    manifests = stage.directory()
    manifests.write("all.yaml", ingress_class(),
                    ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    manifests.write("app.yaml", app("app", old))
    lintel = stage.lintel(manifests).start()
    with Client(lintel.port) as client:
        client.send(request_bytes(target="/held", host="a.test"))
        assert held.come.wait(60)
        assert endpoints(lintel)[f"127.0.0.1:{old}"]["in_flight"] == 1
        manifests.write("app.yaml", app("app", new))
        eventually(lambda: endpoints(lintel)[f"127.0.0.1:{old}"]["state"] == "draining",
                   what="the endpoint draining")
        one = endpoints(lintel)[f"127.0.0.1:{old}"]
        assert (one["in_flight"], one["connections_busy"], one["connections_idle"]) == (1, 1, 0)
        held.go.set()
        assert client.read_response().status == 200
    eventually(lambda: f"127.0.0.1:{old}" not in endpoints(lintel), what="its end")


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
