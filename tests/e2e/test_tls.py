"""Certificates of hosts come from Secrets of a real API server: they come, change, are broken, and go,
with no rights but the shipped ones. Restarts while the server is away: test_source.py."""
import pytest

from lib import pki
from lib.load import Load
from lib.manifests import ingress, metadata, rule, secret, service, tls, tls_secret
from lib.tls import TlsClient
from e2e.lib.shipped import ACCOUNT, NAMESPACE
from e2e.lib.web import publish_web, web_ingress


@pytest.fixture(name="served")
def fixture_served(rights, lintel):
    return lintel(ACCOUNT, NAMESPACE).start()


@pytest.fixture(name="host")
def fixture_host(namespace):
    return f"{namespace}.test"


@pytest.fixture(name="root", scope="module")
def fixture_root():
    return pki.Authority()


def put(cluster, namespace, identity, name="cert"):
    cluster.api.apply(tls_secret(name, identity, namespace=namespace))


def put_ingress(cluster, namespace, host):
    """Its Service is not there: what is asked for are certificates."""
    cluster.api.apply(web_ingress(namespace, host, tls=[tls("cert", host)]))


def secrets_read(cluster, namespace):
    """{(verb, name)}"""
    return {(event["verb"], event["objectRef"].get("name"))
            for event in cluster.audit(ACCOUNT, NAMESPACE)
            if (event.get("objectRef", {}).get("resource"),
                event.get("objectRef", {}).get("namespace")) == ("secrets", namespace)}


def test_a_certificate_comes_changes_and_goes(cluster, namespace, served, host, root):
    """For the next handshake; connections that are open stay."""
    first, second = root.issue(host), root.issue(host, kind=pki.RSA)
    nobodys = served.certificate(host)
    put_ingress(cluster, namespace, host)
    served.wait_answer(308, host=host)
    served.wait_log(f"there is no Secret {namespace}/cert")
    assert served.certificate(host) == nobodys

    put(cluster, namespace, first)
    served.wait_certificate(host, first)
    with TlsClient(served.https_port, host, trusts=[root]) as client:
        assert client.request(host=host).why == "no_endpoints"
        put(cluster, namespace, second)
        served.wait_certificate(host, second)
        assert client.request(host=host).why == "no_endpoints"

    cluster.api.delete("Secret", "cert", namespace)
    cluster.wait(lambda: served.certificate(host) == nobodys, "the default certificate")
    assert f"there is no Secret {namespace}/cert" in \
        served.health("/debug/diagnostics").body.decode()
    assert served.fetch(host=host).status == 308, "no host falls back to plain HTTP"
    put(cluster, namespace, first)
    served.wait_certificate(host, first)


def test_what_is_no_certificate_is_told(cluster, namespace, served, host, root):
    """The type of the Secret does not matter, what is in it does. A mistake does not take the place of
    what is good."""
    nobodys, good, other = served.certificate(host), root.issue(host), root.issue(host)
    put_ingress(cluster, namespace, host)
    cluster.api.apply(secret("cert", {"password": "1234"}, namespace=namespace))
    served.wait_log(rf"Secret {namespace}/cert: data\[tls.crt\]")
    served.wait_log(rf"Ingress {namespace}/web: spec.tls\[0\].secretName: names Secret cert, which")
    assert served.certificate(host) == nobodys

    cluster.api.apply(secret("cert", {"tls.crt": good.chain, "tls.key": good.key},
                             namespace=namespace))
    served.wait_certificate(host, good)
    logged = len(served.log())
    cluster.api.apply(secret("cert", {"tls.key": other.key, "tls.crt": good.chain},
                             namespace=namespace))
    served.wait_log("the certificate that was there before stays in service", after=logged)
    assert served.certificate(host) == good.der
    cluster.api.apply(secret("cert", {"tls.key": other.key, "tls.crt": other.chain},
                             namespace=namespace))
    served.wait_certificate(host, other)


def put_as_cert_manager(cluster, namespace, identity, authority, revision):
    item = tls_secret("cert", identity, namespace=namespace, ca=authority.certificate)
    item["metadata"].update(
        labels={"controller.cert-manager.io/fao": "true"},
        annotations={"cert-manager.io/certificate-name": "cert",
                     "cert-manager.io/certificate-revision": str(revision)})
    cluster.api.apply(item, manager="cert-manager-certificates-issuing")


def put_challenge(cluster, namespace, host):
    """The solver is another port of the application."""
    path = ("/.well-known/acme-challenge/token", "ImplementationSpecific", "cm-acme-http-solver:8089")
    cluster.api.apply(
        service("cm-acme-http-solver", (8089, 8080), namespace=namespace,
                spec={"selector": {"app": "web"}}),
        ingress("cm-acme-http-solver", rule(host, path), namespace=namespace, annotations={
            "nginx.ingress.kubernetes.io/whitelist-source-range": "0.0.0.0/0,::/0"}))
    return path[0]


def test_a_host_gets_its_certificate_from_cert_manager(cluster, namespace, served, host, root):
    """From the first challenge over a temporary certificate to its renewal under load."""
    publish_web(cluster, namespace, host, 1, tls=[tls("cert", host)],
                annotations={"cert-manager.io/cluster-issuer": "acme"})
    served.wait_answer(308, host=host)
    served.wait_answer(200, put_challenge(cluster, namespace, host), host)

    temporary, first, second = pki.self_signed(host), root.issue(host), root.issue(host)
    cluster.api.apply({**secret("cert-8xw2p", {"tls.key": first.key}, namespace=namespace),
                       "metadata": metadata("cert-8xw2p", namespace, labels={
                           "cert-manager.io/next-private-key": "true"})})
    put_as_cert_manager(cluster, namespace, temporary, temporary, 0)
    served.wait_certificate(host, temporary)
    put_as_cert_manager(cluster, namespace, first, root, 1)
    served.wait_certificate(host, first)
    for name in ("Ingress", "Service"):
        cluster.api.delete(name, "cm-acme-http-solver", namespace)

    with Load(served.https_port, [(host, "/")], clients=2, connect=lambda: TlsClient(
            served.https_port, host, trusts=[root])) as load:
        put_as_cert_manager(cluster, namespace, second, root, 2)
        served.wait_certificate(host, second)
        load.wait_for(50)
    load.check_flawless()
    assert secrets_read(cluster, namespace) == {("get", "cert"), ("watch", "cert")}


def test_the_default_certificate_of_another_namespace(cluster, namespace, rights, lintel, host, root):
    """For hosts without a certificate of their own; it changes as others do."""
    central, name = "default", f"any-{namespace}"
    first, second, own = root.issue("*.test"), root.issue("*.test", host), root.issue(host)
    running = lintel(ACCOUNT, NAMESPACE, "--default-ssl-certificate", f"{central}/{name}").start()
    nobodys = running.certificate(host)
    running.wait_log(f"--default-ssl-certificate: there is no Secret {central}/{name}")
    put_ingress(cluster, namespace, host)
    put(cluster, central, first, name)
    running.wait_certificate(host, first)
    assert running.certificate(None) == running.certificate("unknown.example") == first.der
    put(cluster, central, second, name)
    running.wait_certificate(host, second)

    put(cluster, namespace, own)
    running.wait_certificate(host, own)
    assert running.certificate("unknown.example") == second.der
    cluster.api.delete("Secret", name, central)
    cluster.wait(lambda: running.certificate(None) == nobodys, "that it is gone")
    assert running.certificate(host) == own.der
    assert secrets_read(cluster, central) == {("get", name), ("watch", name)}
