"""The command line: help, version, check, dump, manual pages, completions, and bad input."""
import json
import os
import re
import shutil
import subprocess

import pytest

from lib.lintel import LINTEL, command
from lib.manifests import Directory, app, dump_yaml, ingress, ingress_class, rule, service

COMMANDS = ["run", "check", "explain", "status", "backends", "certs", "dump", "top", "version"]


@pytest.fixture
def manifests(tmp_path):
    made = Directory(tmp_path / "manifests")
    made.write("good.yaml", ingress_class(), app("app", 8080),
               ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    return made


def test_version():
    assert re.search(r"\b\d+\.\d+\.\d+\b", command("version", check=0).stdout)
    assert json.loads(command("version", "-o", "json", check=0).stdout)["version"]
    assert command("--version").stdout == "" or command("--version").returncode == 0


def test_help_names_every_command():
    text = command("--help", check=0).stdout
    for name in COMMANDS:
        assert re.search(rf"^\s+{name}\b", text, re.MULTILINE), name
    assert "generate" not in text and "controller " not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(name):
    text = command(name, "--help", check=0).stdout
    assert name in text and "--help" in text
    assert command(name, "-h", check=0).stdout == text
    assert max(map(len, text.splitlines())) <= 100


def test_no_command_at_all():
    done = command(check=2)
    assert done.stdout == "" and "--help" in done.stderr


@pytest.mark.parametrize("arguments, words", [
    (["chekc", "x"], ["chekc", "check"]),
    (["run", "--htp-port", "1"], ["--htp-port", "--http-port"]),
    (["run", "--http-port", "eighty"], ["--http-port", "eighty"]),
    (["run", "--http-port", "70000"], ["--http-port", "70000", "65535"]),
    (["run", "--http-port"], ["--http-port"]),
    (["run", "--workers", "0"], ["--workers", "1"]),
    (["run", "--workers", "65"], ["--workers", "64"]),
    (["run", "--bind-address", "nowhere"], ["--bind-address", "nowhere"]),
    (["run", "--access-log", "xml"], ["--access-log", "json"]),
    (["run", "--drain-timeout", "soon"], ["--drain-timeout", "soon"]),
    (["run", "--default-backend-service", "noslash"], ["--default-backend-service"]),
    (["run", "extra"], ["extra"]),
    (["check"], ["PATH"]),
    (["explain"], ["URL"]),
    (["explain", "-X", "BAD METHOD", "http://a/"], ["BAD METHOD"]),
    (["explain", "-H", "no colon", "http://a/"], ["no colon"]),
    (["dump", "-o", "xml"], ["xml"]),
])
def test_a_wrong_command_line_is_told_precisely(arguments, words):
    done = command(*arguments, check=2)
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr
    assert done.stderr.count("\n") <= 4, "one word about it, not the whole help"


def test_run_on_a_directory_that_is_not_there(tmp_path):
    done = command("run", "--manifests", tmp_path / "nowhere", "--http-port", 0, "--https-port", 0,
                   "--healthz-port", 0, timeout=30)
    assert done.returncode in (1, 2) and "nowhere" in done.stderr


def test_check_of_good_manifests(manifests):
    done = command("check", manifests.path, check=0)
    assert "error" not in done.stdout.lower().replace("no error", "").replace("0 error", "")


def test_check_tells_file_line_object_field_and_what_to_do(manifests):
    manifests.write("bad.yaml", dump_yaml([service("x", ("n", 70000, 80))]))
    done = command("check", manifests.path, check=1)
    line = next(line for line in (done.stdout + done.stderr).splitlines() if "InvalidValue" in line)
    assert re.search(r"bad\.yaml:\d+: error: Service default/x: spec\.ports\[0\]\.port: ", line), line
    assert "70000" in line and "65535" in line


def test_check_json(manifests):
    manifests.write("bad.yaml", dump_yaml([service("x", ("n", 70000, 80))]))
    found = json.loads(command("check", "-o", "json", manifests.path, check=1).stdout)
    assert "InvalidValue" in json.dumps(found)


def test_check_of_warnings(manifests):
    manifests.write("warn.yaml", service("asleep"),
                    ingress("w", rule("w.test", ("/", "Prefix", "asleep:80"))))
    assert "NoEndpoints" in command("check", manifests.path, check=0).stdout
    command("check", "--strict", manifests.path, check=1)


def test_check_of_single_files_and_of_nothing(manifests, tmp_path):
    command("check", manifests.file("good.yaml"), check=0)
    done = command("check", tmp_path / "nowhere", check=1)
    assert "nowhere" in done.stderr + done.stdout


def test_check_is_deterministic(manifests):
    for i in range(10):
        manifests.write(f"bad{i}.yaml", ingress(f"b{i}", rule("a.test", ("/", "Prefix", "app:80"),
                                                              ("x", "Prefix", "none:1"))))
    first = command("check", manifests.path).stdout
    assert all(command("check", manifests.path).stdout == first for _ in range(3))


def test_dump_of_manifests(manifests):
    text = command("dump", "--manifests", manifests.path, check=0).stdout
    assert "a.test" in text and "default/app" in text
    found = json.loads(command("dump", "--manifests", manifests.path, "-o", "json", check=0).stdout)
    assert "a.test" in json.dumps(found)


def test_dump_does_not_depend_on_the_order_of_files(manifests, tmp_path):
    other = Directory(tmp_path / "other")
    other.write("z.yaml", ingress_class())
    other.write("b.yaml", ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    other.write("a.json", *app("app", 8080))
    assert command("dump", "--manifests", manifests.path, check=0).stdout == \
        command("dump", "--manifests", other.path, check=0).stdout


def test_dump_of_a_damaged_file(tmp_path):
    path = tmp_path / "snapshot"
    path.write_bytes(b"LINTELSN" + b"\xff" * 500)
    done = command("dump", path, check=1)
    assert str(path) in done.stderr


def test_dump_of_a_running_lintel(stage):
    lintel = stage.run(ingress_class(), app("app", 8080),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    text = command("dump", "--server", f"127.0.0.1:{lintel.health_port}", check=0).stdout
    assert "a.test" in text


def test_manual_pages(tmp_path):
    command("generate", "man", tmp_path, check=0)
    pages = os.listdir(tmp_path)
    assert "lintel.1" in pages and any("run" in page for page in pages)
    man = shutil.which("mandoc") or shutil.which("groff")
    for page in pages:
        text = (tmp_path / page).read_text()
        assert text.startswith((".TH", ".\\\"", "'\\\"")) and ".SH NAME" in text.replace('"', "")
        if man and man.endswith("groff"):
            done = subprocess.run([man, "-man", "-Tascii", "-ww", "-z", tmp_path / page],
                                  capture_output=True, text=True, check=True)
            assert done.stderr == ""


def test_bash_completion(tmp_path):
    script = tmp_path / "lintel.bash"
    script.write_text(command("generate", "completion", "bash", check=0).stdout)
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for shell in ("zsh", "fish"):
        text = command("generate", "completion", shell, check=0).stdout
        assert "http-port" in text and "explain" in text


def test_output_to_a_closed_pipe_is_no_crash():
    done = subprocess.run(["bash", "-c", f"'{LINTEL}' run --help | head -n 1"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout


def test_every_option_of_ingress_nginx_that_we_have_keeps_its_name():
    text = command("run", "--help", check=0).stdout
    for name in ("http-port", "healthz-port", "ingress-class", "controller-class",
                 "ingress-class-by-name", "watch-ingress-without-class", "default-backend-service",
                 "disable-svc-external-name", "shutdown-grace-period", "https-port",
                 "default-ssl-certificate", "configmap", "watch-namespace", "election-id"):
        assert f"--{name}" in text


def test_every_option_of_run_is_in_the_manual_and_each_completion(tmp_path):
    names = set(re.findall(r"^  (?:-\w, )?--([a-z0-9-]+)", command("run", "--help", check=0).stdout,
                           re.MULTILINE))
    assert {"https-port", "default-ssl-certificate", "ssl-redirect", "hsts"} <= names
    command("generate", "man", tmp_path, check=0)
    page = (tmp_path / "lintel-run.1").read_text().replace("\\-", "-")
    assert {name for name in names if not re.search(f"--{name}\\b(?!-)", page)} == set()
    for shell, form in (("bash", "--{}"), ("zsh", "--{}"), ("fish", "-l {}")):
        text = command("generate", "completion", shell, check=0).stdout
        assert {name for name in names
                if not re.search(form.format(name) + r"\b(?!-)", text)} == set(), shell
