"""Health check of the app container: exit 0 when gunicorn and the application answer 200, else 1 and one line.

It asks through gunicorn's own port, so a hung worker, a failed import and a full queue all count; and as a visitor over TLS
would, or an application that checks its hosts or insists on https would refuse it. The image has no curl. Not http.client:
importing that takes three times the CPU of all the rest, in each container, every few seconds, for ever.

    python -I -S probe.py [PORT]      8000; environment: HEALTH_PATH (default /healthz), PROBE_TIMEOUT (seconds, 4),
                                      SERVER_NAMES (its first is the Host, default localhost)
"""

import os
import socket
import sys


def ask(port: int, path: str, host: str, timeout_s: float) -> list[str]:
    """Return the lines of the answer's head; OSError when there is none in time. It reads all: who leaves in the middle is logged."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "X-Forwarded-Proto: https", "User-Agent: health-check", "Connection: close"]
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")


def main(port: int) -> int:
    """Ask once and say why when the answer is not 200."""
    path = os.environ.get("HEALTH_PATH") or "/healthz"
    host = (os.environ.get("SERVER_NAMES") or "localhost").split()[0].replace("*", "www").lstrip(".")
    try:
        status, *fields = ask(port, path, host, float(os.environ.get("PROBE_TIMEOUT") or 4))
    except OSError as error:
        status, fields = f"{type(error).__name__}: {error}", []
    if status.split()[1:2] == ["200"]:  # exactly: a redirect to a login page is no sign of health
        return 0
    location = "".join(f" ({field})" for field in fields if field.lower().startswith("location:"))
    asked = f"GET {path} at port {port}, Host: {host}, X-Forwarded-Proto: https"
    print(f"{asked}: {status or 'closed without an answer'}{location}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(int((*sys.argv, "8000")[1])))
