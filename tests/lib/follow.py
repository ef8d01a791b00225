"""The program `follow`: reflectors under test, and what they told, kept as an owner keeps it."""
import json
import os
import subprocess
import threading

import yaml

from .lintel import ALARMS, BUILD
from .process import read_status
from .wait import eventually

PROGRAM = os.path.join(BUILD, "tests/unit/kube/follow")


def write_kubeconfig(path, server, *, cluster=None, user=None):
    """One cluster, one user, one context."""
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "c",
              "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
              "users": [{"name": "u", "user": user or {}}],
              "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump(config, file)
    return str(path)


class Followed:
    """What one reflector told."""

    def __init__(self):
        self.lines, self.told, self.objects = [], {}, {}
        self.is_listing = self.is_synced = False
        self.counters = None
        self.why = None  # what is wrong; None: all is well

    def take(self, line):
        word, _, rest = line.partition(" ")
        self.lines.append(line)
        getattr(self, f"on_{word}")(rest)

    def on_list(self, _):
        self.is_listing, self.told = True, {}

    def on_object(self, rest):
        name, version = rest.split(" ")
        self.objects[name] = self.told[name] = version

    def on_gone(self, rest):
        name = rest.split(" ")[0]
        self.objects.pop(name, None)
        self.told.pop(name, None)

    def on_listed(self, _):
        assert self.is_listing, "listed without list"
        self.is_listing, self.is_synced = False, True
        self.objects = dict(self.told)

    def on_batch(self, _):
        pass

    def on_well(self, _):
        self.why = None

    def on_unwell(self, rest):
        self.why = rest

    def on_counters(self, rest):
        self.counters = json.loads(rest)


class Follow:
    def __init__(self, kubeconfig, *arguments):
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        self.child = subprocess.Popen(
            [PROGRAM, kubeconfig, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=environment)
        self.paths = [a for a in arguments if a.startswith("/")]
        self.all = [Followed() for _ in self.paths]
        self.errors = []
        self.threads = [threading.Thread(target=self._read, daemon=True),
                        threading.Thread(target=self._read_errors, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.child.stdout:
            number, _, rest = line.rstrip("\n").partition(" ")
            self.all[int(number)].take(rest)

    def _read_errors(self):
        self.errors += self.child.stderr

    @property
    def one(self):
        return self.all[0]

    def counters(self, index=0):
        for followed in self.all:
            followed.counters = None
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        eventually(lambda: all(f.counters for f in self.all), what="an answer with counters")
        return self.all[index].counters

    def wait_same(self, double, timeout=20):
        """Until every path's objects are the server's, after a list."""
        for path, followed in zip(self.paths, self.all):
            eventually(lambda path=path, f=followed:
                       f.is_synced and not f.is_listing and f.objects == double.state(path),
                       what=f"{path} as on the server", timeout=timeout)

    def most_memory(self):
        """Bytes, resident at its peak."""
        return int(read_status(self.child.pid)["VmHWM"].split()[0]) * 1024

    def end(self):
        self.child.stdin.close()
        try:
            status = self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise
        for thread in self.threads:
            thread.join(10)
        text = "".join(self.errors)
        assert not ALARMS.search(text), text
        assert status == 0, f"follow exited with {status}: {text}"
