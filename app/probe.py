"""Health check of the app container: exit 0 when gunicorn and the application answer 200, else 1 and one line.

It asks through gunicorn's own port, so a hung worker, a failed import and a full queue all count. It needs nothing
but Python: the image has no curl. Not http.client either: importing that takes three times the CPU of all the rest,
in each container, every few seconds, for ever.

It asks as a visitor over TLS would, or an application that checks its hosts or insists on https would refuse it.

    python -I -S probe.py [PORT]      8000; environment: HEALTH_PATH (default /healthz), PROBE_TIMEOUT (seconds, 4),
                                      SERVER_NAMES (its first is the Host, default localhost)
"""

import os
import socket
import sys


def status(port: int, path: str, host: str, timeout_s: float) -> tuple[str, str]:
    """Return the first line of the answer to one GET ("HTTP/1.1 200 OK"), and its Location; OSError when none comes in time.

    The whole answer is read: a peer that leaves in the middle is logged as one by the application.
    """
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "X-Forwarded-Proto: https", "User-Agent: health-check", "Connection: close"]
    request = "\r\n".join([*lines, "", ""])
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    first, *others = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    return first, "".join(f" ({line})" for line in others if line.lower().startswith("location:"))


def main(port: int) -> int:
    """Ask once and say why when the answer is not 200."""
    path = os.environ.get("HEALTH_PATH") or "/healthz"
    host = (os.environ.get("SERVER_NAMES") or "localhost").split()[0].replace("*", "www").lstrip(".")
    location = ""
    try:
        answer, location = status(port, path, host, float(os.environ.get("PROBE_TIMEOUT") or 4))
    except OSError as error:
        answer = f"{type(error).__name__}: {error}"
    # Exactly 200: a redirect to a login page is no sign of health.
    if answer.split()[1:2] != ["200"]:
        asked = f"GET {path} at port {port}, Host: {host}, X-Forwarded-Proto: https"
        print(f"{asked}: {answer or 'closed without an answer'}{location}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int((*sys.argv, "8000")[1])))
