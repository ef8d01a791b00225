"""The proxies that are compared, each with one worker (two to hold many connections) on one core,
keep-alive on both sides, the same forwarded fields, one backend. Variants: an access log in a file,
many hosts instead of one, TLS in front (tls: the kind of key; tickets: who keeps the sessions),
gRPC: HTTP/2 without TLS to the backend."""
import os
import signal
import tempfile

import tls as tls_of
from lib import BUILD, PROXY_CORE, Process, free_port, wait_new_child

NGINX_PROXY = """
worker_processes {workers};
pid {dir}/nginx-proxy.pid;
error_log {dir}/nginx-proxy.err;
daemon off;
events {{ worker_connections 20480; accept_mutex {mutex}; }}
http {{
    access_log {log};
    keepalive_requests 1000000000;
    server_names_hash_max_size 65536;
    server_names_hash_bucket_size 128;
{tls}
    upstream backend {{ {servers} keepalive 320; keepalive_requests 1000000000; }}
    client_body_temp_path {dir}/nginx-proxy-body;
    proxy_temp_path {dir}/nginx-proxy-temp;
    client_max_body_size 0;
{hosts}
}}
"""

NGINX_HOST = """
    server {{
        listen 127.0.0.1:{port}{options};
        server_name {name};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Request-ID $request_id;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Scheme $scheme;
            proxy_set_header X-Scheme $scheme;
        }}
    }}
"""

# What is said of HTTP/1.1 upstreams, said of gRPC.
NGINX_GRPC = [("proxy_pass http:", "grpc_pass grpc:"), ("proxy_set_header", "grpc_set_header"),
              ("proxy_http_version 1.1;", ""), ("proxy_buffering off;", ""),
              ("proxy_request_buffering off;", ""), ('grpc_set_header Connection "";', "")]

HAPROXY = """
global
    nbthread 1
    maxconn 9000
    tune.listener.multi-queue off
{tls}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
    option http-keep-alive
    unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt%pid
{log}
frontend in
    bind 127.0.0.1:{port} backlog 4096{options}
    http-request set-header X-Request-ID %[unique-id]
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Forwarded-Proto {scheme}
    http-request set-header X-Forwarded-Scheme {scheme}
    http-request set-header X-Scheme {scheme}
{route}
backend out
{servers}
"""

NGINX_BACKEND = """
worker_processes 1;
pid {dir}/nginx-backend.pid;
error_log {dir}/nginx-backend.err;
daemon off;
events {{ worker_connections 20480; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {dir}/nginx-backend-body;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.2:{port} backlog=4096;
        client_max_body_size 0;
        client_body_buffer_size 128k;
        root {dir}/www;
        location = /small {{ return 200 "{small}"; }}
        location = /upload {{ # answers when the whole body is there
            proxy_pass http://127.0.0.1:{port}/small;
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
    server {{
        listen 127.0.0.1:{grpc_port} http2 backlog=4096;
        listen 127.0.0.2:{grpc_port} http2 backlog=4096;
        root {dir}/www;
        location = /small {{ return 200 "{small}"; }}
        location = /bench.Echo/Unary {{ # a file, however it is asked for
            error_page 405 =200 $uri;
            default_type application/grpc;
            add_trailer grpc-status 0 always;
        }}
    }}
}}
"""

GRPC_MESSAGE = b"\0\0\0\0\x14" + b"\x0a\x12" + b"x" * 18 # one field of 18 bytes


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def backend(work, core):
    os.makedirs(f"{work}/www", exist_ok=True)
    os.chmod(work, 0o755)
    write(f"{work}/www/100k", "x" * 100_000)
    write(f"{work}/www/1m", "x" * 1_000_000)
    os.makedirs(f"{work}/www/bench.Echo", exist_ok=True)
    with open(f"{work}/www/bench.Echo/Unary", "wb") as f:
        f.write(GRPC_MESSAGE)
    port, grpc_port = free_port(), free_port()
    config = write(f"{work}/backend.conf", NGINX_BACKEND.format(
        dir=work, port=port, grpc_port=grpc_port, small="x" * 128))
    process = Process(["nginx", "-p", work, "-c", config], core, f"{work}/backend.log")
    process.grpc_port = grpc_port
    return process, port


def name_of(n):
    return "bench.local" if n == 0 else f"app-{n}.example.com"


def reload(process, number):
    """A reload is done when the next worker is there. HAProxy loses a signal that comes when it has
    just been started anew: it is sent again."""
    before = process.pids()
    for _ in range(50):
        os.kill(process.pid, number)
        if wait_new_child(process.pid, before, 0.1):
            return True
    return False


def nginx_config(work, port, backend_port, workers=1, hosts=1, log=False, endpoints=1, tls=None,
                 tickets=False, grpc=False):
    host = NGINX_HOST
    for plain, called in NGINX_GRPC if grpc else ():
        host = host.replace(plain, called)
    servers = " ".join(f"server 127.0.0.{n + 1}:{backend_port};" for n in range(endpoints))
    return write(f"{work}/nginx.conf", NGINX_PROXY.format(
        dir=work, workers=workers, mutex="on" if workers > 1 else "off", # on: they share alike
        servers=servers, log=f"{work}/nginx-access.log" if log else "off",
        tls=tls_of.NGINX.format(dir=work, tickets="on" if tickets else "off") if tls else "",
        hosts="".join(host.format(port=port, name=name_of(n),
                                  options=(" ssl http2" if tls else "")
                                  + (" backlog=4096" if n == 0 else ""))
                      for n in range(hosts))))


def nginx(work, backend_port, **variant):
    port = free_port()
    config = nginx_config(work, port, backend_port, **variant)
    process = Process(["nginx", "-p", work, "-c", config], PROXY_CORE, f"{work}/nginx.log",
                      tls_of.environment(work) if "tls" in variant else None)

    def reconfigure(endpoints):
        nginx_config(work, port, backend_port, endpoints=endpoints)
        return reload(process, signal.SIGHUP)
    process.reconfigure = reconfigure
    return process, port


def haproxy_config(work, port, backend_port, hosts=1, log=False, endpoints=1, tls=None,
                   tickets=False, grpc=False):
    options = "maxconn 8000" + (" proto h2" if grpc else "")
    servers = "\n".join(f"    server b{n} 127.0.0.{n + 1}:{backend_port} {options}"
                        for n in range(endpoints))
    route = "    default_backend out"
    if hosts > 1:
        write(f"{work}/hosts.map", "".join(f"{name_of(n)} out\n" for n in range(hosts)))
        route = f"    use_backend %[req.hdr(host),lower,map({work}/hosts.map)]"
    return write(f"{work}/haproxy.cfg", HAPROXY.format(
        port=port, servers=servers, route=route, scheme="https" if tls else "http",
        tls=tls_of.HAPROXY.format(tickets="" if tickets else " no-tls-tickets") if tls else "",
        options=f" ssl crt {work}/both.pem alpn h2,http/1.1 curves X25519:P-256:P-384" if tls
        else "",
        log="    log stdout format raw local0\n    option httplog" if log else ""))


def haproxy(work, backend_port, **variant):
    port = free_port()
    config = haproxy_config(work, port, backend_port, **variant)
    process = Process(["haproxy", "-W", "-db", "-f", config], PROXY_CORE, f"{work}/haproxy.log",
                      tls_of.environment(work) if "tls" in variant else None)

    def reconfigure(endpoints):
        haproxy_config(work, port, backend_port, endpoints=endpoints)
        return reload(process, signal.SIGUSR2)
    process.reconfigure = reconfigure
    return process, port


def relay(work, backend_port, **_):
    port = free_port()
    return Process([f"{BUILD}/bench/relay", str(port), str(backend_port)], PROXY_CORE,
                   f"{work}/relay.log"), port


CLASS = """apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: lintel}
spec: {controller: lintel.dev/ingress-controller}
"""
INGRESS = """apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: bench-{n}, namespace: default}}
spec:
  ingressClassName: lintel{tls}
  rules:
  - host: {host}
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {{service: {{name: bench, port: {{number: 80}}}}}}
---
"""
SERVICE = """apiVersion: v1
kind: Service
metadata: {name: bench, namespace: default}
spec: {ports: [{port: 80}]}
"""
SERVICE_GRPC = SERVICE.replace("port: 80", "port: 80, appProtocol: grpc")
SLICE = """apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: bench-1, namespace: default, labels: {{kubernetes.io/service-name: bench}}}}
addressType: IPv4
ports: [{{port: {backend}}}]
endpoints: [{endpoints}]
"""


def put(path, text):
    """In one step: a reader sees the old file or the new one."""
    write(path + ".new", text)
    os.rename(path + ".new", path)


def slice_put(folder, backend_port, endpoints):
    put(f"{folder}/slice.yaml", SLICE.format(backend=backend_port, endpoints=", ".join(
        f"{{addresses: [127.0.0.{n + 1}]}}" for n in range(endpoints))))


def manifests_make(work, backend_port, hosts, endpoints, tls, grpc):
    folder = tempfile.mkdtemp(prefix="manifests-", dir=work)
    put(f"{folder}/class.yaml", CLASS)
    put(f"{folder}/service.yaml", SERVICE_GRPC if grpc else SERVICE)
    slice_put(folder, backend_port, endpoints)
    if tls:
        put(f"{folder}/secret.yaml", tls_of.secret(work))
    for first in range(0, hosts, 100):
        put(f"{folder}/ingress-{first:06}.yaml", "".join(
            INGRESS.format(n=n, host=name_of(n),
                           tls=f"\n  tls: [{{secretName: bench, hosts: [{name_of(n)}]}}]" if tls else "")
            for n in range(first, min(hosts, first + 100))))
    return folder


def lintel(work, backend_port, manifests=None, workers=1, hosts=1, log=False, endpoints=1, tls=None,
           tickets=False, grpc=False, build=BUILD):
    ports, health = [free_port(), free_port()], free_port()
    manifests = manifests or manifests_make(work, backend_port, hosts, endpoints, tls, grpc)
    argv = [f"{build}/lintel", "run", "--manifests", manifests, "--bind-address", "127.0.0.1",
            "--http-port", str(ports[0]), "--https-port", str(ports[1]),
            "--healthz-port", str(health), "--workers", str(workers),
            "--keep-alive-requests", "1000000000",
            "--max-worker-connections", str(30_000 // workers),
            "--access-log", "text" if log else "off"]
    if log:
        argv += ["--access-log-file", f"{work}/lintel-access.log"]
    if tls: # wrk sends a name that no Ingress has
        argv += ["--default-ssl-certificate", "default/bench", "--hsts=false"]
    if tickets:
        argv += ["--ssl-session-tickets"]
    process = Process(argv, PROXY_CORE, f"{work}/lintel.log")
    process.health = health

    def reconfigure(endpoints):
        slice_put(manifests, backend_port, endpoints)
        return True
    process.reconfigure = reconfigure
    return process, ports[1 if tls else 0]


def before(work, backend_port, **variant):
    """Another build of Lintel, in the same run."""
    return lintel(work, backend_port, build=os.environ["LINTEL_BEFORE"], **variant)


PROXIES = {"nginx": nginx, "haproxy": haproxy, "relay": relay, "lintel": lintel}
if "LINTEL_BEFORE" in os.environ:
    PROXIES["before"] = before
