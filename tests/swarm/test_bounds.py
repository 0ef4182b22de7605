"""What counts for each gateway, and what for all of them (docs/swarm.md)."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.swarm.events import Cluster
from tools.swarm.deploy import deploy

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
# One request a second and nine at once, of one client; a page is kept for five seconds.
SETTINGS = {"LIMITS": "on", "LIMIT_REQUESTS": "1", "LIMIT_BURST": "8", "WAF_MODE": "Off", "LAB_ENABLED": "1", "MICROCACHE_SECONDS": "5"}
SETTINGS["COMPOSE_FILE"] = "docker-compose.yml:compose/microcache.yaml:tests/swarm/cacheable.yaml"
Note = Callable[[str], None]


def answers(cluster: Cluster, gateways: int, path: str, count: int, **headers: str) -> Counter[int]:
    """Ask so many times at once, the gateways in turn; return how often each status came."""

    def ask(number: int) -> int:
        return httpx.get(cluster.nodes.urls[number % gateways] + path, headers={"Host": "localhost", **headers}, timeout=60).status_code

    with ThreadPoolExecutor(count) as pool:
        return Counter(pool.map(ask, range(count)))


def test_a_client_has_its_budget_at_each_gateway(cluster: Cluster, note: Note) -> None:
    all_of_them = answers(cluster, 3, "/api/entries", 60)
    note(f"60 requests of one client to 3 gateways, 9 at once allowed: {dict(all_of_them)}")

    assert set(all_of_them) == {200, 429}
    assert 27 <= all_of_them[200] <= 33  # three times 9, and what a second more gives


def test_each_gateway_keeps_pages_for_itself(cluster: Cluster, note: Note) -> None:
    # The budget above is used up: it fills by one a second.
    deploy(cluster.nodes.manager(), cluster.nodes.stack({**cluster.images, "LIMITS": "off"}), print)
    before = cluster.answered()
    assert answers(cluster, 3, "/api/entries?limit=1", 30) == {200: 30}
    asked = (cluster.answered() - before).total()
    note(f"30 requests for one answer to 3 gateways: {asked} reached an app")

    assert asked == 3


@pytest.mark.parametrize(("mode", "one", "three"), [("Off", 6, 18), ("On", 12, 36)])
def test_each_gateway_bounds_what_it_passes_on(cluster: Cluster, note: Note, mode: str, one: int, three: int) -> None:
    """MAX_IN_FLIGHT=6: for each gateway, and with the WAF for each of its two containers too."""
    settings = {**cluster.images, "LIMITS": "off", "MAX_IN_FLIGHT": "6", "WAF_MODE": mode}
    deploy(cluster.nodes.manager(), cluster.nodes.stack(settings), print)
    # With a cookie, which is not answered from the cache.
    passed = [answers(cluster, gateways, "/lab/wait?ms=5000", 60, Cookie="a=b") for gateways in (1, 3)]
    note(f"MAX_IN_FLIGHT=6, WAF {mode}, 60 slow requests at once: {dict(passed[0])} at one gateway, {dict(passed[1])} at three")

    assert passed == [{200: one, 503: 60 - one}, {200: three, 503: 60 - three}]
