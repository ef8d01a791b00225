"""The ConfigMap of --configmap: what it says applies at once and is told where it cannot."""
import json
import re

import pytest

from lib.backend import echo
from lib.lintel import ROOT, command
from lib.load import Load
from lib.manifests import app, ingress, ingress_class, rule
from lib.tls import TlsClient

NAME = "lintel/settings"


def config_map(data, name="settings", namespace="lintel"):
    return {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace}, "data": data}


@pytest.fixture
def serve(stage):
    """serve(*arguments): a Lintel without the ConfigMap yet, with a host with TLS and one without."""
    def make(*arguments):
        backend = stage.backend(echo)
        lintel = stage.run(
            ingress_class(), app("app", backend.port),
            ingress("a", rule("a.test", ("/", "Prefix", "app:80"))),
            ingress("tls", rule("tls.test", ("/", "Prefix", "app:80")), tls=[{}]),
            arguments=["--configmap", NAME, *arguments])
        return lintel
    return make


def post(lintel, n):
    return lintel.fetch("/", "a.test", method="POST", body=b"x" * n).status


def set_to(lintel, **data):
    """Writes the ConfigMap and waits until it counts: a redirect to a status of its own is the sign."""
    sign = "302" if lintel.fetch("/", "tls.test").status != 302 else "307"
    lintel.manifests.write("settings.yaml", config_map(
        {**{key.replace("_", "-"): value for key, value in data.items()},
         "http-redirect-code": sign}))
    lintel.wait_answer(int(sign), "/", "tls.test")


def test_keys_apply_under_traffic_and_go_with_the_object(serve):
    lintel = serve()
    with Load(lintel.port, [("a.test", "/")]) as load:
        assert lintel.fetch("/", "tls.test").status == 308 and post(lintel, 2000) == 200
        set_to(lintel, proxy_body_size="1k")
        assert post(lintel, 1024) == 200 and post(lintel, 1025) == 413
        set_to(lintel, proxy_body_size="2k", force_ssl_redirect="false")
        assert post(lintel, 2000) == 200
        lintel.manifests.delete("settings.yaml")
        lintel.wait_answer(308, "/", "tls.test")
        assert post(lintel, 2049) == 200
    load.check_flawless()


def test_https_policy(serve):
    lintel = serve("--use-forwarded-headers")
    https = {"fields": [("X-Forwarded-Proto", "https")]}
    set_to(lintel, hsts_max_age="60", hsts_include_subdomains="true")
    assert lintel.fetch("/", "tls.test", **https)["strict-transport-security"] == \
        "max-age=60; includeSubDomains"
    set_to(lintel, hsts="false", no_tls_redirect_locations="/open")
    assert lintel.fetch("/", "tls.test", **https).get("strict-transport-security") is None
    assert lintel.fetch("/open/x", "tls.test").status == 200
    set_to(lintel, force_ssl_redirect="true")
    assert lintel.fetch("/", "a.test").status in (302, 307)


def test_the_command_line_counts_before(serve):
    lintel = serve("--proxy-body-size", "1k")
    set_to(lintel, proxy_body_size="2k")
    assert post(lintel, 1025) == 413
    lintel.wait_log(r"data\[proxy-body-size\].*given on the command line")


def test_others_of_that_kind_do_not_count(serve):
    lintel = serve()
    lintel.manifests.write("other.yaml", config_map({"http-redirect-code": "301"}, name="other"),
                           config_map({"http-redirect-code": "301"}, namespace="default"))
    set_to(lintel)
    assert "settings" not in re.findall(r"ConfigMap (\S+)", lintel.log())


def test_what_cannot_be_used_is_told_and_the_rest_counts(serve):
    lintel = serve()
    set_to(lintel, proxy_body_size="much", keepalive="75", main_snippet="x;", use_gzip="true",
           ssl_session_ticket_key="c2VjcmV0")
    assert post(lintel, 2000) == 200
    for line in (r"ERROR.*data\[proxy-body-size\]: is \"much\".*InvalidSetting",
                 r"WARN.*data\[keepalive\]: is no setting, but keep-alive is.*UnknownSetting",
                 r"ERROR.*data\[main-snippet\]: is set.*SettingWithoutEffect",
                 r"WARN.*data\[use-gzip\]: is set.*SettingWithoutEffect"):
        lintel.wait_log(line)
    assert "c2VjcmV0" not in lintel.log()


def test_commands_look_at_it(serve):
    lintel = serve()
    set_to(lintel, hsts_max_age="61", bad="1")
    path = lintel.manifests.path
    done = command("check", "--strict", "--configmap", NAME, path, check=1)
    assert "data[bad]: is no setting" in done.stdout
    assert "data[bad]" not in command("check", path, check=0).stdout
    url = "https://tls.test/"
    told = [json.loads(command("explain", "--manifests", path, "--configmap", NAME, "-o", "json",
                               url, check=0).stdout), lintel.explain(url)]
    for explanation in told:
        assert explanation["filters"][1]["value"] == "max-age=61"
    assert '"keep-alive": 75000000' in command("dump", "--manifests", path, "-o", "json").stdout \
        .replace('":7', '": 7')


def documented():
    """The keys in docs/configmap.md: in the first column, and in lines of nothing but keys."""
    with open(f"{ROOT}/docs/configmap.md", encoding="utf-8") as file:
        rows = [line.split("|")[1] if line[0] == "|" else line for line in file
                if re.match(r"\| `|`[^`]+`,? *(`|$)", line)]
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def test_every_key_that_is_known_is_documented_and_the_other_way_round(stage):
    """Known is what is not called unknown; a setting is one that a bad value is told of."""
    keys = documented()
    assert len(keys) > 150
    directory = stage.directory("keys")
    directory.write("map.yaml", config_map({key.replace("*", "x"): "\x01" for key in keys}))
    done = command("check", "-o", "json", "--configmap", NAME, directory.path)
    told = json.loads(done.stdout)["diagnostics"]
    unknown = [item["field"] for item in told
               if item["reason"] not in ("InvalidSetting", "SettingWithoutEffect")]
    assert unknown == []
    with open(f"{ROOT}/src/compile/config_keys.def", encoding="utf-8") as file:
        idle = set(re.findall(r'^KEY\("([^"]+)"', file.read(), re.MULTILINE))
    with open(f"{ROOT}/src/snapshot/settings.def", encoding="utf-8") as file:
        settings = set(re.findall(r'^SETTING\(\w+, "([^"]+)"', file.read(), re.MULTILINE))
    assert idle | settings <= keys
    invalid = {item["field"][5:-1] for item in told if item["reason"] == "InvalidSetting"}
    assert settings <= invalid and not invalid & (idle - settings)


def test_tls_is_said_by_the_configmap(serve):
    """Which versions, ciphers and protocols are spoken follows the ConfigMap, without a restart."""
    lintel = serve()

    def spoken():
        with TlsClient(lintel.https_port, "tls.test", alpn=["h2", "http/1.1"]) as client:
            tls = client.socket
            return tls.version(), tls.selected_alpn_protocol(), tls.cipher()[0]
    assert spoken()[:2] == ("TLSv1.3", "h2")
    set_to(lintel, ssl_protocols="TLSv1.2", ssl_ciphers="ECDHE-ECDSA-AES256-GCM-SHA384:"
           "ECDHE-RSA-AES256-GCM-SHA384", use_http2="false", ssl_ecdh_curve="P-256")
    version, alpn, cipher = spoken()
    assert (version, alpn) == ("TLSv1.2", "http/1.1") and cipher.endswith("AES256-GCM-SHA384")
    set_to(lintel, ssl_ecdh_curve="auto")
    assert spoken()[:2] == ("TLSv1.3", "h2")
