"""Fixtures of the whole-program tests. Binaries: $LINTEL_BUILD, or build/."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# pylint: disable=wrong-import-position
from lib.backend import Backend, RefusedPort, echo
from lib.lintel import Lintel
from lib.manifests import Directory


class Stage:
    """Makes backends, directories and Lintels, and ends them in the right order."""

    def __init__(self, path):
        self.path = path
        self.lintels, self.others = [], []

    def backend(self, script=echo, name="backend", **options):
        made = Backend(script, name, **options)
        self.others.append(made)
        return made

    def refused_port(self):
        made = RefusedPort()
        self.others.append(made)
        return made.port

    def directory(self, name="manifests"):
        return Directory(self.path / name)

    def lintel(self, manifests, *arguments, **options):
        """Not yet started."""
        scratch = self.path / f"lintel-{len(self.lintels)}"
        scratch.mkdir()
        made = Lintel(manifests, scratch, *arguments, **options)
        self.lintels.append(made)
        return made

    def run(self, *objects, arguments=(), **options):
        """A started Lintel that serves these objects from one file."""
        manifests = self.directory(f"manifests-{len(self.lintels)}")
        manifests.write("all.yaml", *objects)
        return self.lintel(manifests, *arguments, **options).start()

    def end(self):
        errors = []
        for lintel in self.lintels:
            try:
                lintel.finish()
            except AssertionError as error:
                errors.append(error)
        for other in self.others:
            other.stop()
        if errors:
            raise errors[0]


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.end()


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory):
    """For tests that only ask: one Lintel for all of a file."""
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.end()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Puts the log of what ran into the report of a test that failed."""
    outcome = yield
    report = outcome.get_result()
    if call.when != "call" or not report.failed:
        return
    for name in ("stage", "module_stage"):
        for lintel in getattr(item.funcargs.get(name), "lintels", ()):
            if lintel.child is not None:
                report.sections.append((f"lintel {lintel.child.pid}", lintel.log()[-4000:]))
