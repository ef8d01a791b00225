"""Other people's programs as clients over TLS: curl, openssl, Node, Chromium, Python; and testssl.sh, which looks
for what is known to be wrong with servers."""
import base64
import hashlib
import http.client
import json
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lib import pki, tls
from lib.lintel import environment
from lib.manifests import app, ingress_class, tls_secret
from lib.servers import find_program
from lib.tls import s_client, site

ROOT = pki.Authority("Root")
MIDDLE = ROOT.authority("Middle")
KINDS = {"rsa": MIDDLE.issue("a.test", kind=pki.RSA), "ec": MIDDLE.issue("a.test")}
LARGE = bytes(range(256)) * 8000
RESOURCES = 120
PAGE = ("<title>page</title><script>let loaded = 0;</script>" +
        "".join(f'<script src="/script{i}.js"></script>' for i in range(RESOURCES)) +
        """<p id=told></p><script>
const entries = performance.getEntriesByType('resource');
told.textContent = [loaded, entries.filter(entry => entry.nextHopProtocol === 'h2').length,
                    performance.getEntriesByType('navigation')[0].nextHopProtocol].join(' ');
</script>""").encode()


def answer(exchange):
    """/large: much; /echo: what came; /page and its scripts; else a resource of some page."""
    path = exchange.request.target
    body = exchange.read_body()
    if path == "/page":
        exchange.respond(body=PAGE, fields=[("Content-Type", "text/html")])
    elif path.startswith("/script"):
        exchange.respond(body=b"loaded++;" + b" " * 5000, fields=[("Content-Type", "text/javascript")])
    elif path == "/echo":
        exchange.respond(body=hashlib.sha256(body).hexdigest().encode())
    else:
        exchange.respond(body=LARGE if path == "/large" else path.encode() * 100)


@pytest.fixture(scope="module")
def lintel(module_stage):
    made = module_stage.run(
        ingress_class(), app("app", module_stage.backend(answer).port),
        *[tls_secret(*item) for item in KINDS.items()], site("a", "a.test", secret=list(KINDS)),
        arguments=["--ssl-redirect=false"], workers=2)
    made.root = made.path("root.crt")
    with open(made.root, "w", encoding="ascii") as file:
        file.write(ROOT.certificate)
    return made


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=60, check=False,
                          env={**environment(), **options.pop("env", {})}, **options)
    assert done.returncode == 0, (done.stdout[-1000:], done.stderr[-1000:])
    return done.stdout


def full_handshakes(lintel):
    return lintel.counter("lintel_tls_handshakes_total", result="full")


# ---- curl ----

def curl(lintel, *arguments, **options):
    return run("curl", "-sS", "--fail", "--max-time", 50, "--cacert", lintel.root, "--resolve",
               f"a.test:{lintel.https_port}:127.0.0.1", *arguments, **options)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("protocol", ["1.1", "2"])
def test_curl(lintel, version, protocol):
    url = f"https://a.test:{lintel.https_port}"
    options = [f"--http{protocol}", f"--tlsv{version}", "--tls-max", version]
    assert curl(lintel, *options, url + "/large") == LARGE
    sent = curl(lintel, *options, "--data-binary", "@-", url + "/echo", input=LARGE)
    assert sent.decode() == hashlib.sha256(LARGE).hexdigest()
    assert curl(lintel, *options, "-o", "/dev/null", "-w", "%{http_version} %{ssl_verify_result}",
                url + "/") == f"{protocol} 0".encode()


def test_curl_loads_many_at_once(lintel, tmp_path):
    """Streams of one connection."""
    before = full_handshakes(lintel)
    urls = [word for i in range(RESOURCES) for word in
            ("-o", tmp_path / str(i), f"https://a.test:{lintel.https_port}/r{i}")]
    curl(lintel, "--http2", "--parallel", "--parallel-max", 100, *urls)
    assert all((tmp_path / str(i)).read_bytes() == f"/r{i}".encode() * 100
               for i in range(RESOURCES))
    assert full_handshakes(lintel) == before + 1


# ---- Node ----

NODE = """
const http2 = require('http2'), fs = require('fs');
const [port, root, n] = process.argv.slice(1);
const session = http2.connect(`https://a.test:${port}`, {
  ca: fs.readFileSync(root), lookup: (host, options, done) => done(null,
    options.all ? [{address: '127.0.0.1', family: 4}] : '127.0.0.1', 4)});
const get = path => new Promise((done, failed) => {
  let text = ''; const stream = session.request({':path': path});
  stream.setEncoding('utf8').on('data', piece => { text += piece; })
    .on('end', () => done(text)).on('error', failed).end();
});
session.on('error', error => { throw error; });
Promise.all(Array.from({length: +n}, (_, i) => get(`/n${i}`))).then(texts => {
  if (texts.some((text, i) => text !== `/n${i}`.repeat(100))) throw new Error('wrong');
  console.log(session.alpnProtocol, session.socket.getProtocol(), session.socket.authorized);
  session.close();
});
"""


def test_node_loads_a_page_over_http2(lintel):
    before = full_handshakes(lintel)
    node = find_program("node", "nodejs", package="nodejs")
    assert run(node, "-e", NODE, lintel.https_port, lintel.root, RESOURCES) == b"h2 TLSv1.3 true\n"
    assert full_handshakes(lintel) == before + 1


# ---- Chromium ----

def key_pin(identity):
    """What Chromium knows a public key by."""
    key = x509.load_der_x509_certificate(identity.der).public_key()
    return base64.b64encode(hashlib.sha256(key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).digest()).decode()


def test_chromium_loads_a_page(lintel, tmp_path):
    """All its resources over the one connection of HTTP/2 that it opens. Its authorities are the
    system's: keys that it is to believe in are named to it instead."""
    before = full_handshakes(lintel)
    page = run(find_program("chromium", package="chromium"), "--headless", "--no-sandbox",
               "--disable-gpu", "--disable-background-networking", f"--user-data-dir={tmp_path}",
               f"--host-resolver-rules=MAP a.test 127.0.0.1:{lintel.https_port}",
               "--ignore-certificate-errors-spki-list=" + ",".join(map(key_pin, KINDS.values())),
               "--dump-dom", "https://a.test/page", env={"HOME": str(tmp_path)})
    assert f'<p id="told">{RESOURCES} {RESOURCES} h2</p>'.encode() in page
    assert full_handshakes(lintel) <= before + 2  # it may try a second one at its start


# ---- Python and openssl ----

def test_python(lintel):
    made = tls.context(trusts=[ROOT])
    connection = http.client.HTTPSConnection("a.test", lintel.https_port, context=made)
    connection.sock = tls.TlsClient(lintel.https_port, "a.test", made=made).socket
    for path in ("/x", "/large", "/y"):
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        assert response.read() == (LARGE if path == "/large" else path.encode() * 100)
    connection.close()


def test_openssl(lintel):
    said = s_client(lintel.https_port, "a.test", "-CAfile", lintel.root, "-verify_return_error",
                    "-verify_hostname", "a.test", "-ign_eof", "-crlf",
                    stdin=b"GET /x HTTP/1.1\nHost: a.test\nConnection: close\n\n")
    assert "Verification: OK" in said and "HTTP/1.1 200" in said and "/x/x" in said
    assert "Secure Renegotiation IS NOT supported" in said # TLS 1.3 has none


def test_openssl_comes_again(lintel):
    said = s_client(lintel.https_port, "a.test", "-tls1_2", "-reconnect")
    assert said.count("Reused, TLSv1.2") == 5 and "Secure Renegotiation IS supported" in said


# ---- testssl.sh ----

# Of severities; what it says of certificates is about those of this test, and is not asked for.
HARMLESS = {"OK", "INFO", "LOW"}
ITSELF = {"engine_problem"} # the tool's, about the openssl that it found
WANTED = {"SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered",
          "TLS1_1": "not offered", "TLS1_2": "offered", "TLS1_3": "offered with final",
          "ALPN_HTTP2": "h2"}
LOOKED_FOR = {"heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_renego", "secure_client_renego",
              "CRIME_TLS", "POODLE_SSL", "fallback_SCSV", "SWEET32", "FREAK", "DROWN", "LOGJAM",
              "BEAST", "LUCKY13", "RC4"}


def test_testssl_finds_nothing(lintel, tmp_path):
    report = tmp_path / "report.json"
    done = subprocess.run(
        [find_program("testssl", "testssl.sh", package="testssl.sh"), "--ip", "127.0.0.1", "--nodns",
         "none", "--warnings", "off", "--quiet", "--color", "0", "--connect-timeout", "10",
         "--openssl-timeout", "10", "--jsonfile", str(report), "-p", "-U",
         f"https://a.test:{lintel.https_port}/"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=150, check=False,
        env={**environment(), "HOME": str(tmp_path)})
    with open(report, encoding="utf-8") as file:
        found = {item["id"]: item for item in json.load(file)}
    assert done.returncode == 0 and "scanTime" in found, done.stdout[-2000:]
    assert {key: found[key]["finding"] for key in WANTED} == WANTED
    assert LOOKED_FOR <= set(found), LOOKED_FOR - set(found)
    bad = [item for key, item in found.items()
           if item["severity"] not in HARMLESS and key not in ITSELF]
    assert not bad, bad
