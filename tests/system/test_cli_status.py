"""lintel status: what is counted, what is shown of what is wrong, and what a running Lintel says."""
import json

import pytest

from lib.lintel import command
from lib.manifests import (Directory, app, endpoint, endpoint_slice, ingress, ingress_class, rule,
                           service)


@pytest.fixture
def manifests(tmp_path):
    made = Directory(tmp_path / "manifests")
    made.write("all.yaml", ingress_class(), ingress_class("other", controller="example.com/other"),
               service("app"),
               endpoint_slice("app", endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=False),
                              port=8080),
               ingress("a", rule("a.test", ("/", "Prefix", "app:80"), ("/b", "Prefix", "app:80"))),
               ingress("b", rule("b.test", ("/", "Prefix", "app:80")), default="app:80"),
               ingress("not-ours", rule("c.test", ("/", "Prefix", "app:80")), class_name="other"))
    return made


def told(*arguments, check):
    return json.loads(command("status", "-o", "json", *arguments, check=check).stdout)


def test_everything_is_counted(manifests):
    objects = told("--manifests", manifests.path, check=0)["objects"]
    assert objects["classes"] == "lintel"
    assert (objects["ingresses"], objects["ingressesNotOurs"]) == (2, 1)
    # The default backend of b is a route of b.test and one of every other host.
    assert (objects["hosts"], objects["routes"]) == (3, 5)
    assert (objects["servicePorts"], objects["servicePortsWithoutEndpoint"]) == (1, 0)
    assert (objects["endpointsUsed"], objects["endpointsNotUsed"]) == (1, 1)
    assert objects["errors"] == objects["warnings"] == 0
    assert "leader" not in objects and "running" not in objects


def test_the_page_is_short_and_aligned(manifests):
    text = command("status", "--manifests", manifests.path, check=0).stdout
    lines = text.splitlines()
    assert len(lines) == 6 and "\033" not in text
    assert {line[12] for line in lines} == {" "} and " " not in {line[13] for line in lines}
    assert "2 ours, 1 not ours" in text and "published" not in text  # manifests have no status


def test_addresses_and_who_lacks_one(manifests):
    one = ingress("a", rule("a.test", ("/", "Prefix", "app:80")))
    one["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.test"}]}}
    manifests.write("all.yaml", ingress_class(), app("app", 8080), one,
                    ingress("b", rule("b.test", ("/", "Prefix", "app:80"))))
    objects = told("--manifests", manifests.path, check=0)["objects"]
    assert objects["addresses"] == "192.0.2.1, lb.test"
    assert objects["withoutAddress"] == [{"namespace": "default", "name": "b"}]
    text = command("status", "--manifests", manifests.path, check=0).stdout
    assert "1 of 2 at 192.0.2.1, lb.test" in text and "default/b has none" in text


def test_errors_come_first_and_make_the_status_1(manifests):
    manifests.write("bad.yaml", *[
        ingress(f"w{i}", rule(f"w{i}.test", ("/", "Prefix", "empty:80"))) for i in range(6)],
        service("empty"), ingress("z", rule("z.test", ("/", "Prefix", "missing:80"))))
    text = command("status", "--manifests", manifests.path, check=1).stdout
    assert "1 error, 6 warnings" in text
    shown = [line for line in text.splitlines() if line.startswith("  ")]
    assert len(shown) == 6 and "missing" in shown[0] and "and 2 more" in shown[-1]
    assert "create the Service or correct the name" in shown[0]
    objects = told("--manifests", manifests.path, check=1)["objects"]
    assert len(objects["diagnostics"]) == 7 and objects["servicePortsWithoutEndpoint"] == 2


def test_it_asks_a_running_lintel(stage, manifests):
    manifests.write("all.yaml", ingress_class(), app("app", 8080),
                    ingress("a", rule("a.test", ("/", "Prefix", "missing:80"))))
    lintel = stage.lintel(manifests).start()
    server = f"127.0.0.1:{lintel.health_port}"
    alone = told("--server", server, check=0)
    assert set(alone) == {"running"}
    running = alone["running"]
    assert running["ready"] and running["generation"] >= 1 and running["api"] == []
    assert running["workers"] == running["workersRunning"] >= 1
    assert running["errors"] == 1
    both = command("status", "--server", server, "--manifests", manifests.path, check=1).stdout
    assert "1 ours" in both and "ready" in both and "workers" in both


@pytest.mark.parametrize("arguments, words", [
    ([], ["--manifests", "--kubeconfig", "--server"]),
    (["--manifests", "a", "--kubeconfig", "b"], ["exclude"]),
    (["--context", "c", "--server", "127.0.0.1:1"], ["--kubeconfig"]),
])
def test_wrong_command_lines(arguments, words):
    done = command("status", *arguments, check=2)
    assert done.stdout == "" and all(word in done.stderr for word in words)


def test_nobody_at_the_port(manifests):
    done = command("status", "--server", "127.0.0.1:1", "--manifests", manifests.path, check=1)
    assert "is Lintel running" in done.stderr
