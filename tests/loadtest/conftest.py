"""One generator for all tests of a module: starting one takes longer than most of what it is started for."""

from collections.abc import Iterator

import pytest

from loadtest.measure.generation import Generators


@pytest.fixture(scope="module")
def generators() -> Iterator[Generators]:
    """A generator process that waits for an order."""
    with Generators() as generators:
        yield generators
