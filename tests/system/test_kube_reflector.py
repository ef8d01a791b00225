"""Reflectors against a double of the API server that does everything wrong that one can do. After each
fault: the objects are the server's, none lost, none back from the dead, and the requests bounded.
"""
import asyncio
import os
import time

import pytest
from e2e.lib.pki import Authority
from lib.follow import Follow, write_kubeconfig
from lib.kube_double import Double, encode, server_context
from lib.lintel import IS_SANITIZED
from lib.wait import always, eventually

THINGS = "/api/v1/things"


class Scene:
    def __init__(self, path):
        self.path, self.doubles, self.follows = path, [], []
        self._authority = None

    @property
    def authority(self):
        if self._authority is None:
            self._authority = Authority(str(self.path / "pki"))
        return self._authority

    def double(self, transport="http1", **options):
        """http1: plain; tls1, h2: over TLS."""
        if transport != "http1":
            options.setdefault("context", server_context(self.authority))
        made = Double(http=2 if transport == "h2" else 1, **options).start()
        self.doubles.append(made)
        return made

    def follow(self, double, *arguments, cluster=None, user=None):
        if cluster is None and double.context is not None:
            cluster = {"certificate-authority": self.authority.certificate}
        config = write_kubeconfig(self.path / f"kubeconfig-{len(self.follows)}", double.url(),
                                  cluster=cluster, user=user)
        made = Follow(config, *(arguments or (THINGS,)))
        self.follows.append(made)
        return made

    def end(self):
        try:
            for follow in self.follows:
                follow.end()
        finally:
            for double in self.doubles:
                double.close()


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.end()


def put_some(double, n=3, path=THINGS):
    for i in range(n):
        double.put(path, f"t{i}")


def count(double, **wanted):
    """Requests whose query or attributes are as wanted."""
    return sum(1 for r in list(double.requests)
               if all(getattr(r, k, r.query.get(k)) == v for k, v in wanted.items()))


def is_list(request):
    return not request.is_watch


# ---- without faults ----

@pytest.mark.parametrize("transport", ["http1", "tls1", "h2"])
def test_follows(scene, transport):
    double = scene.double(transport)
    put_some(double, 25)
    follow = scene.follow(double, "page=10", THINGS)
    follow.wait_same(double)
    double.put(THINGS, "new")
    double.put(THINGS, "t1")
    double.delete(THINGS, "t2")
    follow.wait_same(double)
    assert count(double, is_watch=False) == 3 and count(double, is_watch=True) == 1
    assert follow.counters()["failures"] == 0
    assert double.requests[0].headers["user-agent"].startswith("lintel/")
    assert "(linux/" in double.requests[0].headers["user-agent"]


def test_many_streams_share_one_connection(scene):
    double = scene.double("h2")
    paths = [f"/api/v1/things{i}" for i in range(60)]
    for path in paths:
        put_some(double, 2, path)
    follow = scene.follow(double, *paths)
    follow.wait_same(double)
    for path in paths:
        double.put(path, "later")
    follow.wait_same(double)
    assert double.connection_n == 1 and follow.counters()["connects"] == 1


def test_many_streams_share_few_connections(scene):
    """An API server allows 100 streams on each."""
    double = scene.double("h2")
    paths = [f"/api/v1/things{i}" for i in range(350)]
    for path in paths:
        put_some(double, 1, path)
    follow = scene.follow(double, *paths)
    follow.wait_same(double)
    eventually(lambda: count(double, is_watch=True) == len(paths), what="all watches")
    assert double.connection_n == 4


def test_an_empty_list_is_one(scene):
    double = scene.double()
    double.call(double._resource, THINGS)
    follow = scene.follow(double)
    follow.wait_same(double)
    double.put(THINGS, "first")
    follow.wait_same(double)


# ---- expiry ----

def test_expired_token_begins_the_list_anew_and_unpaged(scene):
    double = scene.double()
    put_some(double, 25)

    async def fault(double, request, reply):
        if "continue" in request.query and request.number == 2:
            double._put(THINGS, "in-between", "default", 0)
            double.resources[THINGS].compacted = double.version
        return False

    double.fault = fault
    follow = scene.follow(double, "page=10", THINGS)
    follow.wait_same(double)
    assert "in-between" in str(follow.one.objects)
    assert [r.query.get("limit") for r in double.requests if is_list(r)] == ["10", "10", None]
    assert follow.counters()["relists_expired"] == 1


@pytest.mark.parametrize("form", ["status", "event"])
def test_gone_in_mid_watch_lists_anew(scene, form):
    double = scene.double()
    put_some(double)
    state = {"n": 0}

    async def fault(double, request, reply):
        if not request.is_watch or state["n"] >= 2:
            return False
        state["n"] += 1
        double._delete(THINGS, f"t{state['n']}", "default")  # never told by this watch
        double.resources[THINGS].compacted = double.version
        if form == "status":
            await double.refuse(reply, 410)
        else:
            await reply.start(200, {})
            await reply.send(encode({"type": "ERROR", "object": double.status(410, "too old")}))
            await asyncio.sleep(30)
        return True

    double.fault = fault
    follow = scene.follow(double)
    eventually(lambda: state["n"] == 2 and follow.counters()["relists_expired"] == 2,
               what="both faults")
    follow.wait_same(double)
    assert len(double.requests) <= 7


def test_too_large_version_lists_anew(scene):
    double = scene.double()
    put_some(double)
    state = {"n": 0}

    async def fault(double, request, reply):
        state["n"] += request.is_watch
        if request.is_watch and state["n"] == 1:
            await double.refuse(reply, 504, "Too large resource version", reason="Timeout",
                                details={"causes": [{"reason": "ResourceVersionTooLarge"}]})
            return True
        return False

    double.fault = fault
    follow = scene.follow(double)
    follow.wait_same(double)
    eventually(lambda: follow.counters()["watches"] == 2, what="a second watch")
    assert count(double, is_watch=False) == 2


# ---- cut streams ----

def make_stream(double, path):
    """What a watch of the path says about three changes made now."""
    before = double.version
    double._put(path, "t0", "default", 0)
    double._delete(path, "t1", "default")
    double._put(path, "new", "default", 0)
    return b"".join(encode({"type": kind, "object": item})
                    for version, kind, item in double.resources[path].history
                    if version > before)


@pytest.mark.parametrize("transport,end", [("http1", "cut"), ("http1", "end"), ("h2", "cut"),
                                           ("h2", "end")])
def test_stream_cut_at_each_offset(scene, transport, end):
    """One resource for each offset of a recorded stream of events; its first watch ends there."""
    double = scene.double(transport)
    double.call(double._put, "/api/v1/probe", "t1", "default", 0)
    length = len(double.call(make_stream, double, "/api/v1/probe"))
    paths = [f"/api/v1/things{i:04}" for i in range(0, length + 1)]
    for path in paths:
        put_some(double, 2, path)
    seen = set()

    async def fault(double, request, reply):
        if not request.is_watch or request.path in seen:
            return False
        seen.add(request.path)
        data = make_stream(double, request.path)
        await reply.start(200, {})
        await reply.send(data[:paths.index(request.path)])
        if end == "cut":
            await asyncio.sleep(0.01)  # what was sent shall arrive before the reset
            await reply.cut()
        await reply.end()
        return True

    double.fault = fault
    follow = scene.follow(double, *paths)
    follow.wait_same(double, timeout=60)
    eventually(lambda: count(double, is_watch=True) == 2 * len(paths), what="all watches",
               timeout=60)
    follow.counters()
    for followed in follow.all:
        counters = followed.counters
        assert counters["lists"] == 1, followed.lines
        # libcurl itself repeats a request whose stream was reset before anything came
        least = 0 if transport == "h2" else 1
        assert least <= counters["checks"] == counters["failures"] <= 1, followed.lines


def test_garbage_lists_anew(scene):
    double = scene.double()
    put_some(double)
    state = {"n": 0}

    async def fault(double, request, reply):
        state["n"] += request.is_watch
        if request.is_watch and state["n"] == 1:
            await reply.start(200, {})
            await reply.send(b'{"type":"ADDED","object":{"metadata":{}}}\n')
            await asyncio.sleep(30)
        return False

    double.fault = fault
    follow = scene.follow(double)
    follow.wait_same(double)
    eventually(lambda: state["n"] == 2, what="a second watch")
    assert count(double, is_watch=False) == 2


def test_a_connection_reset_in_mid_list_forgets_nothing(scene):
    double = scene.double()
    put_some(double, 20)
    follow = scene.follow(double)
    follow.wait_same(double)
    before = dict(follow.one.objects)
    state = {"n": 0}

    async def fault(double, request, reply):
        if request.is_watch and state["n"] == 0:
            return False
        state["n"] += 1
        if state["n"] > 3:
            return False
        await reply.start(200, {})
        await reply.send(b'{"kind":"List","items":[')
        await asyncio.sleep(0.01)
        await reply.cut()

    double.fault = fault
    double.compact(THINGS)
    double.stop()
    state["n"] = 1
    double.start()
    eventually(lambda: state["n"] >= 3, what="cut lists")
    assert follow.one.objects == before
    follow.wait_same(double)


# ---- a server in trouble ----

def test_stalled_stream_is_ended_and_checked(scene):
    double = scene.double(bookmark_s=60)
    put_some(double)
    follow = scene.follow(double, "silence=700", THINGS)
    follow.wait_same(double)
    eventually(lambda: count(double, is_watch=True) >= 2, what="a second watch")
    double.put(THINGS, "new")
    follow.wait_same(double)
    counters = follow.counters()
    assert counters["checks"] >= 1 and counters["lists"] == 1


def test_bookmarks_keep_a_quiet_stream(scene):
    double = scene.double(bookmark_s=0.2)
    put_some(double)
    follow = scene.follow(double, "silence=1000", THINGS)
    follow.wait_same(double)
    always(lambda: count(double, is_watch=True) <= 1, seconds=2.5, what="one watch")
    assert follow.counters()["failures"] == 0


@pytest.mark.parametrize("transport", ["http1", "h2"])
def test_half_open_connection_is_left(scene, transport):
    double = scene.double(transport, bookmark_s=0.2)
    put_some(double)
    follow = scene.follow(double, "silence=1000", THINGS)
    follow.wait_same(double)
    eventually(lambda: count(double, is_watch=True) == 1, what="a watch")
    double.freeze()
    double.put(THINGS, "new")
    double.delete(THINGS, "t0")
    follow.wait_same(double)
    assert follow.counters()["lists"] == 1
    assert len(double.requests) <= 5


def test_retry_after_is_heeded(scene):
    double = scene.double()
    put_some(double)
    times = []

    async def fault(double, request, reply):
        times.append(time.monotonic())
        if len(times) <= 2:
            await double.refuse(reply, 429, headers={"Retry-After": 1} if len(times) == 1 else {},
                                details={"retryAfterSeconds": 1})
            return True
        return False

    double.fault = fault
    follow = scene.follow(double)
    follow.wait_same(double)
    assert times[1] - times[0] >= 1 and times[2] - times[1] >= 1
    assert "429" in str(follow.one.lines)


def test_storm_of_errors_is_answered_by_few_requests(scene):
    double = scene.double()
    put_some(double)
    follow = scene.follow(double)
    follow.wait_same(double)
    state = {"is_bad": True, "n": 0}

    async def fault(double, request, reply):
        state["n"] += state["is_bad"]
        if state["is_bad"]:
            await double.refuse(reply, 500)
        return state["is_bad"]

    double.fault = fault
    double.stop()
    double.start()
    eventually(lambda: follow.one.why is not None and "500" in follow.one.why, what="told")
    always(lambda: state["n"] <= 12, seconds=4, what="few requests")
    assert follow.one.objects == double.state(THINGS), "what was known stays"
    double.put(THINGS, "new")
    state["is_bad"] = False
    follow.wait_same(double, timeout=40)
    eventually(lambda: follow.one.why is None, what="well again", timeout=40)


@pytest.mark.parametrize("end", ["at once", "after a list"])
def test_watches_that_end_at_once_are_no_busy_loop(scene, end):
    double = scene.double()
    put_some(double)

    async def fault(double, request, reply):
        if not request.is_watch:
            return False
        if end == "after a list":
            await double.refuse(reply, 410)
        else:
            await reply.start(200, {})
            await reply.end()
        return True

    double.fault = fault
    follow = scene.follow(double)
    follow.wait_same(double)
    always(lambda: len(double.requests) <= 30, seconds=3, what="few requests")


def test_a_list_that_never_ends_is_given_up(scene):
    double = scene.double()
    put_some(double)

    async def fault(double, request, reply):
        await double.ok(reply, {"kind": "List", "items": [],
                                "metadata": {"resourceVersion": "5", "continue": "again"}})
        return True

    double.fault = fault
    follow = scene.follow(double)
    eventually(lambda: follow.one.why, what="told")
    always(lambda: len(double.requests) <= 40, seconds=2, what="few requests")


def test_forbidden_says_what_to_grant(scene):
    double = scene.double()
    put_some(double)

    async def fault(double, request, reply):
        if request.is_watch:
            await double.refuse(reply, 403, 'things is forbidden: User "x" cannot watch')
        return request.is_watch

    double.fault = fault
    follow = scene.follow(double)
    eventually(lambda: follow.one.why, what="told")
    assert "RBAC must allow the verb watch on things" in follow.one.why
    assert "cannot watch things (403)" in follow.one.why


# ---- away ----

def test_a_restart_resumes_without_a_list(scene):
    double = scene.double()
    put_some(double)
    follow = scene.follow(double)
    follow.wait_same(double)
    eventually(lambda: count(double, is_watch=True) == 1, what="a watch")
    double.stop()
    double.put(THINGS, "new")
    double.delete(THINGS, "t0")
    double.start()
    follow.wait_same(double)
    counters = follow.counters()
    assert counters["lists"] == 1 and counters["checks"] >= 1


def test_refused_for_long_lists_anew(scene):
    double = scene.double()
    put_some(double)
    follow = scene.follow(double)
    follow.wait_same(double)
    eventually(lambda: count(double, is_watch=True) == 1, what="a watch")
    before = len(double.requests)
    double.stop()
    eventually(lambda: follow.one.why, what="told that it is away")
    assert "cannot" in follow.one.why
    time.sleep(11)  # longer than TIMEOUT_KUBE_AWAY: the one thing here that only time can bring
    double.delete(THINGS, "t0")
    double.start()
    follow.wait_same(double, timeout=45)
    eventually(lambda: follow.one.why is None, what="well again")
    assert follow.counters()["lists"] >= 2  # those that were refused are counted, too
    assert len(double.requests) - before <= 3


def test_older_state_after_a_restart(scene):
    double = scene.double()
    put_some(double)
    saved = double.save()
    follow = scene.follow(double)
    follow.wait_same(double)
    eventually(lambda: count(double, is_watch=True) == 1, what="a watch")
    put_some(double, 10)
    double.delete(THINGS, "t0")
    follow.wait_same(double)
    double.stop()
    double.restore(saved)
    double.start()
    follow.wait_same(double)
    assert follow.counters()["relists_back"] == 1
    double.put(THINGS, "after")
    follow.wait_same(double)


def test_bookmark_that_goes_back_lists_anew(scene):
    double = scene.double()
    put_some(double)
    state = {"n": 0}

    async def fault(double, request, reply):
        state["n"] += request.is_watch
        if request.is_watch and state["n"] == 1:
            await reply.start(200, {})
            await double.bookmark(reply, 5)
            await asyncio.sleep(30)
        return False

    double.fault = fault
    follow = scene.follow(double)
    eventually(lambda: state["n"] == 2, what="a second watch")
    follow.wait_same(double)
    assert follow.counters()["relists_back"] == 1


# ---- who we are ----

def test_token_is_read_again_after_rotation(scene):
    token = scene.path / "token"
    token.write_text("first\n")
    double = scene.double()
    double.tokens = {"first"}
    put_some(double)
    follow = scene.follow(double, user={"tokenFile": str(token)})
    follow.wait_same(double)
    eventually(lambda: count(double, is_watch=True) == 1, what="a watch")
    double.tokens = {"second"}
    (scene.path / "next").write_text("second\n")
    os.replace(scene.path / "next", token)
    double.stop()
    double.start()
    double.put(THINGS, "new")
    follow.wait_same(double)
    assert follow.one.why is None
    assert follow.counters()["lists"] == 1


def test_a_token_that_stays_wrong_is_told_and_tried_seldom(scene):
    double = scene.double()
    double.tokens = {"other"}
    put_some(double)
    follow = scene.follow(double, user={"token": "mine"})
    eventually(lambda: follow.one.why, what="told")
    assert "(401)" in follow.one.why
    always(lambda: len(double.requests) <= 10, seconds=2, what="few requests")
    double.tokens = {"mine"}
    follow.wait_same(double, timeout=40)


def test_a_certificate_of_another_authority_is_refused(scene):
    double = scene.double("h2")
    put_some(double)
    other = Authority(str(scene.path / "other"))
    follow = scene.follow(double, cluster={"certificate-authority": other.certificate})
    eventually(lambda: follow.one.why, what="told")
    assert "certificate" in follow.one.why and not double.requests


def test_insecure_is_warned_about(scene):
    double = scene.double("h2")
    put_some(double)
    follow = scene.follow(double, cluster={"insecure-skip-tls-verify": True})
    follow.wait_same(double)
    assert "insecure-skip-tls-verify: is true" in "".join(follow.errors)


@pytest.mark.parametrize("name", [None, "api.test"])
def test_tls_server_name(scene, name):
    context = server_context(scene.authority, "named", names=["api.test"], addresses=[])
    double = scene.double("h2", context=context)
    put_some(double)
    cluster = {"certificate-authority": scene.authority.certificate}
    if name is None:
        follow = scene.follow(double, cluster=cluster)
        eventually(lambda: follow.one.why, what="told")
        assert not double.requests
        return
    follow = scene.follow(double, cluster={**cluster, "tls-server-name": name})
    follow.wait_same(double)
    assert double.requests[0].headers[":authority"] == f"127.0.0.1:{double.port}"


# ---- one object by name ----

def named(scene, double, *arguments):
    return scene.follow(double, "name=one", *arguments, THINGS)


def wait_named(double, follow, timeout=20):
    eventually(lambda: follow.one.is_synced and not follow.one.is_listing and follow.one.objects ==
               {k: v for k, v in double.state(THINGS).items() if k == "default/one"},
               what="the object as on the server", timeout=timeout)


@pytest.mark.parametrize("transport", ["http1", "h2"])
def test_by_name(scene, transport):
    double = scene.double(transport)
    put_some(double)
    follow = named(scene, double)
    wait_named(double, follow)
    assert not follow.one.objects
    for _ in range(2):
        double.put(THINGS, "one")
        wait_named(double, follow)
        double.put(THINGS, "one")
        wait_named(double, follow)
        double.delete(THINGS, "one")
        wait_named(double, follow)
    assert len(double.requests) == 2 and follow.counters()["failures"] == 0
    assert all(r.is_watch or r.path == THINGS + "/one" for r in double.requests), "never listed"


def test_by_name_an_old_object(scene):
    """Its own version is too old to watch from: that must not matter."""
    double = scene.double()
    double.put(THINGS, "one")
    put_some(double, 20)
    double.compact(THINGS)
    follow = named(scene, double)
    wait_named(double, follow)
    eventually(lambda: follow.one.is_synced, what="synced")
    double.delete(THINGS, "one")
    wait_named(double, follow)
    assert len(double.requests) == 2


@pytest.mark.parametrize("change", ["delete", "put"])
def test_by_name_an_answer_that_comes_late(scene, change):
    """The fetch's answer was true when it was made; the watch has told more since."""
    double = scene.double()
    put_some(double)
    if change == "delete":
        double.put(THINGS, "one")

    async def fault(double, request, reply):
        if request.is_watch:
            return False
        old = double.resources[THINGS].objects.get(("default", "one"))
        if change == "delete":
            double._delete(THINGS, "one", "default")
        else:
            double._put(THINGS, "one", "default", 0)
        await asyncio.sleep(0.3)  # the watch goes first
        if old is None:
            await double.refuse(reply, 404)
        else:
            await double.ok(reply, old)
        return True

    double.fault = fault
    follow = named(scene, double)
    wait_named(double, follow)
    always(lambda: ("default/one" in follow.one.objects) == (change == "put"), seconds=0.5)


def test_by_name_after_a_cut(scene):
    double = scene.double()
    double.put(THINGS, "one")
    follow = named(scene, double)
    wait_named(double, follow)
    double.stop()
    double.delete(THINGS, "one")
    double.start()
    wait_named(double, follow)
    assert not follow.one.objects


# ---- size ----

def test_ten_thousand_objects(scene):
    double = scene.double("h2")

    def fill():
        for i in range(10000):
            double._put(THINGS, f"t{i:05}", "default", 1000)
        double.resources[THINGS].history.clear()

    double.call(fill)
    began = time.monotonic()
    follow = scene.follow(double)
    follow.wait_same(double, timeout=60)
    took = time.monotonic() - began
    counters = follow.counters()
    memory = follow.most_memory()
    print(f"\n10,000 objects: {took:.2f} s, {counters['received_bytes']} bytes, "
          f"{memory >> 10} KiB at most")
    assert count(double, is_watch=False) == 20
    assert memory < 40 << 20 or IS_SANITIZED, "a list is read piece by piece"


def test_an_event_that_is_too_large(scene):
    double = scene.double()
    put_some(double)
    state = {"n": 0}

    async def fault(double, request, reply):
        state["n"] += request.is_watch
        if request.is_watch and state["n"] == 1:
            await reply.start(200, {})
            await reply.send(b'{"type":"ADDED","object":{"metadata":{"name":"')
            for _ in range(9):
                await reply.send(b"x" * (1 << 20))
            await asyncio.sleep(30)
        return False

    double.fault = fault
    follow = scene.follow(double)
    eventually(lambda: state["n"] == 2, what="a second watch")
    follow.wait_same(double)
    assert follow.counters()["oversized"] == 1
