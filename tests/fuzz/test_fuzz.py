"""A fuzzer against the API's description, through nginx: no 5xx, no worker restarted.

The long form, 20,000 requests: FUZZ_REQUESTS=20000 make test ARGS=tests/fuzz (generating them takes most of the time).
Other requests: FUZZ_SEED=2.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tools.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "400"))
SEED = os.environ.get("FUZZ_SEED", "1")
# The three operations share them unevenly, and each phase adds some of its own: this many for each reach the number above.
EXAMPLES = REQUESTS // 2
# Making a request up costs about 0.03 s of CPU; a busy machine needs several times that.
LIMIT_S = max(300, REQUESTS // 2)


def statuses(stack: Stack) -> Counter[int]:
    """How often nginx answered with which status, by its access log."""
    records = (json.loads(line[line.index("{") :]) for line in stack.logs("gateway").splitlines() if '"status"' in line)
    return Counter(int(record["status"]) for record in records if str(record.get("uri", record.get("path", ""))).startswith("/api/"))


@pytest.mark.timeout(LIMIT_S + 60)
@pytest.mark.runtimes("compose")
@pytest.mark.stack_env(LIMITS="off", LAB_ENABLED="0", LOG_FORMAT="json", WAF_MODE="Off")
def test_nothing_breaks(stack: Stack, tmp_path: Path) -> None:
    workers = stack.logs("app").count("Booting worker")
    fuzzer = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/fuzz/schemathesis.toml"),
            *("run", f"{stack.url}/api/openapi.json", "--max-examples", str(EXAMPLES), "--workers", "4", "--seed", SEED),
            *("--phases", "examples,coverage,fuzzing", "--report", "junit", "--report-junit-path", str(tmp_path / "junit.xml")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    answers = statuses(stack)

    assert fuzzer.returncode == 0, f"{fuzzer.stdout[-5000:]}\n{fuzzer.stderr[-2000:]}"
    assert answers.total() >= REQUESTS, answers
    assert not [status for status in answers if status >= 500], answers
    assert stack.logs("app").count("Booting worker") == workers
