"""The row locks of a process that froze or died are given back: what docker-compose.yml tells PostgreSQL, with shorter times."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.clients import wait_until

COMPOSE = (Path(__file__).parents[2] / "docker-compose.yml").read_text()
SHORT = {name: f"-c {name}=1s" for name in re.findall(r'"-c", "(\w+)=\d+s"', COMPOSE)}

# A request in the middle of its transaction: it waits for something else, or for a statement.
HOLDER = """
import sys, psycopg
connection = psycopg.connect(sys.argv[1], options=sys.argv[2], application_name="holder")
connection.execute("UPDATE stock SET number = number - 1")
connection.execute("SELECT pg_sleep(60)") if sys.argv[3] == "active" else sys.stdin.read()
"""
CASES = [("idle in transaction", signal.SIGSTOP), ("active", signal.SIGKILL)]


def is_given_back(url: str, options: str, state: str, number: signal.Signals, wait_s: int) -> bool:
    """Send the signal to a process that has locked a row, and say whether somebody else gets the lock within `wait_s`."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE stock (number int)")
        other.execute("INSERT INTO stock VALUES (1)")
        with subprocess.Popen([sys.executable, "-c", HOLDER, url, options, state], stdin=subprocess.PIPE) as holder:
            try:
                holds = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'holder' AND state = %s AND backend_xid IS NOT NULL"
                wait_until(lambda: other.execute(holds, [state]).fetchone(), "it has the lock and waits")
                holder.send_signal(number)
                other.execute(f"SET lock_timeout = '{wait_s}s'".encode())
                other.execute("UPDATE stock SET number = number - 1")
            except psycopg.errors.LockNotAvailable:
                return False
            else:
                return True
            finally:
                holder.kill()


@pytest.mark.parametrize(("state", "number"), CASES)
def test_it_is_given_back(postgres_url: str, state: str, number: signal.Signals) -> None:
    assert is_given_back(postgres_url, " ".join(SHORT.values()), state, number, 30)


@pytest.mark.parametrize(("state", "number"), CASES)
def test_without_the_settings_it_is_kept(postgres_url: str, state: str, number: signal.Signals) -> None:
    """The twin."""
    assert not is_given_back(postgres_url, "", state, number, 3)
