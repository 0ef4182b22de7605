"""Whether an answer tells which version of what gave it."""

import re
from collections.abc import Iterable

# A program's name with a number, or three numbers with dots between them that are no address.
NAMES = rb"nginx|gunicorn|python|werkzeug|flask|modsecurity|owasp_crs|openssl|debian|postgres(?:ql)?|psycopg|sqlalchemy"
VERSION = re.compile(rb"(?i)\b(?:" + NAMES + rb")[/ _-]?v?\d|(?<![\d.])\d+\.\d+\.\d+(?![\d.])")


def tells_version(headers: Iterable[tuple[str, str]], body: bytes) -> bool:
    """Look at all header fields and the body; a request id is no version."""
    fields = (f"{name}: {value}".encode("latin-1") for name, value in headers)
    return VERSION.search(b"\n".join([*fields, body])) is not None
