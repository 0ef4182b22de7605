"""What happens to a stack under load: a fault or a release."""

from collections.abc import Callable
from dataclasses import dataclass

from tools.stack.compose import ComposeStack

Act = Callable[[ComposeStack], None]


@dataclass(frozen=True, slots=True)
class Event:
    """One of them.

    lasts_s: from `begin` to `end`. Without an `end`, about how long `begin` takes, which is only used to foretell.
    after_s: how long it is watched afterwards. promised: no request may fail.
    prepare, clear: done before and after the load. lab: it needs the laboratory and its slow service (LAB_ENABLED=1), and some visitors
    ask for that service. moves_gateway: it may have another address afterwards, so that visitors come over
    the published port. watched: what the containers hold is read meanwhile, and before and after, with no load.
    """

    name: str
    title: str
    expect: str
    begin: Act
    end: Act | None = None
    lasts_s: float = 0.0
    after_s: float = 10.0
    promised: bool = False
    prepare: Act | None = None
    clear: Act | None = None
    lab: bool = False
    moves_gateway: bool = False
    watched: bool = False
