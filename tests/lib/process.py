"""Looking at processes through /proc, by id only."""
import os


def read_status(pid):
    """/proc/<pid>/status as a dict."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def is_alive(pid):
    """False for a process that is gone, or dead and not yet reaped."""
    try:
        return not read_status(pid)["State"].startswith(("Z", "X"))
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid):
    try:
        return int(read_status(pid)["PPid"])
    except (FileNotFoundError, ProcessLookupError):
        return None


def children_of(pid):
    """Live children, in order of their ids."""
    return sorted(int(name) for name in os.listdir("/proc")
                  if name.isdigit() and parent_of(name) == pid and is_alive(name))


def program_of(pid):
    """Name of the executable; by its command line when the link may not be read. Empty when it has
    just ended."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        pass
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.path.basename(file.read().split(b"\0")[0].decode())
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descriptor_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_of(pid):
    """Seconds that its first thread has run, user and system, to the nanosecond."""
    with open(f"/proc/{pid}/schedstat", encoding="utf-8") as file:
        return int(file.read().split()[0]) / 1e9


def resident_of(pid):
    """(bytes resident now, most since the process began or reset_peak())"""
    status = read_status(pid)
    return tuple(int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))


def reset_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")


def memory_of(pid):
    """Bytes that the process itself costs: its share of shared pages counted in parts (PSS). Without
    those of files: the share of a program's own text grows when another test's Lintel ends."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        fields = dict(line.split(":") for line in file if line.startswith("Pss"))
    return sum(int(fields[name].split()[0]) * 1024 for name in ("Pss_Anon", "Pss_Shmem"))
