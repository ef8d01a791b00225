"""Steady load in the background: a few clients, each on a kept-alive connection, one request after
the other, every answer checked. Counts what went wrong; tests say what may."""
import threading

from .client import Client, Closed
from .wait import eventually


class Load:
    """requests: a list of (host, target), taken in turn. is_good(response, host, target) -> bool.
    connect(): a Client, where it is not a plain one of port and address."""

    def __init__(self, port, requests, clients=4, is_good=None, address="127.0.0.1", connect=None):
        self.targets = requests
        self.connect = connect or (lambda: Client(port, address))
        self.is_good = is_good or (lambda response, host, target: response.status == 200)
        self.lock = threading.Lock()
        self.done = 0          # requests with the right answer
        self.wrong = []        # wrong answers
        self.cut = []          # connections that ended in mid-request
        self.closed_idle = 0   # connections that ended between two requests
        self.refused = []      # connects that failed
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True)
                        for i in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait_for(len(self.threads) * 2)
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def wait_for(self, more):
        """Until that many more requests were answered well."""
        aim = self.done + more
        eventually(lambda: self.done >= aim, what=f"{more} more answers ({self.summary()})")

    def _run(self, index):
        while not self.stopping.is_set():
            try:
                client = self.connect()
            except OSError as error:
                with self.lock:
                    self.refused.append(repr(error))
                self.stopping.wait(0.01)
                continue
            with client:
                self._use(client, index)

    def _use(self, client, index):
        turn = index
        while not self.stopping.is_set():
            host, target = self.targets[turn % len(self.targets)]
            turn += 1
            try:
                response = client.request(target=target, host=host)
            except Closed as error:
                self._note_cut(client, error)
                return
            except OSError as error:
                self._note_cut(client, error)
                return
            with self.lock:
                if self.is_good(response, host, target):
                    self.done += 1
                else:
                    self.wrong.append((host, target, repr(response)))
            if (response.get("connection") or "").lower() == "close":
                with self.lock:
                    self.closed_idle += 1
                return

    def _note_cut(self, client, error):
        """No byte of an answer: the connection went away; a client cannot tell idle from served."""
        with self.lock:
            self.cut.append(repr(error) + repr(client.unread[:80]))

    def summary(self):
        return (f"{self.done} good, {len(self.wrong)} wrong, {len(self.cut)} cut, "
                f"{self.closed_idle} closed, {len(self.refused)} refused: "
                f"{(self.wrong + self.cut + self.refused)[:3]}")

    def check_flawless(self):
        assert self.done and not (self.wrong or self.cut or self.closed_idle or self.refused), \
            self.summary()
