"""Fixtures of the end-to-end tests. They run inside a sandbox (e2e/lib/sandbox.py), one cluster in
each: scripts/e2e sees to that and tells by the environment where the programs and the directory are.
"""
import glob
import itertools
import os

import pytest

from lib.lintel import ALARMS
from e2e.lib.cluster import Cluster
from e2e.lib.lintel import LintelOutside
from e2e.lib.objects import plain
from e2e.lib.shipped import WHO_MAY, Shipped

_numbers = itertools.count(1)


@pytest.fixture(scope="session", name="cluster")
def fixture_cluster():
    """A running cluster. Tests that stop parts of it start them again."""
    if "E2E_PROGRAMS" not in os.environ:
        pytest.exit("the end-to-end tests run by: scripts/e2e [PYTEST-ARGUMENT...]", 2)
    made = Cluster(os.environ["E2E_PROGRAMS"], os.environ["E2E_DIRECTORY"])
    try:
        yield made.start()
        for component in made.components():
            component.check()
        check_logs(made)
    finally:
        made.stop()


def check_logs(cluster):
    """No finding of a sanitizer in what any Pod wrote."""
    for path in glob.glob(cluster.path("pods", "*", "*.log")):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        assert not ALARMS.search(text), f"{path}\n{text[-8000:]}"


@pytest.fixture
def namespace(cluster):
    """A namespace of the test's own, deleted afterwards."""
    name = f"test-{next(_numbers)}"
    cluster.api.apply(plain("Namespace", name, None))
    cluster.wait(lambda: cluster.api.find("ServiceAccount", "default", name),
                 f"the ServiceAccount of {name}")
    yield name
    cluster.api.delete("Namespace", name)


@pytest.fixture
def lintel(cluster, tmp_path):
    """lintel(service_account, namespace, *arguments, **options): a Lintel that is not yet started,
    outside of a Pod, as that ServiceAccount."""
    made = []

    def make(service_account, namespace_name, *arguments, **options):
        scratch = tmp_path / f"lintel-{len(made)}"
        scratch.mkdir()
        made.append(LintelOutside(cluster.kubeconfig_of(service_account, namespace_name), scratch,
                                  *arguments, **options))
        return made[-1]

    yield make
    errors = []
    for one in made:
        try:
            one.finish()
        except AssertionError as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.fixture(scope="module")
def rights(cluster):
    """ServiceAccount, RBAC and class of deploy/deployment.yaml, without its Pods."""
    made = Shipped(cluster, "deployment.yaml", kinds=WHO_MAY).apply()
    yield made
    made.delete()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Puts the ends of logs into the report of a test that failed."""
    outcome = yield
    report = outcome.get_result()
    cluster = item.funcargs.get("cluster")
    if call.when == "teardown" or not report.failed or cluster is None:
        return
    for component in cluster.components():
        report.sections.append((component.name, component.log()[-1500:]))
    for path in glob.glob(cluster.path("pods", f"{item.funcargs.get('namespace')}_*", "*.log")):
        with open(path, encoding="utf-8", errors="replace") as file:
            report.sections.append((path, file.read()[-1500:]))
