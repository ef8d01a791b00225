"""Pods, as our kubelet makes them of processes: what Lintel's manifests and tests rely on."""
import http.client
import json

import pytest

from lib.process import is_alive
from e2e.lib.objects import READY, backends, container, plain, pod, pod_template
from e2e.lib.sandbox import NODE_ADDRESSES


def start_web(cluster, namespace):
    cluster.api.apply(backends("web", 1, namespace))
    return cluster.wait_ready(1, namespace, app="web")


def test_the_grace_period_ends_with_a_kill(cluster, namespace):
    stubborn = container("e2e/backend", command=["/bin/sh", "-c",
                                                 "trap '' TERM; while :; do sleep 0.2; done"])
    cluster.api.apply(pod("stubborn", stubborn, namespace=namespace,
                          terminationGracePeriodSeconds=1))
    item, = cluster.wait_ready(1, namespace, app="stubborn")
    pid = cluster.pod_pid(item)
    cluster.api.delete("Pod", "stubborn", namespace)
    cluster.wait_ready(0, namespace, app="stubborn")
    assert not is_alive(pid)


def test_a_crash_is_restarted_and_told(cluster, namespace):
    item, = start_web(cluster, namespace)
    cluster.execute(item, "/bin/sh", "-c", "kill -9 $$", check=None)
    cluster.execute(item, "/usr/bin/env", "kill", "-TERM", "1")

    def is_back():
        status = cluster.api.get("Pod", item["metadata"]["name"], namespace)["status"]
        container_status, = status["containerStatuses"]
        return container_status["ready"] and container_status["restartCount"] == 1 and \
            status["podIP"] == item["status"]["podIP"]
    cluster.wait(is_back, "a restart in the same Pod")


def test_a_missing_image_never_runs(cluster, namespace):
    cluster.api.apply(pod("absent", container("e2e/no-such-image"), namespace=namespace))

    def is_told():
        status = cluster.api.get("Pod", "absent", namespace)["status"]
        return status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
    cluster.wait(is_told, "ErrImagePull")


def test_what_a_container_is_given(cluster, namespace):
    """Environment, files, user and a root that cannot be written."""
    main = container(
        "e2e/backend", env={"GREETING": "$(WHO) of $(POD_NAMESPACE)"}, ports=[8080],
        ready={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        securityContext={"runAsUser": 1234, "runAsGroup": 1234, "readOnlyRootFilesystem": True,
                         "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        volumeMounts=[{"name": "settings", "mountPath": "/etc/settings"},
                      {"name": "secret", "mountPath": "/keys", "readOnly": True},
                      {"name": "scratch", "mountPath": "/scratch"}])
    main["env"] = [
        {"name": "WHO", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "who"}}},
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}, *main["env"]]
    cluster.api.apply(
        plain("ConfigMap", "settings", namespace, data={"who": "somebody"}),
        plain("Secret", "keys", namespace, stringData={"key": "hidden"}),
        pod("given", main, namespace=namespace, volumes=[
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "secret", "secret": {"secretName": "keys"}},
            {"name": "scratch", "emptyDir": {}}]))
    item, = cluster.wait_ready(1, namespace, app="given")
    with open(f"/proc/{cluster.pod_pid(item)}/environ", encoding="utf-8") as file:
        environment = dict(text.split("=", 1) for text in file.read().split("\0") if text)
    assert environment["GREETING"] == f"somebody of {namespace}"
    assert environment["NODE_NAME"] == item["spec"]["nodeName"]
    assert environment["POD_IP"] == item["status"]["podIP"]
    read = lambda path: cluster.execute(item, "/bin/cat", path).stdout
    assert (read("/etc/settings/who"), read("/keys/key")) == ("somebody", "hidden")
    with open(f"/proc/{cluster.pod_pid(item)}/status", encoding="utf-8") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"1234"}
    assert int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
    cluster.execute(item, "/bin/sh", "-c", "echo >/scratch/file")
    assert cluster.execute(item, "/bin/sh", "-c", "echo >/file", check=None).returncode != 0

    cluster.api.apply(plain("ConfigMap", "settings", namespace, data={"who": "another"}))
    cluster.wait(lambda: (cluster.refresh_volumes(), read("/etc/settings/who") == "another")[1],
                 "the changed ConfigMap")


def test_jobs_end(cluster, namespace):
    """Init containers run first, one that fails is run again, and the Job sees how it ended."""
    once = container("e2e/backend", "once", command=[
        "/bin/sh", "-c", "test -e /scratch/tried || { touch /scratch/tried; exit 1; }"],
        volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}])
    main = container("e2e/backend", command=["/bin/sh", "-c", "test -e /scratch/tried; echo done"],
                     volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}])
    template = pod_template("job", main, initContainers=[once], restartPolicy="OnFailure",
                            volumes=[{"name": "scratch", "emptyDir": {}}])
    cluster.api.apply(plain("Job", "job", namespace, api="batch/v1", spec={"template": template}))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=complete", "--timeout=30s", "job/job")
    item, = cluster.pods(namespace, app="job")
    assert item["status"]["phase"] == "Succeeded"
    assert item["status"]["initContainerStatuses"][0]["restartCount"] == 1
    cluster.wait(lambda: cluster.pod_log(item) == "done\n", "the log")


def who_answers(address, port):
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/")
        return json.loads(connection.getresponse().read())["pod"]
    finally:
        connection.close()


def test_daemon_sets_run_on_each_node(cluster, namespace):
    """And are reached at a port of it."""
    main = container("e2e/backend", ready=READY, ports=[{"containerPort": 8080, "hostPort": 8080}])
    cluster.api.apply(plain("DaemonSet", "each", namespace, api="apps/v1", spec={
        "selector": {"matchLabels": {"app": "each"}}, "template": pod_template("each", main)}))
    pods = cluster.wait_ready(2, namespace, app="each")
    assert {p["spec"]["nodeName"] for p in pods} == {"node-a", "node-b"}
    for item in pods:
        assert who_answers(item["status"]["hostIP"], 8080) == item["metadata"]["name"]
    cluster.api.delete("DaemonSet", "each", namespace)
    cluster.wait_ready(0, namespace, app="each")
    with pytest.raises(ConnectionRefusedError):
        who_answers(pods[0]["status"]["hostIP"], 8080)


def test_a_pod_may_have_the_network_of_its_node(cluster, namespace):
    main = container("e2e/backend", ready=READY, ports=[8080])
    cluster.api.apply(pod("host", main, namespace=namespace, hostNetwork=True,
                          nodeSelector={"topology.kubernetes.io/zone": "zone-b"}))
    item, = cluster.wait_ready(1, namespace, app="host")
    assert item["spec"]["nodeName"] == "node-b"
    assert item["status"]["podIP"] == item["status"]["hostIP"] == NODE_ADDRESSES[1]
    assert who_answers(NODE_ADDRESSES[1], 8080) == "host"


def test_a_sick_container_is_restarted(cluster, namespace):
    sick = container("e2e/backend", ports=[{"name": "http", "containerPort": 8080}],
                     ready={"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
                     startupProbe={"tcpSocket": {"port": "http"}, "periodSeconds": 1},
                     livenessProbe={"httpGet": {"path": "/healthz", "port": "http"},
                                    "periodSeconds": 1, "failureThreshold": 2})
    cluster.api.apply(pod("sick", sick, namespace=namespace))
    item, = cluster.wait_ready(1, namespace, app="sick")
    connection = http.client.HTTPConnection(item["status"]["podIP"], 8080, timeout=5)
    connection.request("PUT", "/-/ready", "false")
    connection.getresponse().read()
    connection.close()

    def is_back():
        status, = cluster.api.get("Pod", "sick", namespace)["status"]["containerStatuses"]
        return status["ready"] and status["restartCount"] == 1
    cluster.wait(is_back, "a restart")
