"""The proxies that are compared, each with one worker on one core, keep-alive on both sides, no access
log, the same forwarded fields, one backend."""
import os

from lib import BUILD, PROXY_CORE, Process, free_port

NGINX_PROXY = """
worker_processes 1;
pid {dir}/nginx-proxy.pid;
error_log {dir}/nginx-proxy.err;
daemon off;
events {{ worker_connections 20480; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 320; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        client_body_temp_path {dir}/nginx-proxy-body;
        proxy_temp_path {dir}/nginx-proxy-temp;
        client_max_body_size 0;
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
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 9000
    tune.listener.multi-queue off
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
    option http-keep-alive
    unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt%pid
frontend in
    bind 127.0.0.1:{port} backlog 4096
    http-request set-header X-Request-ID %[unique-id]
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Scheme http
    http-request set-header X-Scheme http
    default_backend out
backend out
    server b1 127.0.0.1:{backend} maxconn 8000
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
        client_max_body_size 0;
        root {dir}/www;
        location = /small {{ return 200 "{small}"; }}
    }}
}}
"""


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def backend(work, core):
    os.makedirs(f"{work}/www", exist_ok=True)
    os.chmod(work, 0o755)
    write(f"{work}/www/100k", "x" * 100_000)
    port = free_port()
    config = write(f"{work}/backend.conf",
                   NGINX_BACKEND.format(dir=work, port=port, small="x" * 128))
    return Process(["nginx", "-p", work, "-c", config], core, f"{work}/backend.log"), port


def nginx(work, backend_port):
    port = free_port()
    config = write(f"{work}/nginx.conf", NGINX_PROXY.format(dir=work, port=port,
                                                            backend=backend_port))
    return Process(["nginx", "-p", work, "-c", config], PROXY_CORE, f"{work}/nginx.log"), port


def haproxy(work, backend_port):
    port = free_port()
    config = write(f"{work}/haproxy.cfg", HAPROXY.format(port=port, backend=backend_port))
    return Process(["haproxy", "-db", "-f", config], PROXY_CORE, f"{work}/haproxy.log"), port


def relay(work, backend_port):
    port = free_port()
    return Process([f"{BUILD}/bench/relay", str(port), str(backend_port)], PROXY_CORE,
                   f"{work}/relay.log"), port


MANIFESTS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: lintel}}
spec: {{controller: lintel.dev/ingress-controller}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: bench, namespace: default}}
spec:
  ingressClassName: lintel
  rules:
  - host: bench.local
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {{service: {{name: bench, port: {{number: 80}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: bench, namespace: default}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: bench-1, namespace: default, labels: {{kubernetes.io/service-name: bench}}}}
addressType: IPv4
ports: [{{port: {backend}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""


def lintel(work, backend_port, manifests=None, workers=1, log="off"):
    port, health = free_port(), free_port()
    if manifests is None:
        manifests = f"{work}/manifests"
        os.makedirs(manifests, exist_ok=True)
        write(f"{manifests}/bench.yaml", MANIFESTS.format(backend=backend_port))
    process = Process([f"{BUILD}/lintel", "run", "--manifests", manifests,
                       "--bind-address", "127.0.0.1", "--http-port", str(port),
                       "--healthz-port", str(health), "--workers", str(workers),
                       "--access-log", log], PROXY_CORE, f"{work}/lintel.log")
    process.health = health
    return process, port


PROXIES = {"nginx": nginx, "haproxy": haproxy, "relay": relay, "lintel": lintel}
