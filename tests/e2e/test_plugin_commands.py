"""`kubectl lintel` status, backends and certs as somebody who may read one namespace, and no more
there than these commands ask for."""
import base64
import json
import os
import subprocess

import pytest

from lib.lintel import LINTEL
from lib.manifests import ingress, ingress_class, metadata, rule, service
from e2e.lib.objects import backends, plain, role, role_binding, service_account

READ = [("networking.k8s.io", "ingresses", "list watch"), ("", "services", "list watch"),
        ("discovery.k8s.io", "endpointslices", "list watch")]
MORE = [("", "secrets", "get"), ("coordination.k8s.io", "leases", "get"), ("", "pods", "list")]


def make_secret(folder, name, namespace, host):
    key, chain = folder / "key.pem", folder / "chain.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", chain, "-days",
                    "90", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"],
                   check=True, capture_output=True)
    data = {"tls.crt": chain.read_bytes(), "tls.key": key.read_bytes()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata(name, namespace),
            "type": "kubernetes.io/tls",
            "data": {each: base64.b64encode(value).decode() for each, value in data.items()}}


class Reader:
    def __init__(self, cluster, namespace, path):
        self.cluster, self.namespace = cluster, namespace
        self.class_name = f"c-{namespace}"
        self.controller = f"lintel.dev/{namespace}"
        self.plugin = path / "kubectl-lintel"
        os.symlink(os.path.abspath(LINTEL), self.plugin)
        cluster.api.apply(service_account("reader", namespace))

    def allow(self, *rules):
        self.cluster.api.apply(role("reader", *rules, namespace=self.namespace),
                               role_binding("reader", "reader", self.namespace))

    def run(self, name, *arguments, check=0):
        """By kubectl, which finds the plugin in the path."""
        path = f"{self.plugin.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [self.cluster.program("kubectl"), "lintel", name, "--kubeconfig",
             self.cluster.kubeconfig_of("reader", self.namespace), "--watch-namespace",
             self.namespace, "--controller-class", self.controller, *arguments],
            text=True, capture_output=True, check=False, env={**os.environ, "PATH": path})
        assert done.returncode == check, done.stdout + done.stderr
        return done

    def told(self, name, *arguments, check=0):
        return json.loads(self.run(name, "-o", "json", *arguments, check=check).stdout)


@pytest.fixture(name="reader")
def fixture_reader(cluster, namespace, tmp_path):
    made = Reader(cluster, namespace, tmp_path)
    # Classes belong to no namespace; --ingress-class is what the reader goes by.
    one = ingress("web", rule("web.example", ("/", "Prefix", "web:80")), class_name="lintel",
                  namespace=namespace)
    one["spec"]["tls"] = [{"hosts": ["web.example"], "secretName": "cert"}]
    cluster.api.apply(ingress_class(made.class_name, made.controller),
                      make_secret(tmp_path, "cert", namespace, "web.example"),
                      make_secret(tmp_path, "unused", namespace, "web.example"),
                      backends("web", 2, namespace),
                      service("web", (80, 8080), namespace=namespace,
                              spec={"selector": {"app": "web"}}), one)
    cluster.wait_ready(2, namespace, app="web")
    cluster.wait(lambda: len(cluster.endpoints("web", namespace)) == 2, "endpoints")
    yield made
    cluster.api.delete("IngressClass", made.class_name)


def test_the_three_commands(cluster, namespace, reader):
    reader.allow(*READ, *MORE)
    pods = {pod["metadata"]["name"]: pod for pod in cluster.ready_pods(namespace, app="web")}

    web, = reader.told("backends", "web.example")
    assert {e["pod"] for e in web["endpoints"]} == set(pods)
    for each in web["endpoints"]:
        pod = pods[each["pod"]]
        assert each["address"] == pod["status"]["podIP"] + ":8080" and each["used"]
        assert each["node"] == pod["spec"]["nodeName"]

    cert, default = reader.told("certs")
    assert (default["role"], default["secret"]) == ("default", "")
    assert (cert["host"], cert["names"], cert["problem"]) == ("web.example", ["web.example"], None)

    cluster.api.apply(plain("Lease", "lintel-leader", namespace, api="coordination.k8s.io/v1",
                            spec={"holderIdentity": "pod-of-lintel"}))
    cluster.kubectl("label", "pods", "-n", namespace, "--all", "app.kubernetes.io/name=lintel")
    told = reader.told("status", "--namespace", namespace)["objects"]
    assert (told["leader"], told["pods"], told["podsReady"]) == ("pod-of-lintel", 2, 2)
    assert (told["ingresses"], told["endpointsUsed"], told["errors"]) == (1, 2, 0)
    assert told["withoutAddress"] == [{"namespace": namespace, "name": "web"}]
    text = reader.run("status", "--namespace", namespace).stdout
    assert "pod-of-lintel" in text and "2 of 2 ready" in text

    secrets = [(e["verb"], e["objectRef"].get("name")) for e in cluster.audit("reader", namespace)
               if e["objectRef"]["resource"] == "secrets"]
    assert set(secrets) == {("get", "cert")}


def test_an_address_that_is_published(cluster, namespace, reader):
    reader.allow(*READ, *MORE)
    cluster.kubectl("patch", "ingress", "web", "-n", namespace, "--subresource=status", "--type=merge",
                    "-p", '{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.7"}]}}}')
    told = reader.told("status", "--namespace", namespace)["objects"]
    assert (told["addresses"], told["withoutAddress"]) == ("192.0.2.7", [])


def test_what_may_not_be_read_is_said(cluster, namespace, reader):
    reader.allow(*READ)
    row, _ = reader.told("certs", check=1)
    assert row["problem"] == "must not be read (403)"
    text = reader.run("status", "--namespace", namespace).stdout
    assert text.count("cannot be read (403)") == 2
    assert "leader" not in reader.told("status", "--namespace", namespace)["objects"]


def test_a_secret_that_is_gone(cluster, namespace, reader):
    reader.allow(*READ, *MORE)
    cluster.api.delete("Secret", "cert", namespace)
    row, _ = reader.told("certs", check=1)
    assert row["problem"] == "there is no such Secret"
