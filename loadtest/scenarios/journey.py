"""journey: a visitor who reads, pages on, thinks, and signs the guestbook."""

import html
import random
import re

import gevent
from locust import task

from loadtest.scenarios.base import Scenario

# Seconds that a reader looks at a page. Real ones take longer; a visit has to fit into a measurement.
THINK_S = (0.5, 2.0)
_NEXT = re.compile(rb'<a rel="next" href="([^"]+)"')
_TOKEN = re.compile(rb'name="csrf_token"[^>]*value="([^"]+)"')


class Journey(Scenario):
    """GET /, its older pages, POST /entries."""

    keeps_cookies = True  # the form's token is bound to the session

    @task
    def visit(self) -> None:
        """One visit; each request after the first counts from the moment the visitor sends it."""
        self.client.cookiejar.clear()  # a new visitor
        first = self.fetch("/", "read", contains=b"</html>")
        self._think()
        older = _NEXT.search(first)
        if older:
            self.fetch(html.unescape(older[1].decode()), "page on", contains=b"</html>")
            self._think()
        token = _TOKEN.search(first)
        if token:
            form = {"csrf_token": html.unescape(token[1].decode()), "name": "Journey", "message": "I was here."}
            # The answer is a redirect to the first page, which thanks for the entry.
            self.fetch("/entries", "sign", contains=b"Thank you", method="POST", data=form)

    def _think(self) -> None:
        gevent.sleep(random.uniform(*THINK_S))  # noqa: S311 - no secret
