"""`lintel explain` and the workers decide alike: thousands of generated routes and requests, each
answer compared with the explanation of the running process and of the offline command."""
import json
import random
from urllib.parse import quote

import pytest

from lib.client import Client
from lib.lintel import IS_SANITIZED, command
from lib.manifests import ingress, ingress_class, rule
from lib.town import Town

SEED = 20260101
INGRESSES = 300
REQUESTS = 2000 # for each of the two worlds
OFFLINE = 40 if IS_SANITIZED else 100

WORDS = ["a", "b", "c", "api", "v1", "v2", "Api", "x-y", "1", "a.b"]
HOSTS = ([f"h{i}.gen.test" for i in range(25)] + [f"*.w{i}.gen.test" for i in range(8)] +
         [f"one.w{i}.gen.test" for i in range(4)] + ["*.gen.test", None])
TYPES = ["Exact", "Prefix", "Prefix", "ImplementationSpecific"]


def some_path(dice, may_end=True):
    path = "".join("/" + dice.choice(WORDS) for _ in range(dice.randrange(4)))
    return (path + "/" if may_end and dice.random() < 0.2 else path) or "/"


def some_host(dice):
    pattern = dice.choice(HOSTS) or "unknown.test"
    label = dice.choice(["l1", "l2", "one", "x.y", ""])
    host = pattern.replace("*.", label + "." if label else "")
    if dice.random() < 0.1:
        host = host.upper()
    return host + (":8080" if dice.random() < 0.1 else "")


def some_ingress(dice, i, services, has_defaults):
    rules = []
    for _ in range(dice.randrange(1, 4)):
        host = dice.choice(HOSTS)
        below = "" if host else "/any" # or else "/" without a host takes all
        rules.append(rule(host, *(
            (below + some_path(dice), dice.choice(TYPES), dice.choice(services) + ":80")
            for _ in range(dice.randrange(1, 5)))))
    day = dice.randrange(1, 29)
    default = dice.choice(services) + ":80" if has_defaults and i % 20 == 0 else None
    return ingress(f"gen-{i}", *rules, default=default, created=f"2026-01-{day:02}T00:00:00Z")


def some_target(dice):
    target = some_path(dice)
    if dice.random() < 0.2:
        target = "/any" + target
    if dice.random() < 0.1:
        target = target.replace("a", "%61", 1)
    if dice.random() < 0.05:
        target += "/../" + dice.choice(WORDS)
    if dice.random() < 0.05:
        target = target.replace("/", "//", 1)
    return target + ("?q=/a" if dice.random() < 0.2 else "")


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "defaults"])
def world(module_stage, request):
    """(lintel, town, has_defaults): a few hundred generated Ingresses over a few dozen hosts."""
    dice = random.Random(SEED)
    backend = module_stage.backend()
    backend.keeps_requests = False
    town = Town(backend, "127.11.0.1" if request.param else "127.12.0.1")
    services = [f"s{i}" for i in range(50)]
    objects = [town.apps(*services)]
    objects += [some_ingress(dice, i, services + ["missing"], request.param)
                for i in range(INGRESSES)]
    return module_stage.run(ingress_class(), *objects), town, request.param


def outcome_of(explanation):
    """The service that explain says, or the reason."""
    result = explanation["result"]
    if not result["isForwarded"]:
        return result["reason"]
    backends = explanation["backends"]
    assert len(backends) == 1, backends
    return backends[0]["service"]


def debug_explain(client, host, target):
    response = client.request(
        target=f"/debug/explain?authority={quote(host, safe='')}&target={quote(target, safe='')}"
        "&output=json", host="127.0.0.1")
    assert response.status == 200, response
    return json.loads(response.body)


def test_explain_agrees_with_the_workers(world):
    lintel, town, has_defaults = world
    dice = random.Random(SEED + 1)
    seen = set()
    with Client(lintel.port) as client, Client(lintel.health_port) as asker:
        for _ in range(REQUESTS):
            host, target = some_host(dice), some_target(dice)
            answered = town.service_of(client.request(target=target, host=host))
            explained = outcome_of(debug_explain(asker, host, target))
            assert answered == explained, f"{host}{target}"
            seen.add(answered)
    assert len(seen) > 40 and "no_endpoints" in seen
    assert has_defaults is not ("no_route" in seen), "a default takes what no rule takes"


def test_the_offline_command_agrees_too(world):
    lintel, town, _ = world
    dice = random.Random(SEED + 2)
    with Client(lintel.port) as client:
        for _ in range(OFFLINE):
            host, target = some_host(dice), some_target(dice)
            done = command("explain", "--manifests", lintel.manifests.path, "-o", "json",
                           f"http://{host}{target}")
            explained = outcome_of(json.loads(done.stdout))
            answered = town.service_of(client.request(target=target, host=host))
            assert answered == explained, f"{host}{target}"
            assert done.returncode == (1 if explained in ("no_route", "no_endpoints") else 0)


def test_the_command_asks_a_running_lintel(world):
    lintel, town, _ = world
    for host in ("h1.gen.test", "h2.gen.test"):
        assert outcome_of(lintel.explain(f"http://{host}/a")) == town.service_of(
            lintel.fetch("/a", host))


@pytest.fixture(scope="module")
def small(module_stage):
    town = Town(module_stage.backend(), "127.9.0.1")
    manifests = module_stage.directory("small")
    manifests.write("all.yaml", ingress_class(), town.apps("app", "api"), ingress(
        "shop", rule("shop.test", ("/", "Prefix", "app:80"), ("/api", "Prefix", "api:80"))),
        ingress("moved", rule("old.test", ("/", "Prefix", "app:80")), annotations={
            "nginx.ingress.kubernetes.io/permanent-redirect": "https://new.test/"}))
    return manifests


def explain(small, url, *arguments, check=0):
    done = command("explain", "--manifests", small.path, *arguments, url, check=check)
    return done.stdout


def test_the_text_names_everything_that_matters(small):
    text = explain(small, "http://shop.test/api/x?y=1")
    for word in ("shop.test", "/api", "Prefix", "default/shop", "api", "127.9.0.2", "all.yaml",
                 "spec.rules[0].http.paths[1]"):
        assert word in text, f"{word} is missing in:\n{text}"
    assert "\033[" not in text


def test_losers_are_named_with_the_reason(small):
    found = json.loads(explain(small, "http://shop.test/api", "-o", "json"))
    assert found["match"]["path"] == "/api" and found["match"]["owner"]["name"] == "shop"
    losers = [c for c in found["candidates"] if c["path"] == "/"]
    assert len(losers) == 1 and losers[0]["verdict"]


def test_the_nearest_misses_are_named(small):
    found = json.loads(explain(small, "http://shop.tset/", "-o", "json", check=1))
    assert found["match"] is None and found["result"]["reason"] == "no_route"
    assert "shop.test" in [miss["host"] for miss in found["nearestMisses"]]


def test_filters_are_shown(small):
    found = json.loads(explain(small, "http://old.test/", "-o", "json"))
    assert found["filters"] == [{"name": "redirect", "effect": "answers", "status": 301,
                                 "location": "https://new.test/"}]


def test_method_and_fields_of_the_request(small):
    found = json.loads(explain(small, "http://other.test/api", "-o", "json", "-X", "POST", "-H",
                               "Host: shop.test"))
    assert found["request"]["method"] == "POST" and found["match"]["path"] == "/api"


def test_a_url_that_is_none(small):
    done = command("explain", "--manifests", small.path, "http://bad host/")
    assert done.returncode != 0


def test_a_server_that_is_not_there():
    done = command("explain", "--server", "127.0.0.1:1", "http://a.test/")
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr
