"""What is shipped to install Lintel with, given to the real API server: the plain manifests by
kubectl, the chart by helm."""
import glob
import json
import os

import pytest

from e2e.lib.cluster import ROOT

MANIFESTS = sorted(glob.glob(os.path.join(ROOT, "deploy", "*.yaml")))
CHART = os.path.join(ROOT, "charts", "lintel")
VALUES = sorted(glob.glob(os.path.join(CHART, "ci", "*-values.yaml")))


CLUSTER_WIDE = "clusterrole,clusterrolebinding,ingressclass,validatingwebhookconfiguration"
LABEL = "app.kubernetes.io/name=lintel"


def stop_pods(cluster):
    """In a second. A namespace that is deleted with Pods in it waits for half of their
    terminationGracePeriodSeconds before it looks again."""
    for what in (["deployment,daemonset"], ["pods", "--grace-period=1"]):
        cluster.kubectl("delete", *what, "-n", "lintel", "-l", LABEL)


@pytest.fixture(autouse=True, name="nothing_installed")
def fixture_nothing_installed(cluster):
    """What a test leaves is removed, whatever came of it."""
    yield
    stop_pods(cluster)
    cluster.kubectl("delete", CLUSTER_WIDE, "-l", LABEL)
    cluster.kubectl("delete", "namespace", "lintel", "--ignore-not-found")


def versions(cluster, path):
    """Of the objects of a file: what counts changes of what was asked for. (kubectl's own word is not
    to be trusted: it says "configured" of each PodDisruptionBudget.)"""
    items = json.loads(cluster.kubectl("get", "-f", path, "-o", "json").stdout)["items"]
    return {(item["kind"], item["metadata"]["name"]): version_of(item) for item in items}


def version_of(item):
    """Lintel itself writes the caBundle of its webhook; everything else in there is the file's."""
    if "webhooks" in item:
        return [{**hook, "clientConfig": hook["clientConfig"]["service"]} for hook in item["webhooks"]]
    return item["metadata"].get("generation", item["metadata"]["resourceVersion"])


@pytest.mark.parametrize("path", MANIFESTS, ids=os.path.basename)
def test_manifests_are_taken_as_they_are(cluster, path):
    """Without a warning (that of Pod Security too), whole at the first go, and again without a
    change."""
    if os.path.basename(path) == "namespaced.yaml": # for whom may not make namespaces
        cluster.kubectl("create", "namespace", "lintel")
    first = cluster.kubectl("apply", "-f", path)
    assert first.stderr == ""
    assert all(line.endswith(" created") for line in first.stdout.splitlines()), first.stdout
    before = versions(cluster, path)
    cluster.kubectl("apply", "-f", path)
    assert versions(cluster, path) == before
    stop_pods(cluster)
    cluster.kubectl("delete", "--ignore-not-found", "-f", path)


@pytest.mark.parametrize("values", VALUES, ids=os.path.basename)
def test_the_chart_installs_upgrades_and_leaves(cluster, values):
    cluster.helm("lint", CHART, "--strict", "--values", values)
    for command in ("install", "upgrade"):
        done = cluster.helm(command, "lintel", CHART, "--namespace", "lintel", "--create-namespace",
                            "--values", values)
        assert "Warning" not in done.stderr and "STATUS: deployed" in done.stdout
    stop_pods(cluster)
    cluster.helm("uninstall", "lintel", "--namespace", "lintel", "--wait")
    assert cluster.kubectl("get", CLUSTER_WIDE, "-l", LABEL, "-o", "name").stdout == ""
