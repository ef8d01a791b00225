"""The chart in the hands of Helm, its pods in the hands of a kubelet, and the kubectl plugin."""
import json
import os
import re
from http.client import HTTPConnection, HTTPSConnection

import pytest
import yaml

from lib.lintel import ROOT
from lib.manifests import app, dump_yaml, ingress, ingress_class, rule
from lib.process import children_of, program_of
from lib.tls import context
from e2e.lib.cluster import BUILD
from e2e.lib.objects import plain

CHART = f"{ROOT}/charts/lintel"

# Everything that can be switched on, in two sets because some of it excludes the rest.
EVERYTHING = """
commonLabels: {team: edge}
imagePullSecrets: [{name: pull}]
controller:
  kind: Both
  config: {keep-alive: 75, use-forwarded-headers: "true"}
  workers: 2
  ingressClassByName: true
  watchIngressWithoutClass: true
  ingressClassResource: {default: true, annotations: {a: b}}
  scope: {enabled: true, namespaceSelector: "team in (a,b)"}
  reportNodeInternalIp: true
  electionTTL: 20s
  dnsConfig: {options: [{name: ndots, value: "1"}]}
  hostAliases: [{ip: 10.0.0.1, hostnames: [one.test]}]
  sysctls: {net.ipv4.ip_local_port_range: "1024 65000"}
  minReadySeconds: 5
  extraEnvs: [{name: A, value: b}]
  extraVolumes: [{name: more, emptyDir: {}}]
  extraVolumeMounts: [{name: more, mountPath: /more}]
  extraContainers: [{name: side, image: side}]
  extraArgs: {access-log: json, disable-svc-external-name: "", default-ssl-certificate: certs/any}
  tolerations: [{operator: Exists}]
  affinity: {nodeAffinity: {}}
  priorityClassName: system-cluster-critical
  podAnnotations: {a: b}
  podLabels: {c: d}
  service:
    annotations: {a: b}
    externalTrafficPolicy: Local
    loadBalancerSourceRanges: [10.0.0.0/8]
    nodePorts: {http: 30080, https: "30443"}
    appProtocol: true
    internal: {enabled: true, annotations: {internal: "true"}, nodePorts: {https: 30444}}
  autoscaling: {enabled: true, targetMemoryUtilizationPercentage: 80}
  networkPolicy: {enabled: true}
  metrics: {enabled: true}
  admissionWebhooks: {enabled: true, failurePolicy: Fail, objectSelector: {matchLabels: {a: b}}}
"""
THE_REST = """
fullnameOverride: edge
controller:
  image: {registry: example.test, tag: "1", digest: ""}
  replicaCount: 1
  publishStatusAddress: 192.0.2.1
  publishService: {enabled: false}
  disableLeaderElection: true
  scope: {enabled: true, namespace: team-a}
  hostNetwork: true
  updateStrategy: {type: Recreate}
  topologySpreadConstraints:
    - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}
  service: {type: NodePort, clusterIP: 10.96.7.7, sessionAffinity: ClientIP, enableHttp: false}
  extraArgs: {default-ssl-certificate: $(POD_NAMESPACE)/any}
  admissionWebhooks: {enabled: true, existingSecret: certificate, caBundle: Q0E=}
serviceAccount: {name: me}
rbac: {scope: true}
"""


@pytest.fixture
def values(tmp_path):
    """A function from text to the path of a file with it."""
    def write(text):
        path = tmp_path / "values.yaml"
        path.write_text(text)
        return path
    return write


def render(cluster, *arguments):
    done = cluster.helm("template", "lintel", CHART, "--namespace", "edge", *arguments)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def find(objects, kind):
    return [each for each in objects if each["kind"] == kind]


def test_deploy_is_what_the_chart_gives(cluster):
    cluster.run("/usr/bin/python3", f"{ROOT}/scripts/chart", "--check",
                environment={"HELM": cluster.program("helm")})


# ---- values ----

@pytest.mark.parametrize("text", [EVERYTHING, THE_REST], ids=["everything", "the rest"])
def test_the_api_server_takes_whatever_is_switched_on(cluster, namespace, values, text):
    """With every field known to it: validation is strict."""
    objects = render(cluster, "--namespace", namespace, "--values", values(text),
                     "--set", f"controller.scope.namespace={namespace}"
                     if "team-a" in text else "nameOverride=")
    path = values(yaml.safe_dump_all(objects))
    done = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", path)
    assert done.stdout.count("created (server dry run)") == len(objects) >= 9


@pytest.mark.parametrize("text", [EVERYTHING, THE_REST], ids=["everything", "the rest"])
def test_lintel_knows_every_option_that_is_rendered(cluster, values, text):
    """Everything before --help is parsed."""
    for kind in ("Deployment", "DaemonSet"):
        for workload in find(render(cluster, "--values", values(text)), kind):
            container = workload["spec"]["template"]["spec"]["containers"][0]
            arguments = [text.replace("$(POD_NAMESPACE)", "edge") for text in container["args"]]
            cluster.run(os.path.join(BUILD, "lintel"), "run", *arguments, "--help")


def test_metrics_objects_of_the_prometheus_operator(cluster):
    objects = render(cluster, "--set", "controller.metrics.serviceMonitor.enabled=true",
                     "--set", "controller.metrics.prometheusRule.enabled=true")
    monitor, = find(objects, "ServiceMonitor")
    service, = [each for each in find(objects, "Service")
                if each["metadata"]["name"].endswith("-metrics")]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert len(find(objects, "PrometheusRule")) == 1


@pytest.mark.parametrize("setting, words", [
    ("tcp.5432=db/pg:5432", ["tcp", "plain TCP"]),
    ("controller.allowSnippetAnnotations=true", ["allowSnippetAnnotations", "lintel check"]),
    ("dhParam=QUJD", ["dhParam", "elliptic curves"]),
    ("controller.service.enableHttp=false,controller.service.enableHttps=false", ["enableHttp"]),
    ("controller.containerPort.https=8080", ["containerPort.https", "containerPort.http,"]),
    ("controller.containerPort.http=10254", ["containerPort.http", "health"]),
    ("controller.admissionWebhooks.enabled=true,controller.admissionWebhooks.port=8443",
     ["containerPort.https", "admissionWebhooks.port"]),
    ("rbac.scope=true,controller.scope.enabled=true,controller.extraArgs.default-ssl-certificate=a/b",
     ["default-ssl-certificate", "namespaces default and"]),
    ("rbac.scope=true,controller.scope.enabled=true,controller.scope.namespace=a,"
     "controller.extraArgs.ssl-session-ticket-secret=b/keys",
     ["ssl-session-ticket-secret", "namespaces a, default and"]),
    ("defaultBackend.enabled=true", ["defaultBackend.enabled", "default-backend-service"]),
    ("controller.opentelemetry.enabled=true", ["opentelemetry", "tracing"]),
    ("controller.extraArgs.https-port=8443", ["extraArgs.https-port", "--https-port=8443"]),
    ("controller.ingressClassByName=true,controller.extraArgs.ingress-class-by-name=",
     ["extraArgs.ingress-class-by-name", "--ingress-class-by-name."]),
    ("controller.replicaCuont=3", ["replicaCuont"]),
    ("controller.kind=StatefulSet", ["kind", "DaemonSet"]),
    ("controller.replicaCount=many", ["replicaCount", "integer"]),
    ("rbac.scope=true", ["rbac.scope", "controller.scope.enabled"]),
    ("controller.terminationGracePeriodSeconds=20", ["terminationGracePeriodSeconds", "10 s"]),
])
def test_values_that_cannot_be_meant_are_refused(cluster, setting, words):
    done = cluster.helm("template", "lintel", CHART, "--set", setting, check=1)
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_values_file_of_ingress_nginx(cluster, values):
    """As people have them: what is empty or the default there is no obstacle; what has no effect is
    told."""
    path = values("""
tcp: {}
udp: {}
revisionHistoryLimit: 10
controller:
  replicaCount: 3
  allowSnippetAnnotations: false
  addHeaders: {}
  lifecycle: {preStop: {exec: {command: [/wait-shutdown]}}}
  containerPort: {http: 8080, https: 8443}
  opentelemetry: {enabled: false}
  service: {enableHttps: true, targetPorts: {http: http, https: https},
            nodePorts: {http: "", https: "", tcp: {}, udp: {}}}
  extraArgs: {default-ssl-certificate: certs/any, enable-ssl-passthrough: "false", v: 2, profiling: ""}
  admissionWebhooks: {enabled: true, certManager: {enabled: false}, patch: {enabled: true}}
defaultBackend: {enabled: false}
""")
    done = cluster.helm("install", "lintel", CHART, "--dry-run=client", "--values", path)
    notes = done.stdout[done.stdout.index("NOTES:"):]
    for name in ("controller.lifecycle", "controller.admissionWebhooks.patch",
                 "revisionHistoryLimit", "controller.extraArgs.v", "controller.extraArgs.profiling"):
        assert f"    {name}\n" in notes + "\n"
    assert "controller.addHeaders" not in notes and "Port" not in notes
    assert re.search(r"replicas: 3\n", done.stdout)
    options = set(re.findall(r' - "?--([a-z-]+)', done.stdout))
    assert {"default-ssl-certificate", "enable-ssl-passthrough"} <= options
    assert options.isdisjoint({"v", "profiling"})


# ---- ports and certificates ----

def ports_of(objects, name="lintel"):
    """Of a Service: {port: where it leads}"""
    service, = [each for each in find(objects, "Service") if each["metadata"]["name"] == name]
    return {port["port"]: port["targetPort"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize("settings, ports", [
    ([], {80: "http", 443: "https"}),
    (["enableHttps=false"], {80: "http"}),
    (["enableHttp=false"], {443: "https"}),
    (["targetPorts.https=http"], {80: "http", 443: "http"}), # where the load balancer ends TLS
    (["ports.https=8443", "targetPorts.https=8443"], {80: "http", 8443: 8443}),
], ids=lambda value: ",".join(value) if isinstance(value, list) else "")
def test_ports_of_the_service(cluster, settings, ports):
    """The second Service has them, too."""
    objects = render(cluster, "--set", "controller.service.internal.enabled=true",
                     *(word for text in settings for word in ("--set", f"controller.service.{text}")))
    assert ports_of(objects) == ports_of(objects, "lintel-internal") == ports


def test_the_second_service_may_differ(cluster, values):
    objects = render(cluster, "--values", values("""
controller:
  service:
    nodePorts: {http: 30080, https: 30443}
    internal:
      enabled: true
      type: ClusterIP
      ports: {https: 8443}
      targetPorts: {http: https}
      nodePorts: {http: 30081}
"""))
    assert ports_of(objects) == {80: "http", 443: "https"}
    assert ports_of(objects, "lintel-internal") == {80: "https", 8443: "https"}
    outer, inner = ({port.get("nodePort") for port in service["spec"]["ports"]}
                    for service in find(objects, "Service"))
    assert outer == {30080, 30443} and inner == {None}, "a ClusterIP has none"


def secrets_of(objects):
    """{(namespace of the Role, or None, names of Secrets, verbs)}"""
    return {(role["metadata"].get("namespace"), *(" ".join(rule.get(part, []))
                                                  for part in ("resourceNames", "verbs")))
            for kind in ("ClusterRole", "Role") for role in find(objects, kind)
            for rule in role["rules"] if rule["resources"] == ["secrets"]}


@pytest.mark.parametrize("settings, rights", [
    ("controller.scope.namespace=shop", {(None, "", "get watch")}),
    ("controller.scope.namespace=shop,rbac.scope=true",
     {("shop", "", "get watch"), ("edge", "default-tls", "get watch"), ("edge", "keys", "get watch")}),
    ("rbac.scope=true", {("edge", "", "get watch")}),
])
@pytest.mark.parametrize("own", ["edge", "$(POD_NAMESPACE)"])
def test_secrets_that_options_name_may_be_read(cluster, settings, rights, own):
    """Wherever they are; with Roles alone only in our own namespace and the one that is served."""
    objects = render(cluster, "--set", f"controller.scope.enabled=true,{settings},"
                     f"controller.extraArgs.default-ssl-certificate={own}/default-tls,"
                     f"controller.extraArgs.ssl-session-ticket-secret={own}/keys")
    assert secrets_of(objects) == rights
    deployment, = find(objects, "Deployment")
    assert f"--default-ssl-certificate={own}/default-tls" in \
        deployment["spec"]["template"]["spec"]["containers"][0]["args"]


# ---- pods ----

@pytest.fixture(scope="module", name="image")
def fixture_image(cluster):
    cluster.add_lintel_image("lintel-shipped")
    return "lintel-shipped"


def rights_of(pid):
    """(effective capabilities, user)"""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    return int(fields["CapEff"], 16), int(fields["Uid"].split()[0])


# capabilities.h: KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE
FOR_LOW_PORTS = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10
PORTS_AND_RIGHTS = [
    # ports of the container; user and capabilities of the supervisor
    ({"http": 8080, "https": 8443}, 65532, 0),
    ({"http": 80, "https": 8443}, 0, FOR_LOW_PORTS),
    ({"http": 8080, "https": 443}, 0, FOR_LOW_PORTS),
]


@pytest.mark.parametrize("ports, user, capabilities", PORTS_AND_RIGHTS,
                         ids=["8080 8443", "80 8443", "8080 443"])
def test_pods_of_the_chart_serve_and_drain(cluster, namespace, image, ports, user, capabilities):
    """The pod template as it is, but that manifests come from a ConfigMap. Workers never have a
    right, and when it is deleted it ends well and soon."""
    objects = render(cluster, "--namespace", namespace, "--set", f"controller.image.image={image}",
                     "--set", f"controller.containerPort.http={ports['http']}",
                     "--set", f"controller.containerPort.https={ports['https']}",
                     "--set", "controller.shutdownGracePeriodSeconds=1",
                     "--set", "controller.replicaCount=1")
    deployment, = find(objects, "Deployment")
    pod_spec = deployment["spec"]["template"]["spec"]
    container, = pod_spec["containers"]
    container["args"] = [text for text in container["args"] if re.match(
        "--(https?-port|snapshot-file|shutdown-grace-period|drain-timeout)=", text)]
    container["args"] += ["--manifests=/manifests", "--workers=1"]
    container["volumeMounts"].append({"name": "manifests", "mountPath": "/manifests"})
    pod_spec["volumes"].append({"name": "manifests", "configMap": {"name": "manifests"}})
    redirect = ingress("a", rule("a.test", ("/", "Prefix", "app:80")), annotations={
        "nginx.ingress.kubernetes.io/permanent-redirect": "http://b.test/"})
    cluster.api.apply(
        plain("ConfigMap", "manifests", namespace, data={
            "all.yaml": dump_yaml([ingress_class(), redirect, *app("app", 8080, "10.244.9.9")])}),
        *find(objects, "ServiceAccount"), deployment)
    pod, = cluster.wait_ready(1, namespace, **{"app.kubernetes.io/name": "lintel"})

    supervisor = cluster.pod_pid(pod)
    assert rights_of(supervisor) == (capabilities, user)
    workers = [pid for pid in children_of(supervisor) if program_of(pid) == "lintel-worker"]
    assert len(workers) == 1
    held, owner = rights_of(workers[0])
    assert held == 0 and owner != 0
    assert "protection" not in cluster.pod_log(pod), "a part of the sandbox was not to be had"
    address = pod["status"]["podIP"]
    assert fetch_at(HTTPConnection(address, ports["http"], timeout=10)) == 301
    # Clients of a host that nobody has a certificate for get one that nobody trusts.
    assert fetch_at(HTTPSConnection(address, ports["https"], timeout=10, context=context())) == 301

    cluster.kubectl("delete", "pod", pod["metadata"]["name"], "-n", namespace, "--wait=false")
    cluster.wait(lambda: not os.path.exists(f"/proc/{supervisor}"), "the end of the pod", timeout=15)
    assert "drained, bye" in cluster.pod_log(pod)


def fetch_at(connection):
    try:
        connection.request("GET", "/", headers={"Host": "a.test"})
        return connection.getresponse().status
    finally:
        connection.close()


# ---- kubectl ----

@pytest.fixture(scope="module", name="plugin_path")
def fixture_plugin_path(tmp_path_factory):
    """PATH with the plugin, as an installation makes it."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("kubectl-lintel", "kubectl_complete-lintel"):
        (folder / name).symlink_to(os.path.join(BUILD, "lintel"))
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_kubectl_finds_the_plugin(cluster, plugin_path):
    done = cluster.kubectl("plugin", "list", environment=plugin_path)
    assert "kubectl-lintel" in done.stdout
    done = cluster.kubectl("lintel", "version", "-o", "json", environment=plugin_path)
    assert json.loads(done.stdout)["version"]
    done = cluster.kubectl("lintel", "explain", check=2, environment=plugin_path)
    assert "kubectl lintel explain: URL is missing" in done.stderr


@pytest.mark.parametrize("words, answer", [
    (["lintel", "exp"], "explain"),
    (["lintel", "explain", "--serv"], "--server"),
    (["lintel", "explain", "-o", "js"], "json"),
])
def test_kubectl_completes_the_plugin(cluster, plugin_path, words, answer):
    done = cluster.kubectl("__complete", *words, environment=plugin_path)
    lines = done.stdout.splitlines()
    assert lines[0].split("\t")[0] == answer and lines[-1] == ":4"
