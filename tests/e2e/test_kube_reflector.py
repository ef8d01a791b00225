"""Reflectors against the real API server: what the double pretends, it does."""
import base64

import pytest

from e2e.lib.objects import plain
from lib.follow import Follow
from lib.wait import eventually

SECRETS = "/api/v1/namespaces/{}/secrets"


def secret(name, namespace, text="x"):
    made = plain("Secret", name, namespace)
    made["data"] = {"k": base64.b64encode(text.encode()).decode()}
    return made


class Stage:
    def __init__(self, cluster, namespace):
        self.cluster, self.path, self.namespace = cluster, SECRETS.format(namespace), namespace
        self.follows = []

    def follow(self, *arguments):
        made = Follow(self.cluster.environment()["KUBECONFIG"], *arguments, self.path)
        self.follows.append(made)
        return made

    def put(self, *names, text="x"):
        self.cluster.api.apply(*(secret(name, self.namespace, text) for name in names))

    def delete(self, name):
        self.cluster.api.delete("Secret", name, self.namespace)

    def server(self):
        return {f"{self.namespace}/{o['metadata']['name']}": o["metadata"]["resourceVersion"]
                for o in self.cluster.api.list("Secret", self.namespace)}

    def wait_same(self, follow, timeout=60):
        eventually(lambda: follow.one.is_synced and not follow.one.is_listing and
                   follow.one.objects == self.server(), what="the objects as on the server",
                   timeout=timeout, interval=0.1)


@pytest.fixture
def scene(cluster, namespace):
    made = Stage(cluster, namespace)
    yield made
    for follow in made.follows:
        follow.end()


def test_follows(scene):
    scene.put(*(f"s{i:02}" for i in range(25)))
    follow = scene.follow("page=10")
    scene.wait_same(follow)
    scene.put("new")
    scene.put("s01", text="other")
    scene.delete("s02")
    scene.wait_same(follow)
    counters = follow.counters()
    assert counters["lists"] == counters["watches"] == counters["connects"] == 1
    assert counters["failures"] == 0


def test_by_name(scene):
    follow = scene.follow("name=one")

    def is_same():
        name = f"{scene.namespace}/one"
        wanted = {k: v for k, v in scene.server().items() if k == name}
        return follow.one.is_synced and follow.one.objects == wanted

    scene.put("other")
    eventually(is_same, what="absent")
    assert not follow.one.objects
    scene.put("one")
    eventually(is_same, what="there")
    scene.delete("one")
    eventually(is_same, what="gone")
    assert follow.counters()["failures"] == 0


def test_a_restart_of_the_api_server(cluster, scene):
    scene.put("one", "two")
    follow = scene.follow()
    scene.wait_same(follow)
    cluster.stop_apiserver()
    cluster.start_apiserver()
    cluster.wait_apiserver()
    scene.put("three")
    scene.delete("one")
    scene.wait_same(follow)
    eventually(lambda: follow.one.why is None, what="well again", timeout=60)


def test_etcd_back_at_an_older_state(cluster, scene):
    scene.put("one", "two")
    follow = scene.follow()
    scene.wait_same(follow)
    saved = cluster.save_etcd()
    scene.put("three", *(f"more{i}" for i in range(20)))
    scene.delete("one")
    scene.wait_same(follow)
    cluster.restore_etcd(saved)
    cluster.wait_apiserver()
    scene.wait_same(follow)
    assert f"{scene.namespace}/one" in follow.one.objects
    assert f"{scene.namespace}/three" not in follow.one.objects
    scene.put("four")
    scene.wait_same(follow)
