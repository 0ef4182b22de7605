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


def api() -> list[Request]:
    """Ordinary API traffic: the lines of api.toml in their places, and what programs make of rows, files and types of bodies."""
    with (HERE / "api.toml").open("rb") as file:
        kinds = tomllib.load(file)
    found = [
        request
        for kind, places in kinds.items()
        for place, text in places.items()
        for line in text.strip("\n").splitlines()
        for request in _api_line(kind, place, line)
    ]
    return [*found, *_imports(kinds["values"]["both"].strip("\n").splitlines()), *_types(), *_pictures(), *_own_addresses()]


def _post(kind: str, text: str, content_type: str, body: bytes, method: str = "POST") -> Request:
    return Request(kind, "body", text, method, "/api/v1/entries", {"Content-Type": content_type}, body)


def _api_line(kind: str, place: str, line: str) -> Iterator[Request]:
    line = line.replace("\\n", "\n") if kind in {"markdown", "forum posts", "issues and tickets", "media", "trade and law"} else line
    if place == "raw":
        yield Request(kind, place, line, path="/api/v1/entries?" + quote(line, safe="=&%+[]{}()!:,;'*/@$.~-_|?"))
    elif place == "body":
        for content_type in ("application/json-patch+json", "application/merge-patch+json") if kind == "patch" else (JSON,):
            yield _post(kind, line, content_type, line.encode(), "PATCH" if kind == "patch" else "POST")
    elif place == "both":
        yield from (in_place(kind, one, line) for one in ("json", "form"))
    elif place == "login":
        yield _post(kind, line, JSON, json.dumps({"username": "anna", "password": line}).encode())
        yield _post(kind, line, FORM, f"username=anna&password={quote(line, safe='')}".encode())
    elif place == "ndjson":
        for content_type in ("application/x-ndjson", "text/plain"):
            yield _post(kind, line, content_type, f"{line}\n".encode() * 20)
    elif place == "file":
        body = multipart({"title": "From the garden"}, (line, "application/octet-stream", b"hello"))
        yield _post(kind, line, f"multipart/form-data; boundary={BOUNDARY}", body)
    else:
        yield in_place(kind, place, line)


def _imports(notes: list[str]) -> Iterator[Request]:
    """Tables and many rows at once, from a few to tens of thousands of values."""
    rows = [{"id": n, "name": f"item {n}", "price": n / 4, "tags": ["a", "b"], "note": notes[n % len(notes)]} for n in range(5000)]
    for count in (10, 100, 500, 700, 1000):
        yield _post("bulk", f"{count} rows", JSON, json.dumps(rows[:count]).encode())
        yield _post("bulk", f"{count} rows", JSON, json.dumps({"items": rows[:count]}).encode(), "PUT")
    yield _post("bulk", "200 KB of text", JSON, json.dumps({"text": "It is a lovely evening in the garden. " * 5500}).encode())
    yield _post("bulk", "200 KB form", FORM, f"text={'It+is+a+lovely+evening.+' * 8500}".encode())
    yield _post("bulk", "1,000 fields", FORM, "&".join(f"field_{n}=some+words" for n in range(1000)).encode())
    for count in (10, 200, 1000):
        table = "id,name,price,note\r\n" + "".join(
            f'{row["id"]},{row["name"]},{row["price"]},"{str(row["note"]).replace(chr(34), "")}"\r\n' for row in rows[:count]
        )
        for content_type in ("text/csv", "text/csv; charset=utf-8", "text/plain"):
            yield _post("csv", f"{count} rows", content_type, table.encode())
        yield _post(
            "csv",
            f"{count} rows in a file",
            f"multipart/form-data; boundary={BOUNDARY}",
            multipart({}, ("a.csv", "text/csv", table.encode())),
        )
        yield _post("ndjson", f"{count} rows", "application/x-ndjson", "".join(json.dumps(row) + "\n" for row in rows[:count]).encode())


def _types() -> Iterator[Request]:
    """How clients name the same JSON, form or text."""
    document = json.dumps({"name": "Anna", "message": "It's a lovely evening", "tags": ["a", "b"]}).encode()
    names = ("utf-8", "UTF-8", "utf8", '"utf-8"', "us-ascii", "iso-8859-1", "windows-1252")
    others = (
        "version=1",
        "odata=verbose",
        "odata.metadata=minimal",
        "indent=2",
        'profile="https://example.org/schema"',
        "v=2; charset=utf-8",
    )
    for parameter in (*(f"charset={name}" for name in names), *others):
        yield _post("types", parameter, f"{JSON}; {parameter}", document)
    for name in names[:4]:
        yield _post("types", name, f"{FORM}; charset={name}", b"name=Anna&message=It%27s+a+lovely+evening")
    for kind in ("vnd.api+json", "problem+json", "cloudevents+json", "reports+json", "csp-report"):
        yield _post("types", kind, f"application/{kind}", document)
    yield _post("types", "GraphQL", "application/graphql", b"{ me { id name } }")
    event = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:42@example.org\r\nDTSTART;TZID=Europe/Berlin:20261203T090000\r\n"
    event += b"RRULE:FREQ=WEEKLY;BYDAY=MO,WE\r\nSUMMARY:Stand-up\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    yield _post("types", "an event", "text/calendar; charset=utf-8", event, "PUT")
    person = b"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Anna O'Brien\r\nTEL;TYPE=cell:+49 89 123456\r\n"
    person += b"EMAIL;TYPE=work:anna@example.org\r\nEND:VCARD\r\n"
    yield _post("types", "a person", "text/vcard", person, "PUT")
    yield _post("types", "lines of JSON", "application/jsonl", b'{"id": 1, "name": "Anna"}\n{"id": 2, "name": "Ben"}\n')
    for content_type in ("text/plain", "text/plain;charset=UTF-8", "application/octet-stream", "text/markdown"):
        for body in (document, b"It's a lovely evening; see you & yours at 8!", b'name="Anna" age=30'):
            yield _post("types", f"{content_type}: {body.decode()}", content_type, body)
    report = {"event_id": "9ec79c33ec9942ab8353589fcb2e04dc", "dsn": "https://e12d836b15bb49d7bbf99e64295d995b@errors.example.org/42"}
    envelope = "\n".join(
        map(json.dumps, (report, {"type": "session"}, {"started": "2026-11-21T14:34:11Z", "attrs": {"release": "app@1.0.0"}}))
    )
    yield _post("types", "an envelope of an error reporter", "text/plain;charset=UTF-8", envelope.encode())
    chance = random.Random(3)  # noqa: S311 - the same every time
    for size in (100, 3000, 50_000, 300_000):
        for _ in range(3):
            yield _post("binary", f"{size} bytes", "application/octet-stream", b"\x89PNG\r\n\x1a\n\0" + chance.randbytes(size), "PUT")
    yield Request("types", "header", "Accept-Charset", headers={"Accept-Charset": "utf-8, iso-8859-1;q=0.5"})
    yield Request("types", "header", "Accept", headers={"Accept": "application/json;odata.metadata=full, */*;q=0.1"})


def _pictures() -> Iterator[Request]:
    chance = random.Random(4)  # noqa: S311 - as above
    for size in (500, 20_000, 140_000):
        picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + chance.randbytes(size)).decode()
        for text in (
            picture,
            f"data:image/png;base64,{picture}",
            f"data:image/jpeg;base64,{picture}",
            picture.replace("+", "-").replace("/", "_"),
        ):
            yield _post("base64", f"{size} bytes", JSON, json.dumps({"name": "Anna", "picture": text}).encode())
        yield _post("base64", f"{size} bytes", FORM, f"picture={quote(picture, safe='')}".encode())


def _own_addresses() -> Iterator[Request]:
    """Where a login leads back to: an address of the site itself."""
    for host in ("localhost", "localhost:8080", "127.0.0.1:8080"):
        for name in ("next", "redirect_uri", "return_to"):
            for target in (f"http://{host}/contacts/list/?page=2", f"https://{host}/"):
                address = f"/login/?{name}={quote(target, safe='')}"
                yield Request("own address", "query", f"{name}={target}", path=address, headers={"Host": host})
    for body in (b"username=anna&password=secret&next=http%3A%2F%2Flocalhost%3A8080%2Fcontacts%2F", b"next=%2Fcontacts%2F&username=anna"):
        headers = {"Content-Type": FORM, "Host": "localhost:8080"}
        yield Request("own address", "form", body.decode(), "POST", "/login/?next=http://localhost:8080/contacts/", headers, body)


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
