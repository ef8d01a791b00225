"""The table of adversarial requests, through a real Lintel, against a backend that records every
byte and against real servers. After each case a request that must be served shows that nobody has
lost step, and that everything before it has arrived."""
import pytest

from lib.client import Client, Closed
from lib.manifests import app, ingress, ingress_class, rule
from lib.recorder import Recorder
from lib.servers import SERVERS

from . import framing, lines, semantics
from .case import HOST

CASES = semantics.CASES + lines.CASES + framing.CASES
HOSTS = {"recorder": b"r.test", "nginx": b"n.test", "apache": b"a.test", "node": b"j.test",
         "python": b"p.test"}
SHORT_S = 15


class Stand:
    """One Lintel before all backends. The path /admin of every host belongs to a backend of its
    own, the guard: requests that are matched by it may reach no other."""

    def __init__(self, stage):
        self.recorder, self.guard = Recorder(), Recorder("guard")
        self.servers = {}
        stage.others += [self.recorder, self.guard]
        for server in SERVERS:
            made = server(stage.path / server.name)
            self.servers[server.name] = made
            stage.others.append(made)
        names = {"recorder": self.recorder, **self.servers}
        self.lintel = stage.run(
            ingress_class(), app("guard", self.guard.port),
            ingress("all", *[rule(HOSTS[name].decode(), ("/", "Prefix", f"{name}:80"),
                                  ("/admin", "Prefix", "guard:80")) for name in names]),
            *[app(name, backend.port) for name, backend in names.items()])
        self.marks = 0
        self.late = {name: [] for name in self.servers}

    def probe(self, host):
        """A request that must be served; returns what finds it in a log."""
        self.marks += 1
        mark = f"/probe-{self.marks}-end"
        with Client(self.lintel.port, timeout=SHORT_S) as client:
            ask(client, host, mark)
        return mark

    def seen(self, name, mark, wanted, begun):
        """The requests in a server's log up to mark. One that an earlier case has begun and broken off
        may stand there only now, ahead of those that are wanted, where the server is many processes:
        that one is left out. begun: what this case breaks off."""
        lines = [line for line in self.servers[name].seen(mark) if "/probe-" not in line]
        late = self.late[name]
        while lines not in (wanted, begun) and late and lines[:1] == late[:1]:
            del lines[0], late[0]
        if not lines:
            late += begun
        return lines


def ask(client, host, target):
    client.send(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target.encode(), host))
    response = client.read_response()
    assert response.why is None, response


@pytest.fixture(scope="module")
def stand(module_stage):
    return Stand(module_stage)


def send(client, data, ends):
    try:
        client.send(data)
        if ends:
            client.shutdown()
    except (BrokenPipeError, ConnectionResetError):
        pass # refused before all was sent


def play(stand, case, host):
    """The responses, and whether the connection was closed after them."""
    responses = []
    with Client(stand.lintel.port, timeout=SHORT_S) as client:
        send(client, case.data.replace(HOST, host).replace(HOST.upper(), host.upper()), case.ends)
        for i in range(len(case.statuses)):
            is_head = i < len(case.seen) and case.seen[i].startswith("HEAD ")
            responses.append(client.read_response(is_head))
        if case.is_closed:
            try:
                rest = client.read_to_end()
            except ConnectionResetError:
                rest = b""
            assert rest == b"", f"after {responses}: {rest[:300]!r}"
        else:
            ask(client, host, "/probe-same-connection")
    return responses


def check_responses(case, responses):
    assert responses[-1].why == case.why if responses else True, responses
    if case.why is not None and case.is_closed:
        assert responses[-1]["connection"].lower() == "close"


def check_last(case, seen, host):
    for name, value in case.has.items():
        wanted = value if value is None else value.replace(HOST.decode(), host.decode()).replace(
            HOST.decode().upper(), host.decode().upper())
        assert seen.get(name) == wanted, f"{name}: {seen.all(name)}"
    if case.body is not None:
        assert seen.body == case.body.replace(HOST, host)


PROBES = ("GET /probe-", "GET /admin/probe-")


def lines_of(found):
    return [seen.line for seen in found if not seen.line.startswith(PROBES)]


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_what_a_recording_backend_sees(stand, case):
    host = HOSTS["recorder"]
    stand.recorder.take(), stand.guard.take()
    try:
        responses = play(stand, case, host)
        error = None
    except (Closed, ConnectionResetError, TimeoutError, AssertionError) as caught:
        responses, error = [], caught
    mark = stand.probe(host)
    with Client(stand.lintel.port) as client:
        ask(client, host, "/admin" + mark)
    (seen, breaches), (guarded, guard_breaches) = stand.recorder.take(), stand.guard.take()
    assert breaches + guard_breaches == []
    if case.guard:
        seen, guarded = guarded, seen
    assert lines_of(seen) == case.seen and lines_of(guarded) == []
    if error is not None:
        raise error
    assert [r.status for r in responses] == case.statuses, responses
    check_responses(case, responses)
    if case.seen:
        check_last(case, [s for s in seen if not s.line.startswith(PROBES)][-1], host)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
@pytest.mark.parametrize("name", [server.name for server in SERVERS])
def test_what_real_servers_see(stand, name, case):
    """Each server believes to have got exactly the requests that it was meant to get. What it
    answers to a method it does not know, or to /.., is its own business."""
    host = HOSTS[name]
    stand.guard.take()
    with Client(stand.lintel.port, timeout=SHORT_S) as client:
        send(client, case.data.replace(HOST, host).replace(HOST.upper(), host.upper()), case.ends)
        responses = []
        for i in range(len(case.statuses)):
            is_head = i < len(case.seen) and case.seen[i].startswith("HEAD ")
            try:
                responses.append(client.read_response(is_head))
            except (Closed, ConnectionResetError):
                break
    mark = stand.probe(host)
    wanted = [] if case.guard else case.seen
    seen = stand.seen(name, mark, wanted, case.begun)
    assert seen == wanted or (case.begun and seen == case.begun), responses
    if not case.seen:
        assert [r.status for r in responses] == case.statuses, responses


def test_the_table():
    """Large, in the order of the documents, each name once, good requests among them."""
    for part in (semantics.CASES, lines.CASES + framing.CASES):
        sections = [case.order for case in part]
        assert sections == sorted(sections)
    assert len({case.id for case in CASES}) == len(CASES)
    assert len([case for case in CASES if not case.is_good]) >= 150
    assert len([case for case in CASES if case.is_good]) >= 40
