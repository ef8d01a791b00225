"""Lintel against the real API: outside of a Pod, by a kubeconfig of the ServiceAccount that the
shipped manifests make, with no rights but theirs."""
import os

import pytest
import yaml

from lib.client import fetch
from lib.load import Load
from lib.manifests import ingress, rule, service
from e2e.lib.cluster import ROOT
from e2e.lib.objects import backends

DEPLOYMENT = os.path.join(ROOT, "deploy", "deployment.yaml")
WHO_MAY = ("Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
           "IngressClass")


@pytest.fixture(name="rights", scope="module")
def fixture_rights(cluster):
    """ServiceAccount, RBAC and class of deploy/deployment.yaml, without its Pods."""
    with open(DEPLOYMENT, encoding="utf-8") as file:
        items = [item for item in yaml.safe_load_all(file) if item["kind"] in WHO_MAY]
    text = yaml.safe_dump_all(items)
    cluster.kubectl("apply", "-f", "-", stdin=text)
    # The API server hears of the last rule a moment later.
    cluster.wait(lambda: "yes" in cluster.kubectl(
        "auth", "can-i", "list", "ingressclasses", "--as=system:serviceaccount:lintel:lintel",
        check=None).stdout, "the rights")
    yield items
    cluster.kubectl("delete", "-f", "-", stdin=text)


@pytest.fixture(name="asked_before")
def fixture_asked_before(cluster, rights):
    """What Lintels of other tests have asked: an API server that was just started refuses for a
    moment what it grants later."""
    return len(cluster.audit("lintel", "lintel"))


@pytest.fixture(name="served")
def fixture_served(rights, asked_before, lintel):
    """A Lintel that is ready."""
    return lintel("lintel", "lintel", "--keep-alive-requests", 1000000).start()


@pytest.fixture(name="host")
def fixture_host(namespace):
    """Of this test alone: the namespace of the one before may still be on its way out."""
    return f"{namespace}.example"


def publish_web(cluster, namespace, host, replicas=2):
    cluster.api.apply(
        backends("web", replicas, namespace),
        service("web", (80, 8080), namespace=namespace, spec={"selector": {"app": "web"}}),
        ingress("web", rule(host, ("/", "Prefix", "web:80")), namespace=namespace))
    return cluster.wait_ready(replicas, namespace, app="web")


def wait_status(cluster, one, host, status):
    cluster.wait(lambda: fetch(one.port, "/", host=host).status == status, f"{status} for {host}")


def test_an_ingress_is_served_and_withdrawn(cluster, namespace, host, served):
    publish_web(cluster, namespace, host)
    wait_status(cluster, served, host, 200)
    cluster.api.delete("Ingress", "web", namespace)
    wait_status(cluster, served, host, 404)


def test_a_rollout_fails_no_request(cluster, namespace, host, served):
    """The Pods end as soon as they are told, no preStop sleep in them."""
    publish_web(cluster, namespace, host)
    wait_status(cluster, served, host, 200)
    with Load(served.port, [(host, "/")]) as load:
        cluster.api.apply(backends("web", 2, namespace, version="2"))
        cluster.kubectl("rollout", "status", "-n", namespace, "deployment/web")
        cluster.wait_ready(2, namespace, app="web")
        load.wait_for(200)
    load.check_flawless()


def test_scaling_fails_no_request(cluster, namespace, host, served):
    publish_web(cluster, namespace, host, 1)
    wait_status(cluster, served, host, 200)
    with Load(served.port, [(host, "/")]) as load:
        for replicas in (20, 1):
            cluster.api.scale("Deployment", "web", replicas, namespace)
            cluster.wait_ready(replicas, namespace, app="web")
            # The Pod that is to survive shall be known before the others end.
            cluster.wait(lambda n=replicas: len(cluster.endpoints("web", namespace)) == n,
                         f"{replicas} endpoints")
            load.wait_for(200)
    load.check_flawless()


def test_it_serves_on_without_the_api_server(cluster, namespace, host, served):
    """And learns what has changed when it is back."""
    publish_web(cluster, namespace, host)
    wait_status(cluster, served, host, 200)
    with Load(served.port, [(host, "/")]) as load:
        cluster.stop_apiserver()
        load.wait_for(500)
        cluster.start_apiserver()
        cluster.api.apply(ingress("second", rule("second." + host, ("/", "Prefix", "web:80")),
                                  namespace=namespace))
        wait_status(cluster, served, "second." + host, 200)
    load.check_flawless()


def test_it_is_granted_what_it_asks_for(cluster, namespace, host, asked_before, served):
    publish_web(cluster, namespace, host)
    wait_status(cluster, served, host, 200)
    refused = [(e["verb"], e["requestURI"]) for e in cluster.audit("lintel", "lintel")[asked_before:]
               if e.get("responseStatus", {}).get("code") == 403
               # An Event about an object of a namespace that is on its way out.
               and "being terminated" not in e["responseStatus"].get("message", "")]
    assert refused == []
    assert ("networking.k8s.io", "ingresses", "watch") in cluster.verbs_used("lintel", "lintel")
