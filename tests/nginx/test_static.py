"""Files: who may keep them and for how long, which form is sent, and what happens to an address without a file."""

import gzip
import json
from pathlib import Path

import pytest

from tests.nginx.gateway import Answer, Gateway

HASHED = "app-0123456789abcdef0123456789abcdef.css"
BODY = b"body { color: black }\n" * 100


@pytest.fixture(autouse=True)
def static(gateway: Gateway) -> Path:
    folder = gateway.folder / "static"
    (folder / "sub").mkdir(exist_ok=True)
    for name in ("app.css", HASHED, "photo-20261121.jpg", "sub/app.js", "data.bin", "only.css"):
        (folder / name).write_bytes(BODY)
    (folder / "app.css.gz").write_bytes(gzip.compress(BODY))
    (folder / "app.css.br").write_bytes(b"as if it were brotli")
    (folder.parent / "secret.txt").write_text("secret")
    return folder


def is_from_app(answer: Answer) -> bool:
    return answer.values("Content-Type") == ["application/json"] and "target" in answer.json()


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("app.css", "text/css; charset=utf-8"),
        ("sub/app.js", "application/javascript; charset=utf-8"),
        ("data.bin", "application/octet-stream"),
    ],
)
def test_file_is_sent_with_its_type(gateway: Gateway, name: str, content_type: str) -> None:
    answer = gateway.get(f"/static/{name}")

    assert (answer.status, answer.body) == (200, BODY)
    assert answer.values("Content-Type") == [content_type]


def test_hashed_name_is_kept_for_ever(gateway: Gateway) -> None:
    assert gateway.get(f"/static/{HASHED}").values("Cache-Control") == ["public, max-age=31536000, immutable"]


@pytest.mark.parametrize("name", ["app.css", "photo-20261121.jpg", "sub/app.js"])
def test_other_names_are_asked_for_each_time(gateway: Gateway, name: str) -> None:
    assert gateway.get(f"/static/{name}").values("Cache-Control") == ["no-cache"]


def test_unchanged_file_costs_a_304(gateway: Gateway) -> None:
    (etag,) = gateway.get("/static/app.css").values("ETag")
    answer = gateway.get("/static/app.css", f"If-None-Match: {etag}")

    assert (answer.status, answer.body) == (304, b"")
    assert answer.values("Cache-Control") == ["no-cache"]
    assert gateway.get("/static/app.css", 'If-None-Match: "other"').status == 200


def test_part_of_a_file(gateway: Gateway) -> None:
    answer = gateway.get("/static/data.bin", "Range: bytes=5-9")

    assert (answer.status, answer.body) == (206, BODY[5:10])
    assert gateway.get("/static/data.bin", "Range: bytes=99999-").status == 416


def test_compressed_copy_is_sent_as_it_is(gateway: Gateway) -> None:
    answer = gateway.get("/static/app.css", "Accept-Encoding: gzip")

    assert (answer.values("Content-Encoding"), gzip.decompress(answer.body)) == (["gzip"], BODY)
    assert answer.values("Vary") == ["Accept-Encoding"]


@pytest.mark.parametrize("coding", ["br"], indirect=True)
def test_compressed_copy_in_brotli_is_preferred(gateway: Gateway, coding: str) -> None:
    answer = gateway.get("/static/app.css", f"Accept-Encoding: gzip, {coding}")

    assert (answer.values("Content-Encoding"), answer.body) == (["br"], b"as if it were brotli")


def test_file_without_compressed_copy_is_compressed(gateway: Gateway) -> None:
    answer = gateway.get("/static/only.css", "Accept-Encoding: gzip")

    assert (answer.values("Content-Encoding"), gzip.decompress(answer.body)) == (["gzip"], BODY)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_file_is_only_read(gateway: Gateway, method: str) -> None:
    assert gateway.request(method, "/static/app.css").status == 405


def test_a_file_of_a_package_is_served_at_its_address(gateway: Gateway) -> None:
    """app/collect_static.py puts there what is not below /static/."""
    folder = gateway.folder / "static" / "_paths" / "admin" / "inner" / "static"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "panel.css").write_text("body{}")
    answer = gateway.get("/admin/inner/static/panel.css", "X-Request-ID: package-file-1")

    assert (answer.status, answer.body) == (200, b"body{}")
    assert answer.values("Content-Type") == ["text/css; charset=utf-8"]
    assert answer.values("Cache-Control") == ["no-cache"]
    assert gateway.logged("package-file-1")["upstream"] == ""
    assert is_from_app(gateway.get("/admin/static/panel.css"))
    assert is_from_app(gateway.get("/inner/static/panel.css"))


@pytest.mark.parametrize("path", ["/static/missing.css", "/static/", "/static/sub", "/static"])
def test_app_is_asked_for_what_is_no_file(gateway: Gateway, path: str) -> None:
    """An app whose static files were never compiled works, and so does a newer app's file during a release."""
    answer = gateway.get(path)

    assert is_from_app(answer)
    assert answer.json()["target"] == path
    assert answer.values("Cache-Control") == []


def test_missing_file_is_not_kept_for_ever(gateway: Gateway) -> None:
    assert gateway.get(f"/static/missing-{'0' * 32}.css").values("Cache-Control") == []


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static..%2fsecret.txt",
        "/static../secret.txt",
        "/static/..%2f..%2fsecret.txt",
        "/static/%00",
    ],
)
def test_nothing_outside_the_folder_is_sent(gateway: Gateway, path: str) -> None:
    answer = gateway.get(path)

    assert answer.status in {400, 403} or is_from_app(answer)
    assert b"secret\n" not in answer.body
    assert answer.body != b"secret"


def test_no_worker_is_asked_for_a_file(gateway: Gateway) -> None:
    gateway.get("/static/app.css", "X-Request-ID: static-file-1")

    assert gateway.logged("static-file-1")["upstream"] == ""
    assert json.dumps(gateway.logged("static-file-1"))
