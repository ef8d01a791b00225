"""Lintel processes under test: started on a directory of manifests and free ports, watched, killed,
stopped; and the command line.

What any test would want to know is checked for each of them when it ends: exit status 0 after
SIGTERM, no finding of a sanitizer, no violated guarantee (must()).
"""
import itertools
import json
import os
import re
import signal
import socket
import subprocess

from . import process
from .client import fetch
from .metrics import Metrics
from .wait import DEADLINE_S, eventually

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("LINTEL_BUILD", "build"))
LINTEL = os.path.join(BUILD, "lintel")
IS_SANITIZED = os.environ.get("LINTEL_SANITIZED") == "1"
ALARMS = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:"
                    r"|lintel: bug:|stack smashing|buffer overflow detected")


def _ports():
    """Port numbers below the range that the kernel hands out, another thousand for each parallel
    test process, so that nobody takes one between the look and the use."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    base = 12000 + 1000 * (int(re.sub(r"\D", "", worker) or 0) % 18)
    start = os.getpid() % 900
    for i in itertools.count(start):
        yield base + i % 1000


_port_numbers = _ports()


def free_port():
    for port in _port_numbers:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


def environment():
    """No colours, no locale: output must not depend on who runs the tests."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("LC_")},
            "LANG": "C", "TERM": "dumb"}


def command(*arguments, check=None, stdin=None, timeout=120):
    """Runs `lintel ARGUMENTS`; check: the exit status it must have."""
    done = subprocess.run([LINTEL, *map(str, arguments)], text=True, capture_output=True,
                          env=environment(), timeout=timeout, check=False, input=stdin)
    assert not ALARMS.search(done.stderr), done.stderr
    assert done.returncode >= 0, f"died by signal {-done.returncode}: {done.stderr}"
    if check is not None:
        assert done.returncode == check, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Lintel:
    """One running `lintel run`."""

    def __init__(self, manifests, scratch, *arguments, workers=1, access_log="json",
                 descriptors=None):
        self.manifests, self.scratch = manifests, str(scratch)
        self.port, self.https_port, self.health_port = free_port(), free_port(), free_port()
        self.arguments = ["--manifests", manifests.path, "--bind-address", "127.0.0.1",
                          "--healthz-host", "127.0.0.1", "--http-port", self.port,
                          "--https-port", self.https_port,
                          "--healthz-port", self.health_port, "--workers", workers,
                          "--access-log", access_log, *arguments]
        self.worker_n = workers
        self.prefix = [] if descriptors is None else [
            "prlimit", f"--nofile={descriptors}:{descriptors}"] # and becomes lintel, by exec
        self.child = None
        self.expects_death = False

    # ---- life ----

    def start(self, wait=True):
        with open(self.path("stdout"), "ab") as out, open(self.path("stderr"), "ab") as err:
            self.child = subprocess.Popen(
                [*self.prefix, LINTEL, "run", *map(str, self.arguments)], stdin=subprocess.DEVNULL, stdout=out,
                stderr=err, env=environment(), start_new_session=True)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        def is_ready():
            assert self.child.poll() is None or self.expects_death, "died: " + self.log()
            return self.health("/readyz").status == 200
        try:
            eventually(is_ready, what="readiness")
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log ---\n{self.log()[-4000:]}") from None

    def stop(self):
        """SIGTERM; returns the exit status."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout=DEADLINE_S):
        return self.child.wait(timeout)

    def finish(self):
        """What the fixture calls at the end of a test."""
        if self.child is None:
            return
        family = [self.child.pid, *process.children_of(self.child.pid)]
        try:
            status = self.stop()
        except subprocess.TimeoutExpired:
            status = "still there after SIGTERM"
        finally:
            for pid in family:
                if pid == self.child.pid or process.parent_of(pid) in (1, self.child.pid):
                    self._kill_leftover(pid)
        log = self.log()
        assert not ALARMS.search(log), log[-8000:]
        if not self.expects_death:
            assert status == 0, f"exit status {status} after SIGTERM\n{log[-4000:]}"

    def _kill_leftover(self, pid):
        if process.is_alive(pid) and process.program_of(pid) in ("lintel", "lintel-worker"):
            os.kill(pid, signal.SIGKILL)
        if pid == self.child.pid:
            self.child.wait()

    # ---- processes ----

    @property
    def supervisor(self):
        return self.child.pid

    def _children(self, program):
        return [pid for pid in process.children_of(self.child.pid)
                if process.program_of(pid) == program]

    def workers(self):
        """Ids of the running workers."""
        return self._children("lintel-worker")

    def controller(self):
        """Id of the running controller, or None."""
        found = self._children("lintel")
        assert len(found) <= 1, found
        return found[0] if found else None

    def wait_workers(self, other_than=()):
        """The full set of workers, none of them among those given."""
        def full():
            found = self.workers()
            return found if len(found) == self.worker_n and not set(found) & set(other_than) else None
        return eventually(full, what="a full set of new workers")

    def wait_controller(self, other_than=None):
        def there():
            found = self.controller()
            return found if found not in (None, other_than) else None
        return eventually(there, what="a new controller")

    # ---- what it says ----

    def path(self, name):
        return os.path.join(self.scratch, name)

    def log(self):
        with open(self.path("stderr"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, pattern, after=0):
        """The first match in the log behind offset `after`."""
        return eventually(lambda: re.search(pattern, self.log()[after:]), what=f"log line {pattern}")

    def access_log(self):
        """Text of the access log so far; only whole lines."""
        with open(self.path("stdout"), encoding="utf-8") as file:
            text = file.read()
        return text[:text.rfind("\n") + 1]

    def wait_access_log(self, pattern):
        return eventually(
            lambda: next((line for line in self.access_log().splitlines()
                          if re.search(pattern, line)), None),
            what=f"access log line {pattern}")

    def wait_access_log_json(self, **wanted):
        """The first JSON line whose members have these values."""
        def found():
            for line in self.access_log().splitlines():
                item = json.loads(line)
                if all(item.get(key) == value for key, value in wanted.items()):
                    return item
            return None
        return eventually(found, what=f"access log line with {wanted}")

    # ---- talking to it ----

    def health(self, target, **options):
        return fetch(self.health_port, target, host="127.0.0.1", **options)

    def metrics(self):
        response = self.health("/metrics")
        assert response.status == 200, response
        return Metrics(response.body.decode())

    def counter(self, name, **labels):
        return self.metrics().sum(name, **labels)

    def generations(self):
        """The generation that each worker routes by."""
        return [value for _, value in self.metrics().all("lintel_worker_generation")]

    def fetch(self, target="/", host="example.com", **options):
        return fetch(self.port, target, host, **options)

    def wait_answer(self, status, target="/", host="example.com", why=None, address=None):
        """Waits until a request is answered so: after a change of the manifests."""
        def answered():
            response = self.fetch(target, host)
            is_right = response.status == status and (why is None or response.why == why)
            if not is_right or (address and response.get("x-backend") != address):
                raise AssertionError(f"{host}{target}: {response}")
            return response
        return eventually(answered, what=f"{status} {why or ''} {address or ''} for {host}{target}")

    def explain(self, url, *arguments):
        """`lintel explain -o json` against the running process."""
        done = command("explain", "--server", f"127.0.0.1:{self.health_port}", "-o", "json",
                       *arguments, url)
        return json.loads(done.stdout)
