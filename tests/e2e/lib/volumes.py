"""Volumes of a Pod as directories: what kubelet keeps current in them, the way it does, so that
programs see changes as in a real Pod (..data is swapped, files are links into it)."""
import base64
import os
import shutil
import time

AUTOMATIC_TOKEN_S = 3607


class MissingError(Exception):
    """Something that a Pod refers to is not there."""


class Volumes:
    """Of one Pod. The Pod's object is read anew at each refresh."""

    def __init__(self, kubelet, directory):
        self.api, self.directory = kubelet.api, directory
        self.tokens = {}  # (audience, seconds) -> (token, when to fetch another one)

    def path(self, name):
        return os.path.join(self.directory, name)

    def set_up(self, pod):
        """Makes or refreshes all of them. Raises MissingError."""
        for volume in pod["spec"].get("volumes", []):
            self._set_up_one(pod, volume)

    def source(self, pod, name):
        """What to mount for the volume of that name."""
        volume = next(v for v in pod["spec"]["volumes"] if v["name"] == name)
        return volume["hostPath"]["path"] if "hostPath" in volume else self.path(name)

    def _set_up_one(self, pod, volume):
        if "hostPath" in volume:
            return
        path = self.path(volume["name"])
        if "emptyDir" in volume:
            if not os.path.isdir(path):
                os.makedirs(path)
                os.chmod(path, 0o777)
            return
        kind = next((kind for kind in SOURCES if kind in volume), None)
        if kind is None:
            raise MissingError(f"volume {volume['name']}: its kind is not supported")
        write_files(path, SOURCES[kind](self, pod, volume[kind]), pod)

    # ---- sources: {relative path: (bytes, mode)} ----

    def files_of_config_map(self, pod, source):
        item = self._fetch("ConfigMap", source["name"], pod, source)
        data = {k: v.encode() for k, v in (item.get("data") or {}).items()}
        data.update({k: base64.b64decode(v) for k, v in (item.get("binaryData") or {}).items()})
        return select(data, source)

    def files_of_secret(self, pod, source):
        name = source.get("secretName") or source.get("name")
        item = self._fetch("Secret", name, pod, source)
        return select({k: base64.b64decode(v) for k, v in (item.get("data") or {}).items()}, source)

    def files_of_downward(self, pod, source):
        return {item["path"]: (field_of(pod, item["fieldRef"]["fieldPath"]).encode(),
                               item.get("mode", source.get("defaultMode", 0o644)))
                for item in source.get("items", [])}

    def files_of_token(self, pod, source):
        """Never readable for everybody when somebody in particular runs the Pod."""
        seconds = source.get("expirationSeconds", AUTOMATIC_TOKEN_S)
        token = self._token(pod, source.get("audience"), seconds)
        return {source["path"]: (token.encode(), 0o600 if owner_of(pod) else 0o644)}

    def files_of_projected(self, pod, source):
        files = {}
        for part in source["sources"]:
            (kind, value), = part.items()
            files.update(SOURCES[kind](self, pod, value))
        return files

    def _fetch(self, kind, name, pod, source):
        item = self.api.find(kind, name, pod["metadata"]["namespace"])
        if item is None:
            if source.get("optional"):
                return {}
            raise MissingError(f"{kind} {name} not found")
        return item

    def _token(self, pod, audience, seconds):
        token, renew_at = self.tokens.get((audience, seconds), (None, 0))
        if time.monotonic() < renew_at:
            return token
        meta = pod["metadata"]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "expirationSeconds": seconds, "audiences": [audience] if audience else [],
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"],
                               "uid": meta["uid"]}}}
        answer = self.api.request("POST", self.api.path(
            "ServiceAccount", pod["spec"].get("serviceAccountName", "default"), meta["namespace"],
            "token"), request)
        token = answer["status"]["token"]
        self.tokens[audience, seconds] = (token, time.monotonic() + 0.8 * seconds)
        return token

    def forget_tokens(self):
        self.tokens.clear()


SOURCES = {"configMap": Volumes.files_of_config_map, "secret": Volumes.files_of_secret,
           "downwardAPI": Volumes.files_of_downward, "projected": Volumes.files_of_projected,
           "serviceAccountToken": Volumes.files_of_token}


def select(data, source):
    """`items` of a source choose keys and give them paths."""
    mode = source.get("defaultMode", 0o644)
    items = source.get("items")
    if not items:
        return {key: (value, mode) for key, value in data.items()}
    return {item["path"]: (data[item["key"]], item.get("mode", mode)) for item in items
            if item["key"] in data}


def owner_of(pod):
    """The user that all containers run as, 0 when the Pod does not say."""
    return pod["spec"].get("securityContext", {}).get("runAsUser", 0) or next(
        (c["securityContext"]["runAsUser"] for c in pod["spec"]["containers"]
         if c.get("securityContext", {}).get("runAsUser")), 0)


def write_files(path, files, pod):
    """All at once: whoever reads sees the old set or the new one."""
    os.makedirs(path, exist_ok=True)
    if read_files(path) == {name: content for name, (content, _) in files.items()}:
        return
    new = f"..{time.time_ns()}"
    for name, (content, mode) in files.items():
        file = os.path.join(path, new, name)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as out:
            out.write(content)
        set_owner(file, mode, pod)
    os.makedirs(os.path.join(path, new), exist_ok=True)
    data = os.path.join(path, "..data")
    old = os.readlink(data) if os.path.islink(data) else None
    os.symlink(new, os.path.join(path, "..data_tmp"))
    os.rename(os.path.join(path, "..data_tmp"), data)
    for name in {name.split("/")[0] for name in files}:
        if not os.path.islink(os.path.join(path, name)):
            os.symlink(os.path.join("..data", name), os.path.join(path, name))
    for name in os.listdir(path):
        if not name.startswith("..") and not os.path.exists(os.path.join(path, name)):
            os.unlink(os.path.join(path, name))
    if old:
        shutil.rmtree(os.path.join(path, old))


def set_owner(file, mode, pod):
    group = pod["spec"].get("securityContext", {}).get("fsGroup")
    if group is not None:
        os.chown(file, -1, group)
        mode |= 0o040
    if mode & 0o007 == 0 and group is None:
        os.chown(file, owner_of(pod), -1)
    os.chmod(file, mode)


def read_files(path):
    """What is there, by relative path; None when there is nothing yet."""
    root = os.path.join(path, "..data")
    if not os.path.isdir(root):
        return None
    found = {}
    for directory, _, names in os.walk(root + "/"):
        for name in names:
            file = os.path.join(directory, name)
            with open(file, "rb") as source:
                found[os.path.relpath(file, root)] = source.read()
    return found


def field_of(pod, path):
    """A fieldRef."""
    if "[" in path:
        where, key = path.rstrip("]").split("[", 1)
        return pod["metadata"].get(where.split(".")[1], {}).get(key.strip("'\""), "")
    value = pod
    for name in path.split("."):
        value = value.get(name, "")
    return str(value)
