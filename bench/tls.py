"""TLS in front of the compared proxies: the same certificates, versions, ciphers, groups and sessions
for all of them, in the words of each."""
import base64
import os
import re
import socket
import ssl
import subprocess
import time

HOST = "bench.local"
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
SUITES = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
KEYS = {"rsa": ["rsa:2048"], "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}

# One ticket for each handshake, as Lintel has it; OpenSSL itself would make two.
OPENSSL = """openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = rules
[rules]
NumTickets = 1
"""

NGINX = f"""
    ssl_certificate {{dir}}/certificate.pem;
    ssl_certificate_key {{dir}}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers {CIPHERS};
    ssl_conf_command Ciphersuites {SUITES};
    ssl_prefer_server_ciphers on;
    ssl_ecdh_curve X25519:prime256v1:secp384r1;
    ssl_session_cache shared:sessions:10m;
    ssl_session_timeout 10m;
    ssl_session_tickets {{tickets}};
"""

HAPROXY = f"""
    ssl-default-bind-ciphers {CIPHERS}
    ssl-default-bind-ciphersuites {SUITES}
    ssl-default-bind-options ssl-min-ver TLSv1.2{{tickets}}
    tune.ssl.lifetime 600
    tune.ssl.default-dh-param 2048
"""

SECRET = """apiVersion: v1
kind: Secret
metadata: {{name: bench, namespace: default}}
type: kubernetes.io/tls
data: {{tls.crt: {certificate}, tls.key: {key}}}
"""


def certificate_make(folder, kind):
    """certificate.pem, key.pem and both in one."""
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-newkey", *KEYS[kind], "-sha256",
                    "-days", "30", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
                    "-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = []
    for part in ("certificate", "key"):
        with open(f"{folder}/{part}.pem") as f:
            parts.append(f.read())
    with open(f"{folder}/both.pem", "w") as f:
        f.write("".join(parts))


def secret(folder):
    """The same as a manifest."""
    def data(part):
        with open(f"{folder}/{part}.pem", "rb") as f:
            return base64.b64encode(f.read()).decode()
    return SECRET.format(certificate=data("certificate"), key=data("key"))


def environment(folder):
    """Of a program whose number of tickets is OpenSSL's to say."""
    path = f"{folder}/openssl.cnf"
    with open(path, "w") as f:
        f.write(OPENSSL)
    return {**os.environ, "OPENSSL_CONF": path}


def wait(port, path, seconds=30):
    """Until a GET over TLS is answered with 200; False when the time is over."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s, \
                    context.wrap_socket(s, server_hostname=HOST) as c:
                c.sendall(request)
                if c.recv(4096).startswith(b"HTTP/1.1 200"):
                    return True
        except OSError:
            pass
        time.sleep(0.01)
    return False


def agreed(port):
    """What a client that leaves the choice to the server gets, in one line."""
    text = subprocess.run(["openssl", "s_client", "-brief", "-connect", f"127.0.0.1:{port}",
                           "-servername", HOST], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=30).stderr
    found = [re.search(rf"{what}: ([^,\n]+)", text) for what in
             ("Protocol version", "Ciphersuite", "Signature type", "Server Temp Key")]
    return ", ".join(got.group(1) if got else "?" for got in found)
