"""What the leader writes into the status of Ingresses, and that nobody else does. With no rights but
the shipped ones."""
import os
import signal

import pytest

from lib import pki
from lib.manifests import ingress, ingress_class, rule, service, tls, tls_secret
from lib.tls import TlsClient
from e2e.lib.shipped import (ACCOUNT, NAMESPACE, Shipped, fetch_at, published)
from e2e.lib.web import publish_web, web_ingress

ONE, OTHER = "192.0.2.1", "192.0.2.2"
OTHER_CONTROLLER = "example.com/other"
SHORT = ("--election-ttl", "3s")


def plain_ingress(name, namespace, class_name="lintel"):
    """Without a backend that is there: the status is about addresses only."""
    return ingress(name, rule(f"{name}.{namespace}.test", ("/", "Prefix", "web:80")),
                   class_name=class_name, namespace=namespace)


def wait_published(cluster, namespace, name, *addresses):
    cluster.wait(lambda: published(cluster, name, namespace) == list(addresses),
                 f"{addresses} in the status of {name}")


def status_writes(cluster, namespace, name):
    """Those of Lintel, refused ones too."""
    return len([e for e in cluster.audit(ACCOUNT, NAMESPACE) if e["verb"] == "patch"
                and e["objectRef"].get("subresource") == "status"
                and e["objectRef"]["name"] == name and e["objectRef"]["namespace"] == namespace])


@pytest.fixture(name="run")
def fixture_run(rights, lintel):
    """run(*options): a Lintel that is ready."""
    return lambda *options: lintel(ACCOUNT, NAMESPACE, *options).start()


@pytest.fixture(name="other_class")
def fixture_other_class(cluster):
    cluster.api.apply(ingress_class("other", OTHER_CONTROLLER))
    yield "other"
    cluster.api.delete("IngressClass", "other", None)


def is_leading(one):
    return one.counter("nginx_ingress_controller_leader_election_status") == 1


def test_the_leader_writes_and_after_its_death_its_successor(cluster, namespace, run):
    """They publish different addresses, so it can be told who wrote."""
    cluster.api.apply(plain_ingress("a", namespace))
    leader = run("--publish-status-address", ONE, *SHORT)
    wait_published(cluster, namespace, "a", ONE)
    follower = run("--publish-status-address", OTHER, *SHORT)
    assert is_leading(leader) and not is_leading(follower)
    cluster.api.apply(plain_ingress("b", namespace))
    wait_published(cluster, namespace, "b", ONE)
    assert published(cluster, "a", namespace) == [ONE]

    leader.expects_death = True
    os.killpg(leader.child.pid, signal.SIGKILL)
    for name in ("a", "b"):
        wait_published(cluster, namespace, name, OTHER)
    assert is_leading(follower)
    assert [status_writes(cluster, namespace, name) for name in ("a", "b")] == [2, 2]
    lease = cluster.api.get("Lease", "lintel-leader", NAMESPACE)
    assert lease["spec"]["leaseTransitions"] >= 1


def test_what_is_right_is_not_written(cluster, namespace, run):
    """Nor by a leader that has just begun: it looks, and leaves it."""
    cluster.api.apply(plain_ingress("a", namespace))
    first = run("--publish-status-address", f"{ONE},gate.test")
    wait_published(cluster, namespace, "a", "gate.test", ONE)
    assert first.stop() == 0
    assert cluster.api.get("Lease", "lintel-leader", NAMESPACE)["spec"]["holderIdentity"] == ""
    wait_published(cluster, namespace, "a", "gate.test", ONE)  # another Pod may serve on

    second = run("--publish-status-address", f"{ONE},gate.test")
    cluster.wait(lambda: is_leading(second), "that it leads")
    cluster.api.apply(plain_ingress("b", namespace))
    wait_published(cluster, namespace, "b", "gate.test", ONE)
    cluster.api.patch("Ingress", "a", {"metadata": {"annotations": {"team": "x"}}}, namespace)
    cluster.api.apply(plain_ingress("c", namespace))
    wait_published(cluster, namespace, "c", "gate.test", ONE)
    assert [status_writes(cluster, namespace, name) for name in "abc"] == [1, 1, 1]


def test_what_a_service_is_given_is_published(cluster, namespace, run):
    """A load balancer's address comes, changes and goes."""
    cluster.api.apply(plain_ingress("a", namespace),
                      service("gate", 80, namespace=namespace, spec={"type": "LoadBalancer"}))
    running = run("--publish-service", f"{namespace}/gate")
    cluster.wait(lambda: is_leading(running), "that it leads")
    assert published(cluster, "a", namespace) == []
    for given, address in (({"ip": ONE}, [ONE]), ({"hostname": "lb.test"}, ["lb.test"]), (None, [])):
        cluster.api.patch("Service", "gate", {"status": {"loadBalancer": {
            "ingress": [given] if given else None}}}, namespace, subresource="status")
        wait_published(cluster, namespace, "a", *address)


def test_an_ingress_is_handed_over(cluster, namespace, run, other_class):
    """From us to another controller, ours or anybody's, and back: at each time the status is the
    new owner's."""
    run("--publish-status-address", ONE)
    run("--publish-status-address", OTHER, "--controller-class", OTHER_CONTROLLER,
        "--disable-leader-election")
    for class_name, addresses in (("lintel", [ONE]), ("nobody", []), (other_class, [OTHER]),
                                  ("lintel", [ONE]), (other_class, [OTHER])):
        cluster.api.apply(plain_ingress("a", namespace, class_name))
        wait_published(cluster, namespace, "a", *addresses)


def test_what_a_strange_controller_wrote_is_replaced_and_left(cluster, namespace, run):
    """Its address goes when the Ingress becomes ours; what it writes when the Ingress is its own
    again stays."""
    foreign = {"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}}}
    running = run("--publish-status-address", ONE)
    cluster.api.apply(plain_ingress("a", namespace, "strange"))
    cluster.api.patch("Ingress", "a", foreign, namespace, subresource="status")
    cluster.api.apply(plain_ingress("a", namespace))
    wait_published(cluster, namespace, "a", ONE)
    cluster.api.apply(plain_ingress("a", namespace, "strange"))
    wait_published(cluster, namespace, "a")
    cluster.api.patch("Ingress", "a", foreign, namespace, subresource="status")
    cluster.api.apply(plain_ingress("b", namespace))
    wait_published(cluster, namespace, "b", ONE)
    assert published(cluster, "a", namespace) == ["198.51.100.7"]
    assert running.counter("lintel_status_writes_total", result="refused") == 0


def test_a_class_takes_its_ingresses_along(cluster, namespace, run, other_class):
    """The IngressClass changes, not the Ingress."""
    cluster.api.apply(plain_ingress("a", namespace, other_class))
    run("--publish-status-address", ONE)
    run("--publish-status-address", OTHER, "--controller-class", OTHER_CONTROLLER,
        "--disable-leader-election")
    wait_published(cluster, namespace, "a", OTHER)
    # spec.controller cannot be changed: it is another object of that name.
    cluster.api.delete("IngressClass", other_class, None)
    cluster.api.apply(ingress_class(other_class))
    wait_published(cluster, namespace, "a", ONE)


def test_a_daemon_set_publishes_its_nodes(cluster, namespace):
    """By deploy/daemonset.yaml; clients come to ports 80 and 443 there. At the end of its last Pod the
    addresses go."""
    addresses = sorted(node["address"] for node in cluster.nodes)
    identity = pki.self_signed("tls.test")
    shipped = Shipped(cluster, "daemonset.yaml", options=["--shutdown-grace-period=1s"])
    asked_before = len(cluster.audit(ACCOUNT, NAMESPACE))
    try:
        publish_web(cluster, namespace, "web.test", 1)
        cluster.api.apply(
            tls_secret("cert", identity, namespace=namespace),
            web_ingress(namespace, "tls.test", "tls", tls=[tls("cert", "tls.test")]))
        shipped.apply().wait_ready(2)
        wait_published(cluster, namespace, "web", *addresses)
        for address in addresses:
            cluster.wait(lambda at=address: fetch_at(at, "web.test", port=80).status == 200,
                         f"an answer at {address}")
            with TlsClient(443, "tls.test", address=address, trusts=[identity]) as client:
                assert client.request(host="tls.test").status == 200
        assert shipped.refused(asked_before) == []
        cluster.api.delete("DaemonSet", "lintel", NAMESPACE)
        shipped.wait_ready(0)
        assert published(cluster, "web", namespace) == []
    finally:
        shipped.delete()
