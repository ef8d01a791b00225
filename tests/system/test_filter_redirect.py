"""The redirect filter: the annotations permanent-redirect and temporal-redirect."""
import pytest

from lib.manifests import ingress, ingress_class, rule
from lib.town import Town

PREFIX_ = "nginx.ingress.kubernetes.io/"


def redirecting(name, **annotations):
    return ingress(name, rule(f"{name}.test", ("/", "Prefix", "app:80")),
                   annotations={PREFIX_ + k.replace("_", "-"): v for k, v in annotations.items()})


@pytest.fixture(scope="module")
def lintel(module_stage):
    town = Town(module_stage.backend())
    return module_stage.run(
        ingress_class(), town.apps("app"),
        redirecting("permanent", permanent_redirect="https://new.test/a?b=c"),
        redirecting("code", permanent_redirect="https://new.test/", permanent_redirect_code="308"),
        redirecting("temporal", temporal_redirect="https://new.test/"),
        redirecting("bad", permanent_redirect="https://new.test/\r\nSet-Cookie: a=b"),
        redirecting("plain"))


@pytest.mark.parametrize("name, status, location", [
    ("permanent", 301, "https://new.test/a?b=c"),
    ("code", 308, "https://new.test/"),
    ("temporal", 302, "https://new.test/"),
])
def test_redirects(lintel, name, status, location):
    response = lintel.fetch("/x?y=1", f"{name}.test")
    assert (response.status, response["location"]) == (status, location)
    assert response.why == "redirect"


def test_without_the_annotation_nothing_is_redirected(lintel):
    assert lintel.fetch("/", "plain.test").status == 200


def test_a_location_with_control_characters_is_refused(lintel):
    response = lintel.fetch("/", "bad.test")
    assert response.all("set-cookie") == []
    assert "\n" not in (response.get("location") or "")
    lintel.wait_log("InvalidAnnotation")


def test_a_redirect_keeps_the_connection(lintel):
    from lib.client import Client
    with Client(lintel.port) as client:
        for _ in range(3):
            assert client.request(host="permanent.test").status == 301
