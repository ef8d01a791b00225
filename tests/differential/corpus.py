"""Requests to compare parsers with: put together from good and odd pieces, then damaged a little.
The same seed gives the same cases."""
import random

METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS"]
ODD_METHODS = [b"get", b"BREW", b"G?T", b"", b"CONNECT", b"GET\t", b" GET", b"PRI", b"SOURCE",
               b"M-SEARCH", b"G\xc3T", b"GETGET", b"PATCH", b"QUERY", b"DESCRIBE"]
TARGETS = [b"/", b"/a/b?c=d", b"/a%20b", b"/?x=/../", b"//"]
ODD_TARGETS = [b"*", b"http://a.test/x", b"http://a.test", b"a.test:80", b"", b"/a b", b"/a#b",
               b"/\x01", b"/\xc3\xa9", b"/\x7f", b"/\"<>\\^`{|}", b"?a", b"http://u@a.test/",
               b"http:///x", b"ftp://a.test/", b"/a\tb", b"a", b"https://a.test:8443/x?y",
               b"/" + b"a" * 300, b"http://[::1]/", b"\\", b"/%zz"]
VERSIONS = [b"HTTP/1.1"]
ODD_VERSIONS = [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"http/1.1", b"HTTP/1.10",
                b"HTTP/11", b"", b"HTTP/1.1 ", b"HTTP/1.", b"ICE/1.0", b"HTTP/01.1", b"RTSP/1.0",
                b"HTTP /1.1", b"HTTP/1,1"]
ENDS = [b"\r\n"]
ODD_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b" \r\n", b"\x00\r\n", b"\r\n ", b"\r\n\t",
            b"\x0b\r\n", b"\r\n\r\n"]
SEPARATORS = [b" "]
ODD_SEPARATORS = [b"  ", b"\t", b"", b"\r", b"\x0b", b" \t", b"\x00"]

FIELDS = [b"X-A: 1", b"X-B:  two  ", b"Accept: */*", b"Cookie: a=b; c=d", b"X-C:", b"User-Agent: x",
          b"Connection: keep-alive"]
ODD_FIELDS = [b"X-A : 1", b"X-A\t: 1", b": 1", b"X-A", b" X: 1", b"\tX: 1", b"X A: 1", b"X: \x00",
              b"X: \x01", b"X: \x7f", b"X: \xff\xfe", b"X:\ty\t", b"X\xc3: 1", b"(X): 1",
              b"X: 1\r\n 2", b"X: 1\r\n\t2", b"X: 1\n", b"X: 1\r2", b"X:\x0b1", b"X_Y: 1",
              b"Connection: close", b"Connection: CLOSE, x", b"Connection: x,keep-alive",
              b"Connection: upgrade\r\nUpgrade: websocket", b"Connection: upgrade",
              b"Upgrade: h2c", b"Connection: ,", b"Connection: close, keep-alive",
              b"Proxy-Connection: keep-alive", b"Expect: 100-continue", b"Host: b.test",
              b"Host: a b", b"Host:", b"Trailer: X", b"TE: trailers"]
FRAMINGS = [b"Content-Length: %d", b"Transfer-Encoding: chunked"]
ODD_FRAMINGS = [b"Content-Length: +%d", b"Content-Length: -%d", b"Content-Length: 0%d",
                b"Content-Length: 0x%d", b"Content-Length: %d, %d", b"Content-Length: %d ",
                b"Content-Length:%d", b"Content-Length: %d 0", b"Content-Length: ",
                b"Content-Length: 18446744073709551616", b"Content-Length: 9223372036854775808",
                b"Content-Length: %d\r\nContent-Length: %d", b"Content-Length : %d",
                b"Content-Length: %d.0", b"content-length: %d", b"Content-Length:\t%d\t",
                b"Content-Length: %d,", b"Content-Length\x00: %d", b"Content-Length: %d\x0b",
                b"Content_Length: %d", b"Transfer_Encoding: chunked",
                b"Transfer-Encoding: chunked\r\nContent-Length: %d",
                b"Content-Length: %d\r\nTransfer-Encoding: chunked",
                b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, chunked",
                b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip",
                b"Transfer-Encoding: identity", b"Transfer-Encoding : chunked",
                b"Transfer-Encoding: chunked,", b"Transfer-Encoding: , chunked",
                b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: CHUNKED",
                b"Transfer-Encoding: chunked ", b"Transfer-Encoding: \x0bchunked",
                b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding: chunked;x",
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", b"Transfer-Encoding:",
                b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: chunke\x00d"]
SIZES = [b"%x", b"%X", b"0%x"]
ODD_SIZES = [b"+%x", b"-%x", b"0x%x", b" %x", b"%x ", b"%x\t", b"%x;a=b", b"%x;a=\"b;c\"", b"%x ;a",
             b"%x;", b"%x;a=\"b", b"%x;\x00", b"%x;\n", b"%x,", b"_%x", b"", b"g",
             b"000000000000000000%x", b"1000000000000000%x", b"%x;a\r", b"%x; a = b", b"%x;=",
             b"%x;a;b=c", b"%x;\xff", b"%x;\"a\""]
TRAILERS = [b"", b"X-Sum: 1\r\n"]
ODD_TRAILERS = [b"X : 1\r\n", b"X\r\n", b": 1\r\n", b" X: 1\r\n", b"X: 1\n", b"X: 1\r\n 2\r\n",
                b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"X: \x00\r\n",
                b"Host: b\r\n", b"X: 1\r"]
BYTES = [b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b",", b";", b"\"", b"0", b"1", b"f", b"-",
         b"+", b"_", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b"/", b"#", b"A", b"chunked"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.oddness = 0.0

    def pick(self, good, odd):
        return self.random.choice(odd if self.random.random() < self.oddness else good)

    def line(self, text):
        return text + self.pick(ENDS, ODD_ENDS)

    def chunk(self, data):
        size = self.pick(SIZES, ODD_SIZES)
        size = size % len(data) if b"%" in size else size
        return self.line(size) + self.line(data)

    def chunks(self):
        body = b"".join(self.chunk(b"x" * self.random.randint(1, 20))
                        for _ in range(self.random.randint(0, 3)))
        last = self.line(self.pick([b"0", b"000"], [b"0;x", b"-0", b"0 ", b"00x", b""]))
        return body + last + self.pick(TRAILERS, ODD_TRAILERS) + self.line(b"")

    def framed(self):
        """(field lines, body)"""
        framing = self.pick(FRAMINGS, ODD_FRAMINGS)
        data = b"y" * self.random.randint(0, 12)
        body = self.chunks() if b"unked" in framing or self.random.random() < 0.05 else data
        n = len(body)
        return framing.replace(b"%d", b"%d" % n), body

    def request(self):
        method = self.pick(METHODS, ODD_METHODS)
        first = (method + self.pick(SEPARATORS, ODD_SEPARATORS) + self.pick(TARGETS, ODD_TARGETS)
                 + self.pick(SEPARATORS, ODD_SEPARATORS) + self.pick(VERSIONS, ODD_VERSIONS))
        lines = [] if self.random.random() < self.oddness else [b"Host: a.test"]
        lines += [self.pick(FIELDS, ODD_FIELDS) for _ in range(self.random.randint(0, 3))]
        body = b""
        if self.random.random() < 0.6:
            framing, body = self.framed()
            lines.insert(self.random.randint(0, len(lines)), framing)
        before = self.pick([b""], [b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\r"])
        return before + self.line(first) + b"".join(map(self.line, lines)) + self.line(b"") + body

    def damaged(self, data):
        at = self.random.randrange(len(data) + 1)
        what = self.random.random()
        if what < 0.5:
            return data[:at] + self.random.choice(BYTES) + data[at:]
        if what < 0.75:
            return data[:at] + self.random.choice(BYTES) + data[at + 1:]
        if what < 0.9:
            return data[:at] + data[at + 1:]
        return data[:at]

    def case(self):
        self.oddness = self.random.choice([0.0, 0.03, 0.03, 0.1, 0.25])
        data = b"".join(self.request() for _ in range(self.random.choice([1, 1, 1, 2])))
        for _ in range(self.random.choice([0, 0, 1, 1, 2])):
            data = self.damaged(data)
        return data


def make(n, seed=2026):
    maker = Maker(seed)
    return [maker.case() for _ in range(n)]
