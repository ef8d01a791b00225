"""One adversarial request: the bytes, what Lintel must answer, what the backend may have seen.

The host h.test stands for whichever backend the case is run against; the names that replace it are
as long, so that lengths within a case stay right.
"""
HOST = b"h.test"


class Case:
    """section: of RFC 9110 or 9112, as text: "9112 5.1".
    statuses: of the responses, in order; is_closed: the connection ends after the last.
    seen: "METHOD target" of exactly the requests that the backend sees, in order.
    why: x-lintel-reason of the last response; None when the backend answered it.
    has: field values that the last seen request must have, None for a field it must not have.
    body: of the last seen request. guard: the request goes to the guarded path's backend.
    ends: the client sends its end right after the bytes.
    begun: requests of which the backend may have seen the beginning, and no more."""

    def __init__(self, section, name, data, statuses, *, is_closed=False, why=None, seen=(),
                 has=None, body=None, guard=False, ends=False, begun=()):
        self.section, self.name, self.data = section, name, data
        self.statuses, self.is_closed, self.why = statuses, is_closed, why
        self.seen, self.has, self.body = list(seen), has or {}, body
        self.guard, self.ends, self.begun = guard, ends, list(begun)

    @property
    def is_good(self):
        """A request of the kind that users need."""
        return self.statuses == [200] * len(self.statuses) and self.seen != []

    @property
    def order(self):
        rfc, section = self.section.split(" ")
        return int(rfc), [int(part) for part in section.split(".")]

    @property
    def id(self):
        return f"{self.section} {self.name}".replace(" ", "-")


def request(line, *fields, body=b"", host=b"Host: h.test"):
    """Bytes of a request; host None leaves the field out."""
    lines = [line, *([host] if host is not None else []), *fields]
    return b"\r\n".join([*lines, b"", b""]) + body


def get(*fields, target=b"/", body=b"", host=b"Host: h.test"):
    return request(b"GET %s HTTP/1.1" % target, *fields, body=body, host=host)


def post(*fields, body=b""):
    return request(b"POST / HTTP/1.1", *fields, body=body)


def counted(body, *fields):
    return post(*fields, b"Content-Length: %d" % len(body), body=body)


def in_chunks(body, *fields):
    """body: as it is sent, sizes and all."""
    return post(b"Transfer-Encoding: chunked", *fields, body=body)


# What an attacker would like the backend to take for the next request.
SMUGGLED = get(target=b"/smuggled")


def refused(section, name, data, status=400, why="bad_request", **more):
    """One answer and the end of the connection; the backend sees nothing of it."""
    return Case(section, name, data, [status], is_closed=True, why=why, **more)


def answered(section, name, data, status, why, **more):
    """Answered by Lintel, the connection lives on; the backend sees nothing of it."""
    return Case(section, name, data, [status], why=why, **more)


def served(section, name, data, *seen, is_closed=False, **more):
    """Each of the requests is answered by the backend."""
    seen = seen or ("GET /",)
    return Case(section, name, data, [200] * len(seen), is_closed=is_closed, seen=seen, **more)


def served_then_refused(section, name, data, *seen, why="bad_request", status=400, **more):
    """Good requests, then one that is refused with the end of the connection."""
    return Case(section, name, data, [200] * len(seen) + [status], is_closed=True, why=why,
                seen=seen, **more)
