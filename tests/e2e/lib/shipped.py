"""Lintel as it is shipped: the files of deploy/, in the cluster."""
import os
import re

import yaml

from lib.client import Client

from .cluster import ROOT

NAMESPACE = "lintel"
ACCOUNT = "lintel"
LABELS = {"app.kubernetes.io/name": "lintel"}
HTTP_PORT, HTTPS_PORT, HEALTH_PORT = 8080, 8443, 10254
WHO_MAY = ("Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
           "IngressClass")
WORKLOADS = ("Deployment", "DaemonSet")


class Shipped:
    """name: of a file. kinds: those of its objects that are meant, all without. options: of `lintel
    run`, in place of the file's or besides them, so that tests need not wait as long as people do.
    What the file says of rights stays."""

    def __init__(self, cluster, name, *, kinds=None, options=()):
        self.cluster = cluster
        with open(os.path.join(ROOT, "deploy", name), encoding="utf-8") as file:
            items = [item for item in yaml.safe_load_all(file) if item]
        self.items = [item for item in items if kinds is None or item["kind"] in kinds]
        for item in self.items:
            if item["kind"] in WORKLOADS:
                set_options(item["spec"]["template"]["spec"]["containers"][0]["args"], options)

    def find(self, *kinds):
        return [item for item in self.items if item["kind"] in kinds]

    def apply(self):
        self.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(self.items))
        # The API server hears of the last rule a moment later.
        self.cluster.wait(lambda: "yes" in self.cluster.kubectl(
            "auth", "can-i", "list", "ingressclasses",
            f"--as=system:serviceaccount:{NAMESPACE}:{ACCOUNT}", check=None).stdout, "the rights")
        return self

    def delete(self):
        # Pods first: what they leave in the cluster they put in order with their rights.
        for item in self.find(*WORKLOADS):
            if self.cluster.api.find(item["kind"], item["metadata"]["name"], NAMESPACE):
                self.cluster.api.delete(item["kind"], item["metadata"]["name"], NAMESPACE)
        self.wait_ready(0)
        self.cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=yaml.safe_dump_all(self.items), timeout=180)

    def wait_ready(self, n):
        return self.cluster.wait_ready(n, NAMESPACE, **LABELS)

    def scale(self, n):
        deployment, = self.find("Deployment")
        self.cluster.api.scale("Deployment", deployment["metadata"]["name"], n, NAMESPACE)
        return self.wait_ready(n)

    def granted(self):
        """{(API group, resource/subresource, verb)}"""
        return {(group, resource, verb) for role in self.find("ClusterRole", "Role")
                for rule in role["rules"] for group in rule["apiGroups"]
                for resource in rule["resources"] for verb in rule["verbs"]}

    def refused(self, after=0):
        """(verb, target) of its requests that it had no right to, behind the first `after`."""
        return [(event["verb"], event["requestURI"])
                for event in self.cluster.audit(ACCOUNT, NAMESPACE)[after:]
                if event["annotations"].get("authorization.k8s.io/decision") == "forbid"]


def set_options(arguments, options):
    for text in options:
        name = text.split("=", maxsplit=1)[0]
        arguments[:] = [old for old in arguments if not re.fullmatch(f"{name}(=.*)?", old)]
        arguments.append(text)


def fetch_at(address, host, target="/", port=HTTP_PORT):
    """One request on a connection of its own to a Pod or a node."""
    with Client(port, address) as client:
        return client.request(target=target, host=host)


def address_of(pod):
    return pod["status"]["podIP"]


def published(cluster, name, namespace):
    """What the status of an Ingress says, in order."""
    status = cluster.api.get("Ingress", name, namespace)["status"]
    return [item.get("ip") or item["hostname"] for item in status["loadBalancer"].get("ingress", [])]
