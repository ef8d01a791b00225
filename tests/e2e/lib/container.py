"""The first process of a container: run in fresh mount, process and host name namespaces, and in the
network namespace of its Pod, it builds the root file system, gives up what the container may not
have, and becomes the program.

    container.py SPECIFICATION      a JSON file, written by kubelet.py
"""
import ctypes
import json
import os
import resource
import socket
import sys

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 0x1, 0x20, 0x1000, 0x4000
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE").split()
# What container runtimes give to everybody.
USUAL = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
         "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP"}
# What a program of the machine needs in order to run in an otherwise empty root.
MACHINE = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/ssl",
           "/etc/alternatives", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"]

libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, *, kind=None, flags=0, data=None):
    """mount(2): a container has a score of mounts, too many for a program each."""
    texts = [text and text.encode() for text in (source, target, kind)]
    if libc.mount(*texts, ctypes.c_ulong(flags), data and data.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {source}", target)


def make_read_only(path):
    mount(None, path, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def bind(source, target, *, is_read_only=True):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="ascii"):
            pass
    mount(source, target, flags=MS_BIND | MS_REC)
    if is_read_only:
        make_read_only(target)


def make_root(spec):
    root = spec["scratch"]
    os.makedirs(root, exist_ok=True)
    mount("root", root, kind="tmpfs", data="mode=755")
    if not spec["root"]:
        for path in MACHINE + spec["binds"]:
            if os.path.islink(path):
                os.symlink(os.readlink(path), root + path)
            elif os.path.exists(path):
                bind(path, root + path)
        return root
    layers = [os.path.join(root, name) for name in ("upper", "work", "merged")]
    for path in layers:
        os.mkdir(path)
    upper, work, merged = layers
    mount("root", merged, kind="overlay",
          data=f"lowerdir={spec['root']},upperdir={upper},workdir={work}")
    return merged


def fill_root(root, spec):
    os.makedirs(root + "/tmp", exist_ok=True)
    os.chmod(root + "/tmp", 0o1777)
    bind("/proc", root + "/proc", is_read_only=False)
    bind("/dev", root + "/dev", is_read_only=False)
    bind("/sys", root + "/sys")
    for name, text in spec["etc"].items():
        os.makedirs(root + "/etc", exist_ok=True)
        path = os.path.join(root, "etc", name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    for item in spec["mounts"]:
        bind(item["source"], root + item["target"], is_read_only=item["is_read_only"])
    if spec["is_root_read_only"]:
        make_read_only(root)


def give_up_privileges(spec):
    for i, name in enumerate(CAPABILITIES):
        if name not in spec["capabilities"]:
            libc.prctl(PR_CAPBSET_DROP, i, 0, 0, 0)
    os.fchown(1, spec["uid"], -1)  # runtimes give it the pipe, so that it can be opened anew
    os.setgroups(spec["groups"])
    os.setgid(spec["gid"])
    os.setuid(spec["uid"])
    if spec["has_no_new_privileges"]:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    socket.sethostname(spec["hostname"])
    root = make_root(spec)
    fill_root(root, spec)
    os.chroot(root)
    os.chdir(spec["directory"] or "/")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    give_up_privileges(spec)
    command, environment = spec["command"], spec["environment"]
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
