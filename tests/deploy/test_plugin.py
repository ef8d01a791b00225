"""What `make install` installs: the programs, and the names by which kubectl finds its plugin."""
import os
import subprocess

import pytest
from lib.lintel import BUILD, environment


@pytest.fixture(scope="module")
def binaries(tmp_path_factory):
    """The directory of executables of an installation."""
    root = tmp_path_factory.mktemp("installed")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir",
                    str(root)], check=True, env=environment())
    found = [path for path, _, names in os.walk(root) if "lintel" in names and path.endswith("bin")]
    assert len(found) == 1, found
    return found[0]


def run(binaries, name, *arguments):
    return subprocess.run([f"{binaries}/{name}", *arguments], text=True, capture_output=True,
                          env=environment(), check=False)


def test_the_plugin_is_the_same_executable(binaries):
    for name in ("kubectl-lintel", "kubectl_complete-lintel"):
        assert os.readlink(f"{binaries}/{name}") == "lintel"
    assert run(binaries, "kubectl-lintel", "version").stdout == run(
        binaries, "lintel", "version").stdout


def test_the_plugin_has_the_commands_for_users(binaries):
    done = run(binaries, "kubectl-lintel", "--help")
    assert done.returncode == 0 and done.stdout.startswith("Usage: kubectl lintel COMMAND")
    assert "\n  explain " in done.stdout and "\n  run " not in done.stdout
    done = run(binaries, "kubectl-lintel", "run", "--manifests", "/")
    assert done.returncode == 2 and "kubectl lintel: there is no command 'run'" in done.stderr


def test_completions_of_the_plugin(binaries):
    done = run(binaries, "kubectl_complete-lintel", "explain", "--output", "")
    assert (done.returncode, done.stdout) == (0, "text\t\njson\t\n:4\n")
    assert run(binaries, "kubectl_complete-lintel").stdout.endswith("\n:4\n")
