"""Work of one kind each: an answer of a few bytes, CPU, database, template, large bodies in both directions."""

import hashlib
import time
from collections.abc import Iterator
from typing import Annotated

from flask import Blueprint, Response, render_template, request
from pydantic import BaseModel, Field

from kit_app import entries
from kit_app.schemas import validate

bp = Blueprint("lab_work", __name__, template_folder="templates")

_KIB = bytes(range(32, 96)) * 16
_READ_BYTES = 64 * 1024
_PIECE_KIB = 256


class CpuQuery(BaseModel):
    """Milliseconds of CPU time. The cap stays far below gunicorn's timeout of 30 s."""

    ms: Annotated[int, Field(ge=0, le=2000)] = 10


class PayloadQuery(BaseModel):
    """Size of the answer, up to 48 MiB: three times what the gateway takes off a worker for a client that reads slowly."""

    kib: Annotated[int, Field(ge=0, le=48 * 1024)] = 64


class StreamQuery(BaseModel):
    """50 chunks with 500 ms in between are 25 s: a sync worker is killed after 30 s."""

    chunks: Annotated[int, Field(ge=1, le=50)] = 10
    interval_ms: Annotated[int, Field(ge=0, le=500)] = 100
    fail: bool = False  # after the last chunk: the client must see that the answer is cut


@bp.get("/hello")
def hello() -> Response:
    """The least a request can cost."""
    return Response("hello\n", content_type="text/plain; charset=utf-8")


@bp.get("/json")
def json() -> dict[str, object]:
    """A small JSON answer."""
    return {"message": "hello", "numbers": list(range(10))}


@bp.get("/cpu")
def cpu() -> dict[str, float]:
    """Compute in pure Python for `ms` of CPU time, whatever the speed and the load of the machine."""
    query = validate(CpuQuery, request.args.to_dict())
    started, end = time.perf_counter(), time.thread_time() + query.ms / 1000
    value = 1
    while time.thread_time() < end:
        for _ in range(200):
            value = (value * 1103515245 + 12345) % 2147483648
    return {"cpu_ms": query.ms, "wall_ms": round((time.perf_counter() - started) * 1000, 1)}


@bp.get("/db")
def db() -> dict[str, object]:
    """One read."""
    found = entries.latest(1).entries
    return {"newest": found[0].id if found else None}


@bp.get("/page")
def page() -> str:
    """One read and one template."""
    return render_template("lab_page.html", page=entries.latest(20))


@bp.get("/payload")
def payload() -> Response:
    """`kib` KiB, with Content-Length, made piece by piece: a large answer needs no more memory than a small one."""
    query = validate(PayloadQuery, request.args.to_dict())
    response = Response(_pieces(query.kib), content_type="application/octet-stream")
    response.content_length = query.kib * 1024
    return response


def _pieces(kib: int) -> Iterator[bytes]:
    for start in range(0, kib, _PIECE_KIB):
        yield _KIB * min(_PIECE_KIB, kib - start)


@bp.get("/stream")
def stream() -> Response:
    """Chunks over time. The header tells nginx to pass each on at once, where it would collect them otherwise."""
    query = validate(StreamQuery, request.args.to_dict())
    response = Response(_chunks(query), content_type="text/plain; charset=utf-8")
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _chunks(query: StreamQuery) -> Iterator[str]:
    for number in range(1, query.chunks + 1):
        if number > 1:
            time.sleep(query.interval_ms / 1000)
        yield f"chunk {number} of {query.chunks}\n"
    if query.fail:
        raise RuntimeError("a stream that fails, as it was asked to")


@bp.post("/upload")
def upload() -> dict[str, object]:
    """Read the body, whatever it is, without keeping it; MAX_CONTENT_LENGTH is its cap."""
    digest, size = hashlib.sha256(), 0
    while block := request.stream.read(_READ_BYTES):
        digest.update(block)
        size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}
