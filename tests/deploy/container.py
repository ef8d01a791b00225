"""Runs what is in an image as a container runtime would, with util-linux alone: the image's root file
system, read-only, and nothing else of the machine but /proc, /dev and the network; user 65532, no
capability and no way to one; /tmp and /var/lib/lintel as volumes."""
import os
import subprocess

from lib.lintel import environment

USER = 65532
# $1: the root file system, $2: the volume at /tmp; then the command, run by what stands in $BECOME.
SCRIPT = r"""
set -e
root=$1 volume=$2
shift 2
mount --bind "$root" "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$volume" "$root/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$root/var/lib/lintel"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs $BECOME --root="$root" --wd=/ "$@"
"""


class Container:
    """One root file system; its processes end with the test."""

    def __init__(self, root, volume):
        self.root, self.volume = root, volume

    def command(self, *arguments):
        is_root = os.geteuid() == 0
        outer = ["unshare", "--mount"] if is_root else ["unshare", "--map-root-user", "--mount"]
        become = (f"unshare --setgid={USER} --setuid={USER}" if is_root else
                  f"unshare --map-user={USER} --map-group={USER}")
        return [*outer, "env", f"BECOME={become}", "sh", "-c", SCRIPT, "container", str(self.root),
                str(self.volume), *map(str, arguments)]

    def run(self, *arguments):
        """To its end; returns what it said."""
        return subprocess.run(self.command(*arguments), text=True, capture_output=True, timeout=60,
                              env=environment(), check=False)

    def start(self, log, *arguments):
        return subprocess.Popen(self.command(*arguments), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=log, env=environment(),
                                start_new_session=True)
