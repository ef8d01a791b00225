"""The access log, in both forms."""
import json
import os
import re
import signal

from lib import pki
from lib.client import Client
from lib.manifests import app, ingress, ingress_class, rule, secret, tls, tls_secret
from lib.tls import V12, TlsClient, context
from lib.wait import eventually

# ingress-nginx's default format: what people's log parsers understand.
TEXT = re.compile(
    r'(?P<client>\S+) - - \[(?P<time>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3}) '
    r'(?P<bytes>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)" (?P<length>\d+) '
    r'(?P<seconds>\d+\.\d{3}) \[(?P<upstream>[^\]]*)\] \[\] (?P<address>\S+) (?P<up_bytes>\S+) '
    r'(?P<up_seconds>\S+) (?P<up_status>\S+) (?P<id>\S+)(?: (?P<reason>\w+))?')


def serve(stage, access_log):
    backend = stage.backend(lambda x: (x.read_body(), x.respond(body=b"12345")))
    lintel = stage.run(ingress_class(), app("app", backend.port),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       access_log=access_log)
    return lintel, backend


def test_text(stage):
    lintel, backend = serve(stage, "text")
    lintel.fetch("/x?y=1", "a.test", fields=[("User-Agent", "test \"agent\""), ("Referer", "r")])
    line = lintel.wait_access_log("/x")
    match = TEXT.fullmatch(line.replace("\\x22", "'"))
    assert match, line
    assert match["client"] == "127.0.0.1" and match["request"] == "GET /x?y=1 HTTP/1.1"
    assert (match["status"], match["bytes"]) == ("200", "5")
    assert (match["agent"], match["referer"]) == ("test 'agent'", "r")
    assert match["upstream"] == "default-app-80"
    assert match["address"] == f"127.0.0.1:{backend.port}" and match["up_status"] == "200"
    assert match["reason"] is None


def test_text_of_an_own_answer_ends_with_the_reason(stage):
    lintel, _ = serve(stage, "text")
    lintel.fetch("/x", "b.test")
    match = TEXT.fullmatch(lintel.wait_access_log("/x"))
    assert match and (match["status"], match["reason"]) == ("404", "no_route")


def test_json(stage):
    lintel, backend = serve(stage, "json")
    lintel.fetch("/x", "a.test", method="POST", body=b"abc")
    item = lintel.wait_access_log_json(target="/x")
    assert item["remote_addr"] == "127.0.0.1" and item["method"] == "POST"
    assert item["host"] == "a.test" and item["status"] == 200 and item["body_bytes_sent"] == 5
    assert (item["namespace"], item["ingress"]) == ("default", "a")
    assert item["upstream_addr"] == f"127.0.0.1:{backend.port}" and item["reason"] == "none"


def test_whatever_a_client_sends_a_line_stays_one_line(stage):
    lintel, _ = serve(stage, "json")
    lintel.fetch("/quote\"back\\slash", "a.test", fields=[("User-Agent", "\xff\x01\x7f é\"\\")])
    lintel.fetch("/end", "a.test")
    lintel.wait_access_log_json(target="/end")
    lines = lintel.access_log().splitlines()
    assert all(json.loads(line) for line in lines)
    assert len(lines) in (1, 2)


def test_malformed_requests_are_logged_too(stage):
    lintel, _ = serve(stage, "json")
    with Client(lintel.port) as client:
        client.send(b"nonsense\r\n\r\n")
        client.read_response()
    item = lintel.wait_access_log_json(reason="bad_request")
    assert item["status"] == 400


def test_each_request_is_one_line(stage):
    lintel, _ = serve(stage, "json")
    with Client(lintel.port) as client:
        for i in range(500):
            client.request(target=f"/{i}", host="a.test")
    eventually(lambda: len(lintel.access_log().splitlines()) == 500)
    targets = [json.loads(line)["target"] for line in lintel.access_log().splitlines()]
    assert targets == [f"/{i}" for i in range(500)]


def test_off(stage):
    lintel, _ = serve(stage, "off")
    lintel.fetch("/x", "a.test")
    lintel.stop()
    assert lintel.access_log() == ""


def test_the_last_lines_are_written_before_the_end(stage):
    lintel, _ = serve(stage, "json")
    lintel.fetch("/last", "a.test")
    assert lintel.stop() == 0
    assert json.loads(lintel.access_log().splitlines()[-1])["target"] == "/last"


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return [line for line in file if line.endswith("\n")]


def test_a_file_that_is_rotated(stage):
    """Renamed, then SIGHUP: every request is in one of the two files, and nothing on stdout."""
    path = stage.path / "access.log"
    path.write_text("from before\n")
    backend = stage.backend(lambda x: (x.read_body(), x.respond(body=b"12345")))
    lintel = stage.run(ingress_class(), app("app", backend.port),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80"))), workers=2,
                       arguments=["--access-log-file", path])
    for i in range(10):
        lintel.fetch(f"/old{i}", "a.test")
    eventually(lambda: len(lines_of(path)) == 11, what="lines in the file")
    assert lines_of(path)[0] == "from before\n"
    old = stage.path / "access.log.1"
    path.rename(old)
    lintel.fetch("/between", "a.test")
    before = len(lintel.log())
    os.kill(lintel.supervisor, signal.SIGHUP)
    lintel.wait_log("opened anew", after=before)
    eventually(path.exists, what="the new file")
    eventually(lambda: lintel.fetch("/new", "a.test") and lines_of(path), what="a line in it")
    written = lines_of(old) + lines_of(path)
    assert sum("/between" in line for line in written) == 1
    for pid in lintel.workers():
        eventually(lambda p=pid: str(old) not in links_of(p), what="the old file closed")
    lintel.stop()
    written = lines_of(old) + lines_of(path)
    assert len([line for line in written if "/new" in line]) >= 1
    assert lintel.access_log() == ""


def links_of(pid):
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]


def test_a_worker_born_after_the_rotation_uses_the_new_file(stage):
    path = stage.path / "access.log"
    lintel = stage.run(ingress_class(), app("app", stage.backend().port),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       arguments=["--access-log-file", path])
    path.rename(stage.path / "access.log.1")
    os.kill(lintel.supervisor, signal.SIGHUP)
    eventually(path.exists, what="the new file")
    before = lintel.workers()
    os.kill(before[0], signal.SIGKILL)
    lintel.wait_workers(other_than=before)
    eventually(lambda: lintel.fetch("/x", "a.test").status == 200, what="an answer")
    eventually(lambda: lines_of(path), what="a line in the new file")


def test_a_file_that_cannot_be_reopened(stage):
    """The old one is used on; nothing ends."""
    folder = stage.path / "logs"
    folder.mkdir()
    lintel = stage.run(ingress_class(), app("app", stage.backend().port),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
                       arguments=["--access-log-file", folder / "access.log"])
    folder.rename(stage.path / "moved")
    os.kill(lintel.supervisor, signal.SIGHUP)
    lintel.wait_log("cannot open the access log")
    lintel.fetch("/still", "a.test")
    eventually(lambda: lines_of(stage.path / "moved" / "access.log"), what="a line in the old file")


def test_a_file_that_cannot_be_opened_at_the_start(stage):
    manifests = stage.directory()
    manifests.write("all.yaml", ingress_class())
    lintel = stage.lintel(manifests, "--access-log-file", stage.path / "no" / "such" / "dir")
    lintel.expects_death = True
    lintel.start(wait=False)
    assert lintel.wait() == 1
    assert "cannot open the access log" in lintel.log()


def test_what_tls_agreed_on(stage):
    root = pki.Authority()
    backend = stage.backend()
    lintel = stage.run(ingress_class(), app("app", backend.port), tls_secret("cert", root.issue("a.test")),
                       secret("ca", {"ca.crt": root.certificate}),
                       ingress("a", rule("a.test", ("/", "Prefix", "app:80")),
                               tls=[tls("cert", "a.test")],
                               annotations={"nginx.ingress.kubernetes.io/auth-tls-secret":
                                            "default/ca"}),
                       arguments=["--ssl-session-tickets"], access_log="json")
    made = context(identity=root.issue("client"))
    with TlsClient(lintel.https_port, "A.test", made=made) as client:
        assert client.request(target="/first", host="a.test").status == 200
        cipher, session = client.socket.cipher()[0], client.socket.session
    item = lintel.wait_access_log_json(target="/first")
    assert {key: value for key, value in item.items() if key.startswith("ssl_")} == {
        "ssl_protocol": "TLSv1.3", "ssl_cipher": cipher, "ssl_server_name": "a.test",
        "ssl_session_reused": ".", "ssl_client_verify": "SUCCESS"}
    with TlsClient(lintel.https_port, "a.test", made=made, session=session) as client:
        client.request(target="/second", host="a.test")
    item = lintel.wait_access_log_json(target="/second")
    assert (item["ssl_session_reused"], item["ssl_client_verify"]) == ("r", "SUCCESS")
    with TlsClient(lintel.https_port, "a.test", identity=pki.Authority().issue("stranger"),
                   highest=V12) as client:
        assert client.request(target="/third", host="a.test").status == 400
    item = lintel.wait_access_log_json(target="/third")
    assert item["ssl_protocol"] == "TLSv1.2" and item["ssl_client_verify"].startswith("FAILED:")
    lintel.fetch("/plain", "a.test")
    assert not [key for key in lintel.wait_access_log_json(target="/plain") if key[:4] == "ssl_"]
