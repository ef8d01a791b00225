"""A client as people have it, of several replicas: it keeps its connection, and when that ends without
a byte of an answer, or cannot be made, it asks the next replica (RFC 9110 §9.2.2 allows that for
GET)."""
import threading
import time

from lib.client import Client

PATIENCE_S = 5  # of one request


class Steady(threading.Thread):
    """addresses: of the replicas that are ready; may be set anew at any time."""

    def __init__(self, addresses, port, host):
        super().__init__(daemon=True)
        self.addresses, self.port, self.host = addresses, port, host
        self.done, self.retried, self.failed = 0, 0, []
        self.client, self.turn = None, 0
        self.stopping = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()

    def run(self):
        while not self.stopping.is_set():
            response = self._ask()
            if response is not None and response.status == 200:
                self.done += 1
            else:
                self.failed.append(repr(response))
            if response is not None and (response.get("connection") or "").lower() == "close":
                self._leave()

    def _ask(self):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if self.client is None:
                    self.client = Client(self.port, self.addresses[self.turn % len(self.addresses)])
                return self.client.request(host=self.host)
            except OSError:
                assert self.client is None or not self.client.unread, "cut in the middle"
                self.retried += 1
                self._leave()
        return None

    def _leave(self):
        if self.client is not None:
            self.client.close()
        self.client = None
        self.turn += 1
