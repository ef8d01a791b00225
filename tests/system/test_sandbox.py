"""What a worker may do, from the kernel's own books."""
import os

import pytest

from lib import process
from lib.manifests import app, ingress, ingress_class, rule


@pytest.fixture(scope="module")
def lintel(module_stage):
    return module_stage.run(ingress_class(), app("app", module_stage.backend().port),
                            ingress("a", rule("a.test", ("/", "Prefix", "app:80"))), workers=2)


@pytest.fixture(scope="module", params=[0, 1])
def worker(lintel, request):
    return process.read_status(lintel.wait_workers()[request.param])


def test_a_seccomp_filter_is_set(worker):
    assert worker["Seccomp"] == "2"


def test_no_new_privileges(worker):
    assert worker["NoNewPrivs"] == "1"


@pytest.mark.parametrize("which", ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
def test_no_capabilities(worker, which):
    if which == "CapBnd" and os.getuid() != 0:
        assert worker["CapEff"] == "0" * 16 # only root may shrink the bounding set
        return
    assert int(worker[which], 16) == 0


def test_not_root(worker):
    uids, gids = worker["Uid"].split(), worker["Gid"].split()
    assert len(set(uids)) == 1 and uids[0] != "0"
    assert len(set(gids)) == 1 and gids[0] != "0"
    assert worker.get("Groups", "").split() in ([], gids[:1])


def test_one_thread(worker):
    assert worker["Threads"] == "1"


def test_the_worker_has_no_descriptor_of_a_file(lintel):
    """Sockets, the event loop, shared memory, pipes and the logs it was given; nothing else."""
    for pid in lintel.wait_workers():
        for name in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            assert target.startswith(("socket:", "anon_inode:", "/memfd:", "pipe:")) or target in (
                "/dev/null", lintel.path("stdout"), lintel.path("stderr")), f"{name}: {target}"


def test_the_worker_does_not_link_what_it_must_not_have(lintel):
    for pid in lintel.wait_workers():
        with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
            mapped = file.read()
        for library in ("libyaml", "libyajl", "libcurl"):
            assert library not in mapped


def test_the_controller_does_not_hold_the_clients_listening_sockets(lintel):
    with open("/proc/net/tcp", encoding="utf-8") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    inodes = {row[9] for row in rows
              if row[3] == "0A" and int(row[1].split(":")[1], 16) == lintel.port}
    assert inodes

    def holds(pid):
        return inodes & {os.readlink(f"/proc/{pid}/fd/{name}")[len("socket:["):-1]
                         for name in os.listdir(f"/proc/{pid}/fd")
                         if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")}
    assert holds(lintel.supervisor) and all(holds(pid) for pid in lintel.workers())
    assert not holds(lintel.controller())
