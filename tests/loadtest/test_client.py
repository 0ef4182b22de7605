"""The generator's client does what Locust's does."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_same_is_sent_and_reported_over_one_connection() -> None:
    # In a process of its own: Locust patches the one that imports it.
    said = subprocess.run([sys.executable, "-m", "tests.loadtest.two_clients"], cwd=ROOT, capture_output=True, text=True, check=True)
    plain, light = json.loads(said.stdout)

    assert light["arrived"] == plain["arrived"]
    assert light["reported"] == plain["reported"]
    assert light["connections"] == 1
