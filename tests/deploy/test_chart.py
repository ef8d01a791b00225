"""The manifests of deploy/ and the chart's own tables, without Helm and without a cluster; with both:
tests/e2e/test_deploy.py."""
import glob
import os
import re
import subprocess
import sys

import pytest
import yaml
from lib.lintel import ROOT, command

VARIANTS = ["deployment", "daemonset", "namespaced", "webhook"]
PORT_NEEDS_ROOT_BELOW = 1024
PORTS_OF_CLIENTS = {"http": 80, "https": 443}


def read(path):
    with open(f"{ROOT}/{path}", encoding="utf-8") as file:
        return file.read()


def objects_of(variant):
    return [each for each in yaml.safe_load_all(read(f"deploy/{variant}.yaml")) if each]


def find(objects, *kinds):
    return [each for each in objects if each["kind"] in kinds]


def pod_of(variant):
    workload, = find(objects_of(variant), "Deployment", "DaemonSet")
    return workload["spec"]["template"]["spec"]


def arguments_of(variant):
    """Option: value; those that are switches have none."""
    return dict(text[2:].split("=", 1) for text in pod_of(variant)["containers"][0]["args"]
                if "=" in text)


def options_known():
    return set(re.findall(r"^  (?:-\w, )?--([a-z0-9-]+)", command("run", "--help", check=0).stdout,
                          re.MULTILINE))


def test_what_is_written_from_the_chart_is_up_to_date():
    done = subprocess.run([sys.executable, f"{ROOT}/scripts/chart", "--check", "--no-helm"],
                          text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_variant_has_its_file():
    variants = {os.path.basename(path).removesuffix("-values.yaml")
                for path in glob.glob(f"{ROOT}/charts/lintel/ci/*-values.yaml")}
    assert variants == set(VARIANTS)
    assert {os.path.basename(path) for path in glob.glob(f"{ROOT}/deploy/*.yaml")} == {
        f"{name}.yaml" for name in VARIANTS}


def test_every_option_that_the_chart_can_render_exists():
    text = "".join(read(f"charts/lintel/templates/{name}")
                   for name in os.listdir(f"{ROOT}/charts/lintel/templates"))
    rendered = set(re.findall(r"^ *- \"?--([a-z][a-z0-9-]+)", text, re.MULTILINE))
    assert len(rendered) > 15
    assert rendered - options_known() == set()


def test_options_of_ingress_nginx_are_refused_or_ignored_only_where_lintel_has_none():
    paths = [path for name in ("refused", "ignored")
             for path in yaml.safe_load(read(f"charts/lintel/files/{name}.yaml"))]
    options = {path.removeprefix("controller.extraArgs.") for path in paths
               if path.startswith("controller.extraArgs.")}
    assert len(paths) == len(set(paths)) and len(options) > 20
    assert options & options_known() == set()


@pytest.mark.parametrize("variant", VARIANTS)
def test_lintel_accepts_the_command_line(variant):
    """Everything before --help is parsed."""
    arguments = [text.replace("$(POD_NAMESPACE)", "lintel")
                 for text in pod_of(variant)["containers"][0]["args"]]
    assert len(arguments) >= 5
    command("run", *arguments, "--help", check=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pods_are_restricted(variant):
    """What the restricted level of pod security wants, and a root file system that is read-only."""
    pod = pod_of(variant)
    container, = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]}}
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod)
    assert all(port["containerPort"] >= PORT_NEEDS_ROOT_BELOW for port in container["ports"])
    assert pod["volumes"] == [{"name": "state", "emptyDir": {}}]
    accounts = find(objects_of(variant), "ServiceAccount")
    assert all(each["automountServiceAccountToken"] is False for each in accounts)
    assert pod["automountServiceAccountToken"] is True


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text).group(1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pod_may_drain_before_it_is_killed(variant):
    pod = pod_of(variant)
    arguments = arguments_of(variant)
    grace = seconds(arguments["shutdown-grace-period"])
    probe = pod["containers"][0]["readinessProbe"]
    assert grace > probe["periodSeconds"] * probe["failureThreshold"], "noticed while it serves"
    assert grace + seconds(arguments["drain-timeout"]) < pod["terminationGracePeriodSeconds"]


def test_no_replica_is_missing_during_an_update():
    deployment, = find(objects_of("deployment"), "Deployment")
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget, = find(objects_of("deployment"), "PodDisruptionBudget")
    assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert budget["spec"]["selector"]["matchLabels"] == selector


@pytest.mark.parametrize("variant", VARIANTS)
def test_selectors_and_ports_find_the_pods(variant):
    objects = objects_of(variant)
    workload, = find(objects, "Deployment", "DaemonSet")
    template = workload["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels
    for service in find(objects, "Service"):
        assert service["spec"]["selector"].items() <= labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for policy in find(objects, "NetworkPolicy"):
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports


@pytest.mark.parametrize("variant", VARIANTS)
def test_clients_come_by_both_ports(variant):
    """From 80 and 443, of the Service or of the node, to where Lintel listens."""
    ports = {port["name"]: port for port in pod_of(variant)["containers"][0]["ports"]}
    arguments = arguments_of(variant)
    assert {name: str(ports[name]["containerPort"]) for name in PORTS_OF_CLIENTS} == {
        name: arguments[f"{name}-port"] for name in PORTS_OF_CLIENTS}
    services = [each for each in find(objects_of(variant), "Service")
                if each["metadata"]["name"] == "lintel"]
    outer = ({port["targetPort"]: port["port"] for port in services[0]["spec"]["ports"]} if services
             else {name: port["hostPort"] for name, port in ports.items() if "hostPort" in port})
    assert outer == PORTS_OF_CLIENTS


def test_one_namespace_needs_nothing_of_the_cluster():
    kinds = {each["kind"] for each in objects_of("namespaced")}
    assert kinds & {"Namespace", "ClusterRole", "ClusterRoleBinding", "IngressClass",
                    "ValidatingWebhookConfiguration"} == set()
    assert {each["metadata"]["namespace"] for each in objects_of("namespaced")} == {"lintel"}


def test_one_namespace_is_renamed_as_the_documentation_says():
    assert "sed 's/namespace: lintel$/namespace: NAME/' deploy/namespaced.yaml" in read(
        "docs/install.md")
    text = re.sub("namespace: lintel$", "namespace: team-a", read("deploy/namespaced.yaml"),
                  flags=re.MULTILINE)
    assert "namespace: lintel" not in text
    arguments = find(list(yaml.safe_load_all(text)), "Deployment")[0]["spec"]["template"]["spec"][
        "containers"][0]["args"]
    assert "--watch-namespace=$(POD_NAMESPACE)" in arguments
    assert "--publish-service=$(POD_NAMESPACE)/lintel" in arguments


# ---- roles ----

def rights_of(variant):
    """(where, group, resource, names, verb) for each that the roles grant."""
    rights = set()
    for role in find(objects_of(variant), "Role", "ClusterRole"):
        where = "cluster" if role["kind"] == "ClusterRole" else "own namespace"
        if role["metadata"]["name"].endswith("-watch"):
            where = "cluster"  # takes the place of the ClusterRole
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    rights |= {(where, group or "core", resource,
                                ", ".join(rule.get("resourceNames", [])), verb)
                               for verb in rule["verbs"]}
    return rights


def rights_told():
    """The table of docs/install.md: the same tuples, by the condition under which they are granted."""
    told = {}
    for line in read("docs/install.md").splitlines():
        cells = [cell.strip(" `") for cell in line.split("|")[1:-1]]
        if len(cells) == 7 and cells[0] in ("cluster", "own namespace"):
            where, group, resource, names, verbs, when, why = cells
            assert why, line
            told.setdefault(when, set()).update(
                (where, group, resource, names, verb) for verb in verbs.split(", "))
    return told


# variant: the conditions that hold for it
CONDITIONS = {
    "deployment": {"always", "cluster-wide"},
    "webhook": {"always", "cluster-wide", "webhook"},
    "daemonset": {"always", "cluster-wide"},
    "namespaced": {"always"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_documentation_gives_the_reason_for_each_right(variant):
    told = rights_told()
    wanted = set().union(*(told[when] for when in CONDITIONS[variant]))
    assert rights_of(variant) == wanted


@pytest.mark.parametrize("variant", VARIANTS)
def test_secrets_are_never_listed_and_nothing_is_granted_by_wildcard(variant):
    rights = rights_of(variant)
    assert len(rights) >= 12
    assert {("cluster", "core", "secrets", "", verb) for verb in ("get", "watch")} <= rights
    assert all("*" not in right for right in rights)
    assert {verb for _, _, resource, names, verb in rights
            if resource == "secrets" and not names} <= {"get", "watch", "create"}
