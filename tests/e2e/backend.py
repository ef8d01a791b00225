"""The image e2e/backend: the tests' programmable backend as a container's program. Answers what it
saw, and who it is, as JSON.

    PORT            where it listens, 8080
    VERSION         a word that is told in answers
    START_DELAY_S   how long it takes until it listens
    /healthz        200 while ready, then 503
    PUT /-/ready    body "true" or "false": what /healthz says
    /-/slow?MS      an answer that takes so long

Answers also say how many requests are under way, as "busy", the asking one included.

On SIGTERM it behaves like a well-made server that was told nothing about Kubernetes: it takes no more
connections at once, finishes what is under way, and ends. A request that comes later than that is
not begun: its connection closes, and whoever sent it may send it elsewhere.
"""
import json
import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# pylint: disable=wrong-import-position
from lib.backend import Backend

DRAIN_S = 20


class App:
    def __init__(self):
        self.is_ready, self.is_ending, self.is_over = True, False, False
        self.busy = 0
        self.lock = threading.Lock()

    def serve(self, exchange):
        with self.lock:
            if self.is_over:
                exchange.end()
                return
            self.busy += 1
        try:
            self._answer(exchange)
        finally:
            if self.is_ending:
                exchange.end()
            with self.lock:
                self.busy -= 1

    def finish(self):
        """Begins nothing more once nothing is under way, or DRAIN_S are over."""
        self.is_ending = True
        end = time.monotonic() + DRAIN_S
        while not self.is_over:
            with self.lock:
                self.is_over = self.busy == 0 or time.monotonic() > end
            time.sleep(0.005)

    def _answer(self, exchange):
        request = exchange.request
        body = exchange.read_body()
        path, _, query = request.target.partition("?")
        if path == "/healthz":
            exchange.respond(200 if self.is_ready else 503)
            return
        if path == "/-/ready" and request.method == "PUT":
            self.is_ready = body == b"true"
        if path == "/-/slow":
            time.sleep(int(query) / 1000)
        fields = [("Content-Type", "application/json")]
        if self.is_ending:
            fields.append(("Connection", "close"))
        exchange.respond(body=json.dumps({
            "pod": socket.gethostname(), "version": os.environ.get("VERSION", ""),
            "address": request.address, "method": request.method, "target": request.target,
            "fields": request.fields, "body_n": len(body), "busy": self.busy}).encode(), fields=fields)


def main():
    app, ended = App(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    if ended.wait(float(os.environ.get("START_DELAY_S", 0))):
        return
    backend = Backend(app.serve, port=int(os.environ.get("PORT", 8080)))
    backend.keeps_requests = False
    ended.wait()
    backend.listener.shutdown(socket.SHUT_RDWR)
    backend.listener.close()
    app.finish()
    backend.close_connections()


if __name__ == "__main__":
    main()
