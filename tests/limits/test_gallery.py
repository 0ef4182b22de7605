"""A page with eighty pictures out of the application, and the next one: none is refused (docs/limits.md).

Not in a browser: Chromium gives up what it loads when a network of the machine changes, as those of containers do all the time.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.clients import spread
from tests.gateways import Gateways
from tests.nginx.backends import RawBackend, answer
from tools.local.nginx import Edit

PAGE = 1 + 80 + 1  # the page, its pictures, an icon
CONNECTIONS = 6  # as browsers have to one host
# So that what passes is the burst and one, however slow this machine is.
ONE_A_MINUTE = Edit("templates/30-limits.conf.template", r"rate=\S+r/s", "rate=1r/m")


@pytest.fixture
def backend() -> Iterator[RawBackend]:
    with RawBackend(answer) as backend:
        yield backend


def statuses(url: str) -> Counter[int | None]:
    """Load two pages as fast as it goes."""
    most = 2 * PAGE // CONNECTIONS * CONNECTIONS
    replies = spread(url, "/picture", requests=most, clients=CONNECTIONS, keep_alive=True)
    replies += spread(url, "/picture", requests=2 * PAGE - most, clients=1, keep_alive=True)
    return Counter(reply.status for reply in replies)


def test_two_pages_one_after_the_other(start_gateway: Gateways, backend: RawBackend) -> None:
    assert statuses(start_gateway(backend.address, {"LIMITS": "on"}, [ONE_A_MINUTE]).url) == {200: 2 * PAGE}


def test_with_a_smaller_burst_pictures_are_missing(start_gateway: Gateways, backend: RawBackend) -> None:
    """The twin, with the number that was the default before."""
    found = statuses(start_gateway(backend.address, {"LIMITS": "on", "LIMIT_BURST": "40"}, [ONE_A_MINUTE]).url)

    assert found[429] >= 2 * PAGE - 40 - 1 - 1  # and one more in each minute
