"""A real cluster inside a sandbox: etcd, kube-apiserver, kube-controller-manager, and our kubelet in
place of scheduler and nodes. There is one in a sandbox."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import yaml

from lib.process import is_alive
from lib.wait import eventually

from . import pki
from .api import Api, ApiError
from .sandbox import API_ADDRESS, NODE_ADDRESSES

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
BUILD = os.path.join(ROOT, os.environ.get("LINTEL_BUILD", "build"))
START_S = 120   # a loaded machine of two cores
STOP_S = 20
WAIT_S = 60     # for what controllers and Pods do
API_PORT = 6443
SERVER = f"https://{API_ADDRESS}:{API_PORT}"
SERVICES = "10.96.0.0/16"
ISSUER = "https://kubernetes.default.svc"

# Requests of ServiceAccounts but the controllers', without bodies: what tests of RBAC look at.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
              {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
              {"level": "None"}]}


class Component:
    """A program of the cluster; its output is kept in NAME.log."""

    def __init__(self, name, directory, *command, environment=None):
        self.name, self.command = name, list(map(str, command))
        self.log_path = os.path.join(directory, f"{name}.log")
        self.environment = {**os.environ, **(environment or {})}
        self.child = None

    def start(self):
        assert not self.is_running(), f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, env=self.environment)
        return self

    def is_running(self):
        return self.child is not None and self.child.poll() is None

    def check(self):
        assert self.is_running(), f"{self.name} has ended:\n{self.log()[-4000:]}"

    def stop(self, number=signal.SIGTERM):
        if not self.is_running():
            return
        self.child.send_signal(signal.SIGCONT)
        self.child.send_signal(number)
        try:
            self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def kill(self):
        self.stop(signal.SIGKILL)

    def freeze(self):
        """Connections stay, answers stop."""
        self.child.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.child.send_signal(signal.SIGCONT)

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        return ""


class Cluster:
    """nodes: (name, zone) each."""

    def __init__(self, programs, directory, nodes=(("node-a", "zone-a"), ("node-b", "zone-b"))):
        self.programs, self.directory = programs, directory
        self.nodes = [{"name": name, "zone": zone, "address": address}
                      for (name, zone), address in zip(nodes, NODE_ADDRESSES)]
        self.images = {}
        self.server = SERVER
        self._make_credentials()
        self.etcd = self._etcd()
        self.apiserver = self._apiserver()
        self.controllers = self._controller_manager()
        self.kubelet = Component("kubelet", directory, sys.executable, "-m", "e2e.lib.kubelet",
                                 self.path("kubelet.json"),
                                 environment={"PYTHONPATH": os.path.join(ROOT, "tests")})
        self.api = self.api_as(certificate=self.admin_certificate)

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def program(self, name):
        return os.path.join(self.programs, name)

    # ---- what it is made of ----

    def _make_credentials(self):
        self.authority = pki.Authority(self.path("pki"))
        self.authority.sign("apiserver", "kube-apiserver",
                            addresses=[API_ADDRESS, "127.0.0.1", "10.96.0.1"],
                            names=["kubernetes", "kubernetes.default", "kubernetes.default.svc"])
        pki.make_signing_key(self.path("pki", "sa"))
        self.admin_certificate = self.authority.sign("admin", "admin", "system:masters")
        self.kubeconfig = self._kubeconfig_of("admin")
        self.authority.sign("controllers", "system:kube-controller-manager")
        self._kubeconfig_of("controllers")

    def _kubeconfig_of(self, name):
        return pki.write_kubeconfig(
            self.path(f"{name}.kubeconfig"), SERVER, self.authority.certificate,
            {"client-certificate": self.path("pki", f"{name}.crt"),
             "client-key": self.path("pki", f"{name}.key")})

    def _etcd(self):
        return Component(
            "etcd", self.directory, self.program("etcd"), "--name=e2e",
            f"--data-dir={self.path('etcd')}", "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=e2e=http://127.0.0.1:2380", "--unsafe-no-fsync",
            "--quota-backend-bytes=4294967296", "--log-level=warn")

    def _apiserver(self):
        with open(self.path("audit-policy.yaml"), "w", encoding="utf-8") as file:
            yaml.safe_dump(AUDIT_POLICY, file)
        secret = self.path("pki", "sa")
        return Component(
            "kube-apiserver", self.directory, self.program("kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379", f"--bind-address={API_ADDRESS}",
            f"--advertise-address={API_ADDRESS}", f"--secure-port={API_PORT}",
            f"--tls-cert-file={self.path('pki', 'apiserver.crt')}",
            f"--tls-private-key-file={self.path('pki', 'apiserver.key')}",
            f"--client-ca-file={self.authority.certificate}",
            f"--service-account-issuer={ISSUER}", f"--service-account-key-file={secret}.pub",
            f"--service-account-signing-key-file={secret}.key",
            f"--service-cluster-ip-range={SERVICES}", "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            # Webhooks are called at the addresses of their Pods: there is no kube-proxy.
            "--enable-aggregator-routing=true",
            f"--audit-policy-file={self.path('audit-policy.yaml')}",
            f"--audit-log-path={self.path('audit.log')}", "--audit-log-mode=blocking",
            "--audit-log-maxsize=1000", "--profiling=false",
            # At its end it does not wait a minute for watches that nobody ends.
            "--shutdown-send-retry-after=true")

    def _controller_manager(self):
        return Component(
            "kube-controller-manager", self.directory, self.program("kube-controller-manager"),
            f"--kubeconfig={self.path('controllers.kubeconfig')}",
            f"--root-ca-file={self.authority.certificate}",
            f"--service-account-private-key-file={self.path('pki', 'sa.key')}",
            "--use-service-account-credentials=true", "--leader-elect=false",
            "--bind-address=127.0.0.1", "--controllers=*", "--kube-api-qps=500",
            "--kube-api-burst=1000")

    def _write_kubelet_config(self):
        config = {"host": API_ADDRESS, "port": API_PORT, "authority": self.authority.certificate,
                  "certificate": self.admin_certificate, "directory": self.path("pods"),
                  "images": self.path("images.json"), "nodes": self.nodes}
        with open(self.path("kubelet.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)

    # ---- its life ----

    def start(self):
        self.add_image("e2e/backend", entrypoint=["/usr/bin/python3",
                                                  os.path.join(ROOT, "tests/e2e/backend.py")],
                       binds=[ROOT])
        self.add_lintel_image("lintel")
        self._write_kubelet_config()
        self.start_etcd()
        self.start_apiserver()
        self.kubelet.start()
        self.wait(lambda: self.api.find("ServiceAccount", "default"), "the default ServiceAccount")
        self.wait(lambda: all(self.api.find("Node", node["name"]) for node in self.nodes), "nodes")
        return self

    def stop(self):
        for component in (self.kubelet, self.controllers, self.apiserver, self.etcd):
            component.stop()

    def components(self):
        return (self.etcd, self.apiserver, self.controllers, self.kubelet)

    def start_etcd(self):
        self.etcd.start()

    def start_apiserver(self):
        """Controllers come along: a real controller manager ends when it cannot renew its lease, and
        begins anew instead of taking every node for dead."""
        self.apiserver.start()
        self.wait_apiserver()
        self.controllers.start()

    def stop_apiserver(self, number=signal.SIGTERM):
        self.controllers.stop()
        self.apiserver.stop(number)

    def wait_apiserver(self):
        def is_ready():
            self.apiserver.check()
            return self.api.request("GET", "/readyz") == "ok"
        eventually(is_ready, what="kube-apiserver's readiness", timeout=START_S, interval=0.1)

    def wait(self, question, what="the condition", timeout=WAIT_S):
        def ask():
            for component in self.components():
                if component.child is not None and component.child.poll() not in (None, 0):
                    component.check()
            return question()
        return eventually(ask, what=what, timeout=timeout, interval=0.05)

    def save_etcd(self):
        """Returns what restore_etcd() brings back. The server is away for a moment."""
        self.etcd.stop()
        saved = self.path(f"etcd-saved-{time.monotonic_ns()}")
        shutil.copytree(self.path("etcd"), saved)
        self.start_etcd()
        return saved

    def restore_etcd(self, saved):
        """Everything is as it was at save_etcd(), resource versions too. As the manual of etcd asks,
        the API server begins anew."""
        self.stop_apiserver(signal.SIGKILL)
        self.etcd.kill()
        shutil.rmtree(self.path("etcd"))
        shutil.copytree(saved, self.path("etcd"))
        self.start_etcd()
        self.start_apiserver()

    def rotate_signing_key(self):
        """Every token that was issued so far is worth nothing; Pods get new ones."""
        self.stop_apiserver()
        pki.make_signing_key(self.path("pki", "sa"))
        self.start_apiserver()
        self.refresh_volumes()

    def refresh_volumes(self):
        """ConfigMaps, Secrets and tokens in Pods become current now, not in a minute."""
        self.kubelet.child.send_signal(signal.SIGHUP)

    # ---- images ----

    def add_image(self, name, *, entrypoint, cmd=(), env=None, binds=(), root=None, user=None):
        """What runs for an image of that name, whatever its registry and tag. root: a directory that
        is the root file system; else the machine's own programs plus the directories `binds`."""
        self.images[name] = {"entrypoint": list(entrypoint), "cmd": list(cmd), "env": env or {},
                             "binds": list(binds), "root": root, "user": user}
        temporary = self.path("images.json.new")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.images, file)
        os.rename(temporary, self.path("images.json"))

    def add_lintel_image(self, name, build=BUILD):
        """The image as shipped, of a build of Lintel."""
        root = self.path("images", name)
        self.run("/usr/bin/python3", os.path.join(ROOT, "scripts/image"), "--build", build, "--root",
                 root)
        self.add_image(name, entrypoint=["/usr/bin/lintel", "run"], env={"PATH": "/usr/bin"},
                       root=root, user="65532:65532")

    # ---- the user's hands ----

    def environment(self):
        return {**os.environ, "KUBECONFIG": self.kubeconfig, "HOME": self.directory,
                "PATH": f"{self.programs}:{os.environ['PATH']}"}

    def run(self, *command, check=0, stdin=None, timeout=WAIT_S, environment=None):
        """Output of a program that is run with the administrator's kubeconfig; check: the exit status
        that it must have, None for any."""
        done = subprocess.run(list(map(str, command)), text=True, capture_output=True,
                              timeout=timeout, check=False, input=stdin,
                              env={**self.environment(), **(environment or {})})
        if check is not None:
            assert done.returncode == check, \
                f"{command}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def kubectl(self, *arguments, **options):
        return self.run(self.program("kubectl"), *arguments, **options)

    def helm(self, *arguments, **options):
        return self.run(self.program("helm"), *arguments, **options)

    # ---- identities ----

    def api_as(self, certificate=None, token=None):
        return Api(API_ADDRESS, API_PORT, self.authority.certificate, certificate, token)

    def token_of(self, service_account, namespace="default", seconds=3600):
        answer = self.api.request(
            "POST", self.api.path("ServiceAccount", service_account, namespace, "token"),
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
             "spec": {"expirationSeconds": seconds}})
        return answer["status"]["token"]

    def api_of(self, service_account, namespace="default"):
        return self.api_as(token=self.token_of(service_account, namespace))

    def kubeconfig_of(self, service_account, namespace="default"):
        """A file with which somebody outside of a Pod is that ServiceAccount."""
        return pki.write_kubeconfig(
            self.path(f"{namespace}-{service_account}.kubeconfig"), SERVER,
            self.authority.certificate, {"token": self.token_of(service_account, namespace)},
            namespace)

    def audit(self, service_account=None, namespace="default"):
        """Requests of a ServiceAccount (of all, without) in the order of their ends, as a list of
        audit events."""
        user = f"system:serviceaccount:{namespace}:{service_account}"
        with open(self.path("audit.log"), encoding="utf-8") as file:
            events = [json.loads(line) for line in file if line.endswith("\n")]
        return [e for e in events if service_account is None or e["user"]["username"] == user]

    def verbs_used(self, service_account, namespace="default"):
        """{(API group, resource/subresource, verb)} of what it was allowed to do."""
        used = set()
        for event in self.audit(service_account, namespace):
            where = event.get("objectRef")
            if where and event.get("annotations", {}).get("authorization.k8s.io/decision") == "allow":
                name = "/".join(filter(None, [where["resource"], where.get("subresource")]))
                used.add((where.get("apiGroup", ""), name, event["verb"]))
        return used

    # ---- Pods ----

    def pods(self, namespace="default", **labels):
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return self.api.list("Pod", namespace, **({"labelSelector": selector} if selector else {}))

    def ready_pods(self, namespace="default", **labels):
        return [pod for pod in self.pods(namespace, **labels)
                if "deletionTimestamp" not in pod["metadata"] and is_ready(pod)]

    def wait_ready(self, n, namespace="default", **labels):
        """Until exactly n Pods are ready and no other is left; returns them."""
        def ask():
            ready = self.ready_pods(namespace, **labels)
            return ready if len(ready) == n == len(self.pods(namespace, **labels)) else None
        if n == 0:
            self.wait(lambda: not self.pods(namespace, **labels), f"end of Pods {labels}")
            return []
        return self.wait(ask, f"{n} ready Pods {labels}")

    def _pod_path(self, pod, name):
        meta = pod["metadata"]
        return self.path("pods", f"{meta['namespace']}_{meta['name']}_{meta['uid']}", name)

    def pod_log(self, pod, container=None):
        container = container or pod["spec"]["containers"][0]["name"]
        with contextlib.suppress(FileNotFoundError):
            with open(self._pod_path(pod, f"{container}.log"), encoding="utf-8",
                      errors="replace") as file:
                return file.read()
        return ""

    def pod_pid(self, pod, container=None):
        """The first process of a container."""
        container = container or pod["spec"]["containers"][0]["name"]
        with open(self._pod_path(pod, f"{container}.pid"), encoding="ascii") as file:
            pid = int(file.read())
        assert is_alive(pid), f"{pod['metadata']['name']}/{container} has ended"
        return pid

    def execute(self, pod, *command, container=None, **options):
        """Runs a command of the image in a container."""
        return self.run("nsenter", "--target", self.pod_pid(pod, container), "--mount", "--net",
                        "--pid", "--uts", "--root", "--wd", *command, **options)

    # ---- endpoints ----

    def endpoints(self, service, namespace="default"):
        """Addresses of a Service, ready ones only."""
        slices = self.api.list("EndpointSlice", namespace,
                               labelSelector=f"kubernetes.io/service-name={service}")
        return sorted(address for item in slices for endpoint in item["endpoints"] or []
                      if endpoint["conditions"].get("ready", True)
                      for address in endpoint["addresses"])


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True"
               for c in pod.get("status", {}).get("conditions", []))


__all__ = ["ApiError", "Cluster", "Component", "is_ready"]
