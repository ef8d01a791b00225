"""Lintel outside of a Pod, but inside the cluster's network: a process of the test that goes by a
kubeconfig. Everything else is as with tests/lib/lintel.py."""

from lib.lintel import Lintel


class NoDirectory:
    path = "/nonexistent"


class LintelOutside(Lintel):
    def __init__(self, kubeconfig, scratch, *arguments, **options):
        super().__init__(NoDirectory, scratch, *arguments, **options)
        at = self.arguments.index("--manifests")
        self.arguments[at:at + 2] = ["--kubeconfig", kubeconfig]
