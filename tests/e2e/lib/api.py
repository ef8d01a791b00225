"""The Kubernetes API over HTTPS, with whatever credentials, as plain requests: objects are dicts,
kinds are found by discovery. Threads may share an Api."""
import http.client
import json
import ssl
import threading
import time
import urllib.parse

TIMEOUT_S = 30
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class ApiError(OSError):
    """An answer that is no success."""

    def __init__(self, method, path, status, body):
        self.status, self.body = status, body
        self.reason = body.get("reason") if isinstance(body, dict) else None
        message = body.get("message") if isinstance(body, dict) else body[:300]
        super().__init__(f"{method} {path}: {status} {message}")


class Api:
    """certificate: (file of the certificate, file of its key), or else a token, or nobody."""

    def __init__(self, host, port, authority, certificate=None, token=None, agent="e2e"):
        self.host, self.port, self.token, self.agent = host, port, token, agent
        self.context = ssl.create_default_context(cafile=authority)
        if certificate:
            self.context.load_cert_chain(*certificate)
        self.mine = threading.local()
        self.kinds = {}

    # ---- requests ----

    def connect(self, timeout=TIMEOUT_S):
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout,
                                           context=self.context)

    def send(self, connection, method, path, body, content_type=JSON, accept=JSON):
        fields = {"Accept": accept, "User-Agent": self.agent}
        if self.token:
            fields["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            fields["Content-Type"] = content_type
            body = json.dumps(body)
        connection.request(method, path, body, fields)
        return connection.getresponse()

    def request(self, method, path, body=None, *, content_type=JSON, accept=JSON, query=None):
        """The answer as a dict, or as text when it is no JSON. Raises ApiError, or OSError when the
        server is away."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        status, text = self._exchange(method, path, body, content_type, accept)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = text.decode("utf-8", "replace")
        if status >= 300:
            raise ApiError(method, path, status, answer)
        return answer

    def _exchange(self, method, path, *rest):
        """On this thread's connection; once more on a new one when the old one had gone stale."""
        for is_retry in (False, True):
            connection = getattr(self.mine, "connection", None)
            is_fresh = connection is None
            if is_fresh:
                connection = self.mine.connection = self.connect()
            try:
                response = self.send(connection, method, path, *rest)
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.mine.connection = None
                if is_fresh or is_retry:
                    raise ConnectionError(f"{method} {path}: {error!r}") from error
        raise AssertionError

    # ---- where things are ----

    def discover(self):
        for root in ("/api", "/apis"):
            for group in self.request("GET", root, accept=DISCOVERY)["items"]:
                for version in group["versions"]:
                    self._note(group["metadata"].get("name", ""), version)

    def _note(self, group, version):
        name = f"{group}/{version['version']}" if group else version["version"]
        base = f"/apis/{name}" if group else f"/api/{name}"
        for resource in version["resources"]:
            kind = resource["responseKind"]["kind"]
            place = (base, resource["resource"], resource["scope"] == "Namespaced")
            self.kinds[name, kind] = place
            self.kinds.setdefault(kind, place)  # the preferred version comes first

    def path(self, kind, name=None, namespace=None, subresource=None):
        """kind: "Service", or ("networking.k8s.io/v1", "Ingress")."""
        if kind not in self.kinds:
            self.discover()
        base, plural, is_namespaced = self.kinds[kind]
        parts = [base]
        if is_namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts += [part for part in (plural, name, subresource) if part]
        return "/".join(parts)

    def path_of(self, item, *, is_collection=False, subresource=None):
        meta = item["metadata"]
        return self.path((item["apiVersion"], item["kind"]),
                         None if is_collection else meta["name"],
                         meta.get("namespace", "default"), subresource)

    # ---- objects ----

    def get(self, kind, name, namespace="default"):
        return self.request("GET", self.path(kind, name, namespace))

    def find(self, kind, name, namespace="default"):
        """None when it is not there."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind, namespace=None, **query):
        """Items; labelSelector=... and the like. Items of a list have no kind of their own."""
        return self.request("GET", self.path(kind, None, namespace), query=query)["items"]

    def create(self, item):
        return self.request("POST", self.path_of(item, is_collection=True), item)

    def apply(self, *items, manager="e2e"):
        """Server-side; the last word is ours. Returns the last."""
        answer = None
        for item in items:
            answer = self.request("PATCH", self.path_of(item), item, content_type=APPLY,
                                  query={"fieldManager": manager, "force": "true"})
        return answer

    def patch(self, kind, name, change, namespace="default", *, subresource=None,
              content_type=MERGE):
        return self.request("PATCH", self.path(kind, name, namespace, subresource), change,
                            content_type=content_type)

    def delete(self, kind, name, namespace="default", **options):
        return self.request("DELETE", self.path(kind, name, namespace), options or None)

    def scale(self, kind, name, replicas, namespace="default"):
        self.patch(kind, name, {"spec": {"replicas": replicas}}, namespace, subresource="scale")

    # ---- following ----

    def watch(self, kind, version, namespace=None, timeout=300, **query):
        """Yields (type, object) until the server ends it."""
        query.update(watch="true", resourceVersion=version, allowWatchBookmarks="true",
                     timeoutSeconds=str(timeout))
        connection = self.connect(timeout=timeout + TIMEOUT_S)
        path = self.path(kind, None, namespace) + "?" + urllib.parse.urlencode(query)
        try:
            response = self.send(connection, "GET", path, None)
            if response.status != 200:
                raise ApiError("WATCH", path, response.status, response.read().decode())
            for line in response:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError("WATCH", path, event["object"].get("code"), event["object"])
                yield event["type"], event["object"]
        except (http.client.HTTPException, ValueError) as error:
            raise ConnectionError(f"WATCH {path}: {error!r}") from error
        finally:
            connection.close()

    def follow(self, kind, on_list, on_event):
        """Lists and watches for ever, begins anew after whatever went wrong."""
        while True:
            try:
                path = self.path(kind)
                answer = self.request("GET", path)
                on_list(answer["items"])
                version = answer["metadata"]["resourceVersion"]
                while True:
                    for what, item in self.watch(kind, version):
                        version = item["metadata"]["resourceVersion"]
                        if what != "BOOKMARK":
                            on_event(what, item)
            except OSError:
                time.sleep(0.2)
