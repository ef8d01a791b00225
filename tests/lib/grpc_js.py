"""@grpc/grpc-js, as pinned in grpc_node/package-lock.json: installed by npm once, into
$LINTEL_TEST_CACHE or ~/.cache/lintel-tests."""
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess

from .servers import find_program

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "grpc_node")
NAMES = ("package.json", "package-lock.json")


def install():
    """The directory with node_modules."""
    digest = hashlib.sha256()
    for name in NAMES:
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(file.read())
    cache = os.environ.get("LINTEL_TEST_CACHE") or os.path.expanduser("~/.cache/lintel-tests")
    where = os.path.join(cache, "grpc-js-" + digest.hexdigest()[:16])
    os.makedirs(cache, exist_ok=True)
    with open(where + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(where, "done")):
            shutil.rmtree(where, ignore_errors=True)
            os.makedirs(where)
            for name in NAMES:
                shutil.copy(os.path.join(HERE, name), where)
            done = subprocess.run([find_program("npm", package="npm"), "ci", "--ignore-scripts",
                                   "--no-audit", "--no-fund"], cwd=where, text=True,
                                  capture_output=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
            with open(os.path.join(where, "done"), "w", encoding="utf-8"):
                pass
    return where


def _command(script, *arguments):
    return [find_program("node", "nodejs", package="nodejs"), os.path.join(HERE, script),
            *map(str, arguments)]


def _environment():
    return {**os.environ, "NODE_PATH": os.path.join(install(), "node_modules")}


class Server:
    def __init__(self, port, name="node"):
        self.port = port
        self.child = subprocess.Popen(_command("server.js", port, name), stdout=subprocess.PIPE,
                                      env=_environment(), start_new_session=True)
        assert self.child.stdout.readline() == b"up\n"

    def read_line(self):
        return self.child.stdout.readline().decode().strip()

    def end(self, sig=signal.SIGTERM):
        self.child.send_signal(sig)

    def stop(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdout.close()


def run_client(port, host):
    """What came of each call, by its name."""
    done = subprocess.run(_command("client.js", port, host), text=True, capture_output=True,
                          env=_environment(), timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return {item.pop("name"): item for item in map(json.loads, done.stdout.splitlines())}
