"""Changes of the manifests while Lintel serves: each kind, each way of writing files, and hundreds
under load without one failed request."""
import itertools
import os
import shutil

import pytest

from lib.load import Load
from lib.manifests import (app, endpoint, endpoint_slice, ingress, ingress_class, rule, service)
from lib.town import Town
from lib.wait import eventually

A, B = "127.3.0.1", "127.3.0.2"


@pytest.fixture
def served(stage):
    """(lintel, manifests, backend): a.test goes to app at address A, each object in its file."""
    backend = stage.backend()
    manifests = stage.directory()
    manifests.write("class.yaml", ingress_class())
    manifests.write("ingress.yaml", ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    manifests.write("service.yaml", service("app", (80, backend.port)))
    manifests.write("slice.yaml", endpoint_slice("app", A, port=backend.port))
    lintel = stage.lintel(manifests).start()
    assert lintel.fetch("/", "a.test")["x-backend"] == A
    return lintel, manifests, backend


def test_ingress_added_changed_deleted(served):
    lintel, manifests, _ = served
    manifests.write("b.yaml", ingress("b", rule("b.test", ("/x", "Prefix", "app:80"))))
    lintel.wait_answer(200, "/x", "b.test")
    manifests.write("b.yaml", ingress("b", rule("b.test", ("/y", "Prefix", "app:80"))))
    lintel.wait_answer(200, "/y", "b.test")
    assert lintel.fetch("/x", "b.test").status == 404
    manifests.delete("b.yaml")
    lintel.wait_answer(404, "/y", "b.test", why="no_route")
    assert lintel.fetch("/", "a.test").status == 200


def test_service_deleted_and_back(served):
    lintel, manifests, backend = served
    manifests.delete("service.yaml")
    lintel.wait_answer(503, "/", "a.test", why="no_endpoints")
    manifests.write("service.yaml", service("app", (81, backend.port)))
    eventually(lambda: "PortNotFound" in lintel.log())
    assert lintel.fetch("/", "a.test").status == 503
    manifests.write("service.yaml", service("app", (80, backend.port)))
    lintel.wait_answer(200, "/", "a.test")


def test_slice_changed_deleted_and_back(served):
    lintel, manifests, backend = served
    manifests.write("slice.yaml", endpoint_slice("app", B, port=backend.port))
    lintel.wait_answer(200, "/", "a.test", address=B)
    manifests.write("slice.yaml", endpoint_slice("app", endpoint(B, ready=False), port=backend.port))
    lintel.wait_answer(503, "/", "a.test", why="no_endpoints")
    manifests.delete("slice.yaml")
    manifests.write("other.yaml", endpoint_slice("app", A, port=backend.port, name="another"))
    lintel.wait_answer(200, "/", "a.test", address=A)


def test_class_deleted_and_back(served):
    lintel, manifests, _ = served
    manifests.delete("class.yaml")
    lintel.wait_answer(404, "/", "a.test", why="no_route")
    manifests.write("class.yaml", ingress_class(controller="example.com/other"))
    manifests.write("class.yaml", ingress_class())
    lintel.wait_answer(200, "/", "a.test")


@pytest.mark.parametrize("kind, body", [
    ("Secret", {"type": "Opaque", "data": {"key": "dmFsdWU="}}),
    ("ConfigMap", {"data": {"key": "value"}}),
    ("Namespace", {}),
])
def test_other_kinds_come_and_go_without_a_trace(served, kind, body):
    lintel, manifests, _ = served
    item = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "thing"}, **body}
    with Load(lintel.port, [("a.test", "/")]) as load:
        for note in ("one", "two"):
            manifests.write("thing.yaml", {**item, "metadata": {
                "name": "thing", "annotations": {"note": note}}})
            manifests.write("fence.yaml", ingress("f", rule(f"{note}.test",
                                                            ("/", "Prefix", "app:80"))))
            lintel.wait_answer(200, "/", f"{note}.test")
        manifests.delete("thing.yaml")
        manifests.delete("fence.yaml")
        lintel.wait_answer(404, "/", "two.test")
    load.check_flawless()


def test_written_in_place(served):
    lintel, manifests, backend = served
    manifests.write_in_place("slice.yaml", endpoint_slice("app", B, port=backend.port))
    lintel.wait_answer(200, "/", "a.test", address=B)


def test_renamed_and_moved_between_folders(served):
    lintel, manifests, _ = served
    manifests.write("folder/b.yaml", ingress("b", rule("b.test", ("/", "Prefix", "app:80"))))
    lintel.wait_answer(200, "/", "b.test")
    os.rename(manifests.file("folder/b.yaml"), manifests.file("c.yaml"))
    manifests.write("fence.yaml", ingress("f", rule("fence.test", ("/", "Prefix", "app:80"))))
    lintel.wait_answer(200, "/", "fence.test")
    assert lintel.fetch("/", "b.test").status == 200
    os.rename(manifests.file("folder"), manifests.path + ".gone")
    os.rename(manifests.file("c.yaml"), manifests.path + ".gone-too")
    lintel.wait_answer(404, "/", "b.test")


def test_a_whole_folder_comes_and_goes(served):
    lintel, manifests, _ = served
    outside = manifests.path + ".outside"
    os.makedirs(outside + "/deep")
    with open(outside + "/deep/b.yaml", "w", encoding="utf-8") as file:
        from lib.manifests import dump_yaml
        file.write(dump_yaml([ingress("b", rule("b.test", ("/", "Prefix", "app:80")))]))
    os.rename(outside, manifests.file("moved-in"))
    lintel.wait_answer(200, "/", "b.test")
    shutil.rmtree(manifests.file("moved-in"))
    lintel.wait_answer(404, "/", "b.test")


def test_a_file_that_is_no_manifest_by_its_name_is_left_alone(served):
    lintel, manifests, _ = served
    manifests.write("README.md", "# not a manifest: {{{\n")
    manifests.write(".hidden.yaml", ingress("h", rule("h.test", ("/", "Prefix", "app:80"))))
    manifests.write("b.yaml", ingress("b", rule("b.test", ("/", "Prefix", "app:80"))))
    lintel.wait_answer(200, "/", "b.test")
    assert "README.md" not in lintel.log()


def test_config_map_volume_swaps(stage):
    town = Town(stage.backend())
    manifests = stage.directory()
    first, second = town.app("first"), town.app("second")

    def files(to):
        return {"class.yaml": [ingress_class()], "apps.yaml": [first, second],
                "ingress.yaml": [ingress("a", rule("a.test", ("/", "Prefix", f"{to}:80")))]}
    manifests.swap_data(files("first"))
    lintel = stage.lintel(manifests).start()
    with Load(lintel.port, [("a.test", "/")]) as load:
        for to in ("second", "first", "second", "first"):
            manifests.swap_data(files(to))
            lintel.wait_answer(200, "/", "a.test", address=town.addresses[to])
        one_less = files("first")
        manifests.swap_data({**one_less, "more.yaml": [
            ingress("b", rule("b.test", ("/", "Prefix", "second:80")))]})
        lintel.wait_answer(200, "/", "b.test")
        manifests.swap_data(one_less)
        lintel.wait_answer(404, "/", "b.test")
    load.check_flawless()


def test_the_directory_is_empty_at_the_start(stage):
    backend = stage.backend()
    manifests = stage.directory()
    lintel = stage.lintel(manifests).start()
    assert lintel.fetch("/", "a.test").status == 404
    manifests.write("all.yaml", ingress_class(), app("app", backend.port),
                    ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    lintel.wait_answer(200, "/", "a.test")


def test_generations_rise_and_the_lag_is_told(served):
    lintel, manifests, _ = served
    before = lintel.generations()
    manifests.write("b.yaml", ingress("b", rule("b.test", ("/", "Prefix", "app:80"))))
    lintel.wait_answer(200, "/", "b.test")
    assert all(new > old for new, old in zip(lintel.generations(), before))


def test_a_request_ends_by_the_route_it_began_with(stage):
    """A generation lives as long as a request that uses it."""
    import threading
    go = threading.Event()

    def script(exchange):
        exchange.read_body()
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        go.wait(30)
        exchange.send(b"world")
    from lib.client import Client, request_bytes
    slow = stage.backend(script)
    manifests = stage.directory()
    manifests.write("class.yaml", ingress_class())
    manifests.write("a.yaml", ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                    app("app", slow.port))
    lintel = stage.lintel(manifests).start()
    with Client(lintel.port) as client:
        client.send(request_bytes(host="a.test"))
        client.read_head()
        before = lintel.generations()[0]
        manifests.delete("a.yaml")
        eventually(lambda: lintel.generations()[0] > before)
        assert lintel.fetch("/", "a.test").status == 404
        go.set()
        assert client.read_exactly(10) == b"helloworld"


@pytest.mark.parametrize("workers", [1, 2])
def test_500_rapid_changes_under_load(stage, workers):
    """Routes, services and endpoints change as fast as files can be written; requests to what stays
    in place never notice, and what changes ends as it was written last."""
    town = Town(stage.backend())
    town.backend.keeps_requests = False
    manifests = stage.directory()
    manifests.write("class.yaml", ingress_class())
    manifests.write("stays.yaml", town.app("stays"),
                    ingress("stays", rule("stays.test", ("/", "Prefix", "stays:80"))))
    spare = [town.app(f"spare{i}") for i in range(5)]
    manifests.write("moves.yaml", spare[0], ingress("moves", rule(
        "moves.test", ("/", "Prefix", "spare0:80"))))
    lintel = stage.lintel(manifests, workers=workers).start()

    def is_good(response, host, _):
        return response.status == 200 and (
            host == "moves.test" or town.service_of(response) == "stays")
    with Load(lintel.port, [("stays.test", "/"), ("stays.test", "/x"), ("moves.test", "/")],
              is_good=is_good) as load:
        for i in range(500):
            change(manifests, town, spare, i)
        load.wait_for(100)
        lintel.wait_answer(200, "/", "final.test")
        lintel.wait_answer(200, "/", "moves.test", address=town.addresses["spare4"])
        load.wait_for(100)
    load.check_flawless()


def change(manifests, town, spare, i):
    which = i % 5
    if which == 0:
        manifests.write(f"extra{i % 20}.yaml", ingress(
            f"extra{i % 20}", rule(f"h{i}.test", ("/", "Prefix", "stays:80"))))
    elif which == 1:
        manifests.write("stays.yaml", town_app_again(town, "stays"), ingress(
            "stays", rule("stays.test", ("/", "Prefix", "stays:80"),
                          (f"/v{i}", "Exact", "stays:80"))))
    elif which == 2 and i > 20:
        name = f"extra{(i - 2) % 20}.yaml"
        if os.path.exists(manifests.file(name)):
            manifests.delete(name)
    elif which == 3:
        manifests.write_in_place("noise.yaml", service(f"noise{i}", 80))
    else:
        to = i % 25 // 5 # ends with 4 at i = 499
        manifests.write("moves.yaml", spare[to], ingress("moves", rule(
            "moves.test", ("/", "Prefix", f"spare{to}:80"))))
    if i == 499:
        manifests.write("final.yaml", ingress("final", rule("final.test",
                                                            ("/", "Prefix", "stays:80"))))


def town_app_again(town, name):
    return app(name, town.backend.port, town.addresses[name])


def test_endpoints_rotate_under_load_without_a_failed_request(stage):
    """As in a rollout: the new endpoint is there before the old one goes."""
    backend = stage.backend()
    backend.keeps_requests = False
    manifests = stage.directory()
    addresses = [f"127.3.1.{i}" for i in range(1, 41)]
    manifests.write("a.yaml", ingress_class(), service("app", (80, backend.port)),
                    ingress("a", rule("a.test", ("/", "Prefix", "app:80"))))
    manifests.write("slice.yaml", endpoint_slice("app", addresses[0], port=backend.port))
    lintel = stage.lintel(manifests).start()
    with Load(lintel.port, [("a.test", "/")]) as load:
        for old, new in itertools.pairwise(addresses):
            manifests.write("slice.yaml", endpoint_slice("app", old, new, port=backend.port))
            manifests.write("slice.yaml", endpoint_slice(
                "app", endpoint(old, ready=False, serving=True, terminating=True), new,
                port=backend.port))
            lintel.wait_answer(200, "/", "a.test", address=new)
    load.check_flawless()
