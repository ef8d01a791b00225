"""Broken files and objects beside good ones: a precise word about the broken, service for the rest."""
import os

import pytest

from lib.load import Load
from lib.manifests import app, dump_yaml, ingress, ingress_class, rule, service

BROKEN = {
    "yaml": ("kind: [unclosed\n", "MalformedDocument"),
    "tabs": ("a:\n\t- b\n", "MalformedDocument"),
    "json.json": ('{"kind": "Ingress",', "MalformedDocument"),
    "scalar": ("just words\n", "MalformedDocument"),
    "binary": ("\x00\x01\x02\x03", "MalformedDocument"),
    "bomb": ("a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefgh", "bcdefghi")),
        "MalformedDocument|LimitReached|MissingField|UnknownKind"),
    "deep": ("a: " + "[" * 500 + "]" * 500 + "\n", "LimitReached|MalformedDocument"),
    "old-version": (dump_yaml([{"apiVersion": "extensions/v1beta1", "kind": "Ingress",
                                "metadata": {"name": "w"}, "spec": {}}]), "UnknownKind"),
    "no-name": (dump_yaml([{"apiVersion": "v1", "kind": "Service", "metadata": {},
                            "spec": {"ports": [{"port": 80}]}}]), "MissingField"),
    "port-text": (dump_yaml([service("w", ("n", "eighty", 80))]), "WrongType"),
    "port-big": (dump_yaml([service("w", ("n", 70000, 80))]), "InvalidValue"),
    "host-port": (dump_yaml([ingress("w", rule("w.test:80", ("/", "Prefix", "app:80")))]),
                  "InvalidHost"),
    "host-ip": (dump_yaml([ingress("w", rule("10.0.0.1", ("/", "Prefix", "app:80")))]),
                "InvalidHost"),
    "host-star": (dump_yaml([ingress("w", rule("a.*.test", ("/", "Prefix", "app:80")))]),
                  "InvalidHost"),
    "path-relative": (dump_yaml([ingress("w", rule("w.test", ("x", "Prefix", "app:80")))]),
                      "InvalidPath"),
    "path-dots": (dump_yaml([ingress("w", rule("w.test", ("/a/../b", "Prefix", "app:80")))]),
                  "InvalidPath"),
    "path-slashes": (dump_yaml([ingress("w", rule("w.test", ("/a//b", "Exact", "app:80")))]),
                     "InvalidPath"),
    "path-type": (dump_yaml([ingress("w", rule("w.test", ("/", "Sometimes", "app:80")))]),
                  "InvalidValue"),
    "no-such-service": (dump_yaml([ingress("w", rule("w.test", ("/", "Prefix", "none:80")))]),
                        "ServiceNotFound"),
    "no-such-port": (dump_yaml([ingress("w", rule("w.test", ("/", "Prefix", "app:81")))]),
                     "PortNotFound"),
    "conflict": (dump_yaml([ingress("w", rule("a.test", ("/", "Prefix", "app:80")))]),
                 "PathConflict"),
    "unknown-class": (dump_yaml([ingress("w", rule("w.test", ("/", "Prefix", "app:80")),
                                         class_name="nothere")]), "ClassConflict"),
    "duplicate": (dump_yaml([ingress("a", rule("w.test", ("/", "Prefix", "app:80")))]),
                  "DuplicateObject"),
    "duplicate-key": ("apiVersion: v1\nkind: Service\nmetadata: {name: w}\nspec:\n  ports: []\n"
                      "spec:\n  ports: [{port: 80}]\n", "DuplicateKey"),
    "endpoint-name": (dump_yaml([{
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "w", "labels": {"kubernetes.io/service-name": "app"}},
        "ports": [{"port": 80}], "endpoints": [{"addresses": ["not-an-ip"]}]}]),
        "InvalidEndpoint|InvalidValue"),
}


def good(port):
    """A route as old as can be, so that it wins every dispute."""
    return [ingress_class(), app("app", port), ingress(
        "a", rule("a.test", ("/", "Prefix", "app:80")), created="2020-01-01T00:00:00Z")]


@pytest.fixture(scope="module")
def served(module_stage):
    manifests = module_stage.directory()
    manifests.write("00-good.yaml", *good(module_stage.backend().port))
    return module_stage.lintel(manifests).start(), manifests


@pytest.mark.parametrize("name", BROKEN)
def test_one_bad_file_never_takes_others_down(served, name):
    lintel, manifests = served
    text, reason = BROKEN[name]
    file = "99-" + (name if "." in name else name + ".yaml")
    before = len(lintel.log())
    with Load(lintel.port, [("a.test", "/")], clients=1) as load:
        manifests.write(file, text)
        line = lintel.wait_log(rf"(?m)^.*({reason}).*$", after=before).group(0)
        assert file in line, line
        fence = f"fence-{name.replace('.', '-')}"
        manifests.write("fence.yaml", ingress("fence", rule(f"{fence}.test",
                                                            ("/", "Prefix", "app:80"))))
        lintel.wait_answer(200, "/", f"{fence}.test")
        manifests.delete(file)
    load.check_flawless()


def test_a_bad_document_in_the_middle_of_a_good_file(stage):
    port = stage.backend().port
    manifests = stage.directory()
    manifests.write("all.yaml", dump_yaml(good(port)[:1]), dump_yaml([service("x", ("n", "y", 1))]),
                    dump_yaml([*app("app", port), good(port)[2]]))
    lintel = stage.lintel(manifests).start()
    assert lintel.fetch("/", "a.test").status == 200
    assert "WrongType" in lintel.log()


def test_a_file_that_breaks_keeps_what_it_said_before(stage):
    """A half-saved file must not delete routes: the last good content of the file goes on."""
    manifests = stage.directory()
    manifests.write("all.yaml", *good(stage.backend().port))
    lintel = stage.lintel(manifests).start()
    with Load(lintel.port, [("a.test", "/")]) as load:
        manifests.write_in_place("all.yaml", "kind: [\n")
        lintel.wait_log("MalformedDocument")
        manifests.write("fence.yaml", ingress("f", rule("f.test", ("/", "Prefix", "app:80"))))
        lintel.wait_answer(200, "/", "f.test")
        load.wait_for(20)
    load.check_flawless()


def test_broken_from_the_start(stage):
    manifests = stage.directory()
    manifests.write("00-good.yaml", *good(stage.backend().port))
    for name, (text, _) in BROKEN.items():
        manifests.write("99-" + (name if "." in name else name + ".yaml"), text)
    lintel = stage.lintel(manifests).start()
    assert lintel.fetch("/", "a.test").status == 200


def test_an_unreadable_file(stage):
    manifests = stage.directory()
    manifests.write("00-good.yaml", *good(stage.backend().port))
    os.symlink("nowhere.yaml", manifests.file("dangling.yaml"))
    os.symlink("loop.yaml", manifests.file("loop.yaml"))
    os.symlink(".", manifests.file("round"))
    os.mkfifo(manifests.file("pipe.yaml"))
    lintel = stage.lintel(manifests).start()
    assert lintel.fetch("/", "a.test").status == 200


def test_an_object_is_refused_whole_after_all_its_errors_are_told(stage):
    """As the API server does; its neighbours in the file are served."""
    lintel = stage.run(good(stage.backend().port), ingress(
        "mixed", rule("bad host!", ("/", "Prefix", "app:80")),
        rule("mixed.test", ("relative", "Prefix", "app:80"), ("/ok", "Prefix", "app:80"))),
        ingress("after", rule("after.test", ("/", "Prefix", "app:80"))))
    assert lintel.fetch("/", "a.test").status == 200
    assert lintel.fetch("/", "after.test").status == 200
    assert lintel.fetch("/ok", "mixed.test").status == 404
    lintel.wait_log("InvalidHost")
    lintel.wait_log("InvalidPath")


def test_kinds_of_others_are_kept_quiet(stage):
    """Directories of manifests hold Deployments and more; they are none of ours."""
    lintel = stage.run(good(stage.backend().port), {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": "many"}})
    assert lintel.fetch("/", "a.test").status == 200
    assert " WARN " not in lintel.log() and " ERROR " not in lintel.log()
