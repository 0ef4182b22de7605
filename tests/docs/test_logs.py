"""The questions of docs/logs.md, asked as they stand there of logs that faults have made."""

import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.clients import wait_until
from tools.stack.compose import ComposeStack

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LAB_ENABLED="1")]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "logs.md"
QUESTIONS = re.findall(r"^## (\d+)\. .*?\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
# What the answer to each must say, of the faults below.
EXPECTED = {
    "1": [r"\t500\t/lab/lifecycle\tapplication", r"\t403\t/\tWAF", r"\t429\t.*\tgateway", r"\t404\t/nowhere\tapplication"],
    "2": [r"^20\d\d-\d\d-\d\dT\d\d:\d\d\t\d+\t[1-9]"],
    "3": [r'"uri":"/lab/lifecycle\?fail=1"', r'"logger":"request"', r'"exc_info":'],
    "4": [r"RuntimeError: the view failed because it was asked to"],
    "5": [r"\t/lab/stream\?"],
    "6": [r"\t/lab/stream$"],
    "7": [r"^[\d.]+:8000\t\d+\t\d+\t0\.\d+"],
    "8": [r"\t429\tREJECTED\t", r"\t413\t"],
    "9": [r"\tGET\t/lab/cpu\?"],
    "10": [
        r"\t(WARNING|ERROR)\tgunicorn.error\t.*was sent SIGKILL",
        r"\[error\] ",
        r"-app-1 running restarts=0",
    ],
}
KILL_A_WORKER = """
import os, pathlib, signal
children = [int(pid) for task in pathlib.Path("/proc/1/task").iterdir() for pid in (task / "children").read_text().split()]
os.kill(children[0], signal.SIGKILL)
"""


def lines(stack: ComposeStack, status: int) -> list[str]:
    return [line for line in stack.logs("gateway").splitlines() if f'"status":{status},' in line]


@pytest.fixture
def failed(stack: ComposeStack, client: httpx.Client) -> str:
    """Make each fault, wait until it is in the log; return the id of a request that raised."""
    failed = client.get("/lab/lifecycle?fail=1")
    assert failed.status_code == 500
    assert client.get("/nowhere").status_code == 404
    assert client.get("/", params={"q": "<script>alert(1)</script>"}).status_code == 403
    assert client.post("/lab/upload", content=b"x" * 11_000_000).status_code == 413
    assert client.get("/lab/stream?chunks=8&interval_ms=200").status_code == 200
    with pytest.raises(httpx.ReadTimeout):
        client.get("/lab/cpu?ms=2000", timeout=0.5)
    wait_until(lambda: lines(stack, 499), "nginx has noticed that the client left")
    wait_until(lambda: client.post("/nowhere").status_code == 429, "the limit is met")
    assert stack.exec("app", ["python", "-c", KILL_A_WORKER]).returncode == 0
    return failed.headers["X-Request-ID"]


def test_each_question_gets_its_answer(stack: ComposeStack, failed: str) -> None:
    (function,) = re.findall(r"^    (log\(\) .*)$", PAGE.read_text(), re.MULTILINE)
    env = {**os.environ, **stack.settings, "COMPOSE_PROJECT_NAME": stack.name, "REQUEST_ID": failed}
    missing = []
    for number, text in QUESTIONS:
        commands = "\n".join(re.findall(r"^    (.*)$", text, re.MULTILINE))
        script = f"set -o pipefail\n{function}\n{commands}"
        done = subprocess.run(["bash", "-c", script], cwd=stack.root, env=env, capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout
        missing += [f"{number}: {want}\n{said}{done.stderr}" for want in EXPECTED[number] if not re.search(want, said, re.MULTILINE)]
        assert done.stderr == "", number

    assert [number for number, _ in QUESTIONS] == list(EXPECTED)
    assert not missing, "\n\n".join(missing)
