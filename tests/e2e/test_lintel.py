"""Lintel against the real API: outside of a Pod, by a kubeconfig of the ServiceAccount that the
shipped manifests make, with no rights but theirs."""
import pytest

from lib.client import fetch
from lib.load import Load
from e2e.lib.web import publish_web, roll_out, web_ingress


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
        roll_out(cluster, namespace, version="2")
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
        cluster.api.apply(web_ingress(namespace, "second." + host, "second"))
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
