"""A place for one cluster: network, process and mount namespaces of its own, and a directory.

    python3 -m e2e.lib.sandbox COMMAND...         runs it in a new sandbox, its exit status is ours
    python3 -m e2e.lib.sandbox --enter COMMAND... joins the sandbox that was made last

Outside, nothing is touched but the directory: addresses, mounts and processes are the sandbox's, and
the kernel ends all of them with its first process, however that ends. A directory whose lock nobody
holds belongs to a run that was killed, and is removed by the next one. Any number may run side by
side.

Addresses inside:
    172.30.0.0/24    lo: the API server (.1) and the nodes (.11 and on)
    10.244.0.0/16    a bridge: Pods, each in a network namespace of its own
    10.248.0.0/14    lo, all of it: where a test pretends to have many endpoints
"""
import contextlib
import ctypes
import fcntl
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile

PREFIX = "lintel-e2e-"
API_ADDRESS = "172.30.0.1"
NODE_ADDRESSES = [f"172.30.0.{11 + i}" for i in range(9)]
GATEWAY = "10.244.0.1"
PR_SET_PDEATHSIG = 1
NAMESPACES = ["--net", "--mount", "--pid", "--uts", "--fork", "--kill-child=KILL", "--mount-proc",
              "--propagation", "private"]


def directories():
    """Of all sandboxes, the newest last."""
    found = glob.glob(os.path.join(tempfile.gettempdir(), PREFIX + "*"))
    return sorted(found, key=os.path.getmtime)


def lock(directory):
    """A file that is open as long as the sandbox lives; None while somebody else has it."""
    file = open(os.path.join(directory, "lock"), "a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    except BlockingIOError:
        file.close()
        return None


def remove_leftovers():
    for directory in directories():
        with contextlib.suppress(OSError):
            held = lock(directory)
            if held:
                shutil.rmtree(directory, ignore_errors=True)
                held.close()


def make_directory():
    """The directory, and its lock, held."""
    while True:
        directory = tempfile.mkdtemp(prefix=PREFIX)
        os.chmod(directory, 0o755)  # processes of Pods need not be root
        with contextlib.suppress(OSError):  # another run took the new one for a leftover
            held = lock(directory)
            if held:
                return directory, held


# ---- outside ----

def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(command):
    """Returns the exit status of the command."""
    die_with_parent()
    remove_leftovers()
    directory, held = make_directory()
    child = subprocess.Popen(
        ["unshare", *NAMESPACES, sys.executable, "-m", "e2e.lib.sandbox", "--init", directory,
         *command], preexec_fn=die_with_parent)
    held.seek(0)
    held.write(str(child.pid))
    held.flush()
    # Ctrl-C reaches the command itself; whoever wants the whole gone gets it gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    status = child.wait()
    if not os.environ.get("LINTEL_E2E_KEEP"):
        shutil.rmtree(directory, ignore_errors=True)
    return status if status >= 0 else 128 - status


def enter(command):
    """Joins the newest sandbox that is alive. Does not return."""
    for directory in reversed(directories()):
        if lock(directory):
            continue
        with open(os.path.join(directory, "lock"), encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            first = file.read().split()[0]
        os.environ["E2E_DIRECTORY"] = directory
        os.execvp("nsenter", ["nsenter", "--target", first, "--net", "--mount", "--pid", "--uts",
                              "--wd=.", *command])
    sys.exit("no sandbox is running")


# ---- inside ----

def ip(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def set_up_network():
    ip("link set lo up",
       *(f"address add {address}/32 dev lo" for address in [API_ADDRESS, *NODE_ADDRESSES]),
       "link add pods type bridge",
       f"address add {GATEWAY}/16 dev pods",
       "link set pods up",
       "route add local 10.248.0.0/14 dev lo")
    write("/proc/sys/net/ipv4/ip_forward", "1")
    # Names of network namespaces are files in /run.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"], check=True)


def init(directory, command):
    """The first process: reaps what others left, ends when the command has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_up_network()
    os.environ["E2E_DIRECTORY"] = directory
    child = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT,
                                                                      signal.default_int_handler))
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def main():
    if sys.argv[1] == "--init":
        return init(sys.argv[2], sys.argv[3:])
    if sys.argv[1] == "--enter":
        return enter(sys.argv[2:] or ["bash"])
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
