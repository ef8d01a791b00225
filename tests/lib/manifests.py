"""Kubernetes objects as dicts, and a directory that holds them as files.

A backend is written "service:port", the port by number or by name: "web:80", "web:http".
"""
import json
import os
import shutil

import yaml

CONTROLLER = "lintel.dev/ingress-controller"
CLASS = "lintel"


def metadata(name, namespace=None, *, annotations=None, labels=None, created=None):
    meta = {"name": name}
    if namespace is not None:
        meta["namespace"] = namespace
    if annotations:
        meta["annotations"] = annotations
    if labels:
        meta["labels"] = labels
    if created is not None:
        meta["creationTimestamp"] = created
    return meta


def ingress_class(name=CLASS, controller=CONTROLLER, **meta):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": metadata(name, **meta), "spec": {"controller": controller}}


def backend(text):
    service, port = text.rsplit(":", 1)
    number = {"number": int(port)} if port.isdigit() else {"name": port}
    return {"service": {"name": service, "port": number}}


def path(path_text, path_type, to):
    item = {"pathType": path_type, "backend": to if isinstance(to, dict) else backend(to)}
    if path_text is not None:
        item["path"] = path_text
    return item


def rule(host, *paths):
    """paths: (path, pathType, "service:port")."""
    item = {"http": {"paths": [path(*p) for p in paths]}}
    if host:
        item["host"] = host
    return item


def ingress(name, *rules, default=None, tls=None, class_name=CLASS, namespace="default", **meta):
    """tls: a list of what spec.tls has; [{}] is one entry that says nothing."""
    spec = {} if tls is None else {"tls": tls}
    if class_name is not None:
        spec["ingressClassName"] = class_name
    if default is not None:
        spec["defaultBackend"] = default if isinstance(default, dict) else backend(default)
    if rules:
        spec["rules"] = list(rules)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": metadata(name, namespace, **meta), "spec": spec}


def tls(secret_name, *hosts):
    """An entry of spec.tls."""
    return {"secretName": secret_name, **({"hosts": list(hosts)} if hosts else {})}


def secret(name, data, *, kind="Opaque", namespace="default", **meta):
    """data: texts by key."""
    return {"apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": metadata(name, namespace, **meta), "stringData": dict(data)}


def tls_secret(name, identity, *, namespace="default", **more):
    """more: further data, such as ca for "ca.crt"."""
    data = {"tls.crt": identity.chain, "tls.key": identity.key,
            **{f"{key}.crt": text for key, text in more.items()}}
    return secret(name, data, kind="kubernetes.io/tls", namespace=namespace)


def service(name, *ports, namespace="default", spec=None, **meta):
    """ports: numbers, or (port, target), or (name, port, target)."""
    items = []
    for port in ports or (80,):
        if isinstance(port, int):
            port = (port, port)
        if len(port) == 2:
            items.append({"port": port[0], "targetPort": port[1]})
        else:
            items.append({"name": port[0], "port": port[1], "targetPort": port[2]})
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(name, namespace, **meta),
            "spec": {"ports": items, **(spec or {})}}


def endpoint(address, **conditions):
    item = {"addresses": [address]}
    if conditions:
        item["conditions"] = conditions
    return item


def endpoint_slice(service_name, *endpoints, ports=None, port=None, name=None, namespace="default",
                   family="IPv4"):
    """endpoints: addresses or endpoint(...). ports: list of (name or None, number)."""
    if ports is None:
        ports = [(None, port)]
    items = []
    for port_name, number in ports:
        item = {}
        if port_name is not None:
            item["name"] = port_name
        if number is not None:
            item["port"] = number
        items.append(item)
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": metadata(name or service_name + "-1", namespace,
                                 labels={"kubernetes.io/service-name": service_name}),
            "addressType": family, "ports": items,
            "endpoints": [endpoint(e) if isinstance(e, str) else e for e in endpoints]}


def app(name, backend_port, *addresses, port=80, namespace="default"):
    """A Service and its slice: the pair that most tests want."""
    return [service(name, (port, backend_port), namespace=namespace),
            endpoint_slice(name, *(addresses or ("127.0.0.1",)), port=backend_port,
                           namespace=namespace)]


def dump_yaml(objects):
    return yaml.dump_all(objects, sort_keys=False, explicit_start=True, Dumper=yaml.CSafeDumper)


class Directory:
    """A directory of manifests, and the ways in which people change such directories."""

    def __init__(self, path_text):
        self.path = str(path_text)
        os.makedirs(self.path, exist_ok=True)
        self.generation = 0

    def file(self, name):
        return os.path.join(self.path, name)

    def write(self, name, *objects):
        """By atomic rename, as editors and tools do. Objects are dicts, lists of dicts, or text."""
        target = self.file(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        # Outside of the directory, so that it is never read half-written.
        temporary = f"{self.path}.tmp-{os.path.basename(name)}"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(render(name, objects))
        os.rename(temporary, target)

    def write_in_place(self, name, *objects):
        """Truncate and write, as a shell's > does."""
        with open(self.file(name), "w", encoding="utf-8") as file:
            file.write(render(name, objects))

    def delete(self, name):
        os.unlink(self.file(name))

    def swap_data(self, files):
        """As the kubelet does for a ConfigMap volume: a new timestamped directory, the symlink
        ..data renamed over to it, each file a symlink through ..data. files: name -> objects."""
        self.generation += 1
        fresh = f"..2026_01_01_00_00_{self.generation:02}"
        os.mkdir(self.file(fresh))
        for name, objects in files.items():
            with open(self.file(os.path.join(fresh, name)), "w", encoding="utf-8") as file:
                file.write(render(name, objects))
        old = os.readlink(self.file("..data")) if os.path.islink(self.file("..data")) else None
        os.symlink(fresh, self.file("..data_tmp"))
        os.rename(self.file("..data_tmp"), self.file("..data"))
        for name in files:
            if not os.path.islink(self.file(name)):
                os.symlink(os.path.join("..data", name), self.file(name))
        for name in os.listdir(self.path):
            if os.path.islink(self.file(name)) and name != "..data" and name not in files:
                os.unlink(self.file(name))
        if old is not None:
            shutil.rmtree(self.file(old))


def flatten(objects):
    for item in objects:
        if isinstance(item, (list, tuple)):
            yield from flatten(item)
        else:
            yield item


def render(name, objects):
    items = list(flatten(objects if isinstance(objects, (list, tuple)) else [objects]))
    if all(isinstance(item, str) for item in items):
        return "".join(items)
    if name.endswith(".json"):
        return json.dumps(items[0] if len(items) == 1 else
                          {"apiVersion": "v1", "kind": "List", "items": items})
    return dump_yaml(items)
