"""A schema that changes while old and new versions run: what expands costs nothing, what does not suit the old version does."""

from collections.abc import Iterator

import pytest

from tests.clients import wait_until
from tools.reliability.measure.load import Load
from tools.reliability.records import LoadResult
from tools.stack import Stack

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LIMITS="off", APP_REPLICAS="2", LAB_ENABLED="0")]

EXPAND = "SET lock_timeout = '1s'; ALTER TABLE entry ADD COLUMN place varchar(80)"
CONTRACT = "ALTER TABLE entry DROP COLUMN IF EXISTS place"
RENAME, RENAME_BACK = "ALTER TABLE entry RENAME COLUMN message TO words", "ALTER TABLE entry RENAME COLUMN words TO message"


def run_sql(stack: Stack, statement: str) -> None:
    login = (
        'PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") exec psql --host=127.0.0.1 --username=kit --dbname=kit --set=ON_ERROR_STOP=1 -c "$1"'
    )
    answer = stack.exec("database", ["sh", "-ec", login, "sh", statement])
    assert answer.returncode == 0, answer.stderr


@pytest.fixture
def contracted(stack: Stack) -> Iterator[Stack]:
    """The stack, whose table is as it was at the end."""
    yield stack
    run_sql(stack, CONTRACT)


def change_under_load(stack: Stack, statement: str, undo: str = "") -> LoadResult:
    """Let the present version run through a change of the schema."""
    with Load(stack.url, rate_per_s=10) as load:
        run_sql(stack, statement)
        done = load.sent_for(3)
        wait_until(done, "the load goes on", timeout_s=60)
        if undo:
            run_sql(stack, undo)
    return load.result()


def test_a_new_column_costs_the_old_version_nothing(contracted: Stack) -> None:
    # 503: the database took longer than 1.5 s, as it may on a busy machine. A column that is missed is a 500.
    assert {request.error for request in change_under_load(contracted, EXPAND).failed} <= {"status 503"}


def test_a_renamed_one_does(stack: Stack) -> None:
    assert "status 500" in {request.error for request in change_under_load(stack, RENAME, RENAME_BACK).failed}
