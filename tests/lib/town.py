"""Many services behind one backend: each gets a loopback address of its own, by which an answer says
which service it came from."""
import ipaddress

from .manifests import app


class Town:
    def __init__(self, backend, first="127.1.0.1"):
        self.backend = backend
        self.next = ipaddress.IPv4Address(first)
        self.addresses = {}  # service -> address

    def app(self, name, **options):
        """Objects of one more service."""
        self.addresses[name] = str(self.next)
        self.next += 1
        return app(name, self.backend.port, self.addresses[name], **options)

    def apps(self, *names):
        return [item for name in names for item in self.app(name)]

    def service_of(self, response):
        """Name of the service that answered; or Lintel's own reason."""
        address = response.get("x-backend")
        if address is None:
            return response.why
        return next(name for name, known in self.addresses.items() if known == address)
