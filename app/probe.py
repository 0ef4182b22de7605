"""Health check of the app container: exit 0 when gunicorn and the application answer 200, else 1 and one line.

It asks through gunicorn's own port, so a hung worker, a failed import and a full queue all count. It needs nothing
but Python: the image has no curl. Not http.client either: importing that takes three times the CPU of all the rest,
in each container, every few seconds, for ever.

    python -I -S probe.py [PORT]      8000; environment: HEALTH_PATH (default /healthz), PROBE_TIMEOUT (seconds, 4)
"""

import os
import socket
import sys


def status(port: int, path: str, timeout_s: float) -> str:
    """Return the first line of the answer to one GET ("HTTP/1.1 200 OK"); OSError when none comes in time.

    The whole answer is read: a peer that leaves in the middle is logged as one by the application.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: health-check\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return answer.partition(b"\r\n")[0].decode("latin-1")


def main(port: int) -> int:
    """Ask once and say why when the answer is not 200."""
    path = os.environ.get("HEALTH_PATH") or "/healthz"
    try:
        answer = status(port, path, float(os.environ.get("PROBE_TIMEOUT") or 4))
    except OSError as error:
        answer = f"{type(error).__name__}: {error}"
    # Exactly 200: a redirect to a login page is no sign of health.
    if answer.split()[1:2] != ["200"]:
        print(f"GET {path} at port {port}: {answer or 'closed without an answer'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int((*sys.argv, "8000")[1])))
