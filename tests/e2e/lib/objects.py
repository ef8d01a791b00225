"""Workloads as dicts; Services, Ingresses and classes are in tests/lib/manifests.py."""

from lib.manifests import metadata

READY = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}


def container(image, name="main", *, env=None, ready=None, ports=(), **fields):
    """env: plain values; fields: as Kubernetes names them."""
    made = {"name": name, "image": image,
            "env": [{"name": key, "value": str(value)} for key, value in (env or {}).items()],
            "ports": [{"containerPort": port} if isinstance(port, int) else port for port in ports],
            **fields}
    if ready:
        made["readinessProbe"] = ready
    return made


def pod_template(name, *containers, labels=None, **spec):
    return {"metadata": {"labels": {"app": name, **(labels or {})}},
            "spec": {"containers": list(containers), **spec}}


def deployment(name, *containers, replicas=1, namespace="default", strategy=None, labels=None,
               **spec):
    """spec: of its Pods."""
    made = {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name, *containers, labels=labels, **spec)}
    if strategy:
        made["strategy"] = {"type": "RollingUpdate", "rollingUpdate": strategy}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, namespace),
            "spec": made}


def pod(name, *containers, namespace="default", **spec):
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": metadata(name, namespace, labels={"app": name}),
            "spec": {"containers": list(containers), **spec}}


def backends(name, replicas=1, namespace="default", version="1", *, env=None, strategy=None,
             **spec):
    """A Deployment of tests/e2e/backend.py; its Service is manifests.service(name, (80, 8080))."""
    return deployment(name, container("e2e/backend", ready=READY, ports=[8080],
                                      env={"VERSION": version, **(env or {})}),
                      replicas=replicas, namespace=namespace, strategy=strategy, **spec)


def plain(kind, name, namespace="default", *, api="v1", **fields):
    """Any object: plain("ConfigMap", "x", data={...})."""
    return {"apiVersion": api, "kind": kind, "metadata": metadata(name, namespace), **fields}


def service_account(name, namespace="default"):
    return plain("ServiceAccount", name, namespace)


def role(name, *rules, namespace="default"):
    """rules: (API group, resources, verbs), the latter two as words in a string."""
    return plain("Role", name, namespace, api="rbac.authorization.k8s.io/v1", rules=[
        {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
        for group, resources, verbs in rules])


def role_binding(name, service_account_name, namespace="default"):
    """Of the Role of that name."""
    return plain("RoleBinding", name, namespace, api="rbac.authorization.k8s.io/v1",
                 roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                 subjects=[{"kind": "ServiceAccount", "name": service_account_name,
                            "namespace": namespace}])
