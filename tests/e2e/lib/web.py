"""A web application behind an Ingress."""
from lib.manifests import ingress, rule, service

from .objects import backends


def web_ingress(namespace, host, name="web", **more):
    """more: tls, class_name and metadata, as manifests.ingress() takes them."""
    return ingress(name, rule(host, ("/", "Prefix", "web:80")), namespace=namespace, **more)


def web_service(namespace):
    return service("web", (80, 8080), namespace=namespace, spec={"selector": {"app": "web"}})


def publish_web(cluster, namespace, host, replicas=2, **more):
    """Returns its Pods, ready. more: of its Ingress."""
    cluster.api.apply(backends("web", replicas, namespace), web_service(namespace),
                      web_ingress(namespace, host, **more))
    return cluster.wait_ready(replicas, namespace, app="web")


def roll_out(cluster, namespace, version, replicas=2):
    cluster.api.apply(backends("web", replicas, namespace, version=version))
    cluster.kubectl("rollout", "status", "-n", namespace, "deployment/web")
    cluster.wait_ready(replicas, namespace, app="web")
