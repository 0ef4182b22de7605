"""Health check of the app container: exit 0 when gunicorn and the application answer, 1 with one line otherwise.

It asks through gunicorn's own port, so a hung worker, a failed import and a full queue all count. It needs nothing
but Python: the image has no curl.

Environment: HEALTH_PATH (default /healthz), GUNICORN_BIND (the first address is asked), PROBE_TIMEOUT (seconds, 2).
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException


def address(bind: str) -> tuple[str, int]:
    """Return (host, port) to ask for gunicorn's `bind`; all interfaces are asked through loopback."""
    host, _, port = bind.split(maxsplit=1)[0].rpartition(":")
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host), int(port)  # noqa: S104


def status(host: str, port: int, path: str, timeout_s: float) -> int:
    """Return the status of one GET; OSError or HTTPException when nobody answers in time."""
    connection = HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"User-Agent": "health-check", "Connection": "close"})
        return connection.getresponse().status
    finally:
        connection.close()


def main() -> int:
    """Ask once and say why when the answer is not 200."""
    path = os.environ.get("HEALTH_PATH") or "/healthz"
    host, port = address(os.environ.get("GUNICORN_BIND") or "127.0.0.1:8000")
    try:
        answer = status(host, port, path, float(os.environ.get("PROBE_TIMEOUT") or 2))
    except (OSError, HTTPException) as error:
        print(f"GET {path} at {host}:{port}: {type(error).__name__} {error}", file=sys.stderr)
        return 1
    # Not 3xx either: a redirect to a login page is no sign of health.
    if answer != 200:  # noqa: PLR2004
        print(f"GET {path} at {host}:{port}: {answer}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
