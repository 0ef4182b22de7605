"""Read what the view left unread of a body, or nginx answers 502 in its place.

A view that answers 401, 413, a redirect or 200 without reading the body leaves nginx in the middle of sending it. gunicorn
closes the connection, nginx's next write fails, and it drops the answer: 28 to 88 % at 10 MB, none at 200 KB
(docs/bodies.md). It also counts a failure of this container. A large answer is cut off instead.
"""

import contextlib
from typing import Any

STEP = 65536  # bytes in memory at once


def drain(_worker: Any, request: Any, _environ: Any, _response: Any) -> None:
    """Read to the end, after the answer and before gunicorn closes or takes the next request. tornado reads before the view.

    No wait for a slow client: nginx has the whole body before it connects. Content-Length is the bound.
    """
    with contextlib.suppress(OSError):  # nginx has its answer and closed
        while request.body.read(STEP):
            pass
