"""Every kind of object that Lintel follows comes, changes and goes, and requests follow; with no
rights but the shipped ones. Pods, scaling and labels of namespaces are elsewhere (test_lintel.py,
test_source.py)."""
import base64

import pytest

from lib.backend import Backend
from lib.manifests import endpoint, endpoint_slice, ingress_class, service
from e2e.lib.objects import plain, role, role_binding
from e2e.lib.shipped import ACCOUNT, NAMESPACE
from e2e.lib.web import publish_web, web_ingress

ADDRESS = "10.248.0.9"  # one of many that are this machine's


@pytest.fixture(name="served")
def fixture_served(rights, lintel):
    return lintel(ACCOUNT, NAMESPACE).start()


@pytest.fixture(name="backend")
def fixture_backend():
    """backend(text): the port of one that answers with the text, at any address."""
    made = []

    def make(text):
        made.append(Backend(lambda exchange: exchange.respond(body=text.encode())))
        return made[-1].port
    yield make
    for one in made:
        one.stop()


def wait_body(cluster, served, host, text):
    cluster.wait(lambda: served.fetch(host=host).body == text.encode(), f"{text} from {host}")


def test_a_slice_made_by_hand(cluster, namespace, served, backend):
    """Of a Service without a selector: its ports, addresses and conditions, a second slice."""
    host, ports = f"{namespace}.test", [backend("one"), backend("two")]

    def put(port, *endpoints, name="web-1"):
        cluster.api.apply(endpoint_slice("web", *endpoints, port=port, name=name,
                                         namespace=namespace))
    cluster.api.apply(service("web", 80, namespace=namespace), web_ingress(namespace, host))
    served.wait_answer(503, host=host)
    put(ports[0], ADDRESS)
    wait_body(cluster, served, host, "one")
    put(ports[1], ADDRESS)
    wait_body(cluster, served, host, "two")
    put(ports[1], endpoint(ADDRESS, ready=False))
    served.wait_answer(503, host=host)
    put(ports[0], ADDRESS, name="web-2")
    wait_body(cluster, served, host, "one")
    cluster.api.delete("EndpointSlice", "web-2", namespace)
    served.wait_answer(503, host=host)


def test_a_service_changes_its_port_and_goes(cluster, namespace, served):
    host = f"{namespace}.test"
    publish_web(cluster, namespace, host, 1)
    served.wait_answer(200, host=host)
    cluster.api.patch("Service", "web", {"spec": {"ports": [{"port": 81, "targetPort": 8080}]}},
                      namespace)
    served.wait_answer(503, host=host)
    cluster.api.patch("Service", "web", {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}},
                      namespace)
    served.wait_answer(200, host=host)
    cluster.api.delete("Service", "web", namespace)
    served.wait_answer(503, host=host)


def test_an_ingress_class_comes_and_goes(cluster, namespace, served):
    host, name = f"{namespace}.test", f"class-{namespace}"
    cluster.api.apply(web_ingress(namespace, host, class_name=name))
    publish_web(cluster, namespace, "other.test", 1)
    served.wait_answer(200, host="other.test")
    cluster.api.apply(web_ingress(namespace, host, class_name=name))
    assert served.fetch(host=host).status == 404
    cluster.api.apply(ingress_class(name))
    served.wait_answer(200, host=host)
    cluster.api.delete("IngressClass", name, None)
    served.wait_answer(404, host=host)


def test_a_secret_is_followed_while_it_is_needed(cluster, namespace, served):
    """No other is ever read, and none is listed."""
    def count():
        return served.counter("lintel_objects", kind="Secret")

    def secret(name, text):
        return plain("Secret", name, namespace, type="Opaque",
                     data={"auth": base64.b64encode(text.encode()).decode()})
    item = web_ingress(namespace, f"{namespace}.test")
    item["spec"]["tls"] = [{"secretName": "users"}]
    cluster.api.apply(secret("users", "a:b"), secret("other", "c:d"), item)
    cluster.wait(lambda: count() == 1, "the Secret")
    cluster.api.delete("Secret", "users", namespace)
    cluster.wait(lambda: count() == 0, "its end")
    cluster.api.apply(secret("users", "e:f"))
    cluster.wait(lambda: count() == 1, "its return")
    cluster.api.delete("Ingress", "web", namespace)
    cluster.wait(lambda: count() == 0, "that nobody needs it")
    read = [e for e in cluster.audit(ACCOUNT, NAMESPACE) if e.get("objectRef") and
            (e["objectRef"]["resource"], e["objectRef"].get("namespace")) == ("secrets", namespace)]
    assert {(e["verb"], e["objectRef"].get("name")) for e in read} == \
        {("get", "users"), ("watch", "users")}


def test_the_config_map_is_followed(cluster, namespace, rights, lintel):
    """By its name and a Role for it; what it says applies at once, and what it cannot say is told."""
    cluster.api.apply(role("settings", ("", "configmaps", "get watch"), namespace=namespace),
                      role_binding("settings", ACCOUNT, namespace))
    binding = cluster.api.get("RoleBinding", "settings", namespace)
    binding["subjects"][0]["namespace"] = NAMESPACE
    cluster.api.patch("RoleBinding", "settings", {"subjects": binding["subjects"]}, namespace)
    running = lintel(ACCOUNT, NAMESPACE, "--configmap", f"{namespace}/settings").start()

    def count():
        return running.counter("lintel_objects", kind="ConfigMap")
    assert count() == 0
    cluster.api.apply(plain("ConfigMap", "settings", namespace, data={"one": "1"}),
                      plain("ConfigMap", "other", namespace, data={"two": "2"}))
    running.wait_log(r"data\[one\].*UnknownSetting")
    cluster.api.apply(plain("ConfigMap", "settings", namespace,
                            data={"three": "3", "keep-alive": "31"}))
    running.wait_log(r"data\[three\].*UnknownSetting")
    assert count() == 1 and "data[two]" not in running.log()

    def dumped():
        return running.health("/debug/dump?output=json").body.decode().replace(" ", "")
    cluster.wait(lambda: '"keep-alive":31000000' in dumped(), "the setting")
    cluster.api.delete("ConfigMap", "settings", namespace)
    cluster.wait(lambda: count() == 0, "its end")
    cluster.wait(lambda: '"keep-alive":75000000' in dumped(), "the default")


def test_a_namespace_takes_its_routes_along(cluster, namespace, served):
    """Those of others stay."""
    doomed, host = f"{namespace}-doomed", f"{namespace}.test"
    cluster.api.apply(plain("Namespace", doomed, None))
    cluster.wait(lambda: cluster.api.find("ServiceAccount", "default", doomed), "its ServiceAccount")
    publish_web(cluster, doomed, f"doomed.{host}", 1)
    publish_web(cluster, namespace, host, 1)
    for name in (host, f"doomed.{host}"):
        served.wait_answer(200, host=name)
    cluster.api.delete("Namespace", doomed)
    cluster.wait(lambda: served.fetch(host=f"doomed.{host}").status == 404, "that it is gone")
    assert served.fetch(host=host).status == 200
    # What is refused because a namespace ends is not a right that we lack.
    cluster.wait(lambda: cluster.api.find("Namespace", doomed, None) is None, "its end")
    assert "our role lacks" not in served.log()
