"""Where an application is prepared since before_first_request is gone; docs/once.md has the table."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask

from tests.budgets import ROOT
from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, Edited, Gunicorn, Start

WORKERS = 2
HOOK = """
_of_the_kit = post_worker_init


def post_worker_init(worker):
    import tests.wsgi.once

    _of_the_kit(worker)
    tests.wsgi.once.note("post_worker_init")
"""
ROWS = ("the module", "the factory", "post_worker_init", "before_request, once")


def test_flask_has_it_no_more() -> None:
    assert not hasattr(Flask("site"), "before_first_request")


@pytest.mark.parametrize("preload", [False, True])
def test_where_what_runs(start: Start, edited: Edited, tmp_path: Path, preload: bool) -> None:  # noqa: FBT001 - of the table
    settings = {"APP_MODULE": "tests.wsgi.once:create_app()", "PYTHONPATH": str(ROOT), "WEB_CONCURRENCY": str(WORKERS)}
    settings["GUNICORN_WORKER_CLASS"] = "sync"  # the second of two requests at once goes to the other worker
    gunicorn = start(settings, conf=edited(HOOK), arguments=["--preload"] if preload else [])
    beats: dict[int, bool] = {}

    def both_have_answered() -> bool:
        with ThreadPoolExecutor(WORKERS) as pool:
            beats.update((answer["pid"], answer["beats"]) for _, answer in pool.map(gunicorn.get, ["/"] * WORKERS))
        return len(beats) == WORKERS

    wait_until(both_have_answered, "both workers have answered", timeout_s=PATIENCE_S)
    notes = [line.rsplit(" ", 1) for line in (tmp_path / "notes").read_text().splitlines()]
    seen = [where([int(pid) for what, pid in notes if what == row], gunicorn, set(beats)) for row in ROWS]

    assert [*seen, "lives" if any(beats.values()) else "is not there"] == table()[2 if preload else 1]


def where(pids: list[int], gunicorn: Gunicorn, workers: set[int]) -> str:
    """Say in which processes something ran, once in each."""
    return {(gunicorn.pid,): "once, in the master", tuple(sorted(workers)): "once in each worker"}.get(tuple(sorted(pids)), str(pids))


def table() -> list[list[str]]:
    """Return the columns of the page's table, without its head."""
    rows = re.findall(r"^\| (.+) \|$", (ROOT / "docs/once.md").read_text(), re.MULTILINE)
    return [list(column) for column in zip(*(row.split(" | ") for row in rows[1:]), strict=True)]
