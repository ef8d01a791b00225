"""In place of scheduler, kubelets and container runtime: puts Pods onto nodes and turns each into
local processes, with a network namespace and an address of its own, volumes, probes, restarts and
an orderly end. Speaks to the API server as an administrator.

    python3 -m e2e.lib.kubelet CONFIGURATION      a JSON file, written by cluster.py
    SIGHUP                                        refresh volumes and tokens of all Pods now

A thread per Pod looks at what changed and reports; a thread per container waits for its process; a
thread per probe asks. Not there: logs and exec through the API, cgroups, DNS.
"""
import datetime
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

from .api import STRATEGIC, Api, ApiError
from .container import USUAL
from .hostports import HostPort
from .probes import Probe
from .sandbox import API_ADDRESS, GATEWAY
from .volumes import MissingError, Volumes, field_of

LEASE_S = 10
REFRESH_S = 60
RETRY_S = 0.5
RESTART_MAX_S = 10
NAMESPACES = ["--mount", "--pid", "--uts", "--fork", "--kill-child=KILL", "--mount-proc",
              "--propagation", "private"]
HERE = os.path.dirname(os.path.abspath(__file__))


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def patiently(action, is_over=lambda: False):
    """Until the API server has taken it; a 404 or 409 is an answer, too."""
    while not is_over():
        try:
            return action()
        except ApiError as error:
            if error.status in (404, 409):
                return None
        except OSError:
            pass
        time.sleep(RETRY_S)
    return None


# ---- network ----

class Network:
    """Addresses of Pods, and the namespaces behind them."""

    def __init__(self):
        self.numbers = itertools.count(2)
        self.used = set()
        self.lock = threading.Lock()

    def take(self):
        """An address that was free for as long as possible."""
        with self.lock:
            while True:
                n = next(self.numbers) % 65534
                address = f"10.244.{n // 256}.{n % 256}"
                if n % 256 not in (0, 255) and n > 1 and address not in self.used:
                    self.used.add(address)
                    return address

    @staticmethod
    def name(address):
        return "pod-" + address.replace(".", "-")

    def open(self, address):
        """Like a CNI plugin's: a link to the bridge, a default route, and low ports for everybody."""
        name = self.name(address)
        host_end = "p" + "".join(f"{int(n):02x}" for n in address.split(".")[2:])
        ip_batch(f"netns add {name}",
                 f"link add {host_end} type veth peer name eth0 netns {name}",
                 f"link set {host_end} master pods up")
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{name}", "sh", "-e", "-c",
             f"ip link set lo up; ip address add {address}/16 dev eth0; ip link set eth0 up;"
             f"ip route add default via {GATEWAY};"
             "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start"], check=True)

    def close(self, address):
        ip_batch(f"netns delete {self.name(address)}")
        with self.lock:
            self.used.discard(address)


def ip_batch(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


# ---- containers ----

class Container(threading.Thread):
    """Runs its process again and again as the Pod's policy says. What others read of it changes under
    the Pod's lock."""

    def __init__(self, pod, spec, *, is_init=False):
        super().__init__(daemon=True)
        self.pod, self.spec, self.is_init = pod, spec, is_init
        self.name = spec["name"]
        self.process = None
        self.first_pid = None
        self.restart_n = 0
        self.is_started = self.is_ready = False
        self.state = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state = {}
        self.image = None

    # ---- its life ----

    def run(self):
        delay = 0.0
        while self._begin():
            code = self.process.wait()
            self._end(code if code >= 0 else 128 - code)
            if not self._wants_restart(code):
                return
            delay = min(RESTART_MAX_S, max(0.5, 2 * delay))
            if self.pod.leaving.wait(delay):
                return
            self.restart_n += 1

    def is_done(self):
        return "terminated" in self.state and not self.is_alive()

    def _wants_restart(self, code):
        if self.pod.leaving.is_set():
            return False
        policy = self.pod.item["spec"].get("restartPolicy", "Always")
        if self.is_init:
            return code != 0 and policy != "Never"
        wants = policy == "Always" or (policy == "OnFailure" and code != 0)
        if wants:
            self._set(state={"waiting": {"reason": "CrashLoopBackOff"}})
        return wants

    def _begin(self):
        """False when the Pod is to end before there is a process."""
        while not self.pod.leaving.is_set():
            try:
                self._spawn()
                break
            except MissingError as error:
                self._set(state={"waiting": {"reason": "CreateContainerConfigError",
                                             "message": str(error)}})
            except KeyError:
                self._set(state={"waiting": {"reason": "ErrImagePull",
                                             "message": f"no image {self.spec['image']}"}})
            except OSError:
                traceback.print_exc()
            self.pod.leaving.wait(RETRY_S)
        else:
            return False
        self._set(state={"running": {"startedAt": now()}})
        self._start_probes()
        return True

    def _spawn(self):
        specification = self.pod.path(f"{self.name}.json")
        with open(specification, "w", encoding="utf-8") as file:
            json.dump(self._specification(), file)
        command = [] if self.pod.is_on_host else \
            ["nsenter", f"--net=/run/netns/{Network.name(self.pod.address)}"]
        command += ["unshare", *NAMESPACES, sys.executable, "-I", os.path.join(HERE, "container.py"),
                    specification]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True)
        threading.Thread(target=self._keep_log, args=(self.process.stdout,), daemon=True).start()
        self.first_pid = self._find_first()

    def _keep_log(self, pipe):
        with open(self.pod.path(f"{self.name}.log"), "ab", buffering=0) as log, pipe:
            while True:
                piece = pipe.read1(65536)
                if not piece:
                    return
                log.write(piece)

    def _find_first(self):
        """unshare waits for it and does nothing else; it is the one that gets signals."""
        pid = self.process.pid
        while self.process.poll() is None:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                found = file.read().split()
            if found:
                with open(self.pod.path(f"{self.name}.pid"), "w", encoding="ascii") as file:
                    file.write(found[0])
                return int(found[0])
            time.sleep(0.002)
        return None

    def _end(self, code):
        ended = {"exitCode": code, "finishedAt": now(),
                 "startedAt": self.state.get("running", {}).get("startedAt"),
                 "reason": "Completed" if code == 0 else "Error"}
        self._set(state={"terminated": ended}, last_state={"terminated": ended}, is_ready=False,
                  is_started=False)

    def _set(self, **changes):
        with self.pod.lock:
            for name, value in changes.items():
                setattr(self, name, value)
        self.pod.wake()

    def send(self, number):
        if self.first_pid and self.process.poll() is None:
            try:
                os.kill(self.first_pid, number)
            except ProcessLookupError:
                pass

    def execute(self, command, timeout):
        """Exit status of a command in the container; None when it took too long."""
        try:
            return subprocess.run(
                ["nsenter", "--target", str(self.first_pid), "--mount", "--net", "--pid", "--uts",
                 "--root", "--wd", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, timeout=timeout, check=False).returncode
        except subprocess.TimeoutExpired:
            return None

    # ---- probes ----

    def _start_probes(self):
        startup, ready, live = (self.spec.get(f"{kind}Probe")
                                for kind in ("startup", "readiness", "liveness"))
        process = self.process
        started = threading.Event()

        def on_startup(is_good):
            if is_good:
                started.set()
                self._set(is_started=True, is_ready=not ready)
            else:
                self._restart(process)

        if self.is_init:
            return
        if startup:
            Probe(self, startup, on_startup, is_once=True).start()
        else:
            started.set()
            self._set(is_started=True, is_ready=not ready)
        if ready:
            Probe(self, ready, lambda is_good: self._set_ready(process, is_good), after=started,
                  is_good=False).start()
        if live:
            Probe(self, live, lambda is_good: is_good or self._restart(process),
                  after=started, ends_with_pod=True).start()

    def _set_ready(self, process, is_good):
        if process is self.process and process.poll() is None:
            self._set(is_ready=is_good)

    def _restart(self, process):
        if process is self.process and not self.pod.leaving.is_set():
            self.send(signal.SIGTERM)
            try:
                process.wait(self.pod.item["spec"].get("terminationGracePeriodSeconds", 30))
            except subprocess.TimeoutExpired:
                self.send(signal.SIGKILL)

    # ---- its specification ----

    def _specification(self):
        """For container.py. Raises KeyError (no such image) or MissingError."""
        self.image = self.pod.kubelet.image(self.spec["image"])
        pod, item = self.pod, self.pod.item
        security = {**item["spec"].get("securityContext", {}), **self.spec.get("securityContext", {})}
        user = (self.image["user"] or "0").split(":")
        capabilities = security.get("capabilities", {})
        kept = set() if "ALL" in capabilities.get("drop", []) else \
            USUAL - set(capabilities.get("drop", []))
        uid = security.get("runAsUser", int(user[0]))
        if security.get("runAsNonRoot") and uid == 0:
            raise MissingError("runAsNonRoot is set, and the image would run as root")
        environment = self._environment()
        command = self.spec.get("command") or self.image["entrypoint"]
        arguments = self.spec.get("args") or ([] if self.spec.get("command") else self.image["cmd"])
        group = security.get("fsGroup")
        return {
            "scratch": pod.path(f"{self.name}.root"), "root": self.image["root"],
            "binds": self.image["binds"], "mounts": self._mounts(), "etc": pod.etc_files(),
            "hostname": item["spec"].get("hostname", item["metadata"]["name"])[:63],
            "command": [expand(word, environment) for word in [*command, *arguments]],
            "environment": environment, "directory": self.spec.get("workingDir"),
            "uid": uid, "gid": security.get("runAsGroup", int(user[1]) if len(user) > 1 else 0),
            "groups": [*security.get("supplementalGroups", []), *([] if group is None else [group])],
            "capabilities": sorted(kept | set(capabilities.get("add", []))),
            "has_no_new_privileges": security.get("allowPrivilegeEscalation") is False,
            "is_root_read_only": security.get("readOnlyRootFilesystem", False)}

    def _mounts(self):
        mounts = []
        for mount in self.spec.get("volumeMounts", []):
            source = self.pod.volumes.source(self.pod.item, mount["name"])
            if mount.get("subPath"):
                source = os.path.realpath(os.path.join(source, mount["subPath"]))
            mounts.append({"source": source, "target": os.path.normpath(mount["mountPath"]),
                           "is_read_only": mount.get("readOnly", False)})
        return sorted(mounts, key=lambda mount: mount["target"])

    def _environment(self):
        host, port = self.pod.kubelet.api.host, str(self.pod.kubelet.api.port)
        values = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                  "HOSTNAME": self.pod.item["metadata"]["name"], "KUBERNETES_SERVICE_HOST": host,
                  "KUBERNETES_SERVICE_PORT": port, "KUBERNETES_SERVICE_PORT_HTTPS": port,
                  **self.image["env"]}
        for source in self.spec.get("envFrom", []):
            values.update({source.get("prefix", "") + name: content.decode()
                           for name, (content, _) in self._all_of(source).items()})
        for variable in self.spec.get("env", []):
            value = self._value_of(variable, values)
            if value is not None:
                values[variable["name"]] = value
        return values

    def _all_of(self, source):
        volumes, item = self.pod.volumes, self.pod.item
        if "configMapRef" in source:
            return volumes.files_of_config_map(item, source["configMapRef"])
        return volumes.files_of_secret(item, source["secretRef"])

    def _value_of(self, variable, values):
        source = variable.get("valueFrom")
        if source is None:
            return expand(variable.get("value", ""), values)
        if "fieldRef" in source:
            return field_of(self.pod.item_with_address(), source["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in source:
            return self._resource(source["resourceFieldRef"]["resource"])
        (kind, reference), = source.items()
        found = self._all_of({kind.replace("KeyRef", "Ref"): reference}).get(reference["key"])
        if found is None and not reference.get("optional"):
            raise MissingError(f"no key {reference['key']} in {reference['name']}")
        return None if found is None else found[0].decode()

    def _resource(self, name):
        where, what = name.split(".", 1)
        text = self.spec.get("resources", {}).get(where, {}).get(what, "0")
        units = {"m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9}
        unit = next((unit for unit in ("Ki", "Mi", "Gi", "m", "k", "M", "G")
                     if text.endswith(unit)), "")
        number = float(text.removesuffix(unit)) * units.get(unit, 1)
        return str(int(-(-number // 1)))

    # ---- its status ----

    def status(self):
        reported = {"name": self.name, "image": self.spec["image"], "imageID": self.spec["image"],
                    "ready": self.is_ready, "started": self.is_started, "state": self.state,
                    "restartCount": self.restart_n, "lastState": self.last_state}
        if self.is_init:
            reported["ready"] = self.state.get("terminated", {}).get("exitCode") == 0
        return reported


def expand(text, values):
    """$(NAME) of a container's command and environment."""
    for name, value in values.items():
        text = text.replace(f"$({name})", value)
    return text


# ---- Pods ----

class Pod(threading.Thread):
    def __init__(self, kubelet, item, node):
        super().__init__(daemon=True)
        self.kubelet, self.item, self.node = kubelet, item, node
        meta = item["metadata"]
        self.label = f"{meta['namespace']}/{meta['name']}"
        self.directory = os.path.join(kubelet.directory,
                                      f"{meta['namespace']}_{meta['name']}_{meta['uid']}")
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.is_changed = False
        self.leaving = threading.Event()
        self.is_gone = False        # from the API
        self.is_on_host = item["spec"].get("hostNetwork", False)
        self.address = None
        self.started_at = now()
        self.volumes = Volumes(kubelet, self.path("volumes"))
        self.init_containers = [Container(self, spec, is_init=True)
                                for spec in item["spec"].get("initContainers", [])]
        self.containers = [Container(self, spec) for spec in item["spec"]["containers"]]
        self.is_initialized = not self.init_containers
        self.host_ports = []
        self.reported = None
        self.transitions = {}       # type of a condition -> (status, since)

    def path(self, name):
        return os.path.join(self.directory, name)

    # ---- what happens to it ----

    def update(self, item):
        """The API server has a new version."""
        with self.lock:
            self.item = item
            if "deletionTimestamp" in item["metadata"]:
                self.leaving.set()
            self.wake()

    def remove(self):
        """It is not in the API any more."""
        with self.lock:
            self.is_gone = True
            self.leaving.set()
            self.wake()

    def wake(self):
        with self.lock:
            self.is_changed = True
            self.changed.notify_all()

    def wait_for_change(self, timeout=None):
        with self.lock:
            if not self.is_changed:
                self.changed.wait(timeout)
            self.is_changed = False

    # ---- its life ----

    def run(self):
        try:
            self._live()
        except Exception:  # pylint: disable=broad-except
            traceback.print_exc() # kubelet.log is where to look; the other Pods go on
        try:
            self._end()
        except Exception:  # pylint: disable=broad-except
            traceback.print_exc()
        self.kubelet.forget(self)

    def _live(self):
        os.makedirs(self.directory, exist_ok=True)
        if self.is_on_host:
            self.address = self.node["address"]
        else:
            self.address = self.kubelet.network.take()
            self.kubelet.network.open(self.address)
            self._open_host_ports()
        self._set_up_volumes()
        for container in self.init_containers:
            if not self._run_init(container):
                break
        else:
            self.is_initialized = True
            if not self.leaving.is_set():
                for container in self.containers:
                    container.start()
        while not self.leaving.is_set():
            self.report()
            self.wait_for_change()

    def _open_host_ports(self):
        """A port that is another Pod's is waited for: a real scheduler would have done that."""
        for port in (p for c in self.containers for p in c.spec.get("ports", []) if "hostPort" in p):
            while not self.leaving.is_set():
                try:
                    self.host_ports.append(HostPort(self.node["address"], port["hostPort"],
                                                    self.address, port["containerPort"]))
                    break
                except OSError:
                    self.leaving.wait(RETRY_S)

    def _set_up_volumes(self):
        while not self.leaving.is_set():
            try:
                self.volumes.set_up(self.item)
                return
            except (MissingError, OSError) as error:
                print(f"{self.label}: {error}", flush=True)
            self.report()
            self.leaving.wait(RETRY_S)

    def _run_init(self, container):
        if self.leaving.is_set():
            return False
        container.start()
        while not container.is_done() and not self.leaving.is_set():
            self.report()
            self.wait_for_change(1)
        return container.state.get("terminated", {}).get("exitCode") == 0

    def refresh_volumes(self, is_forced):
        if is_forced:
            self.volumes.forget_tokens()
        try:
            self.volumes.set_up(self.item)
        except (MissingError, OSError) as error:
            print(f"{self.label}: {error}", flush=True)

    # ---- its end ----

    def _end(self):
        running = [c for c in self.init_containers + self.containers if c.process]
        began = time.monotonic()
        stoppers = [threading.Thread(target=self._stop, args=(container, began), daemon=True)
                    for container in running]
        for thread in stoppers:
            thread.start()
        while any(thread.is_alive() for thread in stoppers):
            self.report()
            self.wait_for_change(0.2)
        for container in running:
            container.join()
        self.report()
        for host_port in self.host_ports:
            host_port.close()
        if self.address and not self.is_on_host:
            self.kubelet.network.close(self.address)
        meta = self.item["metadata"]
        if not self.is_gone:
            patiently(lambda: self.kubelet.api.delete(
                "Pod", meta["name"], meta["namespace"], gracePeriodSeconds=0,
                preconditions={"uid": meta["uid"]}), is_over=lambda: self.is_gone)
        for container in running:
            shutil.rmtree(self.path(f"{container.name}.root"), ignore_errors=True)

    def _grace(self):
        meta = self.item["metadata"]
        return 0 if self.is_gone else meta.get(
            "deletionGracePeriodSeconds", self.item["spec"].get("terminationGracePeriodSeconds", 30))

    def _stop(self, container, began):
        self._run_pre_stop(container)
        container.send(signal.SIGTERM)
        while container.process.poll() is None:
            if time.monotonic() >= began + self._grace():
                container.send(signal.SIGKILL)
            time.sleep(0.02)

    def _run_pre_stop(self, container):
        hook = container.spec.get("lifecycle", {}).get("preStop", {})
        if "exec" in hook:
            container.execute(hook["exec"]["command"], timeout=max(1, self._grace()))
        elif "sleep" in hook:
            time.sleep(min(hook["sleep"]["seconds"], self._grace()))

    # ---- what the API server hears of it ----

    def item_with_address(self):
        status = {"podIP": self.address, "hostIP": self.node["address"],
                  "podIPs": self.address, "hostIPs": self.node["address"]}
        return {**self.item, "status": {**self.item.get("status", {}), **status}}

    def etc_files(self):
        meta = self.item["metadata"]
        return {"hosts": f"127.0.0.1\tlocalhost\n{self.address}\t{meta['name']}\n",
                "hostname": meta["name"] + "\n",
                "resolv.conf": f"nameserver {API_ADDRESS}\nsearch {meta['namespace']}.svc."
                               "cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"}

    def _phase(self):
        states = [container.state for container in self.containers]
        if any("running" in state for state in states):
            return "Running"
        init = [c.state.get("terminated", {}).get("exitCode", 0) for c in self.init_containers
                if c.is_done()]
        if all("terminated" in state for state in states) and \
                all(container.is_done() for container in self.containers):
            is_good = all(state["terminated"]["exitCode"] == 0 for state in states)
            return "Succeeded" if is_good else "Failed"
        if any(init):
            return "Failed"
        return "Running" if any(c.restart_n or c.last_state for c in self.containers) else "Pending"

    def _conditions(self, phase):
        are_ready = bool(self.containers) and all(c.is_ready for c in self.containers)
        gates = {c["type"]: c["status"] for c in self.item.get("status", {}).get("conditions", [])}
        is_open = all(gates.get(gate["conditionType"]) == "True"
                      for gate in self.item["spec"].get("readinessGates", []))
        has_ended = phase in ("Succeeded", "Failed")
        claims = {"PodScheduled": True, "PodReadyToStartContainers": bool(self.address),
                  "Initialized": self.is_initialized, "ContainersReady": are_ready and not has_ended,
                  "Ready": are_ready and is_open and not has_ended}
        conditions = []
        for name, is_true in claims.items():
            status = "True" if is_true else "False"
            if self.transitions.get(name, (None, None))[0] != status:
                self.transitions[name] = (status, now())
            conditions.append({"type": name, "status": status,
                               "lastTransitionTime": self.transitions[name][1]})
        return conditions

    def report(self):
        """Tells the API server what is new; waits for it while it is away."""
        with self.lock:
            phase = self._phase()
            status = {"phase": phase, "conditions": self._conditions(phase),
                      "hostIP": self.node["address"], "startTime": self.started_at,
                      "hostIPs": [{"ip": self.node["address"]}],
                      "containerStatuses": [c.status() for c in self.containers]}
            if self.address:
                status.update(podIP=self.address, podIPs=[{"ip": self.address}])
            if self.init_containers:
                status["initContainerStatuses"] = [c.status() for c in self.init_containers]
            text = json.dumps(status)
        if text == self.reported or self.is_gone:
            return
        meta = self.item["metadata"]
        change = {"metadata": {"uid": meta["uid"]}, "status": replace_states(status)}
        patiently(lambda: self.kubelet.api.patch(
            "Pod", meta["name"], change, meta["namespace"], subresource="status",
            content_type=STRATEGIC), is_over=lambda: self.is_gone)
        self.reported = text


def replace_states(status):
    """A strategic merge would leave the old state of a container beside the new one."""
    changed = json.loads(json.dumps(status))
    for kind in ("containerStatuses", "initContainerStatuses"):
        for item in changed.get(kind, []):
            for state in ("state", "lastState"):
                item[state] = {"waiting": None, "running": None, "terminated": None, **item[state]}
    return changed


# ---- all of them ----

class Kubelet:
    def __init__(self, config):
        self.api = Api(config["host"], config["port"], config["authority"], config["certificate"],
                       agent="e2e-kubelet")
        self.nodes = {node["name"]: node for node in config["nodes"]}
        self.directory, self.image_file = config["directory"], config["images"]
        self.network = Network()
        self.pods = {}
        self.placed = {}  # uid -> (uid of its controller, node), of Pods that were bound by us
        self.lock = threading.Lock()
        self.refresh = threading.Event()

    def run(self):
        threading.Thread(target=self._keep_nodes, daemon=True).start()
        threading.Thread(target=self._keep_volumes, daemon=True).start()
        self.api.follow("Pod", self.on_list, self.on_event)

    def image(self, reference):
        """By its full name, or by the end of it without registry, tag and digest."""
        with open(self.image_file, encoding="utf-8") as file:
            images = json.load(file)
        name = reference.split("@")[0]
        head, _, last = name.rpartition("/")
        name = f"{head}/{last.split(':')[0]}".lstrip("/")
        for key in (reference, name, "/".join(name.split("/")[-2:]), name.split("/")[-1]):
            if key in images:
                return images[key]
        raise KeyError(reference)

    # ---- nodes ----

    def _keep_nodes(self):
        for node in self.nodes.values():
            patiently(lambda node=node: self._register(node))
        while True:
            for node in self.nodes.values():
                patiently(lambda node=node: self._renew(node))
            time.sleep(LEASE_S)

    def _register(self, node):
        name, zone = node["name"], node["zone"]
        self.api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "region"}}},
            manager="e2e-kubelet")
        self.api.patch("Node", name, {"status": {
            "addresses": [{"type": "InternalIP", "address": node["address"]},
                          {"type": "Hostname", "address": name}],
            "capacity": {"cpu": "2", "memory": "8Gi", "pods": "1000"},
            "allocatable": {"cpu": "2", "memory": "8Gi", "pods": "1000"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                            "lastHeartbeatTime": now(), "lastTransitionTime": now()}]}},
            subresource="status")

    def _renew(self, node):
        moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.api.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                        "metadata": {"name": node["name"], "namespace": "kube-node-lease"},
                        "spec": {"holderIdentity": node["name"], "leaseDurationSeconds": 40,
                                 "renewTime": moment}}, manager="e2e-kubelet")
        ready = [c for c in self.api.get("Node", node["name"])["status"].get("conditions", [])
                 if c["type"] == "Ready"]
        if not ready or ready[0]["status"] != "True": # it was taken for dead meanwhile
            self._register(node)

    # ---- Pods ----

    def on_list(self, items):
        there = {item["metadata"]["uid"] for item in items}
        for uid, pod in list(self.pods.items()):
            if uid not in there:
                pod.remove()
        for item in items:
            self.on_event("MODIFIED", item)

    def on_event(self, what, item):
        uid = item["metadata"]["uid"]
        with self.lock:
            pod = self.pods.get(uid)
        if what == "DELETED":
            self.placed.pop(uid, None)
            if pod:
                pod.remove()
        elif pod:
            pod.update(item)
        elif not item["spec"].get("nodeName"):
            self._place(item)
        elif item["spec"]["nodeName"] in self.nodes:
            self._adopt(item)

    def forget(self, pod):
        with self.lock:
            self.pods.pop(pod.item["metadata"]["uid"], None)

    def _adopt(self, item):
        if item.get("status", {}).get("phase") in ("Succeeded", "Failed") and \
                "deletionTimestamp" not in item["metadata"]:
            return
        pod = Pod(self, item, self.nodes[item["spec"]["nodeName"]])
        with self.lock:
            self.pods[item["metadata"]["uid"]] = pod
        if "deletionTimestamp" in item["metadata"]:
            pod.leaving.set()
        pod.start()

    def _place(self, item):
        """The scheduler's part: of the nodes that may be, the one with the fewest Pods of the same
        controller, and then with the fewest."""
        if "deletionTimestamp" in item["metadata"]:
            return
        allowed = [name for name in self.nodes if may_run_on(item, self.nodes[name])]
        if not allowed:
            print(f"no node for {item['metadata']['name']}", flush=True)
            return
        meta, taken = item["metadata"], list(self.placed.values())
        owner = next((o["uid"] for o in meta.get("ownerReferences", [])), meta["uid"])
        name = min(allowed, key=lambda node: (taken.count((owner, node)),
                                              [n for _, n in taken].count(node)))
        self.placed[meta["uid"]] = (owner, name)
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]},
                   "target": {"apiVersion": "v1", "kind": "Node", "name": name}}
        patiently(lambda: self.api.request("POST", self.api.path(
            "Pod", meta["name"], meta["namespace"], "binding"), binding))

    # ---- volumes ----

    def _keep_volumes(self):
        while True:
            is_forced = self.refresh.wait(REFRESH_S)
            self.refresh.clear()
            with self.lock:
                pods = list(self.pods.values())
            for pod in pods:
                if not pod.leaving.is_set():
                    pod.refresh_volumes(is_forced)


def may_run_on(item, node):
    labels = {"kubernetes.io/hostname": node["name"], "kubernetes.io/os": "linux",
              "topology.kubernetes.io/zone": node["zone"]}
    spec = item["spec"]
    if any(labels.get(key) != value for key, value in spec.get("nodeSelector", {}).items()):
        return False
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    # What the DaemonSet controller writes; and labels.
    return any(all(matches(node["name"] if is_field else labels.get(rule["key"]), rule)
                   for is_field, kind in ((True, "matchFields"), (False, "matchExpressions"))
                   for rule in term.get(kind, []))
               for term in required["nodeSelectorTerms"])


def matches(value, rule):
    operator = rule["operator"]
    return {"In": value in rule.get("values", []), "NotIn": value not in rule.get("values", []),
            "Exists": value is not None, "DoesNotExist": value is None}[operator]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        kubelet = Kubelet(json.load(file))
    signal.signal(signal.SIGHUP, lambda *_: kubelet.refresh.set())
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    kubelet.run()


if __name__ == "__main__":
    main()
