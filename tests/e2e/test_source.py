"""Lintel takes its objects from a real API server: what is followed, by which rights, and what happens
while the server is away."""
import json
import os
import signal
import time

import pytest

from lib import pki
from lib.lintel import command
from lib.manifests import ingress, ingress_class, metadata, rule, service, tls_secret
from lib.tls import refusal
from lib.wait import eventually
from e2e.lib.objects import backends, plain, role, role_binding, service_account

RBAC = "rbac.authorization.k8s.io/v1"
ROUTES = [("networking.k8s.io", "ingresses", "list watch"), ("", "services", "list watch"),
          ("discovery.k8s.io", "endpointslices", "list watch")]
SECRETS = ("", "secrets", "get watch")
CLASSES = ("networking.k8s.io", "ingressclasses", "list watch")
# Read, or read and told apart as not allowed.
USED = {("networking.k8s.io", "ingresses"), ("", "services"), ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "ingressclasses")}


class Place:
    """A namespace with a backend, a class of its own and a ServiceAccount."""

    def __init__(self, cluster, namespace, lintel):
        self.cluster, self.namespace, self.lintel = cluster, namespace, lintel
        self.class_name, self.controller = f"c-{namespace}", f"lintel.dev/{namespace}"
        cluster.api.apply(ingress_class(self.class_name, self.controller),
                          service_account("lintel", namespace),
                          backends("web", 1, namespace), self.service(namespace))
        self.pods = cluster.wait_ready(1, namespace, app="web")
        cluster.wait(lambda: cluster.endpoints("web", namespace), "endpoints")

    @staticmethod
    def service(namespace, **spec):
        return service("web", (80, 8080), namespace=namespace,
                       spec={"selector": {"app": "web"}, **spec})

    def ingress(self, name, host, namespace=None, tls=None):
        made = ingress(name, rule(host, ("/", "Prefix", "web:80")), class_name=self.class_name,
                       namespace=namespace or self.namespace)
        if tls:
            made["spec"]["tls"] = [{"hosts": [host], "secretName": tls}]
        return made

    def allow(self, *rules):
        """In every namespace."""
        name = f"lintel-{self.namespace}"
        self.cluster.api.apply(
            plain("ClusterRole", name, None, api=RBAC,
                  rules=role("x", *rules, namespace=None)["rules"]),
            plain("ClusterRoleBinding", name, None, api=RBAC,
                  roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                           "name": name},
                  subjects=[{"kind": "ServiceAccount", "name": "lintel",
                             "namespace": self.namespace}]))

    def allow_here(self, *rules):
        self.cluster.api.apply(role("lintel", *rules, namespace=self.namespace),
                               role_binding("lintel", "lintel", self.namespace))

    def run(self, *options, **more):
        return self.lintel("lintel", self.namespace, "--controller-class", self.controller,
                           *options, **more).start()

    def used(self):
        return {(group, name) for group, name, _ in
                self.cluster.verbs_used("lintel", self.namespace)}


@pytest.fixture
def place(cluster, namespace, lintel):
    made = Place(cluster, namespace, lintel)
    yield made
    for kind, name in (("IngressClass", made.class_name), ("ClusterRole", f"lintel-{namespace}"),
                       ("ClusterRoleBinding", f"lintel-{namespace}")):
        if cluster.api.find(kind, name, None):
            cluster.api.delete(kind, name, None)


def test_objects_come_change_and_go(cluster, place):
    place.allow(*ROUTES, CLASSES)
    running = place.run()
    assert running.fetch("/", "a.test").status == 404
    cluster.api.apply(place.ingress("a", "a.test"))
    running.wait_answer(200, "/", "a.test")
    assert json.loads(running.fetch("/", "a.test").body)["pod"] == \
        place.pods[0]["metadata"]["name"]
    cluster.api.apply(place.ingress("a", "b.test"))
    running.wait_answer(200, "/", "b.test")
    assert running.fetch("/", "a.test").status == 404
    cluster.api.scale("Deployment", "web", 0, place.namespace)
    running.wait_answer(503, "/", "b.test")
    cluster.api.scale("Deployment", "web", 1, place.namespace)
    running.wait_answer(200, "/", "b.test")
    cluster.api.delete("Service", "web", place.namespace)
    running.wait_answer(503, "/", "b.test")
    cluster.api.apply(place.service(place.namespace))
    running.wait_answer(200, "/", "b.test")
    cluster.api.delete("Ingress", "a", place.namespace)
    running.wait_answer(404, "/", "b.test")
    assert place.used() == USED
    assert {verb for _, _, verb in cluster.verbs_used("lintel", place.namespace)} == {"list", "watch"}


def test_a_class_hands_over(cluster, place):
    place.allow(*ROUTES, CLASSES)
    cluster.api.apply(place.ingress("a", "a.test"))
    running = place.run()
    running.wait_answer(200, "/", "a.test")
    cluster.api.delete("IngressClass", place.class_name, None)
    running.wait_answer(404, "/", "a.test")
    cluster.api.apply(ingress_class(place.class_name, "example.com/other"))
    assert running.fetch("/", "a.test").status == 404
    cluster.api.delete("IngressClass", place.class_name, None)
    cluster.api.apply(ingress_class(place.class_name, place.controller))
    running.wait_answer(200, "/", "a.test")


def test_a_role_alone_is_enough(cluster, place):
    place.allow_here(*ROUTES, SECRETS)
    identity = pki.self_signed("s.test")
    cluster.api.apply(tls_secret("cert", identity, namespace=place.namespace),
                      place.ingress("a", "a.test"), place.ingress("s", "s.test", tls="cert"))
    running = place.run("--watch-namespace", place.namespace, "--ingress-class", place.class_name)
    running.wait_answer(200, "/", "a.test")
    running.wait_certificate("s.test", identity)
    assert len([line for line in running.log().splitlines()
                if "IngressClasses may not be read" in line]) == 1
    assert place.used() == USED - {("networking.k8s.io", "ingressclasses")} | {("", "secrets")}


def test_a_missing_right_is_told_and_waited_for(cluster, place):
    place.allow(*ROUTES)
    cluster.api.apply(place.ingress("a", "a.test"))
    running = place.lintel("lintel", place.namespace, "--controller-class", place.controller)
    running.start(wait=False)
    running.wait_log("cannot list ingressclasses .403.*RBAC")
    assert running.health("/readyz").status == 503
    place.allow(*ROUTES, CLASSES)
    running.wait_ready()
    running.wait_answer(200, "/", "a.test")


def test_namespaces_come_in_by_their_labels(cluster, place):
    place.allow(*ROUTES, CLASSES, ("", "namespaces", "list watch"))
    cluster.api.apply(place.ingress("a", "a.test"))
    running = place.run("--watch-namespace-selector", f"team={place.namespace}")
    assert running.fetch("/", "a.test").status == 404
    label = {"metadata": {"labels": {"team": place.namespace}}}
    cluster.api.patch("Namespace", place.namespace, label, None)
    running.wait_answer(200, "/", "a.test")
    cluster.api.patch("Namespace", place.namespace, {"metadata": {"labels": {"team": None}}}, None)
    running.wait_answer(404, "/", "a.test")
    assert place.used() == USED | {("", "namespaces")}


def test_only_secrets_that_are_referred_to_are_read(cluster, place):
    place.allow(*ROUTES, CLASSES, SECRETS)
    for name in ("cert", "other"):
        cluster.api.apply(plain("Secret", name, place.namespace, type="Opaque",
                                data={"k": "djE="}))
    cluster.api.apply(place.ingress("a", "a.test", tls="cert"))
    running = place.run()
    running.wait_answer(308, "/", "a.test", "redirect")

    def count():
        return running.counter("lintel_objects", kind="Secret")
    cluster.wait(lambda: count() == 1, "the Secret")
    cluster.api.delete("Secret", "cert", place.namespace)
    cluster.wait(lambda: count() == 0, "its end")
    cluster.api.apply(plain("Secret", "cert", place.namespace, type="Opaque", data={"k": "djI="}))
    cluster.wait(lambda: count() == 1, "its return")
    cluster.api.delete("Ingress", "a", place.namespace)
    cluster.wait(lambda: count() == 0, "that nobody needs it")
    events = [e for e in cluster.audit("lintel", place.namespace)
              if e.get("objectRef", {}).get("resource") == "secrets"]
    assert {e["verb"] for e in events} == {"get", "watch"}
    assert {e["objectRef"]["name"] for e in events} == {"cert"}


def test_secrets_of_some_namespaces(cluster, place):
    """Who does not trust Lintel with all of them gives it a Role where there are certificates."""
    place.allow(*ROUTES, CLASSES)
    identity = pki.self_signed("s.test")
    cluster.api.apply(tls_secret("cert", identity, namespace=place.namespace),
                      place.ingress("s", "s.test", tls="cert"))
    running = place.run()
    running.wait_log(r"cannot watch secrets cert \(403\).*RBAC")
    assert running.certificate("s.test") != identity.der
    place.allow_here(SECRETS)
    running.wait_certificate("s.test", identity)


def test_hints_keep_requests_in_the_zone(cluster, place, monkeypatch):
    place.allow(*ROUTES, CLASSES, ("", "nodes", "get"))
    cluster.api.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata("zoned", place.namespace),
         "spec": {"ports": [{"port": 80, "targetPort": 8080}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": metadata("zoned-1", place.namespace,
                              labels={"kubernetes.io/service-name": "zoned"}),
         "ports": [{"port": 8080}],
         "endpoints": [{"addresses": ["10.248.0.1"], "hints": {"forZones": [{"name": "zone-a"}]}},
                       {"addresses": ["10.248.0.2"], "hints": {"forZones": [{"name": "zone-b"}]}}]},
        ingress("zoned", rule("z.test", ("/", "Prefix", "zoned:80")), class_name=place.class_name,
                namespace=place.namespace))
    monkeypatch.setenv("NODE_NAME", "node-b")
    running = place.run()

    def endpoints():
        return [e["address"] for b in running.explain("http://z.test/")["backends"]
                for e in b["endpoints"]]
    cluster.wait(lambda: endpoints() == ["10.248.0.2"], "the endpoint of our zone")
    assert ("", "nodes") in place.used()


def test_the_api_server_goes_away_and_comes_back(cluster, place, tmp_path):
    place.allow(*ROUTES, CLASSES, SECRETS)
    identity = pki.self_signed("s.test")
    cluster.api.apply(tls_secret("cert", identity, namespace=place.namespace),
                      place.ingress("a", "a.test"), place.ingress("s", "s.test", tls="cert"))
    file = tmp_path / "snapshot"
    running = place.run("--snapshot-file", file)
    running.wait_answer(200, "/", "a.test")
    running.wait_certificate("s.test", identity)
    cluster.wait(file.exists, "the snapshot file")
    cluster.stop_apiserver()
    try:
        eventually(lambda: running.counter("lintel_api_healthy", resource="ingresses") == 0,
                   what="that it is noticed", timeout=60)
        assert running.counter("lintel_api_last_contact_seconds", resource="ingresses") > 0
        assert running.fetch("/", "a.test").status == 200
        assert running.health("/readyz").status == 200
        check_a_dead_controller(running, identity)
        running.stop()
        began = time.monotonic()
        running.start()
        assert running.fetch("/", "a.test").status == 200
        assert time.monotonic() - began < (10 if os.environ.get("LINTEL_SANITIZED") else 1)
        assert running.counter("lintel_snapshot_saved_age_seconds") > 0
        check_saved_without_keys(running, file, identity)
    finally:
        cluster.start_apiserver()
    cluster.api.apply(place.ingress("b", "b.test"))
    running.wait_answer(200, "/", "b.test")
    running.wait_certificate("s.test", identity)
    assert running.counter("lintel_snapshot_saved_age_seconds") == 0
    assert running.fetch("/", "a.test").status == 200


def check_a_dead_controller(running, identity):
    """The supervisor holds the keys, too: HTTPS outlives the controller, and workers."""
    controller, workers = running.controller(), running.workers()
    os.kill(controller, signal.SIGKILL)
    running.wait_controller(other_than=controller)
    eventually(lambda: running.counter("lintel_snapshot_saved_age_seconds") > 0, what="its routes")
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    running.wait_workers(other_than=workers)
    running.wait_certificate("s.test", identity)


def check_saved_without_keys(running, file, identity):
    """No private key is on a disk, so HTTPS has to wait; nothing falls back to plain HTTP."""
    saved = file.read_bytes()
    assert identity.der in saved and private_number(identity) not in saved
    assert running.fetch("/", "s.test").status == 308
    assert [refusal(running.https_port, name) for name in ("s.test", "unknown.example", None)] == \
        3 * ["TLSV1_UNRECOGNIZED_NAME"]


def private_number(identity):
    return identity.x509_key.private_numbers().private_value.to_bytes(32, "big")


def test_an_older_etcd_is_believed(cluster, place):
    place.allow(*ROUTES, CLASSES)
    cluster.api.apply(place.ingress("a", "a.test"))
    saved = cluster.save_etcd()
    cluster.api.apply(place.ingress("b", "b.test"))
    cluster.api.delete("Ingress", "a", place.namespace)
    running = place.run()
    running.wait_answer(200, "/", "b.test")
    assert running.fetch("/", "a.test").status == 404
    cluster.restore_etcd(saved)
    running.wait_answer(200, "/", "a.test")
    running.wait_answer(404, "/", "b.test")


def test_offline_commands_ask_a_cluster(cluster, place):
    place.allow(*ROUTES, CLASSES)
    cluster.api.apply(place.ingress("a", "a.test"))
    there = ["--kubeconfig", cluster.kubeconfig_of("lintel", place.namespace),
             "--controller-class", place.controller]
    found = json.loads(command("explain", *there, "-o", "json", "http://a.test/x", check=0).stdout)
    assert place.pods[0]["status"]["podIP"] in json.dumps(found)
    assert "a.test" in command("dump", *there, check=0).stdout
    assert "0 errors" in command("check", *there, check=0).stdout
    cluster.api.apply(service_account("nobody", place.namespace))
    done = command("explain", "--kubeconfig", cluster.kubeconfig_of("nobody", place.namespace),
                   "http://a.test/", check=1)
    assert "403" in done.stderr and "RBAC" in done.stderr
