"""RFC 9113 section 8 and RFC 8441: what is a request. Rows for test_http2_rules.py; how to read them:
http2_cases.py."""
from http2_cases import (FINE_1, GET, POST, ROWS, Row, behind, but, case, head, refused, sees, status,
                         stream)
from lib.h2 import DATA, END_STREAM, PADDED, PROTOCOL_ERROR, SETTINGS, frame

BAD = stream(PROTOCOL_ERROR)                # malformed: RFC 9113 section 8.1.1
BAD_OR_400 = refused(PROTOCOL_ERROR, 400)   # either is an answer to it


# ---- 8.1: one HEADERS, DATA, one HEADERS ----

def trailers(section, text, due, fields, *, end=True, body=b"abc"):
    def send(client):
        client.send(client.headers(1, POST, end=False), frame(DATA, 0, 1, body),
                    client.headers(1, fields, end=end))
    ROWS.append(Row(section, text, due, send))


trailers("8.1", "trailers", FINE_1, [("x-sum", "7")])
trailers("8.1", "trailers without DATA", FINE_1, [("x-sum", "7")], body=b"")
trailers("8.1", "trailers that do not end the stream", BAD, [("x-sum", "7")], end=False)
for name, value in (*GET, (":status", "200"), (":foo", "bar")):
    trailers("8.1", f"a pseudo-field in trailers: {name}", BAD, [("x-a", "b"), (name, value)])
trailers("8.2", "an upper-case name in trailers", BAD, [("X-Sum", "7")])
trailers("8.2.1", "a name that is none in trailers", BAD, [("x sum", "7")])
trailers("8.2.1", "a value that is none in trailers", BAD, [("x-sum", "7\r\n")])
trailers("8.2.2", "the connection's own field in trailers", BAD, [("connection", "close")])
trailers("8.2.2", "transfer-encoding in trailers", BAD, [("transfer-encoding", "chunked")])
trailers("8.2.2", "TE other than trailers in trailers", BAD, [("te", "gzip")])


@case("8.1", "trailers in the same breath as the request", FINE_1)
def _(client):
    client.send(client.headers(1, POST, end=False), client.headers(1, [("x-sum", "7")]))


@case("8.1", "a second request on a stream that is open", BAD)
def _(client):
    client.send(client.headers(1, POST, end=False), client.headers(1, GET))


# ---- 8.1.1: content-length ----

def length(text, claimed, *pieces, due=BAD, behind_=()):
    def send(client):
        out = [client.headers(1, [*POST, ("content-length", claimed)], end=not pieces)]
        for i, piece in enumerate(pieces):
            is_last = i == len(pieces) - 1 and not behind_
            out.append(frame(DATA, END_STREAM if is_last else 0, 1, piece))
        if behind_:
            out.append(client.headers(1, list(behind_)))
        client.send(*out)
    ROWS.append(Row("8.1.1", text, due, send))


length("content-length is right", "5", b"ab", b"cde", due=FINE_1)
length("content-length with zeros in front", "0005", b"abcde", due=FINE_1)
length("content-length of 0 without DATA", "0", due=FINE_1)
length("content-length of 0 and empty DATA", "0", b"", due=FINE_1)
length("content-length and trailers", "3", b"abc", due=FINE_1, behind_=[("x-sum", "7")])
length("less DATA than content-length", "5", b"abc")
length("less DATA than content-length, then trailers", "5", b"abc", behind_=[("x-sum", "7")])
length("more DATA than content-length", "5", b"abcdef")
length("more DATA than content-length in two frames", "5", b"abc", b"def")
length("more DATA than content-length in a frame that does not end", "2", b"abc", b"")
length("no DATA where content-length says some", "5")
length("empty DATA where content-length says some", "5", b"")
length("DATA where content-length says none", "0", b"a")
for claimed in ("five", "-1", "+3", "3, 3", "3 3", "0x3", "3.0", "", "18446744073709551616",
                "9223372036854775808", "99999999999999999999999999"):
    length(f"content-length is no length: {claimed!r}", claimed, b"abc")
head("8.1.1", "content-length twice", BAD, [*POST, ("content-length", "0"), ("content-length", "0")])
behind("8.1.1", "padding is no content", FINE_1, [*POST, ("content-length", "3")],
       frame(DATA, PADDED | END_STREAM, 1, b"\x04abc\0\0\0\0"))
behind("8.1.1", "padding does not make up for content", BAD, [*POST, ("content-length", "7")],
       frame(DATA, PADDED | END_STREAM, 1, b"\x04abc\0\0\0\0"))

# ---- 8.2: fields ----

head("8.2", "an upper-case field name", BAD, [*GET, ("X-Upper", "a")])
head("8.2", "a field name with one upper-case letter", BAD, [*GET, ("x-uppeR", "a")])
for code in (*range(0x21), 0x7f, 0x80, 0xe4, 0xff):
    head("8.2.1", f"a field name with byte {code:#04x}", BAD, [*GET, (f"x{chr(code)}y", "a")])
for character in "\"(),/:;<=>?@[\\]{}":
    head("8.2.1", f"a field name with {character}", BAD, [*GET, (f"x{character}y", "a")])
head("8.2.1", "a field name that ends with a colon", BAD, [*GET, ("x:", "a")])
head("8.2.1", "every character that a field name may have", FINE_1,
     [*GET, ("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz", "a")])
head("8.2.1", "an empty field name", BAD, [*GET, ("", "a")])
for code in (*range(9), *range(10, 0x20), 0x7f):
    head("8.2.1", f"a field value with byte {code:#04x}", BAD, [*GET, ("x", f"a{chr(code)}b")])
head("8.2.1", "a field value that would be another field", BAD, [*GET, ("x", "a\r\nhost: b")])
head("8.2.1", "a field value that would be another request", BAD,
     [*GET, ("x", "a\r\n\r\nGET /admin HTTP/1.1\r\nhost: b\r\n\r\n")])
for bad in (" a", "a ", "\ta", "a\t", " ", "\t"):
    head("8.2.1", f"a field value that begins or ends with a blank: {bad!r}", BAD, [*GET, ("x", bad)])
head("8.2.1", "blanks and bytes above 0x7f within a field value", sees(x="a b\tc\xe4\xff"),
     [*GET, ("x", "a b\tc\xe4\xff")])
head("8.2.1", "an empty field value", sees(x=""), [*GET, ("x", "")])
for name, value in (("connection", "close"), ("connection", "x"), ("keep-alive", "timeout=5"),
                    ("upgrade", "foo"), ("upgrade", "h2c"), ("proxy-connection", "keep-alive"),
                    ("transfer-encoding", "chunked"), ("transfer-encoding", "identity")):
    head("8.2.2", f"the connection's own field {name}: {value}", BAD, [*GET, (name, value)])
behind("8.2.2", "transfer-encoding beside content-length", BAD,
       [*POST, ("content-length", "3"), ("transfer-encoding", "chunked")], frame(DATA, END_STREAM, 1, b"abc"))
for value in ("gzip", "trailers, gzip", "chunked", ""):
    head("8.2.2", f"TE: {value!r}", BAD, [*GET, ("te", value)])
head("8.2.2", "TE: trailers", FINE_1, [*GET, ("te", "trailers")])
head("8.2.2", "TE: Trailers", FINE_1, [*GET, ("te", "Trailers")])
head("8.2.3", "cookies become one field", sees(cookie="a=b; c=d; e=f"),
     [*GET, ("cookie", "a=b"), ("x", "y"), ("cookie", "c=d; e=f")])

# ---- 8.3: pseudo-fields ----

for missing in ("method", "scheme", "path"):
    head("8.3.1", f"no :{missing}", BAD, but(GET, **{missing: None}))
for name, value in GET:
    head("8.3", f"{name} twice", BAD, [*GET, (name, value)])
    head("8.3", f"{name} behind a field", BAD,
         [pair for pair in GET if pair[0] != name] + [("x", "y"), (name, value)])
head("8.3", "an unknown pseudo-field", BAD, [*GET, (":foo", "bar")])
head("8.3", "an unknown pseudo-field in front", BAD, [(":foo", "bar"), *GET])
head("8.3", "a pseudo-field without a name", BAD, [*GET, (":", "bar")])
head("8.3", "a pseudo-field in capitals", BAD, [*but(GET, path=None), (":Path", "/")])
head("8.3", "a response's pseudo-field", BAD, [*GET, (":status", "200")])
head("8.3", "the pseudo-fields in another order", FINE_1, GET[::-1])

# ---- 8.3.1: method, scheme, authority, path ----

for method in ("", "GE T", "GET ", "G\0T", "G(T", "GET\r\nx: y", "\xe4"):
    head("8.3.1", f"a method that is no token: {method!r}", BAD_OR_400, but(GET, method=method))
head("8.3.1", "a method that nobody knows", FINE_1, but(GET, method="FROB"))
head("8.3.1", "a method in small letters is another one", FINE_1, but(GET, method="get"))
for scheme in ("", "1http", "ht tp", "http:", "http\0", "-"):
    head("8.3.1", f"a scheme that is none: {scheme!r}", BAD_OR_400, but(GET, scheme=scheme))
head("8.3.1", "https, which somebody in front has ended", FINE_1, but(GET, scheme="https"))
for path in ("", "x", "*", "a/b", "http://a.test/", "?x=1"):
    head("8.3.1", f"a path without a slash: {path!r}", BAD_OR_400, but(GET, path=path))
for path in ("/a b", "/a\0b", "/a\r\nx: y", "/a\tb", "/a#b", "/\x7f", "/%", "/%0", "/%zz"):
    head("8.3.1", f"a path that is none: {path!r}", BAD_OR_400, but(GET, path=path))
head("8.3.1", "a query", FINE_1, but(GET, path="/a?b=c?d/e"))
head("8.3.1", "OPTIONS *", refused(200, 404), but(GET, method="OPTIONS", path="*"))
head("8.3.1", "OPTIONS without a path", BAD_OR_400, but(GET, method="OPTIONS", path=""))

for authority in ("me@a.test", "me:secret@a.test", "a.test@b.test", "a test", "a.test/", "a.test:x",
                  "a.test:99999", "a.test:-1", "[::1", "::1", "a\0b", "a.test\r\nx: y", "a.test?", "a.test#x",
                  "a\\b", "b.test,a.test", ""):
    head("8.3.1", f"an authority that is none: {authority!r}", BAD_OR_400, but(GET, authority=authority))
for authority in ("A.Test", "a.test.", "a.test:80", "a.test:8080", "a.test:"):
    head("8.3.1", f"an authority that is unusual: {authority!r}", FINE_1, but(GET, authority=authority))
head("8.3.1", "Host and :authority differ", BAD_OR_400, [*GET, ("host", "b.test")])
head("8.3.1", "Host and :authority differ by the port", BAD_OR_400, [*GET, ("host", "a.test:81")])
head("8.3.1", "Host is empty beside :authority", BAD_OR_400, [*GET, ("host", "")])
head("8.3.1", "Host with userinfo", BAD_OR_400, [*but(GET, authority=None), ("host", "me@a.test")])
head("8.3.1", "Host and :authority agree", sees(host="a.test"), [*GET, ("host", "a.test")])
head("8.3.1", "Host and :authority agree but for capitals", FINE_1, [*GET, ("host", "A.TEST")])
head("8.3.1", "Host instead of :authority", sees(host="a.test"),
     [*but(GET, authority=None), ("host", "a.test")])
head("8.3.1", "Host twice", BAD_OR_400,
     [*but(GET, authority=None), ("host", "a.test"), ("host", "a.test")])
head("8.3.1", "Host twice beside :authority", BAD_OR_400, [*GET, ("host", "a.test"), ("host", "a.test")])
head("8.3.1", "no host at all", BAD_OR_400, but(GET, authority=None))

# ---- 8.5: CONNECT; RFC 8441: with :protocol ----

head("8.5", "CONNECT: we are no forward proxy", status(501),
     [(":method", "CONNECT"), (":authority", "a.test:80")], end=False)
head("8.5", "CONNECT that ends at once", status(501), [(":method", "CONNECT"), (":authority", "a.test:80")])
head("8.5", "CONNECT with :path", BAD,
     [(":method", "CONNECT"), (":path", "/"), (":authority", "a.test:80")], end=False)
head("8.5", "CONNECT with :scheme", BAD,
     [(":method", "CONNECT"), (":scheme", "http"), (":authority", "a.test:80")], end=False)
head("8.5", "CONNECT without :authority", BAD, [(":method", "CONNECT")], end=False)
head("8.5", "CONNECT with Host instead", BAD, [(":method", "CONNECT"), ("host", "a.test:80")], end=False)


def check_connect_protocol(client):
    """RFC 8441 section 3: our first SETTINGS say that we take it."""
    client.ping()
    assert client.seen[0].kind == SETTINGS and b"\0\x08\0\0\0\1" in client.seen[0].payload


case("8441.3", "it is announced", check_connect_protocol)(lambda client: None)
CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]]
head("8441.4", ":protocol without CONNECT", BAD, [*GET, (":protocol", "websocket")])
head("8441.4", ":protocol behind a field", BAD,
     [*but(CONNECT, protocol=None), ("x", "y"), (":protocol", "websocket")], end=False)
head("8441.4", ":protocol twice", BAD, [*CONNECT, (":protocol", "websocket")], end=False)
for missing in ("scheme", "path", "authority"):
    head("8441.4", f"no :{missing}", BAD, but(CONNECT, **{missing: None}), end=False)
head("8441.4", "an unknown :protocol", status(501), but(CONNECT, protocol="foo"), end=False)
head("8441.4", "an empty :protocol", refused(PROTOCOL_ERROR, 400, 501), but(CONNECT, protocol=""), end=False)
head("8441.4", ":path without a slash", BAD_OR_400, but(CONNECT, path="x"), end=False)
# Its 200 would say that the tunnel stands.
head("8441.5", "an endpoint that speaks no WebSocket is a bad gateway", status(502),
     [*CONNECT, ("sec-websocket-version", "13")], end=False)
