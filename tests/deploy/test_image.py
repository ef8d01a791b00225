"""The container image: what is in it, that it is always the same, and that it serves."""
import json
import os
import re
import stat
import subprocess
import tarfile
from types import SimpleNamespace

import pytest
from lib.client import fetch
from lib.lintel import ALARMS, BUILD, IS_SANITIZED, ROOT, environment, free_port
from lib.manifests import Directory, app, ingress, ingress_class, rule
from lib.process import children_of, program_of
from lib.wait import eventually

from .container import USER, Container

SIZE_MAX = 100_000_000 if IS_SANITIZED else 40_000_000 # a sanitizer's runtime is not shipped


def build(out, **more):
    done = subprocess.run([f"{ROOT}/scripts/image", "--build", BUILD, "--out", str(out)], text=True,
                          capture_output=True, check=False, env={**environment(), **more})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def unpacked(archive, folder):
    """The image as another program understands it, which checks every digest on the way."""
    plain = folder / "plain"
    subprocess.run(["skopeo", "copy", "--quiet", "--insecure-policy", f"oci-archive:{archive}",
                    f"dir:{plain}"], check=True)
    manifest = json.loads((plain / "manifest.json").read_text())

    def path_of(blob):
        return plain / blob["digest"].removeprefix("sha256:")
    root = folder / "root"
    root.mkdir()
    entries = {}
    for layer in manifest["layers"]:
        with tarfile.open(path_of(layer)) as tar:
            entries |= {entry.name: entry for entry in tar}
            tar.extractall(root, numeric_owner=True)
    return SimpleNamespace(root=root, entries=entries, config=json.loads(
        path_of(manifest["config"]).read_text()))


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    lines = build(folder)
    made = unpacked(folder / "lintel-image.tar", folder)
    made.digest, made.archive = lines[-1], folder / "lintel-image.tar"
    return made


@pytest.fixture
def container(image, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "volume").mkdir()
    return Container(image.root, tmp_path / "volume")


def test_same_inputs_give_the_same_digest(image, tmp_path):
    assert build(tmp_path)[-1] == image.digest
    assert (tmp_path / "lintel-image.tar").read_bytes() == image.archive.read_bytes()
    assert build(tmp_path / "later", SOURCE_DATE_EPOCH="1")[-1] != image.digest


def test_size(image):
    assert 1_000_000 < sum(entry.size for entry in image.entries.values()) < SIZE_MAX
    assert image.archive.stat().st_size < SIZE_MAX


def test_holds_nothing_that_helps_an_intruder(image):
    programs = {name for name in image.entries if name.startswith(("usr/bin/", "usr/sbin/"))}
    assert programs == {"usr/bin/lintel", "usr/bin/lintel-worker"}
    for name, entry in image.entries.items():
        assert entry.mode & (stat.S_ISUID | stat.S_ISGID) == 0, name
        assert not entry.isdev(), name
        is_writable = entry.mode & stat.S_IWOTH and not entry.issym()
        assert not is_writable or name == "tmp", name
        assert entry.uid == entry.gid == (USER if name == "var/lib/lintel" else 0), name
        assert entry.uname == entry.gname == "", name


def test_executables_are_stripped(image):
    for name in ("lintel", "lintel-worker"):
        sections = subprocess.run(["readelf", "-SW", image.root / "usr/bin" / name], text=True,
                                  check=True, capture_output=True).stdout
        assert ".symtab" not in sections and ".debug_info" not in sections


def test_each_library_comes_with_its_licence(image):
    licences = {name for name in image.entries if name.endswith("/copyright")}
    libraries = {name for name in image.entries if ".so" in name}
    assert "usr/share/doc/lintel/copyright" in licences and len(libraries) >= 6
    done = subprocess.run(["dpkg-query", "-S", *(f"*/{os.path.basename(name)}" for name in libraries)],
                          text=True, capture_output=True, check=True)
    owners = {}
    for line in done.stdout.splitlines():
        packages, _, path = line.partition(": ")
        owners.setdefault(os.path.basename(path), set()).update(re.split("[:,] *", packages))
    for name in libraries:
        assert any(f"usr/share/doc/{owner}/copyright" in licences
                   for owner in owners[os.path.basename(name)]), name
    known = {path.name for path in (image.root / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "ca-certificates"} <= known


def test_config(image):
    config = image.config["config"]
    assert config["Entrypoint"] == ["/usr/bin/lintel", "run"]
    assert config["User"] == f"{USER}:{USER}" and config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"8080/tcp", "10254/tcp"}
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image.config["os"] == "linux"
    containerfile = open(f"{ROOT}/deploy/Containerfile", encoding="utf-8").read()
    assert 'ENTRYPOINT ["/usr/bin/lintel", "run"]' in containerfile
    assert f"USER {USER}:{USER}" in containerfile
    assert "STOPSIGNAL SIGTERM" in containerfile and "EXPOSE 8080 10254" in containerfile


def test_docker_reads_the_archive_too(image):
    done = subprocess.run(["skopeo", "inspect", "--config", f"docker-archive:{image.archive}"],
                          check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["rootfs"] == image.config["rootfs"]


def test_root_for_a_containerfile_is_the_same_tree(image, tmp_path):
    subprocess.run([f"{ROOT}/scripts/image", "--build", BUILD, "--root", str(tmp_path / "root")],
                   check=True, env=environment())

    def listing(root):
        return {os.path.relpath(os.path.join(folder, name), root)
                for folder, folders, files in os.walk(root) for name in folders + files}
    assert listing(tmp_path / "root") == listing(image.root)


def test_version_runs_in_it(container):
    done = container.run("/usr/bin/lintel", "version")
    assert done.returncode == 0 and not ALARMS.search(done.stderr), done.stderr
    assert "lintel" in done.stdout.lower()


def test_is_not_root_and_cannot_write(container, image):
    done = container.run("/usr/bin/lintel", "generate", "man", "/usr/bin")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr, done.stderr
    assert not (image.root / "usr/bin/lintel.1").exists()


def serve(stage, container, tmp_path):
    """Starts the image's entrypoint on the manifests of the volume; returns process, log and ports."""
    backend = stage.backend()
    Directory(container.volume).write("all.yaml", ingress_class(), app("app", backend.port),
                                      ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    port, health_port = free_port(), free_port()
    log = tmp_path / "log"
    with open(log, "wb") as file:
        child = container.start(
            file, "/usr/bin/lintel", "run", "--manifests", "/tmp", "--workers", 1,
            "--bind-address", "127.0.0.1", "--http-port", port, "--https-port", 0, "--healthz-host", "127.0.0.1",
            "--healthz-port", health_port, "--snapshot-file", "/var/lib/lintel/snapshot")
    return SimpleNamespace(child=child, log=log, port=port, health_port=health_port)


def capabilities_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    return {name: int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}


def test_serves_without_root_capabilities_or_a_writable_file_system(stage, container, tmp_path):
    run = serve(stage, container, tmp_path)
    try:
        def is_ready():
            assert run.child.poll() is None, run.log.read_text()
            return fetch(run.health_port, "/readyz", host="127.0.0.1").status == 200
        eventually(is_ready, what="readiness")
        assert fetch(run.port, "/", "a.test").status == 200
        family = [run.child.pid, *children_of(run.child.pid)]
        assert sorted(map(program_of, family)) == ["lintel", "lintel", "lintel-worker"]
        for pid in family:
            assert set(capabilities_of(pid).values()) == {0}, program_of(pid)
            assert os.geteuid() != 0 or os.stat(f"/proc/{pid}").st_uid in (0, USER)
        snapshot = f"/proc/{run.child.pid}/root/var/lib/lintel/snapshot"
        eventually(lambda: os.path.exists(snapshot), what="the snapshot in its volume")
    finally:
        run.child.terminate()
        status = run.child.wait(60)
    assert status == 0 and not ALARMS.search(run.log.read_text()), run.log.read_text()
