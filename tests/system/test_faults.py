"""kill -9 of each process under load, and what users see of it (the promises under faults)."""
import os
import signal
import time

import pytest

from lib import process
from lib.client import Client
from lib.load import Load
from lib.manifests import app, ingress, ingress_class, rule
from lib.wait import always, eventually


def serve(stage, *arguments, workers=2, **options):
    backend = stage.backend()
    backend.keeps_requests = False
    manifests = stage.directory()
    manifests.write("class.yaml", ingress_class())
    manifests.write("a.yaml", ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                    app("app", backend.port))
    return stage.lintel(manifests, *arguments, workers=workers, **options).start(), manifests


def add_route(manifests, host):
    manifests.write(f"{host}.yaml", ingress(host.replace(".", "-"),
                                            rule(host, ("/", "Prefix", "app:80"))))


def restarts(lintel, process_name):
    return lintel.counter("lintel_process_restarts_total", process=process_name)


def test_the_processes_are_those_of_the_design(stage):
    lintel, _ = serve(stage)
    assert len(lintel.workers()) == 2 and lintel.controller()
    assert len(process.children_of(lintel.supervisor)) == 3


def test_a_killed_worker_is_back_and_the_other_does_not_notice(stage):
    lintel, _ = serve(stage)
    before = lintel.wait_workers()
    with Load(lintel.port, [("a.test", "/")], clients=8) as load:
        for _ in range(3):
            victim = lintel.wait_workers()[0]
            os.kill(victim, signal.SIGKILL)
            lintel.wait_workers(other_than=[victim])
            load.wait_for(50)
    # Each kill cuts at most the connections of one worker; every request of the others was right.
    assert not load.wrong and not load.refused, load.summary()
    assert len(load.cut) <= 3 * 8, load.summary()
    assert before[1] in lintel.workers() or lintel.workers() != before
    assert restarts(lintel, "worker-0") + restarts(lintel, "worker-1") == 3


def test_a_killed_worker_is_back_within_100_ms(stage):
    lintel, _ = serve(stage, workers=1)
    times = []
    for _ in range(3):
        victim = lintel.wait_workers()[0]
        # Past the back-off that follows a worker which died young.
        lintel.wait_answer(200, host="a.test")
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        lintel.wait_answer(200, host="a.test")
        times.append(time.monotonic() - began)
        break
    assert min(times) < (0.1 if not os.environ.get("LINTEL_SANITIZED") else 2), times


def test_new_connections_are_served_while_the_only_worker_is_away(stage):
    """The listening socket belongs to the supervisor: a connect waits, it is not refused."""
    lintel, _ = serve(stage, workers=1)
    victim = lintel.wait_workers()[0]
    os.kill(victim, signal.SIGKILL)
    with Client(lintel.port) as client:
        assert client.request(host="a.test").status == 200


def test_the_controller_is_killed_and_nobody_notices(stage):
    lintel, manifests = serve(stage)
    workers = lintel.wait_workers()
    with Load(lintel.port, [("a.test", "/")]) as load:
        for i in range(3):
            victim = lintel.controller()
            os.kill(victim, signal.SIGKILL)
            load.wait_for(50)
            lintel.wait_controller(other_than=victim)
            lintel.wait_ready()
            add_route(manifests, f"after{i}.test")
            lintel.wait_answer(200, host=f"after{i}.test")
    load.check_flawless()
    assert lintel.workers() == workers
    assert restarts(lintel, "controller") == 3


def test_a_change_made_while_the_controller_was_dead_is_caught_up(stage):
    lintel, manifests = serve(stage)
    add_route(manifests, "old.test")
    lintel.wait_answer(200, host="old.test")
    os.kill(lintel.controller(), signal.SIGKILL)
    manifests.delete("old.test.yaml")
    add_route(manifests, "new.test")
    lintel.wait_answer(200, host="new.test")
    lintel.wait_answer(404, host="old.test")


def test_a_new_worker_serves_while_the_controller_is_dead(stage):
    """The supervisor keeps the segments: a worker needs nobody else to come back."""
    lintel, _ = serve(stage, workers=1)
    os.kill(lintel.controller(), signal.SIGSTOP)
    stopped = lintel.controller()
    try:
        os.kill(lintel.wait_workers()[0], signal.SIGKILL)
        lintel.wait_answer(200, host="a.test")
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_a_killed_supervisor_takes_everything_with_it(stage):
    """PID 1 of a container: when it goes, nothing stays behind to hold ports."""
    lintel, _ = serve(stage)
    family = process.children_of(lintel.supervisor)
    lintel.expects_death = True
    os.kill(lintel.supervisor, signal.SIGKILL)
    lintel.wait()
    eventually(lambda: not any(process.is_alive(pid) for pid in family),
               what="the end of all children")
    again = stage.lintel(lintel.manifests, workers=1)
    again.port = lintel.port
    again.arguments[again.arguments.index("--http-port") + 1] = lintel.port
    again.start()
    assert again.fetch(host="a.test").status == 200


def test_everything_is_killed_again_and_again_under_load(stage):
    lintel, manifests = serve(stage)
    with Load(lintel.port, [("a.test", "/")]) as load:
        for i in range(4):
            worker, controller = lintel.wait_workers()[0], lintel.wait_controller()
            os.kill(worker, signal.SIGKILL)
            os.kill(controller, signal.SIGKILL)
            add_route(manifests, f"round{i}.test")
            lintel.wait_workers(other_than=[worker])
            lintel.wait_controller(other_than=controller)
            lintel.wait_answer(200, host=f"round{i}.test")
            load.wait_for(20)
    assert not load.wrong and not load.refused, load.summary()


def test_restarts_back_off(stage):
    """A worker that dies at once, again and again, is not restarted in a tight loop."""
    lintel, _ = serve(stage, workers=1)
    killed = []
    end = time.monotonic() + 3
    while time.monotonic() < end:
        for pid in lintel.workers():
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        time.sleep(0.002)
    assert 2 <= len(killed) <= 20, f"{len(killed)} restarts in 3 s"
    lintel.wait_answer(200, host="a.test")


def test_a_stopped_worker_does_not_stop_the_others(stage):
    lintel, manifests = serve(stage)
    stuck = lintel.wait_workers()[0]
    os.kill(stuck, signal.SIGSTOP)
    try:
        add_route(manifests, "while.test")

        def answered():
            with Client(lintel.port, timeout=1) as client:
                return client.request(host="while.test").status == 200
        eventually(answered, what="an answer by the other worker")
    finally:
        os.kill(stuck, signal.SIGCONT)
    lintel.wait_answer(200, host="while.test")


def test_the_snapshot_file_serves_until_the_source_was_read(stage):
    """The source says something else by now, and takes a while to read: first the saved routes are
    served, then those of the source."""
    backend = stage.backend()
    manifests = stage.directory()
    manifests.write("app.yaml", ingress_class(), app("app", backend.port))
    manifests.write("old.yaml", ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    saved = str(stage.path / "snapshot")
    first = stage.lintel(manifests, "--snapshot-file", saved).start()
    assert first.fetch(host="a.test").status == 200
    eventually(lambda: os.path.getsize(saved) > 0, what="the snapshot file")
    assert first.stop() == 0
    manifests.delete("old.yaml")
    manifests.write("many.yaml", "".join(
        "---\n{apiVersion: v1, kind: Service, metadata: {name: s%d}, spec: {ports: [{port: 80}]}}\n"
        % i for i in range(40_000)))
    second = stage.lintel(manifests, "--snapshot-file", saved).start(wait=False)
    second.wait_answer(200, host="a.test")
    second.wait_answer(404, host="a.test")
    second.wait_ready()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "directory"])
def test_a_damaged_snapshot_file_is_refused_and_replaced(stage, damage):
    backend = stage.backend()
    manifests = stage.directory()
    manifests.write("all.yaml", ingress_class(), app("app", backend.port),
                    ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    saved = stage.path / "snapshot"
    first = stage.lintel(manifests, "--snapshot-file", saved).start()
    eventually(lambda: saved.stat().st_size > 0, what="the snapshot file")
    assert first.stop() == 0
    good = saved.read_bytes()
    saved.unlink()
    if damage == "directory":
        saved.mkdir()
    else:
        saved.write_bytes({"empty": b"", "cut": good[:len(good) // 2], "foreign": b"PK\3\4" * 100,
                           "flipped": good[:100] + bytes([good[100] ^ 1]) + good[101:]}[damage])
    second = stage.lintel(manifests, "--snapshot-file", saved).start()
    assert second.fetch(host="a.test").status == 200
    assert "snapshot" in second.log()


def test_descriptors_do_not_leak(stage):
    lintel, manifests = serve(stage, workers=1)
    worker = lintel.wait_workers()[0]

    def use(i):
        for _ in range(20):
            assert lintel.fetch(host="a.test").status == 200
        add_route(manifests, "x.test" if i % 2 else "y.test")
    use(0)
    lintel.wait_answer(200, host="y.test")
    before = process.descriptor_count(worker)
    for i in range(1, 10):
        use(i)
    eventually(lambda: process.descriptor_count(worker) <= before + 2)
    always(lambda: process.is_alive(worker), seconds=0.1)
