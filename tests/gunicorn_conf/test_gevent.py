"""gevent is patched before the application is imported, also when the master imports it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.gunicorn_conf.process import Gunicorn, Start, copy_of_the_kit

GEVENT = {"GUNICORN_WORKER_CLASS": "gevent"}
PRELOAD = {**GEVENT, "GUNICORN_CMD_ARGS": "--preload"}


@pytest.fixture
def unpatched(tmp_path: Path) -> Path:
    """The file without its patch: gunicorn's own, in the worker, is all there is."""
    conf = copy_of_the_kit(tmp_path)
    text = conf.read_text()
    assert text.count("monkey.patch_all()") == 1
    # gunicorn_hooks refuses an unpatched gevent: its check goes as well.
    conf.write_text(text.replace("monkey.patch_all()", "pass").replace("    gunicorn_hooks.sizing.check(server, count)\n", ""))
    return conf


# Two requests answer when they have seen each other. Where they are not to meet, 3 s show it: a busy machine, which lets
# the second come late, makes the same finding.
MEET, MISS = "/meet", "/meet?60"


def met(gunicorn: Gunicorn, path: str = MEET) -> set[bool]:
    """Send two requests to the one worker, and return what they say of having met."""
    with ThreadPoolExecutor(2) as pool:
        return {facts["met"] for _, facts in pool.map(gunicorn.get, [path, path])}


@pytest.mark.parametrize("settings", [GEVENT, PRELOAD])
def test_requests_meet_in_one_worker(start: Start, settings: dict[str, str]) -> None:
    assert met(start(settings)) == {True}


def test_without_the_patch_a_preloaded_application_blocks_its_worker(start: Start, unpatched: Path) -> None:
    assert False in met(start(PRELOAD, conf=unpatched), MISS)


def test_without_preload_the_patch_in_the_worker_would_do(start: Start, unpatched: Path) -> None:
    assert met(start(GEVENT, conf=unpatched)) == {True}


def test_other_classes_are_not_patched(start: Start) -> None:
    """A patched sync worker would take a second request in the middle of the first."""
    assert False in met(start({"GUNICORN_WORKER_CLASS": "sync"}), MISS)
