"""What docs/wsgi.md says of the calls between server and application, and its picture."""

import re

import pytest

from tests.budgets import ROOT
from tests.clients import wait_until
from tests.gunicorn_conf.process import Start
from tests.wsgi.frames import draw, frames
from tests.wsgi.traced import app


def test_the_picture_shows_the_frames_of_these_versions() -> None:
    """If not: python -m tests.wsgi.frames > docs/wsgi.svg."""
    assert draw(frames()) == (ROOT / "docs/wsgi.svg").read_text()


def test_server_and_application_call_each_other_in_the_order_of_the_page(start: Start) -> None:
    traced = start({"APP_MODULE": "tests.wsgi.traced:app", "PYTHONPATH": str(ROOT)})
    traced.get("/body")
    told = wait_until(lambda: traced.get("/steps")[1], "gunicorn has called close()")  # it does after the answer

    assert told == re.findall(r"^ ?\d+\. (.+)$", (ROOT / "docs/wsgi.md").read_text(), re.MULTILINE)


def test_a_stream_has_no_request_without_stream_with_context() -> None:
    client = app.test_client()

    with pytest.raises(RuntimeError, match="outside of request context"):
        client.get("/stream", buffered=True)
    assert client.get("/stream?kept=1").data == b"/stream"
