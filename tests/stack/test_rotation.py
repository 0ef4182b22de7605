"""make rotate-secret: another key signs the sessions, and a visitor who writes all the time notices nothing."""

import re
import subprocess
import sys
import threading

import httpx
import pytest

from tests.conftest import ROOT
from tools.stack import Stack

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LAB_ENABLED="1", LIMITS="off")]


def rotate(stack: Stack, *arguments: str) -> str:
    argv = [sys.executable, "-m", "tools.stack", "--runtime", "compose", "--name", stack.name, "rotate-secret", *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nobody_is_signed_out(stack: Stack) -> None:
    """The form's token and the session stay valid, whichever container answers."""
    with httpx.Client(base_url=stack.url, timeout=30) as visitor:
        found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', visitor.get("/").text)
        assert found
        form = {"csrf_token": found[1], "name": "Ada", "message": "hello"}
        before = visitor.cookies["session"]
        done, statuses = threading.Event(), []

        def write() -> None:
            while not done.is_set():
                statuses.append(visitor.post("/entries", data=form).status_code)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            said = rotate(stack)
        finally:
            done.set()
            writer.join()
        page = visitor.get("/").text
        rotate(stack, "--finish")
        now = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)
        assert now
        after = visitor.post("/entries", data={**form, "csrf_token": now[1]})

        assert set(statuses) == {303}
        assert "accepted until" in said
        assert visitor.cookies["session"] != before
        assert after.status_code == 303
        # What was signed before and not used since is void.
        assert httpx.post(f"{stack.url}/entries", data=form, cookies={"session": before}).status_code == 400
