"""The circuit breaker by itself, with a clock of the test's own."""

from collections.abc import Iterator

import pytest
from kit_flask.breaker import QUIET_S, Breaker


class Watched:
    """A breaker that has heard from its database just now; `now` is its time, `opened` how often it opened."""

    def __init__(self) -> None:
        self.now, self.opened = 1000.0, 0
        self.breaker = Breaker(self._open, clock=lambda: self.now)
        self.breaker.heard()

    def _open(self) -> None:
        self.opened += 1

    def wait_in_vain(self) -> None:
        self.now += QUIET_S
        self.breaker.silent()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_silence_opens_it_once(watched: Watched) -> None:
    assert not watched.breaker.is_open

    watched.wait_in_vain()
    watched.wait_in_vain()

    assert watched.breaker.is_open
    assert watched.opened == 1


def test_it_opens_for_a_database_that_was_never_heard() -> None:
    breaker = Breaker(lambda: None)
    breaker.silent()

    assert breaker.is_open


def test_whoever_waits_in_vain_while_others_are_answered_opens_nothing(watched: Watched) -> None:
    watched.now += QUIET_S / 2
    watched.breaker.silent()

    assert not watched.breaker.is_open
    assert watched.opened == 0


def test_the_first_thing_heard_closes_it(watched: Watched) -> None:
    watched.wait_in_vain()
    watched.breaker.heard()

    assert not watched.breaker.is_open


def test_one_asks_until_there_is_an_answer(watched: Watched) -> None:
    answers = iter([False, False, True])
    watched.wait_in_vain()

    def ask() -> bool:
        assert watched.breaker.is_open
        return next(answers)

    watched.breaker.probe(ask)

    assert list(answers) == []
    assert not watched.breaker.is_open


def test_nobody_asks_on_when_a_visit_was_answered(watched: Watched) -> None:
    def ask() -> bool:
        watched.breaker.heard()
        return False

    watched.wait_in_vain()
    watched.breaker.probe(ask)

    assert not watched.breaker.is_open


def test_there_is_never_a_second_one_who_asks(watched: Watched) -> None:
    """It closes and opens again before the one who asks has noticed."""

    def ask() -> Iterator[bool]:
        watched.breaker.heard()
        watched.wait_in_vain()
        yield False
        assert watched.breaker.is_open
        yield True

    steps = ask()
    watched.wait_in_vain()
    watched.breaker.probe(lambda: next(steps))

    assert watched.opened == 1
    watched.wait_in_vain()
    assert watched.opened == 2


def test_it_is_closed_when_asking_fails(watched: Watched) -> None:
    """Nobody would close it later: an outage without an end."""

    def ask() -> bool:
        raise MemoryError

    watched.wait_in_vain()
    with pytest.raises(MemoryError):
        watched.breaker.probe(ask)

    assert not watched.breaker.is_open
    watched.wait_in_vain()
    assert watched.opened == 2
