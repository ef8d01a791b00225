"""Events on the objects of users, written by the leader with the shipped rights."""
import pytest

from e2e.lib.shipped import ACCOUNT, NAMESPACE
from e2e.lib.web import publish_web, web_ingress, web_service


@pytest.fixture(name="run")
def fixture_run(rights, lintel):
    return lambda *options: lintel(ACCOUNT, NAMESPACE, *options).start()


def events_on(cluster, namespace, name, reason):
    return [event for event in cluster.api.list(("events.k8s.io/v1", "Event"), namespace)
            if event["reason"] == reason and event["regarding"]["name"] == name]


def test_a_mistake_is_one_event(cluster, namespace, run):
    """However often the Ingress changes and is compiled with it; the next leader adds none."""
    made = cluster.api.apply(web_ingress(namespace, "a.test"))
    first = run("--disable-sync-events")

    def found():
        return events_on(cluster, namespace, "web", "ServiceNotFound")
    event, = cluster.wait(found, "the Event")
    assert event["type"] == "Warning" and "web" in event["note"]
    assert event["regarding"]["uid"] == made["metadata"]["uid"]
    assert event["reportingController"] == "lintel.dev/ingress-controller"

    for i in range(10):
        item = web_ingress(namespace, f"host-{i}.test")
        cluster.api.apply(item)
        first.wait_answer(503, host=f"host-{i}.test")
    assert len(found()) == 1
    first.stop()
    run("--disable-sync-events")
    # It is refused as a double, which the leader learns.
    cluster.wait(lambda: ("events.k8s.io", "events", 409) in
                 {(e["objectRef"].get("apiGroup"), e["objectRef"]["resource"],
                   e["responseStatus"]["code"]) for e in cluster.audit(ACCOUNT, NAMESPACE)},
                 "that the new leader has told it, too")
    assert len(found()) == 1


def test_what_is_mended_is_told_no_more(cluster, namespace, run):
    """A later mistake of another Ingress is told; so whatever was to be told before it has been."""
    cluster.api.apply(web_ingress(namespace, "a.test"))
    running = run()
    cluster.wait(lambda: events_on(cluster, namespace, "web", "ServiceNotFound"), "the Event")
    publish_web(cluster, namespace, "a.test", 1)
    running.wait_answer(200, host="a.test")
    cluster.api.apply(web_ingress(namespace, "b.test"))
    assert len(cluster.wait(lambda: events_on(cluster, namespace, "web", "Sync"), "Sync")) == 1
    before = {(e["metadata"]["name"], str(e.get("series")))
              for e in cluster.api.list(("events.k8s.io/v1", "Event"), namespace)
              if e["regarding"]["kind"] == "Ingress"}

    missing = web_ingress(namespace, "c.test", "other")
    missing["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "nowhere"
    cluster.api.apply(missing, web_service(namespace))
    cluster.wait(lambda: events_on(cluster, namespace, "other", "ServiceNotFound"), "the Event")
    after = {(e["metadata"]["name"], str(e.get("series")))
             for e in cluster.api.list(("events.k8s.io/v1", "Event"), namespace)
             if e["regarding"]["kind"] == "Ingress" and e["regarding"]["name"] == "web"}
    assert after == before
