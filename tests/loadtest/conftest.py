"""One generator for all tests of a module: starting one takes longer than most of what it is started for."""

from collections.abc import Iterator

import pytest

from loadtest.measure.generation import GeneratorProcess


@pytest.fixture(scope="module")
def generators() -> Iterator[GeneratorProcess]:
    """A generator process that waits for an order."""
    with GeneratorProcess() as generators:
        yield generators
