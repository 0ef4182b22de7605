"""The generator's client does what Locust's does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loadtest.servers import cutting

ROOT = Path(__file__).parents[2]


def test_the_same_is_sent_and_reported_over_one_connection() -> None:
    # In a process of its own: Locust patches the one that imports it.
    said = subprocess.run([sys.executable, "-m", "tests.loadtest.two_clients"], cwd=ROOT, capture_output=True, text=True, check=True)
    plain, light = json.loads(said.stdout)

    assert light["arrived"] == plain["arrived"]
    assert light["reported"] == plain["reported"]
    assert light["connections"] == 1


ASK = """
import sys, importlib
importlib.import_module(sys.argv[1])
from locust import FastHttpUser
from locust.env import Environment

user = type("Asker", (FastHttpUser,), {"host": sys.argv[2]})(Environment())
print([user.client.get("/").status_code for _ in range(8)])
"""


# With Locust's own the second, the fourth … are sent again, on a new connection, without a word.
@pytest.mark.parametrize(("module", "seen", "sent"), [("locust", [200] * 8, 15), ("loadtest.measure.client", [200, 0] * 4, 8)])
def test_a_get_that_is_lost_is_not_sent_again(module: str, seen: list[int], sent: int) -> None:
    with cutting() as (url, received):
        said = subprocess.run([sys.executable, "-c", ASK, module, url], cwd=ROOT, capture_output=True, text=True, check=True)

    assert json.loads(said.stdout) == seen
    assert len(received) == sent
