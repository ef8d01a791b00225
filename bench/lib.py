"""What the benchmarks share: processes on chosen cores, their CPU time and memory, tables.

Everything runs on the loopback and is bounded in count and time; processes are ended by PID.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("LINTEL_BUILD", os.path.join(ROOT, "build"))
PROXY_CORE, LOAD_CORE = "0", "1" if os.cpu_count() > 1 else "0"


def say(text):
    """Progress, for people only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(pid):
    """pid and all its descendants that are alive."""
    pids = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                for child in f.read().split():
                    pids += tree(int(child))
    except OSError:
        pass
    return pids


def cpu_ns(pids):
    """Nanoseconds on a processor, user and system, over all threads of pids."""
    total = 0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    total += int(f.read().split()[0])
        except OSError:
            pass
    return total


def memory_kb(pids):
    """Proportional set size: shared pages count once for the whole tree."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return total


class Process:
    def __init__(self, argv, core=None, log=None, env=None):
        if core is not None:
            argv = ["taskset", "-c", core] + argv
        self.log = open(log, "wb") if log else subprocess.DEVNULL
        self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log,
                                      stderr=self.log, env=env)
        self.pid = self.popen.pid

    def pids(self):
        return tree(self.pid)

    def stop(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(15)
            except subprocess.TimeoutExpired:
                for pid in tree(self.pid):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.popen.wait(5)


def wait_http(port, path="/", host="bench.local", seconds=30):
    """Until a GET is answered with 200; False when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}",
                                             headers={"Host": host})
            with urllib.request.urlopen(request, timeout=1) as answer:
                if answer.status == 200:
                    return True
        except OSError:
            pass
        time.sleep(0.01)
    return False


def wrk(port, path, connections, seconds, host="bench.local", script=None):
    argv = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
            "--latency", "-H", f"Host: {host}"]
    if script:
        argv += ["-s", script]
    text = subprocess.run(argv + [f"http://127.0.0.1:{port}{path}"], capture_output=True,
                          text=True, timeout=seconds + 30, check=True).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", text)
    unit = {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}

    def latency(percent):
        got = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)", text)
        return float(got.group(1)) * unit[got.group(2)]

    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {"requests": int(found.group(1)),
            "seconds": float(found.group(2)) * unit[found.group(3)] / 1e6,
            "p50_us": latency(50), "p99_us": latency(99),
            "errors": sum(map(int, errors.groups())) if errors else 0,
            "bad": int(bad.group(1)) if bad else 0}


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def table(title, head, rows):
    widths = [max(len(str(row[i])) for row in [head] + rows) for i in range(len(head))]
    print(f"\n{title}")
    for row in [head] + rows:
        print("  " + "  ".join(str(cell).ljust(w) if i == 0 else str(cell).rjust(w)
                               for i, (cell, w) in enumerate(zip(row, widths))))
        if row is head:
            print("  " + "  ".join("-" * w for w in widths))


def save(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(data, f, indent=2)
        f.write("\n")
    print(f"\nas JSON: {os.path.relpath(path, ROOT)}")


def need(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        sys.exit(f"missing programs: {', '.join(missing)}; `make bench` installs them")


def workdir():
    return tempfile.mkdtemp(prefix="lintel-bench-")
