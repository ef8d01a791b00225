"""lintel backends: endpoints, why some are not used, who leads to them, what workers see of them."""
import json

import pytest

from lib.client import fetch
from lib.lintel import command
from lib.manifests import (Directory, app, endpoint, endpoint_slice, ingress, ingress_class, rule,
                           service)
from lib.wait import eventually


@pytest.fixture
def manifests(tmp_path):
    made = Directory(tmp_path / "manifests")
    first = endpoint("10.0.0.1")
    first |= {"zone": "zone-a", "nodeName": "node-a",
              "targetRef": {"kind": "Pod", "name": "web-1"}}
    made.write("all.yaml", ingress_class(), service("web"), service("api", ("http", 80, 8080)),
               endpoint_slice("web", first, endpoint("10.0.0.2", ready=False),
                              endpoint("10.0.0.3", ready=False, serving=True, terminating=True),
                              port=8080),
               ingress("shop", rule("shop.test", ("/", "Prefix", "web:80"))),
               ingress("wild", rule("*.wild.test", ("/api", "Prefix", "api:http")),
                       default="web:80"))
    return made


def told(*arguments, check):
    return json.loads(command("backends", "-o", "json", *arguments, check=check).stdout)


def test_endpoints_say_why(manifests):
    api, web = told("--manifests", manifests.path, check=1)
    assert (api["service"], api["port"], api["endpoints"]) == ("api", "http", [])
    assert web["endpointsUsed"] == 1 and web["problem"] is None
    assert web["endpoints"][0] == {
        "address": "10.0.0.1:8080", "ready": True, "serving": True, "terminating": False,
        "zone": "zone-a", "node": "node-a", "pod": "web-1", "used": True, "whyNot": None}
    assert [e["whyNot"] for e in web["endpoints"]] == [
        None, "not ready", "terminating, and others are ready"]
    assert [(r["ingress"], r["host"], r["default"]) for r in web["rules"]] == [
        ("shop", "shop.test", False), ("wild", "", True)]


def test_the_page(manifests):
    text = command("backends", "--manifests", manifests.path, check=1).stdout
    assert "\033" not in text
    assert "default/web:80  1 of 3 endpoints used" in text
    assert "default/api:http  no endpoint" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["10.0.0.1:8080", "ready", "zone-a", "node-a", "web-1", "yes"] in rows
    assert ["default/wild", "*.wild.test/api"] in rows


@pytest.mark.parametrize("wanted, services, status", [
    ("shop.test", ["web"], 0), ("SHOP.test", ["web"], 0), ("a.wild.test", ["api"], 1),
    ("*.wild.test", ["api"], 1), ("a.b.wild.test", [], 1), ("default/web", ["web"], 0),
    ("other/web", [], 1), ("nobody.test", [], 1)])
def test_some_are_picked(manifests, wanted, services, status):
    done = command("backends", "-o", "json", "--manifests", manifests.path, wanted, check=status)
    assert [item["service"] for item in json.loads(done.stdout)] == services
    assert (wanted in done.stderr) == (services == [])


@pytest.mark.parametrize("broken, problem", [
    (None, "there is no such Service"), (service("web", 81), "the Service has no such TCP port")])
def test_a_service_that_cannot_be_used(tmp_path, broken, problem):
    made = Directory(tmp_path / "manifests")
    made.write("all.yaml", ingress_class(), *([broken] if broken else []),
               ingress("shop", rule("shop.test", ("/", "Prefix", "web:80"))))
    only, = told("--manifests", made.path, check=1)
    assert only["problem"] == problem
    assert problem in command("backends", "--manifests", made.path, check=1).stdout


def test_what_workers_see(stage, manifests):
    good = stage.backend()
    manifests.write("all.yaml", ingress_class(), app("web", good.port),
                    ingress("shop", rule("shop.test", ("/", "Prefix", "web:80"))))
    lintel = stage.lintel(manifests).start()
    assert fetch(lintel.port, "/", host="shop.test").status == 200
    arguments = ["--manifests", manifests.path, "--server", f"127.0.0.1:{lintel.health_port}"]

    def live():
        only, = told(*arguments, check=0)
        return only["endpoints"][0].get("live")
    eventually(lambda: live() == {"state": "ok", "requests": 1, "failures": 0}, what="the request")
    assert "ok, 0 of 1 failed" in command("backends", *arguments, check=0).stdout


def test_it_needs_objects():
    done = command("backends", "--server", "127.0.0.1:1", check=2)
    assert "--manifests" in done.stderr and "--kubeconfig" in done.stderr
