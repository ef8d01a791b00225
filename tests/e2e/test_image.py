"""The image as shipped, run by a node: without root, without capabilities, nothing writable but what
is mounted. Routes come from a ConfigMap here, so that only the container is at stake."""
import json

import pytest

from lib.load import Load
from lib.manifests import endpoint_slice, ingress, ingress_class, rule, service
from e2e.lib.objects import backends, container, deployment, plain

HEALTH = {"httpGet": {"path": "/readyz", "port": "health"}, "periodSeconds": 1}
SECURITY = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532,
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]}}


@pytest.fixture(name="pods")
def fixture_pods(cluster, namespace):
    """Two ready Pods of Lintel that route web.example to two ready backends."""
    cluster.api.apply(backends("web", 2, namespace))
    addresses = [p["status"]["podIP"] for p in cluster.wait_ready(2, namespace, app="web")]
    routes = [ingress_class(), ingress("web", rule("web.example", ("/", "Prefix", "web:80"))),
              service("web", (80, 8080)), endpoint_slice("web", *addresses, port=8080)]
    cluster.api.apply(
        plain("ConfigMap", "routes", namespace,
              data={"routes.yaml": "\n---\n".join(json.dumps(item) for item in routes)}),
        lintel_deployment(namespace))
    return cluster.wait_ready(2, namespace, app="lintel")


def lintel_deployment(namespace, **env):
    return deployment(
        "lintel", container(
            "registry.example/lintel:1.2.3", env=env, ready=HEALTH, securityContext=SECURITY,
            args=["--manifests=/routes", "--http-port=80", "--workers=1",
                  "--shutdown-grace-period=0s"],
            ports=[{"name": "http", "containerPort": 80}, {"name": "health", "containerPort": 10254}],
            volumeMounts=[{"name": "routes", "mountPath": "/routes"}]),
        replicas=2, namespace=namespace, volumes=[{"name": "routes", "configMap": {"name": "routes"}}],
        strategy={"maxSurge": 1, "maxUnavailable": 0})


def test_it_serves_without_any_privilege(cluster, pods):
    assert {p["spec"]["nodeName"] for p in pods} == {"node-a", "node-b"}
    for pod in pods:
        with open(f"/proc/{cluster.pod_pid(pod)}/status", encoding="utf-8") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert set(status["Uid"].split()) == {"65532"} and int(status["CapBnd"], 16) == 0
        with Load(80, [("web.example", "/x")], clients=2, address=pod["status"]["podIP"]) as load:
            load.wait_for(200)
        load.check_flawless()


def test_it_ends_well_when_its_pod_is_deleted(cluster, namespace, pods):
    """Exit status 0 as the first process of its container, long before the grace period's kill."""
    watched = {pod["metadata"]["name"]: pod for pod in pods}
    version = cluster.api.request("GET", cluster.api.path("Pod", None, namespace))["metadata"][
        "resourceVersion"]
    cluster.api.scale("Deployment", "lintel", 0, namespace)
    cluster.wait_ready(0, namespace, app="lintel")
    codes = {}
    for _, item in cluster.api.watch("Pod", version, namespace, timeout=1):
        if item["metadata"].get("name") in watched:
            for status in item["status"]["containerStatuses"]:
                codes[item["metadata"]["name"]] = status["state"].get("terminated", {}).get("exitCode")
    assert codes == {name: 0 for name in watched}
