"""Certificates and keys of a cluster, as files."""
import os

import yaml
from cryptography.hazmat.primitives import serialization

from lib import pki


class Authority:
    """A CA in a directory, and what it signs, as NAME.crt and NAME.key beside it."""

    def __init__(self, directory, name="ca"):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self._authority = pki.Authority(name)
        self.certificate, self.key = self._authority.write(directory, name)

    def path(self, name):
        return os.path.join(self.directory, name)

    def sign(self, name, user, *groups, addresses=(), names=()):
        """Returns the files of certificate and key."""
        return self._authority.issue(*addresses, *names, common_name=user,
                                     organizations=groups).write(self.directory, name)


def make_signing_key(path):
    """For service account tokens: PATH.key and PATH.pub."""
    key = pki.make_key()
    with open(f"{path}.key", "w", encoding="ascii") as file:
        file.write(pki.key_text(key))
    with open(f"{path}.pub", "wb") as file:
        file.write(key.public_key().public_bytes(serialization.Encoding.PEM,
                                                 serialization.PublicFormat.SubjectPublicKeyInfo))


def write_kubeconfig(path, server, authority, user, namespace="default"):
    """user: the credentials as kubeconfig has them, such as {"token": ...}."""
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": {"server": server,
                                                 "certificate-authority": authority}}],
        "users": [{"name": "e2e", "user": user}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e",
                                                 "namespace": namespace}}]}
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump(config, file)
    os.chmod(path, 0o600)
    return path
