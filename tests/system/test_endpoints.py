"""Which endpoints a Service has: the rules of EndpointSlices, and how Lintel takes turns."""
import collections
import socket

import pytest

from lib.manifests import (endpoint, endpoint_slice, ingress, ingress_class, rule, service)

A, B, C = "127.2.0.1", "127.2.0.2", "127.2.0.3"


def answers(lintel, n=12, target="/", host="a.test"):
    """How often each address answered."""
    seen = collections.Counter()
    for _ in range(n):
        response = lintel.fetch(target, host)
        seen[response.get("x-backend") or response.why] += 1
    return seen


def serve(stage, *objects, to="app:80", **options):
    return stage.run(ingress_class(), ingress("a", rule("a.test", ("/", "Prefix", to))),
                     *objects, **options)


def test_round_robin_is_even(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", (80, port)), endpoint_slice("app", A, B, C, port=port))
    assert answers(lintel, 30) == {A: 10, B: 10, C: 10}


def test_many_slices_are_one_set_and_duplicates_count_once(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", (80, port)),
                   endpoint_slice("app", A, B, port=port, name="s1"),
                   endpoint_slice("app", B, C, port=port, name="s2"))
    assert answers(lintel, 30) == {A: 10, B: 10, C: 10}


def test_only_ready_endpoints_are_used(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", (80, port)), endpoint_slice(
        "app", endpoint(A, ready=True), endpoint(B, ready=False),
        endpoint(C, ready=False, serving=True, terminating=True), port=port))
    assert answers(lintel) == {A: 12}


def test_terminating_endpoints_that_serve_are_the_last_resort(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", (80, port)), endpoint_slice(
        "app", endpoint(A, ready=False), endpoint(B, ready=False, serving=True, terminating=True),
        endpoint(C, ready=False, serving=False, terminating=True), port=port))
    assert answers(lintel) == {B: 12}


def test_no_endpoint_that_could_serve(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", (80, port)), endpoint_slice(
        "app", endpoint(A, ready=False, serving=False), port=port))
    assert answers(lintel, 2) == {"no_endpoints": 2}


def test_publish_not_ready_addresses(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", (80, port), spec={"publishNotReadyAddresses": True}),
                   endpoint_slice("app", endpoint(A, ready=False), port=port))
    assert answers(lintel, 3) == {A: 3}


def test_named_ports_choose_the_slice_port_of_that_name(stage):
    web, metrics = stage.backend().port, stage.backend(name="metrics").port
    lintel = serve(stage, service("app", ("web", 80, "w"), ("metrics", 90, "m")),
                   endpoint_slice("app", A, ports=[("web", web), ("metrics", metrics)]),
                   ingress("b", rule("b.test", ("/", "Prefix", "app:metrics"))), to="app:web")
    assert lintel.fetch("/", "a.test").echo["backend"] == "backend"
    assert lintel.fetch("/", "b.test").echo["backend"] == "metrics"


def test_named_ports_may_differ_between_slices(stage):
    one, two = stage.backend(name="one").port, stage.backend(name="two").port
    lintel = serve(stage, service("app", ("web", 80, "w")),
                   endpoint_slice("app", A, ports=[("web", one)], name="s1"),
                   endpoint_slice("app", B, ports=[("web", two)], name="s2"), to="app:80")
    assert answers(lintel, 10) == {A: 5, B: 5}


def test_a_port_name_that_the_service_does_not_have(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", ("web", 80, port)),
                   endpoint_slice("app", A, ports=[("web", port)]), to="app:wrong")
    assert answers(lintel, 2) == {"no_endpoints": 2}


def test_headless_service(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", port, spec={"clusterIP": "None"}),
                   endpoint_slice("app", A, port=port), to=f"app:{port}")
    assert answers(lintel, 3) == {A: 3}


def test_legacy_endpoints(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", (80, port)), {
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "app"},
        "subsets": [{"addresses": [{"ip": A}], "notReadyAddresses": [{"ip": B}],
                     "ports": [{"port": port}]}]})
    assert answers(lintel, 4) == {A: 4}


def test_ipv6_endpoints(stage):
    try:
        backend = stage.backend(family=socket.AF_INET6)
    except OSError:
        pytest.fail("this machine has no IPv6 loopback, which these tests need")
    lintel = serve(stage, service("app", (80, backend.port)),
                   endpoint_slice("app", "::1", port=backend.port, family="IPv6"))
    assert answers(lintel, 2) == {"::1": 2}


def test_dual_stack_slices_are_one_set(stage):
    four = stage.backend()
    six = stage.backend(family=socket.AF_INET6, port=four.port)
    assert four.port == six.port
    lintel = serve(stage, service("app", (80, four.port)),
                   endpoint_slice("app", A, port=four.port, name="v4"),
                   endpoint_slice("app", "::1", port=four.port, name="v6", family="IPv6"))
    assert set(answers(lintel, 10)) == {A, "::1"}


def test_an_external_name_that_leads_to_the_loopback_is_refused(stage):
    port = stage.backend().port
    lintel = serve(stage, service("app", port, spec={
        "type": "ExternalName", "externalName": "localhost"}), to=f"app:{port}")
    assert answers(lintel, 1) == {"no_endpoints": 1}
    lintel.wait_log("ExternalNameRefused")


def test_external_names_can_be_switched_off(stage):
    lintel = serve(stage, service("app", 80, spec={
        "type": "ExternalName", "externalName": "example.com"}),
        arguments=["--disable-svc-external-name"])
    assert answers(lintel, 1) == {"no_endpoints": 1}
    lintel.wait_log("ExternalNameRefused")


def test_requests_move_on_from_an_endpoint_that_refuses(stage):
    """Connecting failed: no byte was sent, so the request may go to another endpoint."""
    port, dead = stage.backend().port, stage.refused_port()
    lintel = serve(stage, service("app", ("web", 80, "w")),
                   endpoint_slice("app", A, ports=[("web", port)], name="s1"),
                   endpoint_slice("app", "127.0.0.1", ports=[("web", dead)], name="s2"))
    assert answers(lintel, 10) == {A: 10}
    assert lintel.counter("lintel_upstream_connects_total", result="failed") > 0
