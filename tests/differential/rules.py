"""Why our request parser and llhttp differ: each rule names one reason and recognises, from the
bytes, the requests that it is about. A difference that no rule recognises is a bug, of one or the
other, until it is understood."""
import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
HOST = re.compile(rb"(([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?)|\[[0-9a-fA-F:.]+\])(:[0-9]*)?")
EXTENSION = re.compile(rb'([0-9a-fA-F]+)(;%s(=(%s|"[^"\x00-\x1f]*"))?)*' % (TOKEN, TOKEN))
EMPTY_LINE = re.compile(rb"\r\n\r\n")


class Message:
    """The bytes from the start of the request about which the two differ; before: those that both
    have read as other requests."""

    def __init__(self, data, before):
        self.data, self.before = data, before
        self.start = 2 if data.startswith(b"\r\n") else 0
        end = EMPTY_LINE.search(data, self.start)
        self.has_head = end is not None
        self.head = data[self.start:end.end()] if end else data[self.start:]
        self.body = data[end.end():] if end else b""
        lines = self.head.split(b"\r\n")
        self.line, self.lines = lines[0], [line for line in lines[1:] if line]
        words = re.split(rb"[ ]+", self.line.strip(b" "))
        self.method = words[0]
        self.target = words[1] if len(words) > 1 else b""
        self.version = words[-1] if len(words) > 2 else b""

    def values(self, name):
        """Of every field of that name, in lower case."""
        found = []
        for line in self.lines:
            key, colon, value = line.partition(b":")
            if colon and key.lower() == name:
                found.append(value.strip(b" \t"))
        return found

    def size_lines(self):
        """What may be chunk sizes: every line of the body with a ';', and all that are hex."""
        return [line for line in re.split(rb"\r\n|\n|\r", self.body)
                if re.match(rb"[0-9a-fA-F]+([ \t]*;|$)", line)]


class Difference:
    """ours, theirs: what became of the request: accept, reject or more (bytes are needed)."""

    def __init__(self, case, at, ours, theirs, our_fault, their_fault):
        self.message, self.ours, self.theirs = Message(case[at:], case[:at]), ours, theirs
        self.our_fault, self.their_fault = our_fault, their_fault

    def __str__(self):
        return (f"we {self.ours} ({self.our_fault}), they {self.theirs} ({self.their_fault}): "
                f"{self.message.data[:400]!r}")


# ---- we are stricter ----

def is_chunk_end_bad(m):
    """Some chunk's data is not followed by CRLF; sizes are read as they come."""
    rest = m.body
    while m.values(b"transfer-encoding"):
        size = re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", rest)
        if not size or int(size[1], 16) == 0:
            break
        rest = rest[size.end() + int(size[1], 16):]
        if not b"\r\n".startswith(rest[:2]):
            return True
        rest = rest[2:]
    return False


def is_host_bad(m):
    hosts = m.values(b"host")
    if len(hosts) == 1:
        return hosts[0] != b"" and (not HOST.fullmatch(hosts[0]) or len(hosts[0]) > 250
                                    or not is_port_good(hosts[0]))
    return bool(hosts) or m.version != b"HTTP/1.0"


def is_port_good(authority):
    port = re.search(rb":([0-9]+)$", authority)
    return port is None or 0 < int(port[1]) < 65536


def is_target_form_bad(m):
    """Not origin-form, and neither the absolute, the authority nor the asterisk form where that may
    be: RFC 9112 section 3.2."""
    if m.method == b"CONNECT":
        return not (HOST.fullmatch(m.target) and re.search(rb":[0-9]+$", m.target)
                    and is_port_good(m.target))
    if m.target.startswith(b"/"):
        return False
    if m.target == b"*":
        return m.method != b"OPTIONS"
    absolute = re.fullmatch(rb"(?i:https?)://([^/?#]*)([/?].*)?", m.target)
    return not (absolute and HOST.fullmatch(absolute[1]) and is_port_good(absolute[1]))


STRICTER = [
    ("empty lines before the request", "RFC 9112 2.2: at least one is ignored: we ignore one, of "
     "CRLF; they any number of CR and LF",
     lambda m: re.match(rb"\n|\r(?!\n)|\r\n[\r\n]|\r\n$", m.data) is not None),
    ("more than one blank in the request line", "RFC 9112 3: a single SP; splitting at runs of "
     "blanks is what request smuggling uses", lambda m: b"  " in m.line or m.line.endswith(b" ")),
    ("no version", "RFC 9112 3: HTTP/0.9 is not served", lambda m: m.line.count(b" ") < 2),
    ("another version", "RFC 9112 2.3: HTTP/1.0 and 1.1 only; they speak 0.9, 2.0, RTSP and ICE",
     lambda m: m.version not in (b"HTTP/1.0", b"HTTP/1.1")),
    ("Host", "RFC 9112 3.2: missing, repeated or no host: 400; theirs is checked elsewhere",
     is_host_bad),
    ("fragment", "RFC 9112 3.2: a target has none", lambda m: b"#" in m.target),
    ("form of the target", "RFC 9112 3.2: one of four forms, by the method", is_target_form_bad),
    ("bytes of the target", "RFC 3986 2: US-ASCII without control bytes",
     lambda m: re.search(rb"[^\x21-\x7e]", m.target) is not None),
    ("bare LF", "RFC 9112 2.2: a line ends with CRLF; LF alone may be taken, but need not",
     lambda m: re.search(rb"(?<!\r)\n", m.data) is not None),
    ("bare CR", "RFC 9112 2.2: invalid", lambda m: re.search(rb"\r(?!\n)", m.data) is not None),
    ("blank before the colon", "RFC 9112 5.1: 400",
     lambda m: any(re.match(TOKEN + rb"[ \t]+:", line) for line in m.lines)),
    ("field name", "RFC 9110 5.1: a token; older ones of theirs take blanks in it, or none at all",
     lambda m: any(not re.fullmatch(TOKEN, line.partition(b":")[0]) for line in m.lines)),
    ("folded line", "RFC 9112 5.2: 400", lambda m: any(line[:1] in b" \t" for line in m.lines)),
    ("control bytes in a value", "RFC 9110 5.5: they take some of them",
     lambda m: re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", m.head) is not None),
    ("Transfer-Encoding", "RFC 9112 6.1: exactly chunked, once, in HTTP/1.1 only",
     lambda m: (values := m.values(b"transfer-encoding")) != [] and (
         [value.lower() for value in values] != [b"chunked"] or m.version == b"HTTP/1.0")),
    ("both framings", "RFC 9112 6.3: an error", lambda m: m.values(b"transfer-encoding") != []
     and m.values(b"content-length") != []),
    ("length over 2^63 - 1", "RFC 9110 8.6: guard against overflow; theirs is 2^64 - 1",
     lambda m: any(value.isdigit() and int(value) >= 1 << 63
                   for value in m.values(b"content-length"))),
    ("chunk size of more than 16 digits", "RFC 9112 7.1: guard against overflow",
     lambda m: any(re.match(rb"[0-9a-fA-F]{17}", line) for line in m.size_lines())),
    ("end of a chunk", "RFC 9112 7.1: CRLF; older ones of theirs skip two bytes, or what is there",
     is_chunk_end_bad),
    ("expectation", "RFC 9110 10.1.1: 417 for what is not known",
     lambda m: any(value.lower() != b"100-continue" for value in m.values(b"expect"))),
    ("upgrade with a body", "RFC 9110 7.8: the body comes first and is checked; they report no error "
     "in it", lambda m: m.values(b"upgrade") != [] and m.body != b""),
    ("trailer", "RFC 9112 7.1.2: field lines, checked as in a head",
     lambda m: m.values(b"transfer-encoding") != [] and re.search(
         rb"\r\n0+[^\r\n]*\r\n(?!\r\n)", b"\r\n" + m.body) is not None),
]

# ---- they are stricter ----

# llhttp knows methods by name, those of RTSP for RTSP only.
KNOWN = {b"ACL", b"BIND", b"CHECKOUT", b"CONNECT", b"COPY", b"DELETE", b"GET", b"HEAD", b"LINK",
         b"LOCK", b"M-SEARCH", b"MERGE", b"MKACTIVITY", b"MKCALENDAR", b"MKCOL", b"MOVE", b"NOTIFY",
         b"OPTIONS", b"PATCH", b"POST", b"PROPFIND", b"PROPPATCH", b"PURGE", b"PUT", b"REBIND",
         b"REPORT", b"SEARCH", b"SOURCE", b"SUBSCRIBE", b"TRACE", b"UNBIND", b"UNLINK", b"UNLOCK",
         b"UNSUBSCRIBE"}

LOOSER = [
    ("unknown method", "RFC 9110 9.1: methods are open-ended: the backend decides",
     lambda m: re.fullmatch(TOKEN, m.method) and m.method not in KNOWN),
    ("tab beside a framing value", "RFC 9110 5.5: OWS is blank or tab; they take blanks only here",
     lambda m: any(b"\t" in line for line in m.lines
                   if line.lower().startswith((b"content-length:", b"transfer-encoding:")))),
    ("chunk extension", "RFC 9112 7.1.1: ignored: we look for the end of the line only, and take "
     "blanks around; none is forwarded",
     lambda m: any(b";" in line and not EXTENSION.fullmatch(line) for line in m.size_lines())),
    ("framing in a trailer", "RFC 9110 6.5.1: has no meaning there; they read it as a field, of the "
     "next request even", lambda m: re.search(rb"(?i)\r\n0[^\r\n]*\r\n(.*\r\n)*?"
                                              rb"(content-length|transfer-encoding):",
                                              b"\r\n" + m.body + m.before) is not None),
]

# Neither: the two say the same at different times.
LATER = [
    ("a head that is not whole", "we judge it when it is, and by then refuse it, too, or not",
     lambda m: not m.has_head),
    ("a chunk size that is not whole", "blanks may still be followed by an extension: RFC 9112 7.1.1",
     lambda m: re.search(rb"[0-9a-fA-F][ \t]+$", m.body) is not None),
]


def is_kept_otherwise(mine, other):
    """The one difference between accepted requests: we close where they keep an HTTP/1.0 connection
    because of Proxy-Connection (RFC 9112 C.2.2: ignored) or although close is said, too (RFC 9112
    9.3: it counts more)."""
    fields = [(bytes.fromhex(f["name"]).lower(), bytes.fromhex(f["value"]).lower())
              for f in mine["fields"]]
    said = b", ".join(value for name, value in fields if name == b"connection")
    return mine["minor"] == 0 and not mine["keep"] and (
        (b"close" in said and b"keep-alive" in said)
        or (b"proxy-connection", b"keep-alive") in fields)


def explain(difference):
    """Names of the rules that account for it."""
    rules = STRICTER if difference.ours == "reject" else LOOSER + LATER
    return [name for name, _, is_about in rules if is_about(difference.message)]
