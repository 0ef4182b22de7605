"""PEP 3333's simple_app: what a request costs before Flask comes in. Its answers are constants, as the load test asks for them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ANSWERS = {
    "/lab/json": ("application/json", b'{"message":"hello","numbers":[0,1,2,3,4,5,6,7,8,9]}\n'),
    "/lab/page": ("text/html; charset=utf-8", b"<!doctype html>\n" + b"<p>Written before the load test.</p>\n" * 100 + b"</html>\n"),
}


def simple_app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer with a constant."""
    kind, body = ANSWERS.get(environ["PATH_INFO"], ("text/plain", b"hello\n"))
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
