"""Requests that are attacks, and requests that are ordinary use, built from the data beside this file."""

import base64
import json
import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).parent
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
BOUNDARY = "----kit-form-boundary-7d1a"


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `kind` is what its result is counted under, `text` what a report shows of it."""

    kind: str
    place: str
    text: str
    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def in_place(kind: str, place: str, text: str, *, method: str = "POST") -> Request:
    """Put a text into one place of an otherwise ordinary request."""
    if place == "query":
        return Request(kind, place, text, path=f"/?q={quote(text, safe='')}&page=2")
    if place == "path":
        return Request(kind, place, text, path=f"/entries/{quote(text, safe='')}")
    if place == "header":
        return Request(kind, place, text, headers={"Referer": quote(text, safe="/:;,+*'\"()<>[]{}|$&=?@!#%-._~ ^\\`")})
    if place == "cookie":
        return Request(kind, place, text, headers={"Cookie": f"theme=dark; note={quote(text, safe='')}"})
    body, content_type = _body(place, text)
    return Request(kind, place, text, method, "/api/v1/entries", {"Content-Type": content_type}, body)


def _body(place: str, text: str) -> tuple[bytes, str]:
    fields = {"name": "Anna", "message": text}
    if place == "json":
        return json.dumps(fields).encode(), JSON
    if place == "xml":
        return text.encode(), "application/xml"
    if place == "multipart":
        return multipart(fields), f"multipart/form-data; boundary={BOUNDARY}"
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items()).encode(), FORM


def multipart(fields: Mapping[str, str], file: tuple[str, str, bytes] | None = None) -> bytes:
    """A form with files; `file` is name, type and content."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    if file:
        name, kind, content = file
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def attacks() -> list[Request]:
    """Every payload in its place."""
    with (HERE / "attacks.toml").open("rb") as file:
        classes = tomllib.load(file).items()
    return [
        in_place(kind, place, line) for kind, places in classes for place, text in places.items() for line in text.strip("\n").splitlines()
    ]


def benign() -> list[Request]:
    """Texts where people put them, and what browsers and programs send to this site."""
    with (HERE / "benign.toml").open("rb") as file:
        texts = {kind: text.strip("\n").splitlines() for kind, text in tomllib.load(file).items()}
    places = {
        "prose": ("form", "json", "multipart"),
        "code": ("form", "json"),
        "markdown": ("form", "json"),
        "email": ("form", "json", "query"),
        "url": ("form", "json", "query"),
        "search": ("query",),
    }
    found = [in_place(kind, place, text) for kind, lines in texts.items() for place in places[kind] for text in lines]
    everything = [line for lines in texts.values() for line in lines]
    return [*found, *_long_texts(texts["prose"]), *_site(), *_documents(everything), *_uploads(texts["prose"]), *_clients()]


def _long_texts(lines: list[str]) -> Iterator[Request]:
    """Several pages of each language."""
    for start in range(0, len(lines), 4):
        text = " ".join(lines[start : start + 4]) + "\n\n"
        for place in ("form", "json"):
            yield in_place("long prose", place, text * (4000 // len(text)))


def _site() -> Iterator[Request]:
    """What the pages and the API of the site are asked for."""
    paths = ["/", "/about", "/healthz", "/readyz", "/api/v1/openapi.json", "/static/site.css", "/favicon.ico", "/robots.txt", "/entries/1"]
    paths += [f"/?page={number}" for number in range(1, 6)] + [f"/api/v1/entries?limit={limit}" for limit in (1, 20, 100)]
    paths += [f"/api/v1/entries?cursor={base64.urlsafe_b64encode(f'entry:{number}:2026-11-21'.encode()).decode()}" for number in range(5)]
    for path in paths:
        for method in ("GET", "HEAD"):
            yield Request("site", "path", path, method, path)
    for method in ("POST", "PUT", "PATCH"):
        for number in range(4):
            document = {"name": "Anna", "message": f"Entry {number}", "tags": ["a", "b"], "public": True, "rating": 4.5, "reply_to": None}
            for kind in (JSON, "application/merge-patch+json", "application/vnd.api+json", f"{JSON}; charset=utf-8"):
                body = json.dumps(document).encode()
                yield Request("api", "json", f"{method} {kind}", method, f"/api/v1/entries/{number}", {"Content-Type": kind}, body)
    for number in range(5):
        yield Request("api", "path", "DELETE", "DELETE", f"/api/v1/entries/{number}")
        yield Request("api", "path", "OPTIONS", "OPTIONS", f"/api/v1/entries/{number}")


def _documents(lines: list[str]) -> Iterator[Request]:
    """JSON of many values, nested, with numbers, dates, identifiers and pictures in base64."""
    chance = random.Random(1)  # noqa: S311 - the same corpus every time
    picture = base64.b64encode(chance.randbytes(40_000)).decode()
    many = {f"field_{number}": number * 1.5 for number in range(900)}
    documents: list[object] = [
        many,
        [{"id": number, "name": f"item {number}", "price": number / 4} for number in range(300)],
        {"a": {"b": {"c": {"d": {"e": [1, 2, {"f": "g"}]}}}}},
        {"uuid": "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "at": "2026-11-21T15:20:00+01:00", "hash": chance.randbytes(32).hex()},
        {"texts": lines[:60]},
        {"picture": picture},
        {"picture": f"data:image/png;base64,{picture}"},
        {"token": f"{base64.urlsafe_b64encode(chance.randbytes(120)).decode()}.{base64.urlsafe_b64encode(chance.randbytes(64)).decode()}"},
    ]
    for number, document in enumerate(documents):
        yield Request(
            "documents", "json", f"document {number}", "POST", "/api/v1/entries", {"Content-Type": JSON}, json.dumps(document).encode()
        )


def _uploads(lines: list[str]) -> Iterator[Request]:
    """Tables and pictures, small enough to be inspected and too large for it."""
    chance = random.Random(2)  # noqa: S311 - as above
    table = "\r\n".join(f'{number},"{line}",{number * 2.5}' for number, line in enumerate(lines))
    files = [("table.csv", "text/csv", table.encode()), ("notes.txt", "text/plain", "\n".join(lines).encode())]
    heads = {
        "photo.png": b"\x89PNG\r\n\x1a\n",
        "photo.jpg": b"\xff\xd8\xff\xe0",
        "report.pdf": b"%PDF-1.7\n",
        "Urlaub in Köln (3).jpg": b"\xff\xd8\xff",
    }
    for size in (1000, 60_000, 400_000):
        files += [(name, "application/octet-stream", head + chance.randbytes(size)) for name, head in heads.items()]
    for name, kind, content in files:
        body = multipart({"title": "From the garden"}, (name, kind, content))
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        yield Request("uploads", "multipart", f"{name}, {len(content)} bytes", "POST", "/api/v1/entries", headers, body)


def _clients() -> Iterator[Request]:
    """Headers and cookies of browsers and programs."""
    agents = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/604.1",
        "curl/8.14.1",
        "python-requests/2.32.3",
        "python-httpx/0.28.1",
        "Go-http-client/1.1",
        "okhttp/4.12.0",
    ]
    for agent in agents:
        yield Request("clients", "header", agent, headers={"User-Agent": agent, "Accept-Language": "de-DE,de;q=0.9,en;q=0.8"})
    session = "eyJjc3JmX3Rva2VuIjoiZjA0YTg3In0.aSB1Yg.3bqV0sQ1mJ-xkq0h5V8u2m3mDgE"
    cookies = [f"session={session}", "theme=dark; lang=en-GB; seen=1,2,3", "_ga=GA1.1.1234567890.1732200000; consent=%7B%22a%22%3Atrue%7D"]
    for cookie in cookies:
        yield Request("clients", "cookie", cookie, headers={"Cookie": cookie})
    for referer in ("https://search.example.org/?q=garden+%26+house", "http://localhost/entries/12", "https://www.example.org/a?b=c&d=e"):
        yield Request("clients", "header", referer, headers={"Referer": referer})
    yield Request("clients", "header", "bearer", headers={"Authorization": f"Bearer {session}"})
    yield Request("clients", "header", "caching", headers={"If-None-Match": '"abc"', "If-Modified-Since": "Sat, 21 Nov 2026 15:00:00 GMT"})
    yield Request("clients", "header", "range", headers={"Range": "bytes=0-1023"})
