"""curl as a client: one request, in HTTP/1.1 or in HTTP/2 from the first byte."""
import subprocess

from .client import Response

VERSIONS = {"1.1": "--http1.1", "2": "--http2-prior-knowledge"}


def curl(port, target="/", host="example.com", fields=(), version="1.1", method="GET",
         arguments=()):
    """The response, as it came: redirects are not followed."""
    sent = [f"{name}: {value}" for name, value in fields]
    done = subprocess.run(
        ["curl", "-sS", "--path-as-is", "--max-time", "20", "-i", VERSIONS[version],
         *(("-I",) if method == "HEAD" else ("-X", method)),
         *(word for field in sent for word in ("-H", field)),
         "--connect-to", f"::127.0.0.1:{port}", *arguments, f"http://{host}{target}"],
        capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    name, status, *reason = first.split(" ", 2)
    assert name == ("HTTP/2" if version == "2" else "HTTP/1.1"), first
    pairs = [line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in lines]
    return Response(int(status), reason[0] if reason else "", [tuple(p) for p in pairs], body)
