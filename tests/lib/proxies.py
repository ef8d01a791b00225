"""HAProxy and nginx as the proxies in front of Lintel or as second opinions: they send PROXY headers,
and they read them. And headers by hand."""
import os
import pwd
import socket
import struct
import textwrap

from .servers import Program, TlsNginx, find_program

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UNIX = 0x00, 0x11, 0x12, 0x21, 0x31
TYPE_ALPN, TYPE_AUTHORITY, TYPE_CRC32C, TYPE_NOOP, TYPE_SSL = 0x01, 0x02, 0x03, 0x04, 0x20


# ---- by hand ----

def v1(source="203.0.113.9", destination="203.0.113.1", source_port=5000, destination_port=80):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def extra(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


def v2_raw(command, family, payload=b""):
    return SIGNATURE + struct.pack(">BBH", command, family, len(payload)) + payload


def v2(source="203.0.113.9", destination="203.0.113.1", source_port=5000, destination_port=80,
       extras=b""):
    is_v6 = ":" in source
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    return v2_raw(PROXY, TCP6 if is_v6 else TCP4,
                  addresses + struct.pack(">HH", source_port, destination_port) + extras)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def with_checksum(header):
    """A header of version 2 with a checksum added at its end."""
    n = struct.unpack(">H", header[14:16])[0] + 7
    header = header[:14] + struct.pack(">H", n) + header[16:]
    zero = header + extra(TYPE_CRC32C, bytes(4))
    return header + extra(TYPE_CRC32C, struct.pack(">I", crc32c(zero)))


# ---- programs ----

class HaproxySender(Program):
    """In front: sends what it gets to `target` behind a PROXY header. options: of the server line;
    bind: the address that it listens on."""
    name = "haproxy"

    def __init__(self, directory, target, options="send-proxy", bind="127.0.0.1"):
        self.target, self.options, self.bind = target, options, bind
        super().__init__(directory)

    def _is_up(self):
        assert self.child.poll() is None, self.read("output")
        with socket.create_connection((self.bind, self.port), timeout=5):
            return True

    def command(self):
        config = self.write("haproxy.cfg", textwrap.dedent(f"""
            defaults
                mode tcp
                timeout connect 10s
                timeout client 60s
                timeout server 60s
            listen front
                bind {self.bind}:{self.port}
                server lintel 127.0.0.1:{self.target} {self.options}
        """))
        return [find_program("haproxy", package="haproxy"), "-db", "-f", config]


class NginxSender(Program):
    """The same by nginx's stream module, which speaks version 1."""
    name = "nginx"
    bind = "127.0.0.1"
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"

    def __init__(self, directory, target):
        self.target = target
        super().__init__(directory)

    def command(self):
        assert os.path.exists(self.module), "scripts/install-deps test (libnginx-mod-stream)"
        user = ""
        if os.getuid() == 0:
            pwd.getpwnam("www-data")
            user = "user www-data;"
        config = self.write("nginx.conf", f"""
            load_module {self.module};
            daemon off; master_process off; pid {self.path("pid")}; {user}
            error_log {self.path("error")};
            events {{ worker_connections 256; }}
            stream {{
                server {{
                    listen 127.0.0.1:{self.port};
                    proxy_protocol on;
                    proxy_pass 127.0.0.1:{self.target};
                }}
            }}
        """)
        return [find_program("nginx", package="nginx-light"), "-c", config, "-e",
                self.path("error"), "-p", self.directory]


class HaproxyReader(Program):
    """Answers each request with "source|source-port|destination|destination-port" as a PROXY header
    said it."""
    name = "haproxy"

    def command(self):
        config = self.write("haproxy.cfg", textwrap.dedent(f"""
            defaults
                mode http
                timeout connect 10s
                timeout client 5s
                timeout server 10s
            frontend front
                bind 127.0.0.1:{self.port} accept-proxy
                http-request return status 200 content-type text/plain lf-string \
"%[src]|%[src_port]|%[dst]|%[dst_port]"
        """))
        return [find_program("haproxy", package="haproxy"), "-db", "-f", config]


class NginxReader(Program):
    """The same by nginx."""
    name = "nginx"

    def command(self):
        config = self.write("nginx.conf", f"""
            daemon off; master_process off; pid {self.path("pid")};
            error_log {self.path("error")};
            events {{ worker_connections 256; }}
            http {{
                access_log off;
                client_body_temp_path {self.path("body")};
                proxy_temp_path {self.path("proxy")};
                fastcgi_temp_path {self.path("fastcgi")};
                uwsgi_temp_path {self.path("uwsgi")};
                scgi_temp_path {self.path("scgi")};
                server {{
                    listen 127.0.0.1:{self.port} proxy_protocol;
                    location / {{
                        return 200 "$proxy_protocol_addr|$proxy_protocol_port|\
$proxy_protocol_server_addr|$proxy_protocol_server_port";
                    }}
                }}
            }}
        """)
        return [find_program("nginx", package="nginx-light"), "-c", config, "-e",
                self.path("error"), "-p", self.directory]


class TlsHaproxyReader(HaproxyReader):
    """The same over TLS that begins behind the header."""

    def __init__(self, directory, identity):
        self.identity = identity
        super().__init__(directory)

    def command(self):
        command = super().command()
        both = self.write("tls.pem", self.identity.chain + self.identity.key)
        config = self.read("haproxy.cfg").replace("accept-proxy", f"accept-proxy ssl crt {both}")
        self.write("haproxy.cfg", config)
        return command


class TlsNginxReader(TlsNginx):
    """The same by nginx."""

    def command(self):
        command = super().command()
        config = self.read("nginx.conf").replace(f"{self.port} ssl;", f"{self.port} ssl proxy_protocol;")
        self.write("nginx.conf", config.replace('return 200 "nginx\\n";', """
            return 200 "$proxy_protocol_addr|$proxy_protocol_port|\
$proxy_protocol_server_addr|$proxy_protocol_server_port"; """))
        return command
