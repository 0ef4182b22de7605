"""Malformed and ambiguous requests, as data: what is sent, and the one thing that may become of it.

In the bytes, ME stands for the path of this very case and SMUGGLED for a complete request that must never be carried out.
"""

from dataclasses import dataclass
from enum import Enum


class Fate(Enum):
    """What may become of a request."""

    REFUSED = "one answer that says no, or a closed connection; nothing reaches the app"
    SERVED = "one right answer; exactly this request reaches the app"
    EITHER = "versions of nginx differ: refused, or served right"
    UNFINISHED = "the client has not said everything: no answer yet, and nothing reaches the app"


REFUSED, SERVED, EITHER, UNFINISHED = Fate
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One request. When it is served, the app must have got `method` and `body`."""

    name: str
    fate: Fate
    request: bytes
    method: str = "POST"
    body: bytes = b"hello"

    @property
    def path(self) -> str:
        return f"/case/{self.name}"

    @property
    def wire(self) -> bytes:
        return self.request.replace(b"ME", self.path.encode()).replace(b"SMUGGLED", SMUGGLED)


def post(name: str, fate: Fate, fields: bytes, body: bytes, *, arrives: bytes = b"hello") -> Case:
    """A POST with these header lines, each with its line end, and this body."""
    return Case(name, fate, b"POST ME HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n" + body, body=arrives)


def get(name: str, fate: Fate, fields: bytes = b"", *, line: bytes = b"GET ME HTTP/1.1\r\n", method: str = "GET") -> Case:
    """A request without a body, with this request line."""
    return Case(name, fate, line + b"Host: localhost\r\n" + fields + b"\r\n", method, b"")


CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
# Read by Content-Length, SMUGGLED is part of the body; read as chunks, the body ends before it.
HIDDEN = b"0\r\n\r\nSMUGGLED"
HIDDEN_BYTES = len(HIDDEN) - len(b"SMUGGLED") + len(SMUGGLED)
LENGTH = b"Content-Length: %d\r\n" % HIDDEN_BYTES
ALL_HIDDEN = HIDDEN.replace(b"SMUGGLED", SMUGGLED)


def both(name: str, fate: Fate, coding: bytes) -> Case:
    """Content-Length and this line of Transfer-Encoding. Served means: by its length, all of it a body."""
    return post(name, fate, LENGTH + coding + b"\r\n", HIDDEN, arrives=ALL_HIDDEN)


LENGTH_AGAINST_CODING = [
    both("cl-te", REFUSED, b"Transfer-Encoding: chunked"),
    post("te-cl", REFUSED, CHUNKED + b"Content-Length: 4\r\n", b"2e\r\nSMUGGLED\r\n0\r\n\r\n"),
    both("cl-te-upper-case", REFUSED, b"TRANSFER-ENCODING: CHUNKED"),
    both("cl-te-space-before-colon", REFUSED, b"Transfer-Encoding : chunked"),
    both("cl-te-tab-before-colon", REFUSED, b"Transfer-Encoding\t: chunked"),
    both("cl-te-tab-before-value", REFUSED, b"Transfer-Encoding:\tchunked"),
    both("cl-te-no-space", REFUSED, b"Transfer-Encoding:chunked"),
    both("cl-te-trailing-space", REFUSED, b"Transfer-Encoding: chunked "),
    both("cl-te-trailing-tab", REFUSED, b"Transfer-Encoding: chunked\t"),
    both("cl-te-vertical-tab", REFUSED, b"Transfer-Encoding: \x0bchunked"),
    both("cl-te-form-feed", REFUSED, b"Transfer-Encoding: \x0cchunked"),
    both("cl-te-nul-in-name", REFUSED, b"Transfer-Encoding\x00: chunked"),
    both("cl-te-nul-in-value", REFUSED, b"Transfer-Encoding: chunked\x00"),
    both("cl-te-unknown-coding", REFUSED, b"Transfer-Encoding: xchunked"),
    both("cl-te-quoted", REFUSED, b'Transfer-Encoding: "chunked"'),
    both("cl-te-parameter", REFUSED, b"Transfer-Encoding: chunked;q=1"),
    both("cl-te-identity", REFUSED, b"Transfer-Encoding: identity"),
    both("cl-te-list-identity-last", REFUSED, b"Transfer-Encoding: chunked, identity"),
    both("cl-te-list-identity-first", REFUSED, b"Transfer-Encoding: identity, chunked"),
    both("cl-te-twice", REFUSED, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    both("cl-te-two-values", REFUSED, b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
    both("cl-te-empty-then-chunked", REFUSED, b"Transfer-Encoding:\r\nTransfer-Encoding: chunked"),
    both("cl-te-folded-value", REFUSED, b"Transfer-Encoding:\r\n chunked"),
    both("cl-te-folded-line", REFUSED, b"X: y\r\n Transfer-Encoding: chunked"),
    both("cl-te-leading-space", REFUSED, b" Transfer-Encoding: chunked"),
    both("cl-te-after-bare-cr", REFUSED, b"X: y\rTransfer-Encoding: chunked"),
    both("cl-te-after-bare-lf", REFUSED, b"X: y\nTransfer-Encoding: chunked"),
    # No header of that name: dropped (an underscore), or passed on as what it is. The length counts.
    both("cl-te-underscore", SERVED, b"Transfer_Encoding: chunked"),
    both("cl-content-encoding", SERVED, b"Content-Encoding: chunked"),
    both("cl-te-header-te", SERVED, b"TE: chunked"),
    both("cl-te-behind-text", SERVED, b"X-Transfer-Encoding: chunked"),
]

CODING = [
    post("te", SERVED, CHUNKED, HELLO),
    post("te-upper-case", SERVED, b"TRANSFER-ENCODING: CHUNKED\r\n", HELLO),
    post("te-unknown", REFUSED, b"Transfer-Encoding: xchunked\r\n", HELLO),
    post("te-gzip-chunked", REFUSED, b"Transfer-Encoding: gzip, chunked\r\n", HELLO),
    post("te-chunked-chunked", REFUSED, b"Transfer-Encoding: chunked, chunked\r\n", HELLO),
    post("te-twice", REFUSED, CHUNKED + CHUNKED, HELLO),
    post("te-identity", REFUSED, b"Transfer-Encoding: identity\r\n", b""),
    post("te-empty", REFUSED, b"Transfer-Encoding:\r\n", HELLO),
    Case("te-in-http-1.0", REFUSED, b"POST ME HTTP/1.0\r\nHost: localhost\r\n" + CHUNKED + b"\r\n" + HIDDEN),
    Case("te-on-get", SERVED, b"GET ME HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED + b"\r\n" + HELLO, "GET"),
    Case("te-on-head", SERVED, b"HEAD ME HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED + b"\r\n" + HELLO, "HEAD"),
]


def length(name: str, fate: Fate, *values: bytes) -> Case:
    """A body of five bytes under one Content-Length line for each value."""
    return post(name, fate, b"".join(b"Content-Length:" + value + b"\r\n" for value in values), b"hello")


LENGTHS = [
    length("cl-twice-equal", REFUSED, b" 5", b" 5"),
    length("cl-twice-different", REFUSED, b" 5", b" 0"),
    length("cl-list-equal", REFUSED, b" 5, 5"),
    length("cl-list-different", REFUSED, b" 5, 0"),
    length("cl-plus", REFUSED, b" +5"),
    length("cl-minus", REFUSED, b" -5"),
    length("cl-minus-zero", REFUSED, b" -0"),
    length("cl-hexadecimal", REFUSED, b" 0x5"),
    length("cl-octal", SERVED, b" 005"),
    length("cl-letter", REFUSED, b" 5a"),
    length("cl-two-numbers", REFUSED, b" 5 5"),
    length("cl-fraction", REFUSED, b" 5.0"),
    length("cl-exponent", REFUSED, b" 5e0"),
    length("cl-underscore-in-number", REFUSED, b" 0_5"),
    length("cl-empty", REFUSED, b""),
    length("cl-overflow-to-5", REFUSED, b" 18446744073709551621"),
    length("cl-too-many-digits", REFUSED, b" " + b"9" * 40),
    length("cl-other-digits", REFUSED, " \uff15".encode()),
    length("cl-vertical-tab", REFUSED, b" \x0b5"),
    length("cl-nul", REFUSED, b" 5\x00"),
    length("cl-no-space", SERVED, b"5"),
    length("cl-tab", REFUSED, b"\t5"),
    length("cl-folded", REFUSED, b"\r\n 5"),
    length("cl-over-the-limit", REFUSED, b" 10485761"),
    length("cl-not-all-sent", UNFINISHED, b" 6"),
    post("cl-space-before-colon", REFUSED, b"Content-Length : 5\r\n", b"hello"),
    # A name with an underscore is left out, so there is no body.
    post("cl-underscore", SERVED, b"Content_Length: 5\r\n", b"", arrives=b""),
    Case("cl-on-get", SERVED, b"GET ME HTTP/1.1\r\nHost: localhost\r\n" + LENGTH + b"\r\n" + HIDDEN, "GET", ALL_HIDDEN),
    Case("cl-on-head", SERVED, b"HEAD ME HTTP/1.1\r\nHost: localhost\r\n" + LENGTH + b"\r\n" + HIDDEN, "HEAD", ALL_HIDDEN),
    Case("cl-on-delete", SERVED, b"DELETE ME HTTP/1.1\r\nHost: localhost\r\n" + LENGTH + b"\r\n" + HIDDEN, "DELETE", ALL_HIDDEN),
    Case("cl-on-options", SERVED, b"OPTIONS ME HTTP/1.1\r\nHost: localhost\r\n" + LENGTH + b"\r\n" + HIDDEN, "OPTIONS", ALL_HIDDEN),
]


def chunks(name: str, fate: Fate, body: bytes, *, arrives: bytes = b"hello") -> Case:
    """A body in these chunks."""
    return post(name, fate, CHUNKED, body, arrives=arrives)


CHUNKS = [
    chunks("chunk-extension", SERVED, b"5;name=value\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-extension-quoted", SERVED, b'5;name="a b"\r\nhello\r\n0;last\r\n\r\n'),
    chunks("chunk-extension-bare-lf", EITHER, b"5;a\nhello\r\n0\r\n\r\n"),
    chunks("chunk-extension-of-8-kib", EITHER, b"5;" + b"x" * 8192 + b"\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-upper-case", SERVED, b"A\r\n0123456789\r\n0\r\n\r\n", arrives=b"0123456789"),
    chunks("chunk-size-zeros", SERVED, b"0000000005\r\nhello\r\n000\r\n\r\n"),
    chunks("chunk-size-overflow", REFUSED, b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-largest", REFUSED, b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-negative-64-bit", REFUSED, b"8000000000000000\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-over-the-limit", REFUSED, b"a00001\r\nhello"),
    chunks("chunk-size-minus", REFUSED, b"-5\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-plus", REFUSED, b"+5\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-0x", REFUSED, b"0x5\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-underscore", REFUSED, b"0_5\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-leading-space", REFUSED, b" 5\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-trailing-space", SERVED, b"5 \r\nhello\r\n0\r\n\r\n"),
    # What follows a space is skipped like an extension.
    chunks("chunk-size-two-numbers", SERVED, b"5 5\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-empty", REFUSED, b"\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-not-hexadecimal", REFUSED, b"g\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-size-nul", REFUSED, b"5\x00\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-longer-than-its-size", REFUSED, b"3\r\nhello\r\n0\r\n\r\n"),
    chunks("chunk-without-line-end", REFUSED, b"5\r\nhello0\r\n\r\n"),
    chunks("chunk-bare-lf", EITHER, b"5\nhello\n0\n\n"),
    chunks("chunk-bare-cr", REFUSED, b"5\rhello\r0\r\r"),
    chunks("chunk-two-characters-for-line-end", REFUSED, b"5\r\nhelloXX0\r\n\r\nSMUGGLED"),
    chunks("chunk-no-end", UNFINISHED, b"5\r\nhello\r\n0\r\n"),
    chunks("chunk-shorter-than-its-size", UNFINISHED, b"6\r\nhello"),
    chunks("trailer", SERVED, b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"),
    chunks("trailer-length", SERVED, b"5\r\nhello\r\n0\r\nContent-Length: 99\r\n\r\n"),
    chunks("trailer-coding", SERVED, b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    chunks("trailer-host", SERVED, b"5\r\nhello\r\n0\r\nHost: evil.example\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"),
    chunks("trailer-request", EITHER, b"5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"),
]

LINES = [
    get("line-bare-lf", EITHER, line=b"GET ME HTTP/1.1\n"),
    Case("all-bare-lf", EITHER, b"GET ME HTTP/1.1\nHost: localhost\n\n", "GET", b""),
    get("line-bare-cr", REFUSED, line=b"GET ME HTTP/1.1\r"),
    get("line-after-empty-line", SERVED, line=b"\r\nGET ME HTTP/1.1\r\n"),
    get("line-leading-space", REFUSED, line=b" GET ME HTTP/1.1\r\n"),
    get("line-two-spaces", EITHER, line=b"GET  ME HTTP/1.1\r\n"),
    get("line-trailing-space", EITHER, line=b"GET ME HTTP/1.1 \r\n"),
    get("line-tab", REFUSED, line=b"GET\tME\tHTTP/1.1\r\n"),
    get("line-vertical-tab", REFUSED, line=b"GET\x0bME HTTP/1.1\r\n"),
    get("line-four-parts", REFUSED, line=b"GET ME x HTTP/1.1\r\n"),
    get("line-of-9000-bytes", REFUSED, line=b"GET ME?" + b"x" * 9000 + b" HTTP/1.1\r\n"),
    Case("http-0.9", REFUSED, b"GET ME\r\n"),
    Case("http-0.9-with-version", REFUSED, b"GET ME HTTP/0.9\r\nHost: localhost\r\n\r\n"),
    get("http-1.2", EITHER, line=b"GET ME HTTP/1.2\r\n"),
    get("http-1.10", SERVED, line=b"GET ME HTTP/1.10\r\n"),
    get("http-1", REFUSED, line=b"GET ME HTTP/1\r\n"),
    get("http-2.0", REFUSED, line=b"GET ME HTTP/2.0\r\n"),
    get("http-3", REFUSED, line=b"GET ME HTTP/3.0\r\n"),
    get("http-99999999999", REFUSED, line=b"GET ME HTTP/99999999999.1\r\n"),
    get("http-comma", REFUSED, line=b"GET ME HTTP/1,1\r\n"),
    get("http-lower-case", REFUSED, line=b"GET ME http/1.1\r\n"),
    Case("http-2-preface", REFUSED, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    get("method-lower-case", REFUSED, line=b"get ME HTTP/1.1\r\n"),
    get("method-nul", REFUSED, line=b"GET\x00 ME HTTP/1.1\r\n"),
    get("method-control-byte", REFUSED, line=b"G\x01T ME HTTP/1.1\r\n"),
    get("method-line-end", REFUSED, line=b"GE\r\nT ME HTTP/1.1\r\n"),
    get("method-unknown", SERVED, line=b"JUMP ME HTTP/1.1\r\n", method="JUMP"),
    get("method-trace", REFUSED, line=b"TRACE ME HTTP/1.1\r\n"),
    get("method-connect", REFUSED, line=b"CONNECT ME HTTP/1.1\r\n"),
    get("method-connect-authority", REFUSED, line=b"CONNECT localhost:8000 HTTP/1.1\r\n"),
    get("method-empty", REFUSED, line=b" ME HTTP/1.1\r\n"),
    get("method-of-9000-bytes", REFUSED, line=b"G" * 9000 + b" ME HTTP/1.1\r\n"),
    get("method-override", SERVED, b"X-HTTP-Method-Override: DELETE\r\n"),
]

TARGETS = [
    get("absolute-own", SERVED, line=b"GET http://localhostME HTTP/1.1\r\n"),
    get("absolute-own-upper-case", SERVED, line=b"GET HTTP://LOCALHOSTME HTTP/1.1\r\n"),
    get("absolute-other", REFUSED, line=b"GET http://evil.exampleME HTTP/1.1\r\n"),
    get("absolute-with-user", REFUSED, line=b"GET http://localhost@evil.exampleME HTTP/1.1\r\n"),
    get("absolute-no-host", REFUSED, line=b"GET http://ME HTTP/1.1\r\n"),
    get("absolute-port-and-user", REFUSED, line=b"GET http://localhost:80@evil.exampleME HTTP/1.1\r\n"),
    get("absolute-other-scheme", EITHER, line=b"GET ftp://localhostME HTTP/1.1\r\n"),
    get("absolute-file", REFUSED, line=b"GET file:///etc/passwd HTTP/1.1\r\n"),
    get("authority-form", REFUSED, line=b"GET localhost:80 HTTP/1.1\r\n"),
    get("asterisk", REFUSED, line=b"OPTIONS * HTTP/1.1\r\n"),
    get("relative", REFUSED, line=b"GET case/relative HTTP/1.1\r\n"),
    get("path-nul", REFUSED, line=b"GET ME\x00 HTTP/1.1\r\n"),
    get("path-encoded-nul", REFUSED, line=b"GET ME%00 HTTP/1.1\r\n"),
    get("path-control-byte", REFUSED, line=b"GET ME\x01 HTTP/1.1\r\n"),
    get("path-delete", REFUSED, line=b"GET ME\x7f HTTP/1.1\r\n"),
    get("path-tab", REFUSED, line=b"GET ME\tx HTTP/1.1\r\n"),
    get("path-bare-cr", REFUSED, line=b"GET ME\rx HTTP/1.1\r\n"),
    get("path-bad-escape", REFUSED, line=b"GET ME%zz HTTP/1.1\r\n"),
    get("path-half-escape", REFUSED, line=b"GET ME%4 HTTP/1.1\r\n"),
    get("path-above-root", REFUSED, line=b"GET /../../etc/passwd HTTP/1.1\r\n"),
    get("path-above-root-encoded", REFUSED, line=b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n"),
    get("path-dot-segment", REFUSED, line=b"GET /page/../healthz HTTP/1.1\r\n"),
    get("path-fragment", REFUSED, line=b"GET ME#SMUGGLED HTTP/1.1\r\n"),
    get("query-bare-nul", REFUSED, line=b"GET ME?a=\x00 HTTP/1.1\r\n"),
    get("query-control-byte", REFUSED, line=b"GET ME?a=\x01 HTTP/1.1\r\n"),
    get("query-request-encoded", SERVED, line=b"GET ME?a=%20HTTP/1.1%0d%0aHost:%20evil%0d%0a%0d%0a HTTP/1.1\r\n"),
]

HEADERS = [
    # nginx leaves such a line out.
    get("header-no-colon", SERVED, b"Nothing\r\n"),
    get("header-no-name", REFUSED, b": value\r\n"),
    get("header-space-in-name", REFUSED, b"Bad Name: x\r\n"),
    get("header-nul-in-name", REFUSED, b"Bad\x00Name: x\r\n"),
    get("header-control-byte-in-name", REFUSED, b"Bad\x01Name: x\r\n"),
    get("header-nul-in-value", REFUSED, b"X: a\x00b\r\n"),
    get("header-control-byte-in-value", EITHER, b"X: a\x01b\r\n"),
    get("header-bare-cr-in-value", REFUSED, b"X: a\rX-Forwarded-For: 6.6.6.6\r\n"),
    get("header-bare-lf-ends-it", EITHER, b"X: a\n"),
    get("header-folded", REFUSED, b"X: a\r\n b\r\n"),
    get("header-folded-first", REFUSED, line=b"GET ME HTTP/1.1\r\n Folded: x\r\n"),
    get("header-no-value", SERVED, b"X:\r\n"),
    get("header-latin-1", SERVED, b"X: \xe4\r\n"),
    get("header-underscore", SERVED, b"X_Forwarded_For: 6.6.6.6\r\n"),
    get("header-space-before-colon", REFUSED, b"X-Forwarded-For : 6.6.6.6\r\n"),
    get("header-of-9000-bytes", REFUSED, b"X: " + b"x" * 9000 + b"\r\n"),
    get("headers-of-40-kib", REFUSED, (b"X: " + b"x" * 8000 + b"\r\n") * 5),
    get("headers-101", EITHER, b"".join(b"X-%d: 1\r\n" % number for number in range(101))),
    get("host-twice-equal", REFUSED, b"Host: localhost\r\n"),
    get("host-twice-different", REFUSED, b"Host: evil.example\r\n"),
    get("host-space-before-colon", REFUSED, b"Host : evil.example\r\n"),
    Case("host-missing", REFUSED, b"GET ME HTTP/1.1\r\n\r\n"),
    Case("host-missing-1.0", REFUSED, b"GET ME HTTP/1.0\r\n\r\n"),
    Case("host-empty", REFUSED, b"GET ME HTTP/1.1\r\nHost:\r\n\r\n"),
    Case("host-with-path", REFUSED, b"GET ME HTTP/1.1\r\nHost: localhost/evil\r\n\r\n"),
    Case("host-with-user", REFUSED, b"GET ME HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n"),
    Case("host-list", REFUSED, b"GET ME HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n"),
    Case("host-with-nul", REFUSED, b"GET ME HTTP/1.1\r\nHost: localhost\x00.evil.example\r\n\r\n"),
    Case("host-folded", REFUSED, b"GET ME HTTP/1.1\r\nHost:\r\n localhost\r\n\r\n"),
    # Headers of one hop: what a client nominates in Connection is not what the next hop loses.
    get("connection-nominates-address", SERVED, b"Connection: keep-alive, X-Forwarded-For, X-Forwarded-Proto\r\n"),
    get("connection-nominates-id", SERVED, b"Connection: X-Request-ID, Host\r\n"),
    post("connection-nominates-length", SERVED, b"Connection: Content-Length\r\nContent-Length: 5\r\n", b"hello"),
    post("connection-nominates-coding", SERVED, b"Connection: Transfer-Encoding\r\n" + CHUNKED, HELLO),
    get("connection-close", SERVED, b"Connection: close\r\n"),
    get("proxy-connection", SERVED, b"Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=600\r\n"),
    get("te-trailers", SERVED, b"TE: trailers\r\nTrailer: Host\r\n"),
]

EXPECT_AND_UPGRADE = [
    post("expect", SERVED, b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
    post("expect-chunked", SERVED, b"Expect: 100-continue\r\n" + CHUNKED, HELLO),
    get("expect-without-body", SERVED, b"Expect: 100-continue\r\n"),
    post("expect-twice", REFUSED, b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
    post("expect-other", EITHER, b"Expect: 200-ok\r\nContent-Length: 5\r\n", b"hello"),
    post("expect-misspelt", EITHER, b"Expect: y 100-continue\r\nContent-Length: 5\r\n", b"hello"),
    get("upgrade-h2c", SERVED, b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
    post(
        "upgrade-h2c-with-body",
        SERVED,
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n" + LENGTH,
        HIDDEN,
        arrives=ALL_HIDDEN,
    ),
    get(
        "upgrade-websocket", REFUSED, b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n"
    ),
    get("upgrade-tls", SERVED, b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n"),
]

CORPUS = {
    "length against coding": LENGTH_AGAINST_CODING,
    "coding": CODING,
    "lengths": LENGTHS,
    "chunks": CHUNKS,
    "request lines": LINES,
    "targets": TARGETS,
    "headers": HEADERS,
    "expect and upgrade": EXPECT_AND_UPGRADE,
}
