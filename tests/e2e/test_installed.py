"""Lintel installed by deploy/webhook.yaml: two Pods in the cluster, the admission webhook, and no
rights but those of that file. The file's waits are cut short, nothing else."""
import base64
import os
import signal
import time

import pytest

from lib import pki
from lib.lintel import IS_SANITIZED
from lib.load import Load
from lib.manifests import dump_yaml, tls, tls_secret
from lib.tls import TlsClient, refusal
from lib.wait import eventually
from e2e.lib.shipped import (ACCOUNT, HTTP_PORT, HTTPS_PORT, LABELS, NAMESPACE, Shipped, address_of,
                             fetch_at, published)
from e2e.lib.steady import Steady
from e2e.lib.web import publish_web, roll_out, web_ingress

SECRET, CONFIGURATION = "lintel-webhook", "lintel"
AWAY_S = 60  # of the API server
BALANCER = "192.0.2.80"
# Granted, and not used in the time that this takes, with the reason.
UNUSED = {
    ("events.k8s.io", "events", "patch"):
        "counts an Event up when it occurs again, a minute after it was written at the earliest; "
        "tests/unit/status/test_events.c",
}


@pytest.fixture(name="installed", scope="module")
def fixture_installed(cluster):
    made = Shipped(cluster, "webhook.yaml", options=[
        "--shutdown-grace-period=2s", "--keep-alive-requests=1000000", "--election-ttl=6s"])
    try:
        made.apply().wait_ready(2)
        yield made
    finally:
        made.delete()


@pytest.fixture(name="asked_before")
def fixture_asked_before(cluster, installed):
    return len(cluster.audit(ACCOUNT, NAMESPACE))


@pytest.fixture(name="host")
def fixture_host(namespace):
    return f"{namespace}.test"


def wait_served(cluster, pods, host, status=200):
    for pod in pods:
        cluster.wait(lambda at=address_of(pod): fetch_at(at, host).status == status,
                     f"{status} for {host} from {address_of(pod)}")


@pytest.fixture(name="pods")
def fixture_pods(cluster, namespace, installed, host):
    """Lintel's, each of which serves a web application at the host."""
    publish_web(cluster, namespace, host)
    pods = installed.wait_ready(2)
    wait_served(cluster, pods, host)
    return pods


def load_at(pod, host):
    return Load(HTTP_PORT, [(host, "/")], clients=2, address=address_of(pod))


# ---- the webhook ----

def bundle(cluster):
    """Authorities that API servers trust."""
    item = cluster.api.get("ValidatingWebhookConfiguration", CONFIGURATION, None)
    text = base64.b64decode(item["webhooks"][0]["clientConfig"].get("caBundle", "")).decode()
    return text.count("BEGIN CERTIFICATE")


def try_out(cluster, *items, check=0):
    """kubectl's answer; nothing is stored."""
    return cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=dump_yaml(items), check=check)


def is_refused(cluster, *items):
    return "denied the request" in try_out(cluster, *items, check=None).stderr


def wait_judged(cluster, item):
    """A new webhook is heard of, and an Ignored one passes everything."""
    cluster.wait(lambda: is_refused(cluster, item), "that the webhook refuses")


def test_the_webhook_refuses_warns_and_accepts(cluster, namespace, pods, host):
    conflict = web_ingress(namespace, host, "second")
    wait_judged(cluster, conflict)
    done = cluster.kubectl("apply", "-f", "-", stdin=dump_yaml([conflict]), check=1)
    for words in ("validate.lintel.dev", f"{namespace}/web", "PathConflict", "host, path"):
        assert words in done.stderr, done.stderr
    assert cluster.api.find("Ingress", "second", namespace) is None

    missing = web_ingress(namespace, f"second.{host}", "second")
    missing["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "nowhere"
    done = cluster.kubectl("apply", "-f", "-", stdin=dump_yaml([missing]))
    assert "Warning:" in done.stderr and "nowhere" in done.stderr
    done = cluster.kubectl("apply", "-f", "-",
                           stdin=dump_yaml([web_ingress(namespace, f"third.{host}", "third")]))
    assert done.stderr == ""
    wait_served(cluster, pods, f"third.{host}")
    foreign = web_ingress(namespace, host, "foreign", class_name="somebody-elses")
    assert try_out(cluster, foreign).stderr == ""


def test_the_webhook_is_trusted_whatever_happens_to_its_secret(cluster, namespace, pods, host):
    """Deleted or broken: there is a new certificate, and no review fails meanwhile."""
    conflict = web_ingress(namespace, host, "second")
    wait_judged(cluster, conflict)
    first = cluster.api.get("Secret", SECRET, NAMESPACE)["data"]["tls.crt"]
    authorities = bundle(cluster)
    cluster.api.delete("Secret", SECRET, NAMESPACE)
    cluster.wait(lambda: cluster.api.find("Secret", SECRET, NAMESPACE), "a new Secret")
    cluster.wait(lambda: bundle(cluster) == authorities + 1, "the authorities of both")
    assert all(is_refused(cluster, conflict) for _ in range(5))
    second = cluster.api.get("Secret", SECRET, NAMESPACE)["data"]["tls.crt"]
    cluster.api.patch("Secret", SECRET, {"data": {"tls.crt": "", "ca.crt": ""}}, NAMESPACE)
    cluster.wait(lambda: bundle(cluster) == authorities + 2, "the authorities of all three")
    assert all(is_refused(cluster, conflict) for _ in range(5))
    third = cluster.api.get("Secret", SECRET, NAMESPACE)["data"]["tls.crt"]
    assert third and len({first, second, third}) == 3


# ---- load ----

def test_a_rollout_fails_no_request(cluster, namespace, pods, host):
    with load_at(pods[0], host) as one, load_at(pods[1], host) as other:
        roll_out(cluster, namespace, version="2")
        for load in (one, other):
            load.wait_for(100)
    one.check_flawless()
    other.check_flawless()


def test_lintel_itself_is_replaced_under_load(cluster, installed, pods, host):
    """A client that knows the ready replicas gets each answer."""
    with Steady([address_of(pod) for pod in pods], HTTP_PORT, host) as client:
        cluster.kubectl("rollout", "restart", "-n", NAMESPACE, "deployment/lintel")

        def are_new():
            ready = [address_of(pod) for pod in cluster.ready_pods(NAMESPACE, **LABELS)]
            client.addresses = ready or client.addresses
            return len(ready) == 2 and not set(ready) & {address_of(pod) for pod in pods}
        cluster.wait(are_new, "two new Pods")
        new = installed.wait_ready(2)
        before = client.done
        cluster.wait(lambda: client.done > before + 100, "more answers")
    assert not client.failed, client.failed[:3]
    assert client.retried < 10
    wait_served(cluster, new, host)


# ---- the API server ----

def test_new_tokens(cluster, namespace, pods, host):
    """Every token becomes worthless; Pods get new files, and what changes then is followed."""
    with load_at(pods[0], host) as one, load_at(pods[1], host) as other:
        cluster.rotate_signing_key()
        cluster.api.apply(web_ingress(namespace, f"new.{host}", "new"))
        wait_served(cluster, pods, f"new.{host}")
        one.wait_for(100)
    one.check_flawless()
    other.check_flawless()


def restarts(cluster, pod):
    item = cluster.api.get("Pod", pod["metadata"]["name"], NAMESPACE)
    return item["status"]["containerStatuses"][0]["restartCount"]


def certificate_at(pod, name):
    with TlsClient(HTTPS_PORT, name, address=address_of(pod)) as client:
        return client.certificate


def wait_certificate(cluster, pods, name, identity):
    for pod in pods:
        cluster.wait(lambda at=pod: certificate_at(at, name) == identity.der,
                     f"the certificate of {name} from {address_of(pod)}")


def test_the_api_server_is_away_for_long(cluster, namespace, pods, host):
    """One Pod serves all the time. The container of the other is killed meanwhile and serves what it
    had saved within a second from its start, but for HTTPS, as keys are not saved; what changes later
    is followed by both."""
    lasting, killed = pods
    before = restarts(cluster, killed)
    secure, identity = f"tls.{host}", pki.self_signed(f"tls.{host}")
    cluster.api.apply(tls_secret("cert", identity, namespace=namespace),
                      web_ingress(namespace, secure, "tls", tls=[tls("cert", secure)]))
    wait_certificate(cluster, pods, secure, identity)
    with load_at(lasting, host) as load:
        cluster.stop_apiserver()
        try:
            began = time.monotonic()
            assert answer_of_restarted(cluster, killed, host) < (10 if IS_SANITIZED else 1)
            assert fetch_at(address_of(killed), secure).status == 308
            assert refusal(HTTPS_PORT, secure, address=address_of(killed)) == \
                "TLSV1_UNRECOGNIZED_NAME"
            eventually(lambda: time.monotonic() - began > AWAY_S, timeout=2 * AWAY_S)
            load.wait_for(100)
            assert certificate_at(lasting, secure) == identity.der
        finally:
            cluster.start_apiserver()
        cluster.api.apply(web_ingress(namespace, f"new.{host}", "new"))
        wait_served(cluster, pods, f"new.{host}")
        wait_certificate(cluster, pods, secure, identity)
    load.check_flawless()
    cluster.api.delete("Ingress", "web", namespace)
    wait_served(cluster, pods, host, 404)
    cluster.wait(lambda: restarts(cluster, killed) == before + 1, "that the restart is told")


def answer_of_restarted(cluster, pod, host):
    """Seconds from the start of a new container to its first answer."""
    old = cluster.pod_pid(pod)
    os.kill(old, signal.SIGKILL)
    eventually(lambda: cluster.pod_pid(pod) != old, what="a new container")
    started = time.monotonic()
    eventually(lambda: fetch_at(address_of(pod), host).status == 200, what="the saved routes")
    return time.monotonic() - started


# ---- rights ----

def test_what_is_granted_is_used_and_what_is_used_is_granted(cluster, namespace, installed, pods,
                                                             host, asked_before):
    """All over the life of an installation: a Secret that is referred to, a mistake, a balancer's
    address, the webhook's Secret deleted and broken, and another leader."""
    item = web_ingress(namespace, f"tls.{host}", "tls", tls=[tls("absent", f"tls.{host}")])
    cluster.api.patch("Service", "lintel", {"status": {"loadBalancer": {
        "ingress": [{"ip": BALANCER}]}}}, NAMESPACE, subresource="status")
    cluster.api.apply(item)
    cluster.wait(lambda: published(cluster, "tls", namespace) == [BALANCER], "the status")
    secret = cluster.api.get("Secret", SECRET, NAMESPACE)["metadata"]["uid"]
    cluster.api.delete("Secret", SECRET, NAMESPACE)
    cluster.wait(lambda: cluster.api.get("Secret", SECRET, NAMESPACE)["metadata"]["uid"] != secret,
                 "a new Secret")
    cluster.api.patch("Secret", SECRET, {"data": {"tls.crt": ""}}, NAMESPACE)
    cluster.wait(lambda: cluster.api.get("Secret", SECRET, NAMESPACE)["data"]["tls.crt"], "another")
    cluster.api.delete("Lease", "lintel-leader", NAMESPACE)
    cluster.wait(lambda: cluster.api.find("Lease", "lintel-leader", NAMESPACE), "a new Lease")
    installed.scale(0)
    assert published(cluster, "tls", namespace) == []
    installed.scale(2)
    cluster.wait(lambda: published(cluster, "tls", namespace) == [BALANCER], "the status again")

    def check():
        used = cluster.verbs_used(ACCOUNT, NAMESPACE)
        assert installed.granted() - used <= set(UNUSED) and used <= installed.granted(), \
            (installed.granted() - used, used - installed.granted())
        return True
    eventually(check, what="that all that is granted is used")
    assert installed.refused(asked_before) == []
