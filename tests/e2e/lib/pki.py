"""Certificates and keys of a cluster, made on the fly by openssl."""
import os
import subprocess

import yaml


def openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"


class Authority:
    """A CA in a directory, and what it signs, as NAME.crt and NAME.key beside it."""

    def __init__(self, directory, name="ca"):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.certificate, self.key = self.path(f"{name}.crt"), self.path(f"{name}.key")
        self._request(name, f"/CN={name}", "basicConstraints=critical,CA:TRUE",
                      "keyUsage=critical,keyCertSign,cRLSign")

    def path(self, name):
        return os.path.join(self.directory, name)

    def _request(self, name, subject, *extensions, signed_by=()):
        added = [word for text in extensions for word in ("-addext", text)]
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "30", "-subj", subject, "-keyout", self.path(f"{name}.key"),
                "-out", self.path(f"{name}.crt"), *added, *signed_by)
        return self.path(f"{name}.crt"), self.path(f"{name}.key")

    def sign(self, name, user, *groups, addresses=(), names=()):
        """Returns the files of certificate and key."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        alternatives = ",".join([*(f"IP:{a}" for a in addresses), *(f"DNS:{n}" for n in names)])
        extensions = ["basicConstraints=critical,CA:FALSE",
                      "extendedKeyUsage=serverAuth,clientAuth"]
        if alternatives:
            extensions.append(f"subjectAltName={alternatives}")
        return self._request(name, subject, *extensions,
                             signed_by=["-CA", self.certificate, "-CAkey", self.key])


def make_signing_key(path):
    """For service account tokens: PATH.key and PATH.pub."""
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{path}.key")
    openssl("ec", "-in", f"{path}.key", "-pubout", "-out", f"{path}.pub")


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
