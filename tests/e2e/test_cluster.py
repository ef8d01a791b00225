"""The cluster itself: what the other tests rely on is real."""
import base64
import http.client
import http.server
import json
import ssl
import threading

import pytest

from lib.lintel import free_port
from lib.manifests import endpoint_slice, service
from lib.process import is_alive
from e2e.lib import pki
from e2e.lib.api import ApiError
from e2e.lib.objects import backends, plain, role, role_binding, service_account
from e2e.lib.sandbox import NODE_ADDRESSES


def get(address, path="/", port=8080):
    """What a backend says."""
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def wait_endpoints(cluster, name, namespace, pods):
    """Until the ready endpoints are the addresses of exactly these Pods."""
    wanted = sorted(item["status"]["podIP"] for item in pods)
    cluster.wait(lambda: cluster.endpoints(name, namespace) == wanted, f"endpoints {wanted}")
    return wanted


def start_web(cluster, namespace, replicas, **options):
    cluster.api.apply(backends("web", replicas, namespace, **options),
                      service("web", (80, 8080), namespace=namespace,
                              spec={"selector": {"app": "web"}}))
    return cluster.wait_ready(replicas, namespace, app="web")


def test_the_servers_tell_their_versions(cluster):
    told = json.loads(cluster.kubectl("version", "-o", "json").stdout)
    assert told["serverVersion"]["gitVersion"] == told["clientVersion"]["gitVersion"]
    assert cluster.helm("version", "--template", "{{.Version}}").stdout.startswith("v3.")


def test_deployment_becomes_endpoints(cluster, namespace):
    pods = start_web(cluster, namespace, 2)
    addresses = wait_endpoints(cluster, "web", namespace, pods)
    assert all(address.startswith("10.244.") for address in addresses)
    assert {get(address)["pod"] for address in addresses} == {p["metadata"]["name"] for p in pods}
    assert {p["spec"]["nodeName"] for p in pods} == {"node-a", "node-b"}


def test_scaling(cluster, namespace):
    start_web(cluster, namespace, 1)
    cluster.kubectl("scale", "-n", namespace, "deployment/web", "--replicas=6")
    wait_endpoints(cluster, "web", namespace, cluster.wait_ready(6, namespace, app="web"))
    cluster.api.scale("Deployment", "web", 1, namespace)
    wait_endpoints(cluster, "web", namespace, cluster.wait_ready(1, namespace, app="web"))


def test_rollout_never_lacks_endpoints(cluster, namespace):
    start_web(cluster, namespace, 2, strategy={"maxSurge": 1, "maxUnavailable": 0})
    wait_endpoints(cluster, "web", namespace, cluster.wait_ready(2, namespace, app="web"))
    fewest, is_over = [], threading.Event()

    def watch_endpoints():
        while not is_over.is_set():
            fewest.append(len(cluster.endpoints("web", namespace)))
    watcher = threading.Thread(target=watch_endpoints)
    watcher.start()
    try:
        cluster.api.apply(backends("web", 2, namespace, version="2",
                                   strategy={"maxSurge": 1, "maxUnavailable": 0}))
        cluster.kubectl("rollout", "status", "-n", namespace, "deployment/web")
        pods = cluster.wait_ready(2, namespace, app="web")
    finally:
        is_over.set()
        watcher.join()
    assert min(fewest) >= 2
    for address in wait_endpoints(cluster, "web", namespace, pods):
        assert get(address)["version"] == "2"


def test_readiness_decides_about_endpoints(cluster, namespace):
    first, second = (p["status"]["podIP"] for p in start_web(cluster, namespace, 2))
    cluster.wait(lambda: cluster.endpoints("web", namespace) == sorted([first, second]))
    tell_ready(first, "false")
    cluster.wait(lambda: cluster.endpoints("web", namespace) == [second], "one endpoint less")
    tell_ready(first, "true")
    cluster.wait(lambda: cluster.endpoints("web", namespace) == sorted([first, second]))


def tell_ready(address, word):
    connection = http.client.HTTPConnection(address, 8080, timeout=5)
    connection.request("PUT", "/-/ready", word)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_terminating_pod_serves_to_the_end(cluster, namespace):
    """SIGTERM, the request under way is answered, the endpoint is marked terminating, and then the
    Pod, its process and its address are gone."""
    item, = start_web(cluster, namespace, 1)
    address, pid = item["status"]["podIP"], cluster.pod_pid(item)
    cluster.wait(lambda: cluster.endpoints("web", namespace) == [address])
    answers = []
    slow = threading.Thread(target=lambda: answers.append(get(address, "/-/slow?2500")))
    slow.start()
    cluster.wait(lambda: get(address)["busy"] == 2, "a request under way")
    cluster.api.scale("Deployment", "web", 0, namespace)

    def is_terminating():
        endpoints = cluster.api.list("EndpointSlice", namespace)[0]["endpoints"]
        return [e["conditions"] for e in endpoints] == [
            {"ready": False, "serving": True, "terminating": True}]
    cluster.wait(is_terminating, "a terminating endpoint")
    assert is_alive(pid)
    slow.join()
    assert [answer["pod"] for answer in answers] == [item["metadata"]["name"]]
    cluster.wait_ready(0, namespace, app="web")
    assert not is_alive(pid)
    with pytest.raises(OSError):
        get(address)


def test_service_accounts_and_rbac(cluster, namespace):
    cluster.api.apply(service_account("reader", namespace),
                      role("reader", ("", "services", "list"), namespace=namespace),
                      role_binding("reader", "reader", namespace))
    reader = cluster.api_of("reader", namespace)
    cluster.wait(lambda: reader.list("Service", namespace) == [], "RBAC in effect")
    for kind in ("Secret", "Pod"):
        with pytest.raises(ApiError) as error:
            reader.list(kind, namespace)
        assert error.value.status == 403
    assert cluster.verbs_used("reader", namespace) == {("", "services", "list")}
    with pytest.raises(ApiError) as error:
        cluster.api_as(token="no-token").list("Service", namespace)
    assert error.value.status == 401


def test_tokens_of_pods_rotate(cluster, namespace):
    """The token in the Pod is its ServiceAccount's; with another signing key the old one is worth
    nothing, and the Pod is given one that works."""
    item, = start_web(cluster, namespace, 1)
    where = "/var/run/secrets/kubernetes.io/serviceaccount/token"

    def who_is(token):
        answer = cluster.api_as(token=token).request(
            "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
        return answer["status"]["userInfo"]["username"]
    old = cluster.execute(item, "/bin/cat", where).stdout
    assert who_is(old) == f"system:serviceaccount:{namespace}:default"
    cluster.rotate_signing_key()
    with pytest.raises(ApiError) as error:
        who_is(old)
    assert error.value.status == 401
    cluster.wait(lambda: cluster.execute(item, "/bin/cat", where).stdout != old, "another token")
    assert who_is(cluster.execute(item, "/bin/cat", where).stdout) == \
        f"system:serviceaccount:{namespace}:default"


def test_the_api_server_goes_and_comes(cluster, namespace):
    """Pods run on without it."""
    item, = start_web(cluster, namespace, 1)
    cluster.stop_apiserver()
    with pytest.raises(OSError):
        cluster.api.get("Pod", item["metadata"]["name"], namespace)
    assert get(item["status"]["podIP"])["pod"] == item["metadata"]["name"]
    cluster.start_apiserver()
    again, = cluster.wait_ready(1, namespace, app="web")
    assert again["metadata"]["uid"] == item["metadata"]["uid"]
    cluster.api.scale("Deployment", "web", 2, namespace)
    cluster.wait_ready(2, namespace, app="web")


def test_etcd_goes_back_in_time(cluster, namespace):
    config = lambda value: plain("ConfigMap", "past", namespace, data={"value": value})
    before = cluster.api.apply(config("old"))
    saved = cluster.save_etcd()
    cluster.wait(lambda: cluster.api.apply(config("new")), "etcd is back")
    cluster.restore_etcd(saved)
    after = cluster.api.get("ConfigMap", "past", namespace)
    assert after["data"] == {"value": "old"}
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_namespaces_are_emptied(cluster, namespace):
    start_web(cluster, namespace, 2)
    cluster.api.apply(plain("Namespace", "doomed", None))
    cluster.wait(lambda: cluster.api.find("ServiceAccount", "default", "doomed"))
    start_web(cluster, "doomed", 2)
    cluster.kubectl("delete", "namespace", "doomed")
    assert cluster.api.find("Namespace", "doomed") is None
    assert len(cluster.ready_pods(namespace)) == 2


class Refuser(http.server.BaseHTTPRequestHandler):
    """An admission webhook that refuses what is called "bad"."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        is_good = request["name"] != "bad"
        answer = json.dumps({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": request["uid"], "allowed": is_good,
                         "status": {"message": "it is bad"}}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_webhooks_are_called_by_their_service(cluster, namespace, tmp_path):
    """The Service's address is routed nowhere here: the API server dials the endpoint."""
    port = free_port()
    authority = pki.Authority(str(tmp_path / "pki"))
    files = authority.sign("hook", "hook", names=[f"hook.{namespace}.svc"])
    server = http.server.ThreadingHTTPServer((NODE_ADDRESSES[0], port), Refuser)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(authority.certificate, "rb") as file:
        bundle = base64.b64encode(file.read()).decode()
    cluster.api.apply(
        service("hook", (443, port), namespace=namespace),
        endpoint_slice("hook", NODE_ADDRESSES[0], port=port, namespace=namespace),
        plain("ValidatingWebhookConfiguration", "e2e", None, api="admissionregistration.k8s.io/v1",
              webhooks=[{
                  "name": "hook.e2e.example", "sideEffects": "None", "failurePolicy": "Fail",
                  "admissionReviewVersions": ["v1"], "clientConfig": {
                      "caBundle": bundle, "service": {"name": "hook", "namespace": namespace}},
                  "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                  "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                             "operations": ["CREATE"]}]}]))
    try:
        def is_refused():
            try:
                cluster.api.create(plain("ConfigMap", "bad", namespace))
            except ApiError as error:
                return "it is bad" in str(error)
            cluster.api.delete("ConfigMap", "bad", namespace)  # the API server has not seen it yet
            return False
        cluster.wait(is_refused, "the webhook's refusal")
        cluster.api.create(plain("ConfigMap", "good", namespace))
    finally:
        cluster.api.delete("ValidatingWebhookConfiguration", "e2e")
        server.shutdown()
        server.server_close()
