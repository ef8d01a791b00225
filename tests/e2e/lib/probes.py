"""Probes of a container: asked in their period, a verdict when enough answers in a row agree."""
import http.client
import socket
import ssl
import threading


class Probe(threading.Thread):
    """on_verdict(is_good) is called when the verdict changes, and at each further failure beyond the
    threshold's. after: an event to wait for first."""

    def __init__(self, container, spec, on_verdict, *, after=None, is_once=False, is_good=None,
                 ends_with_pod=False):
        super().__init__(daemon=True)
        self.container, self.spec, self.on_verdict = container, spec, on_verdict
        self.after, self.is_once, self.is_good = after, is_once, is_good
        self.ends_with_pod = ends_with_pod
        self.process = container.process

    def run(self):
        if not self._wait_for_turn():
            return
        streak, last = 0, None
        while self.process.poll() is None and not self._is_over():
            answer = self._ask()
            streak, last = (streak + 1 if answer == last else 1), answer
            name, usual = ("successThreshold", 1) if answer else ("failureThreshold", 3)
            if streak >= self.spec.get(name, usual) and answer != self.is_good:
                self.is_good = answer
                self.on_verdict(answer)
                if self.is_once:
                    return
            self._pause(self.spec.get("periodSeconds", 10))

    def _is_over(self):
        return self.ends_with_pod and self.container.pod.leaving.is_set()

    def _pause(self, seconds):
        """A wait that the end of the process cuts short."""
        try:
            self.process.wait(seconds)
        except Exception:  # pylint: disable=broad-except
            pass # it lives: subprocess.TimeoutExpired

    def _wait_for_turn(self):
        while self.after and not self.after.wait(0.5):
            if self.process.poll() is not None:
                return False
        self._pause(self.spec.get("initialDelaySeconds", 0))
        return True

    # ---- asking ----

    def _ask(self):
        timeout = self.spec.get("timeoutSeconds", 1)
        try:
            if "httpGet" in self.spec:
                return self._ask_http(self.spec["httpGet"], timeout)
            if "exec" in self.spec:
                return self.container.execute(self.spec["exec"]["command"], timeout) == 0
            action = self.spec["tcpSocket"]
            socket.create_connection((action.get("host") or self.container.pod.address,
                                      self._port(action["port"])), timeout).close()
            return True
        except (OSError, http.client.HTTPException):
            return False

    def _ask_http(self, action, timeout):
        host = action.get("host") or self.container.pod.address
        where = (host, self._port(action["port"]))
        if action.get("scheme", "HTTP") == "HTTPS":
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(*where, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(*where, timeout=timeout)
        fields = {item["name"]: item["value"] for item in action.get("httpHeaders", [])}
        try:
            connection.request("GET", action.get("path", "/"),
                               headers={"User-Agent": "kube-probe/e2e", **fields})
            return 200 <= connection.getresponse().status < 400
        finally:
            connection.close()

    def _port(self, port):
        if isinstance(port, int):
            return port
        return next(p["containerPort"] for p in self.container.spec.get("ports", [])
                    if p.get("name") == port)
