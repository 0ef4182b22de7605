"""The circuit breaker by itself, with a clock of the test's own."""

from collections.abc import Iterator

import pytest

from kit_flask.breaker import GRACE_S, Breaker


class Watched:
    """A breaker whose service has just answered; `now` is its time, `opened` how often it opened."""

    def __init__(self) -> None:
        self.now, self.opened = 1000.0, 0
        self.breaker = Breaker(self._open, clock=lambda: self.now)
        self.breaker.success()

    def _open(self) -> None:
        self.opened += 1

    def fail(self, after_s: float = GRACE_S) -> None:
        self.now += after_s
        self.breaker.failure()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_failure_opens_it_once(watched: Watched) -> None:
    assert not watched.breaker.is_open

    watched.fail()
    watched.fail()

    assert watched.breaker.is_open
    assert watched.opened == 1


def test_it_opens_for_a_service_that_never_answered() -> None:
    breaker = Breaker(lambda: None)
    breaker.failure()

    assert breaker.is_open


def test_a_failure_right_after_a_success_opens_nothing(watched: Watched) -> None:
    watched.fail(GRACE_S / 2)

    assert not watched.breaker.is_open
    assert watched.opened == 0


def test_the_first_success_closes_it(watched: Watched) -> None:
    watched.fail()
    watched.breaker.success()

    assert not watched.breaker.is_open


def test_the_probe_asks_until_there_is_an_answer(watched: Watched) -> None:
    answers = iter([False, False, True])
    watched.fail()

    def ask() -> bool:
        assert watched.breaker.is_open
        return next(answers)

    watched.breaker.probe(ask)

    assert list(answers) == []
    assert not watched.breaker.is_open


def test_the_probe_ends_when_a_request_was_answered(watched: Watched) -> None:
    def ask() -> bool:
        watched.breaker.success()
        return False

    watched.fail()
    watched.breaker.probe(ask)

    assert not watched.breaker.is_open


def test_there_is_never_a_second_probe(watched: Watched) -> None:
    """It closes and opens again before the probe has noticed."""

    def ask() -> Iterator[bool]:
        watched.breaker.success()
        watched.fail()
        yield False
        assert watched.breaker.is_open
        yield True

    steps = ask()
    watched.fail()
    watched.breaker.probe(lambda: next(steps))

    assert watched.opened == 1
    watched.fail()
    assert watched.opened == 2


def test_it_is_closed_when_asking_fails(watched: Watched) -> None:
    """Nothing would close it later: an outage without an end."""

    def ask() -> bool:
        raise MemoryError

    watched.fail()
    with pytest.raises(MemoryError):
        watched.breaker.probe(ask)

    assert not watched.breaker.is_open
