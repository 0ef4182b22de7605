"""What a worker knows of each request, in a header field that the gateway logs for compose/metrics.yaml and no client gets (METRICS=1).

Counted is outside of the workers: nothing is left behind by those that max_requests replaces, and here it costs a header field.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any


def install(_server: Any, worker: Any) -> None:
    """Have a worker measure, when it has loaded the application and gunicorn.conf.py is done with it."""
    prepare = worker.cfg.post_worker_init

    def prepare_and_measure(worker: Any) -> None:
        prepare(worker)
        worker.wsgi = measured(worker.wsgi)

    worker.cfg.set("post_worker_init", prepare_and_measure)


def measured(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Wrap the application; what it returns is passed on as it is, so gunicorn's sendfile() stays."""
    signs = iter("+")  # before the time of a worker's first answer to the gateway, which asks with a request id; the probe has none

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        began = time.time()

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            # Flask's rule (/entries/<int:id>), which environ has until the request ends; an unknown path has none.
            rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
            route = rule.rule[:100] if rule and rule.rule.isascii() else ""
            sign = next(signs, "") if "HTTP_X_REQUEST_ID" in environ else ""
            said = f"{began:.3f} {sign}{time.time() - began:.3f} {route}"
            return start_response(status, [*headers, ("X-Kit-App", said)], *rest)

        return application(environ, start)

    return call
