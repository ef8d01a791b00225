"""Lintel takes its objects from an API server, here a double: what its faults do to those who are
served. The same with a real one: tests/e2e/test_source.py."""
import base64
import datetime
import json
import os
import time

import pytest

from lib import pki
from lib.kube_double import Double
from lib.lintel import IS_SANITIZED, Lintel, command
from lib.manifests import (endpoint_slice, ingress, ingress_class, rule, service, tls,
                           tls_secret)
from lib.wait import eventually

PATHS = {"Ingress": "/apis/networking.k8s.io/v1/ingresses",
         "IngressClass": "/apis/networking.k8s.io/v1/ingressclasses",
         "Service": "/api/v1/services",
         "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
         "ConfigMap": "/api/v1/namespaces/default/configmaps",
         "Secret": "/api/v1/namespaces/default/secrets"}


class Cluster(Double):
    """A double that holds what the tests' manifests say."""

    def __init__(self):
        super().__init__()
        for path in PATHS.values():
            self.call(self._resource, path)

    def put(self, *items):
        self.call(lambda: [self._put_item(item) for item in items])

    def remove(self, kind, name, namespace="default"):
        self.delete(PATHS[kind], name, namespace)

    def _put_item(self, item):
        path = PATHS[item["kind"]]
        self.version += 1
        metadata = {**item["metadata"], "resourceVersion": str(self.version)}
        item = {**item, "metadata": metadata}
        key = metadata.get("namespace", ""), metadata["name"]
        kind = "MODIFIED" if key in self._resource(path).objects else "ADDED"
        self._resource(path).objects[key] = item
        self._happen(path, kind, item)


@pytest.fixture
def cluster():
    made = Cluster()
    made.start()
    yield made
    made.close()


@pytest.fixture
def kubeconfig(cluster, tmp_path):
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "double",
        "clusters": [{"name": "double", "cluster": {"server": cluster.url()}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [{"name": "double", "context": {"cluster": "double", "user": "me"}}]}))
    return path


class Nowhere:
    path = "/nonexistent"


@pytest.fixture
def run(cluster, kubeconfig, tmp_path):
    made = []

    def start(*options, wait=True):
        scratch = tmp_path / f"lintel-{len(made)}"
        scratch.mkdir()
        one = Lintel(Nowhere, scratch, *options)
        at = one.arguments.index("--manifests")
        one.arguments[at:at + 2] = ["--kubeconfig", kubeconfig]
        made.append(one)
        return one.start(wait=wait)
    yield start
    for one in made:
        one.finish()


@pytest.fixture
def web(cluster, stage):
    """A class, a Service with one endpoint."""
    cluster.put(ingress_class(), service("web", 80),
                endpoint_slice("web", "127.0.0.1", port=stage.backend().port))


def route(name, host):
    return ingress(name, rule(host, ("/", "Prefix", "web:80")))


def test_objects_come_change_and_go(cluster, run, web):
    cluster.put(route("a", "a.test"))
    lintel = run()
    lintel.wait_answer(200, "/", "a.test")
    cluster.put(route("a", "b.test"), route("c", "c.test"))
    lintel.wait_answer(200, "/", "b.test")
    lintel.wait_answer(200, "/", "c.test")
    assert lintel.fetch("/", "a.test").status == 404
    cluster.remove("Ingress", "a")
    lintel.wait_answer(404, "/", "b.test")
    assert lintel.fetch("/", "c.test").status == 200


def test_what_cannot_be_used_keeps_its_last_good_version(cluster, run, web):
    cluster.put(route("a", "a.test"))
    lintel = run()
    lintel.wait_answer(200, "/", "a.test")
    bad = route("a", "a.test")
    bad["spec"]["rules"][0]["host"] = "a.test:80"
    cluster.put(bad)
    lintel.wait_log("InvalidHost")
    assert lintel.fetch("/", "a.test").status == 200
    assert lintel.counter("lintel_diagnostics", reason="InvalidHost", severity="error") == 1
    cluster.put(route("a", "b.test"))
    lintel.wait_answer(200, "/", "b.test")
    assert lintel.counter("lintel_diagnostics", reason="InvalidHost", severity="error") == 0


def test_the_config_map_counts_and_is_told_about(cluster, run, web):
    """What was given on the command line of run reaches the process that decides."""
    def settings(**data):
        cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "data": {
            key.replace("_", "-"): value for key, value in data.items()},
                     "metadata": {"name": "settings", "namespace": "default"}})
    secured = route("a", "a.test")
    secured["spec"]["tls"] = [{"hosts": ["a.test"]}]
    cluster.put(secured)
    settings(http_redirect_code="307", hsts_max_age="x", use_port_in_redirects="true")
    lintel = run("--configmap", "default/settings", "--use-port-in-redirects=false")
    lintel.wait_answer(307, "/", "a.test")
    assert lintel.counter("lintel_diagnostics", reason="InvalidSetting", severity="error") == 1
    lintel.wait_log(r"data\[use-port-in-redirects\].*given on the command line")
    settings(ssl_redirect="false")
    lintel.wait_answer(200, "/", "a.test")
    assert lintel.counter("lintel_diagnostics", reason="InvalidSetting", severity="error") == 0
    cluster.remove("ConfigMap", "settings")
    lintel.wait_answer(308, "/", "a.test")


def test_nothing_is_published_before_everything_was_listed(cluster, run, web):
    cluster.put(route("a", "a.test"))

    async def no_slices(double, request, reply):
        if request.path == PATHS["EndpointSlice"]:
            await double.refuse(reply, 500)
            return True
        return False
    cluster.fault = no_slices
    lintel = run(wait=False)
    lintel.wait_log("cannot list endpointslices")
    assert lintel.health("/readyz").status == 503
    cluster.fault = None
    lintel.wait_ready()
    assert lintel.fetch("/", "a.test").status == 200


def test_the_server_is_away_for_a_while(cluster, run, web, tmp_path):
    file = tmp_path / "snapshot"
    cluster.put(route("a", "a.test"), route("b", "b.test"))
    lintel = run("--snapshot-file", file)
    lintel.wait_answer(200, "/", "b.test")
    cluster.stop()
    lintel.wait_log("cannot (list|watch)")
    assert lintel.fetch("/", "a.test").status == 200
    assert lintel.health("/readyz").status == 200
    lintel.stop()
    os.utime(file, (time.time() - 3 * 86400,) * 2)
    began = time.monotonic()
    lintel.start()
    assert lintel.fetch("/", "a.test").status == 200
    assert IS_SANITIZED or time.monotonic() - began < 1
    lintel.wait_log("too old to be trusted")
    assert lintel.counter("lintel_snapshot_saved_age_seconds") > 2 * 86400
    cluster.call(lambda: cluster._resource(PATHS["Ingress"]).objects.pop(("default", "b")))
    cluster.start()
    lintel.wait_answer(404, "/", "b.test")
    assert lintel.fetch("/", "a.test").status == 200
    assert lintel.counter("lintel_snapshot_saved_age_seconds") == 0


def test_a_burst_costs_few_generations(cluster, run, web):
    cluster.put(route("a", "a.test"))
    lintel = run()
    lintel.wait_answer(200, "/", "a.test")
    before = lintel.counter("lintel_generation")
    cluster.put(*[route(f"r{i}", f"h{i}.test") for i in range(1000)])
    lintel.wait_answer(200, "/", "h999.test")
    assert lintel.counter("lintel_generation") - before <= 100
    assert lintel.counter("lintel_objects", kind="Ingress") == 1001


def test_offline_commands(cluster, kubeconfig, web):
    cluster.put(route("a", "a.test"))
    there = ["--kubeconfig", kubeconfig]
    assert "default/web" in command("explain", *there, "http://a.test/", check=0).stdout
    assert "a.test" in command("dump", *there, check=0).stdout
    assert "0 errors" in command("check", *there, check=0).stdout
    done = command("explain", *there, "--context", "other", "http://a.test/", check=1)
    assert "other" in done.stderr
    cluster.stop()
    done = command("check", *there, check=1)
    assert "the cluster cannot be read" in done.stderr


def test_run_says_which_sources_there_are(tmp_path):
    done = command("run", check=2)
    for word in ("--manifests", "--kubeconfig", "pod"):
        assert word in done.stderr
    done = command("run", "--kubeconfig", tmp_path / "none", check=1)
    assert "No such file" in done.stderr
    command("run", "--kubeconfig", tmp_path, "--manifests", tmp_path, check=2)
    command("check", check=2)


def test_a_bad_kubeconfig_is_told_and_mended(cluster, run, web, kubeconfig):
    cluster.put(route("a", "a.test"))
    good = kubeconfig.read_text()
    kubeconfig.write_text("clusters: 5\n")
    lintel = run(wait=False)
    lintel.wait_log("the configuration for the API server cannot be used")
    kubeconfig.write_text(good)
    lintel.wait_ready()
    lintel.wait_answer(200, "/", "a.test")


# ---- certificates ----

def tls_route(name, *hosts):
    return ingress(name, *(rule(host, ("/", "Prefix", "web:80")) for host in hosts),
                   tls=[tls(name, *hosts)])


def stored(item):
    """As an API server gives a Secret."""
    data = {key: base64.b64encode(text.encode()).decode() for key, text in item["stringData"].items()}
    return {key: value for key, value in item.items() if key != "stringData"} | {"data": data}


async def forbid_secret(_, request, reply, name="forbidden"):
    is_it = request.path.endswith("/secrets/" + name)
    if is_it:
        await reply.start(403, {})
        await reply.send(b'{"kind":"Status","apiVersion":"v1","status":"Failure","code":403}')
        await reply.end()
    return is_it


def test_certs_of_a_cluster(cluster, kubeconfig, web):
    """Fetched one by one, and compiled like those of manifests."""
    root = pki.Authority()
    cluster.fault = forbid_secret
    cluster.put(tls_route("good", "a.test", "b.test"), tls_route("gone", "c.test"),
                tls_route("forbidden", "d.test"),
                stored(tls_secret("good", root.issue("a.test"))),
                stored(tls_secret("unused", root.issue("e.test"))))
    told = json.loads(command("certs", "--kubeconfig", kubeconfig, "-o", "json", check=1).stdout)
    rows = {row["host"]: row for row in told if row["role"] == "host"}
    assert rows["a.test"]["isServed"] and rows["a.test"]["problem"] is None
    assert not rows["b.test"]["isServed"] and rows["b.test"]["problem"] == "does not cover the host"
    assert rows["c.test"]["problem"] == "there is no such Secret"
    assert rows["d.test"]["problem"] == "must not be read (403)"
    asked = {request.path.rpartition("/")[2] for request in cluster.requests
             if "/secrets" in request.path}
    assert asked == {"good", "gone", "forbidden"}


def test_explain_does_not_read_them_and_says_so(cluster, kubeconfig, web):
    one = tls_route("guarded", "a.test")
    one["metadata"]["annotations"] = {
        "nginx.ingress.kubernetes.io/auth-tls-secret": "default/guarded"}
    cluster.put(one, tls_route("other", "b.test"))

    def explain(*arguments, check=0):
        return command("explain", "--kubeconfig", kubeconfig, *arguments, check=check).stdout
    text = explain("https://a.test/")
    assert "Secrets of a cluster are not read here" in text and "own making" not in text
    assert "is asked for a certificate, by a Secret that is not read here" in text
    told = json.loads(explain("https://a.test/", "-o", "json"))["tls"]
    assert not told["areSecretsRead"] and told["certificates"] == []
    explain("https://b.test/", "-H", "Host: web.test", check=1) # no route, but not 421
    assert "421" in explain("https://b.test/", "-H", "Host: a.test", check=1)
    assert not [each for each in cluster.requests if "/secrets" in each.path]


def test_a_running_one_follows_them(cluster, run, web):
    name = "nginx_ingress_controller_ssl_expire_time_seconds"
    root = pki.Authority()
    cluster.put(tls_route("cert", "a.test"))
    lintel = run()
    assert not lintel.metrics().all(name)
    first, second = root.issue("a.test", ends=3), root.issue("a.test", ends=60)
    for identity in (first, second):
        cluster.put(stored(tls_secret("cert", identity)))
        end = identity.x509.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp()
        eventually(lambda: [value for _, value in lintel.metrics().all(name)] == [end],
                   what="the new end")
    told = json.loads(command("certs", "--server", f"127.0.0.1:{lintel.health_port}", "-o", "json",
                              check=0).stdout)
    assert told[0]["host"] == "a.test" and told[0]["isServed"] and told[0]["daysLeft"] in (59, 60)
