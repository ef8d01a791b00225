"""Real servers behind Lintel: nginx, Apache httpd, Node and Python's http.server. Each answers
whatever it likes and says, in order, which requests it believes it got: seen(). Over TLS: nginx,
openssl s_server, and Backend with server_context()."""
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .backend import read_chunks, read_exactly
from .lintel import free_port
from .wait import eventually

HERE = os.path.dirname(os.path.abspath(__file__))


def find_program(*names, package):
    """Programs of daemons live in sbin, which is not in everybody's PATH."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise AssertionError(f"{names[0]} is missing: scripts/install-deps test (package {package})")


class Program:
    """A server in a process of its own that writes one line per request: "METHOD target ...". """

    def __init__(self, directory):
        self.directory = str(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.port = free_port()
        self.log_at = 0
        with open(self.path("output"), "wb") as output:
            self.child = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=output,
                                          stderr=subprocess.STDOUT, start_new_session=True)
        eventually(self._is_up, what=f"{self.name} on port {self.port}")

    def _is_up(self):
        assert self.child.poll() is None, self.read("output")
        with socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def read(self, name):
        if not os.path.exists(self.path(name)):
            return ""
        with open(self.path(name), encoding="latin-1") as file:
            return file.read()

    def log_lines(self):
        text = self.read("requests")
        return text[:text.rfind("\n") + 1].splitlines()

    def seen(self, mark):
        """Requests since the last call up to the one for `mark`, which the caller has sent last."""
        def marked():
            lines = self.log_lines()[self.log_at:]
            ends = [i for i, line in enumerate(lines) if mark in line]
            return (lines, ends[0]) if ends else None
        lines, end = eventually(marked, what=f"{mark} in the log of {self.name}")
        self.log_at += end + 1
        return [" ".join(line.split(" ")[:2]) for line in lines[:end]]

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Nginx(Program):
    name = "nginx"

    def command(self):
        config = self.write("nginx.conf", f"""
            daemon off; master_process off; pid {self.path("pid")};
            error_log {self.path("error")};
            events {{ worker_connections 256; }}
            http {{
                log_format plain escape=none '$request';
                access_log {self.path("requests")} plain;
                client_body_temp_path {self.path("body")};
                proxy_temp_path {self.path("proxy")};
                fastcgi_temp_path {self.path("fastcgi")};
                uwsgi_temp_path {self.path("uwsgi")};
                scgi_temp_path {self.path("scgi")};
                server {{ listen 127.0.0.1:{self.port}; location / {{ return 200 "nginx\\n"; }} }}
            }}
        """)
        return [find_program("nginx", package="nginx-light"), "-c", config, "-e",
                self.path("error"), "-p", self.directory]


class Apache(Program):
    name = "apache"
    modules = "/usr/lib/apache2/modules"

    def command(self):
        user = ""
        if os.getuid() == 0:
            pwd.getpwnam("www-data")
            user = "User www-data\nGroup www-data\n"
        config = self.write("apache.conf", f"""
            ServerRoot {self.directory}
            ServerName h.test
            PidFile {self.path("pid")}
            Listen 127.0.0.1:{self.port}
            LoadModule mpm_event_module {self.modules}/mod_mpm_event.so
            LoadModule authz_core_module {self.modules}/mod_authz_core.so
            {user}
            StartServers 1
            ServerLimit 1
            ThreadsPerChild 16
            MaxRequestWorkers 16
            MinSpareThreads 1
            MaxSpareThreads 16
            ErrorLog {self.path("error")}
            LogFormat "%r" plain
            CustomLog {self.path("requests")} plain
            DocumentRoot {self.directory}
        """)
        return [find_program("apache2", "httpd", package="apache2-bin"), "-f", config,
                "-DFOREGROUND"]

    def log_lines(self):
        """As they were: Apache escapes backslashes."""
        return [line.replace("\\\\", "\\") for line in super().log_lines()]


class Node(Program):
    name = "node"

    def command(self):
        return [find_program("node", "nodejs", package="nodejs"),
                os.path.join(HERE, "node_server.js"), str(self.port), self.path("requests")]


class NodeHttp2(Program):
    name = "node"

    def command(self):
        return [find_program("node", "nodejs", package="nodejs"),
                os.path.join(HERE, "node_http2_server.js"), str(self.port)]


class Nghttpd(Program):
    """Serves the files of its directory in HTTP/2 without TLS."""
    name = "nghttpd"

    def command(self):
        return [find_program("nghttpd", package="nghttp2-server"), "--no-tls", "-d", self.directory,
                str(self.port)]


class PythonHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one write
    disable_nagle_algorithm = True

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self):
        if self.headers.get("Transfer-Encoding"):
            read_chunks(self.rfile)
        else:
            read_exactly(self.rfile, int(self.headers.get("Content-Length", "0")))
        self.server.note(self.requestline)
        body = b"" if self.command == "HEAD" else b"python\n"
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code, *rest, **options):
        self.server.note(self.requestline)
        super().send_error(code, *rest, **options)

    def log_message(self, *_):
        pass


class Python(ThreadingHTTPServer):
    """In this process: a thread per connection."""
    name = "python"
    daemon_threads = True

    def __init__(self, _directory):
        super().__init__(("127.0.0.1", 0), PythonHandler)
        self.port = self.server_address[1]
        self.lock, self.lines, self.log_at = threading.Lock(), [], 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass # the peer went away: tests look at what was noted

    def note(self, line):
        with self.lock:
            self.lines.append(line)

    def log_lines(self):
        with self.lock:
            return list(self.lines)

    seen = Program.seen

    def stop(self):
        self.shutdown()
        self.server_close()


SERVERS = (Nginx, Apache, Node, Python)


# ---- over TLS ----

def server_context(identity, *, clients=None, versions=(ssl.TLSVersion.TLSv1_2, None), ciphers=None,
                   protocols=()):
    """For Backend(tls=...). identity: lib.pki's. clients: the authority that clients' certificates
    have to be signed by; then they must show one. versions: the least and the greatest."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        context.load_cert_chain(*identity.write(directory))
    context.minimum_version = versions[0]
    if versions[1] is not None:
        context.maximum_version = versions[1]
    if ciphers is not None:
        context.set_ciphers(ciphers)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.certificate)

    def on_name(sock, name, _context):
        sock.lintel_name = name
    context.sni_callback = on_name
    return context


class TlsNginx(Nginx):
    """Each line of the log ends with: name asked for, version, "r" when resumed, what it makes of the
    client's certificate. clients: as in server_context()."""
    name = "nginx over TLS"

    def __init__(self, directory, identity, *, clients=None, protocols="TLSv1.2 TLSv1.3"):
        self.identity, self.clients, self.protocols = identity, clients, protocols
        super().__init__(directory)

    def command(self):
        command = super().command()
        certificate, key = self.identity.write(self.directory)
        more = f"""
            ssl_certificate {certificate}; ssl_certificate_key {key};
            ssl_protocols {self.protocols}; ssl_session_cache shared:all:1m;"""
        if self.clients is not None:
            more += f"""
            ssl_verify_client on; ssl_verify_depth 5;
            ssl_client_certificate {self.write("clients.crt", self.clients.certificate)};"""
        config = self.read("nginx.conf").replace(
            f"listen 127.0.0.1:{self.port};", f"listen 127.0.0.1:{self.port} ssl; {more}").replace(
            "'$request'", "'$request $ssl_server_name $ssl_protocol $ssl_session_reused "
            "$ssl_client_verify'")
        self.write("nginx.conf", config)
        return command


class TlsNghttpd(Program):
    name = "nghttpd over TLS"

    def __init__(self, directory, identity):
        self.identity = identity
        super().__init__(directory)

    def command(self):
        certificate, key = self.identity.write(self.directory)
        return [find_program("nghttpd", package="nghttp2-server"), "-d", self.directory,
                str(self.port), key, certificate]


class SServer(Program):
    """openssl s_server, which answers each request with what it thinks of the connection: answer()
    has it as a dict. clients: as in server_context()."""
    name = "openssl s_server"

    def __init__(self, directory, identity, *arguments, clients=None):
        self.identity, self.clients, self.arguments = identity, clients, arguments
        super().__init__(directory)

    def command(self):
        certificate, key = self.identity.write(self.directory)
        asks = []
        if self.clients is not None:
            asks = ["-Verify", "5", "-verify_return_error", "-CAfile",
                    self.write("clients.crt", self.clients.certificate)]
        return ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", certificate,
                "-cert_chain", certificate, "-key", key, "-www", *asks, *self.arguments]

    @staticmethod
    def answer(body):
        lines = body.decode("latin-1").splitlines()
        said = dict(line.split(":", 1) for line in map(str.strip, lines) if ":" in line)
        return {key.strip(): value.strip() for key, value in said.items()}
