"""What the benchmarks share: processes on chosen cores, their CPU time and memory, tables.

Everything runs on the loopback and is bounded in count and time; processes are ended by PID.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
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
    """Below the range that outgoing connections take theirs from: thousands of them are opened."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("0.0.0.0", port))
                return port
            except OSError:
                pass


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


def wait_new_child(pid, before, seconds):
    """Until pid has a descendant that is not in before; False when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if set(tree(pid)) - set(before):
            return True
        time.sleep(0.002)
    return False


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


def wrk_start(port, path, connections, seconds, host="bench.local", script=None, fields=(),
              scheme="http"):
    argv = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
            "--latency", "-H", f"Host: {host}"]
    for field in fields:
        argv += ["-H", field]
    if script:
        argv += ["-s", script]
    return subprocess.Popen(argv + [f"{scheme}://127.0.0.1:{port}{path}"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)


def wrk_end(process):
    """Before its time: it prints what it has."""
    process.send_signal(signal.SIGINT)
    return wrk_result(process, 30)


def wrk(port, path, connections, seconds, **arguments):
    process = wrk_start(port, path, connections, seconds, **arguments)
    return wrk_result(process, seconds + 30)


def wrk_result(process, timeout):
    text = process.communicate(timeout=timeout)[0]
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


def h2load_run(url, port, connections, seconds, arguments, log=None):
    """What it prints; all go to 127.0.0.1, whatever the name."""
    argv = ["taskset", "-c", LOAD_CORE, "h2load", "-t1", f"-c{connections}", f"-D{seconds}",
            f"--connect-to=127.0.0.1:{port}", *arguments]
    if log:
        argv.append(f"--log-file={log}")
    return subprocess.run(argv + [url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          timeout=seconds + 30, check=True, text=True).stdout


def h2load_latencies(port, path, connections, rate, seconds, log):
    """Microseconds of every request at a fixed rate, sent when due and not when the one before is
    answered: waiting counts."""
    h2load_run(f"http://bench.local:{port}{path}", port, connections, seconds,
               ["--h1", f"--rps={rate / connections:.2f}"], log)
    with open(log) as f:
        rows = [line.split() for line in f]
    os.unlink(log)
    return ([int(row[2]) for row in rows if row[1] == "200"],
            sum(row[1] != "200" for row in rows))


def h2load(port, path, connections, seconds, streams=1, arguments=(), post=b""):
    """HTTP/2 over TLS, that many streams on each connection. post: a body to be sent, which the
    backend answers by one of the same length: in gRPC, failures are answers of status 200."""
    with tempfile.NamedTemporaryFile(prefix="lintel-bench-") as log, \
            tempfile.NamedTemporaryFile(prefix="lintel-bench-") as body:
        body.write(post)
        body.flush()
        text = h2load_run(f"https://bench.local:{port}{path}", port, connections, seconds,
                          [f"-m{streams}", *arguments] + (["-d", body.name] if post else []),
                          log.name)
        times = [int(line.split()[2]) for line in log]
    took = re.search(r"finished in ([\d.]+)(ms|s)", text)
    done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    bad = re.search(r"(\d+) 4xx, (\d+) 5xx", text)
    data = int(re.search(r"\((\d+)\) data", text).group(1))
    if data < int(done.group(1)) * len(post):
        sys.exit(f"{data} bytes of answers to {done.group(1)} calls; h2load says:\n{text}")
    return {"requests": int(done.group(1)),
            "seconds": float(took.group(1)) / (1e3 if took.group(2) == "ms" else 1),
            "p50_us": percentile(times or [0], 50), "p99_us": percentile(times or [0], 99),
            "errors": int(done.group(3)) - sum(map(int, bad.groups())),
            "bad": sum(map(int, bad.groups()))}


def handshakes(port, _, connections, seconds, arguments=()):
    """Connections of TLS 1.3 that end behind their handshake, as many at a time (bench/handshake.c)."""
    text = subprocess.run(["taskset", "-c", LOAD_CORE, f"{BUILD}/bench/handshake",
                           f"-c{connections}", f"-t{seconds}", *arguments, str(port),
                           "bench.local"], stdout=subprocess.PIPE, timeout=seconds + 30,
                          check=True, text=True).stdout
    found = re.match(r"(\d+) handshakes in ([\d.]+) s, \d+/s, \d+ resumed, (\d+) failed, "
                     r"p50 (\d+) us, p99 (\d+) us", text)
    return {"requests": int(found.group(1)), "seconds": float(found.group(2)),
            "errors": int(found.group(3)), "bad": 0,
            "p50_us": float(found.group(4)), "p99_us": float(found.group(5))}


def slab_kb():
    """Kernel memory for objects, sockets among them."""
    with open("/proc/meminfo") as f:
        return int(re.search(r"^Slab:\s+(\d+)", f.read(), re.M).group(1))


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


def bars(title, values, width=40):
    """A chart for terminals: 1.0 is the better of nginx and HAProxy."""
    most = max(max(values.values()), 1.0)
    print(f"\n{title}")
    for name, value in values.items():
        print(f"  {name.ljust(28)} {'#' * round(value / most * width):{width}} {value:.2f}")


COLORS = {"lintel": "#0a7d5a", "before": "#8fc9b5", "relay": "#9aa5b1", "nginx": "#d9822b", "haproxy": "#3f6fb5"}


def chart(path, title, groups):
    """Horizontal bars as SVG. groups: {scenario: {proxy: value}}."""
    height, y, out = 0, 46, []
    most = max(value for group in groups.values() for value in group.values())
    for name, group in groups.items():
        out.append(f'<text x="10" y="{y + 12}" font-weight="bold">{name}</text>')
        y += 20
        for proxy, value in group.items():
            length = max(1, round(value / most * 420))
            out.append(f'<text x="20" y="{y + 11}">{proxy}</text>'
                       f'<rect x="90" y="{y + 1}" width="{length}" height="12" '
                       f'fill="{COLORS.get(proxy, "#555")}"/>'
                       f'<text x="{96 + length}" y="{y + 11}">{value:.2f}</text>')
            y += 16
        y += 10
    height = y + 6
    text = (f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="{height}" '
            f'font-family="sans-serif" font-size="12"><rect width="600" height="{height}" '
            f'fill="#ffffff"/><text x="10" y="22" font-size="15">{title}</text>'
            + "".join(out) + "</svg>\n")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    print(f"as a chart: {os.path.relpath(path, ROOT)}")


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


class Marker(threading.Thread):
    """A backend that answers every request with its mark, on kept-alive connections and on every
    address of the machine."""

    def __init__(self, mark):
        super().__init__(daemon=True)
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + mark
        self.socket = socket.create_server(("0.0.0.0", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            held = b""
            while data := connection.recv(65536):
                held += data
                while b"\r\n\r\n" in held:
                    held = held.partition(b"\r\n\r\n")[2]
                    connection.sendall(self.answer)


def controller_pid(process):
    for pid in process.pids():
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            if f.read().split(b"\0")[1:2] == [b"controller"]:
                return pid
    sys.exit("no controller process")
