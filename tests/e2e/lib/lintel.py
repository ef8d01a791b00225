"""Lintel outside of a Pod, but inside the cluster's network: a process of the test that goes by a
kubeconfig. Everything else is as with tests/lib/lintel.py."""

from lib.lintel import Lintel
from lib.tls import TlsClient
from lib.wait import eventually


class NoDirectory:
    path = "/nonexistent"


class LintelOutside(Lintel):
    def __init__(self, kubeconfig, scratch, *arguments, **options):
        super().__init__(NoDirectory, scratch, *arguments, **options)
        at = self.arguments.index("--manifests")
        self.arguments[at:at + 2] = ["--kubeconfig", kubeconfig]

    def certificate(self, name):
        """What a client sees who believes anything; name: None for no SNI."""
        with TlsClient(self.https_port, name) as client:
            return client.certificate

    def wait_certificate(self, name, identity):
        eventually(lambda: self.certificate(name) == identity.der, what=f"the certificate of {name}")
