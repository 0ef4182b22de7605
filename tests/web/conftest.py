"""What the checkers need; a machine without it says so, and in CI that is a failure."""

from collections.abc import Callable

import pytest

from tests.web import checkers


@pytest.fixture(scope="session", autouse=True)
def checkers_are_there(not_run: Callable[[str], None]) -> None:
    """End the tests of this folder as not run where the checkers cannot run."""
    if lack := checkers.lacking():
        not_run(f"not installed: {lack}; tests/run installs them, or: {checkers.INSTALL}")
