"""compose/health-checks/ with real containers and the engine's own DNS: which of them a proxy would be given.

That nginx does as it is told, and what happens without this, is tried in tests/faults/test_frozen_container.py.
"""

import dns.rcode
import pytest

from tests.clients import wait_until
from tests.health_checks.conftest import Site, address
from tests.nginx.containers import docker

pytestmark = pytest.mark.runtimes("compose")

# The container is still there when its server has ended.
STAYS = ("sh", "-c", "python -m http.server 8000 & echo $! > /tmp/server; wait; sleep infinity")


def addresses(containers: list[str]) -> set[str]:
    return {address(container) for container in containers}


def test_a_frozen_container_is_out_until_it_answers_again(site: Site) -> None:
    apps = [site.app() for _ in range(3)]
    checks = site.health_checks()
    wait_until(lambda: checks.rotation() == addresses(apps), "all are in rotation")
    docker("pause", apps[0])
    wait_until(lambda: checks.rotation() == addresses(apps[1:]), "the frozen one is out")
    assert f"{address(apps[0])}:8000 does not answer GET / with 200 within 2 s: out of rotation" in checks.logs()

    docker("unpause", apps[0])
    wait_until(lambda: checks.rotation() == addresses(apps), "it is in again")


def test_when_most_are_silent_all_are_in_rotation(site: Site) -> None:
    apps = [site.app() for _ in range(3)]
    checks = site.health_checks()
    wait_until(lambda: checks.rotation() == addresses(apps), "all are in rotation")
    for app in apps[:2]:
        docker("pause", app)
    wait_until(lambda: "app: 2 do not answer and 1 do, so all are in rotation" in checks.logs(), "it says so")

    assert checks.rotation() == addresses(apps)


def test_those_that_refuse_are_out_also_when_they_are_the_most(site: Site) -> None:
    """As containers do that drain (gunicorn_hooks/drain.py): nobody waits for an address that is about to go."""
    apps = [site.app(*STAYS), site.app(*STAYS), site.app()]
    checks = site.health_checks()
    wait_until(lambda: checks.rotation() == addresses(apps), "all are in rotation")
    for app in apps[:2]:
        docker("exec", app, "sh", "-c", "kill $(cat /tmp/server)")

    wait_until(lambda: checks.rotation() == {address(apps[2])}, "the others are out")


def test_a_container_that_never_answered_is_not_named(site: Site) -> None:
    """The twin: the engine's DNS names it."""
    serves = site.app()
    checks = site.health_checks()
    starting = site.app("sleep", "infinity")
    engine = docker("exec", checks.name, "getent", "ahostsv4", "app").stdout
    assert address(starting) in engine

    # It must have been looked at: the next one is found in the same round or a later one.
    later = site.app()
    wait_until(lambda: address(later) in checks.rotation(), "a container that answers is found")
    assert checks.rotation() == addresses([serves, later])


def test_another_status_is_no_health(site: Site) -> None:
    """While nobody is healthy all are named, as an application without the path shows; beside a healthy one they are not."""
    ill = [site.app(), site.app()]
    checks = site.health_checks("/missing")
    wait_until(lambda: checks.rotation() == addresses(ill), "both are named")

    healthy = site.app("sh", "-c", "cd /tmp && touch missing && python -m http.server 8000")
    wait_until(lambda: checks.rotation() == {address(healthy)}, "the healthy one alone is named")


def test_a_name_that_nobody_has_does_not_exist(site: Site) -> None:
    """Which empties nginx's list; any other failure would keep it."""
    checks = site.health_checks()
    assert checks.reply().rcode() == dns.rcode.NXDOMAIN

    app = site.app()
    wait_until(lambda: checks.rotation() == {address(app)}, "the first container is found")
    docker("rm", "--force", app)
    wait_until(lambda: checks.reply().rcode() == dns.rcode.NXDOMAIN, "nobody is left")


def test_the_engine_starts_it_again_and_it_does_not_name_a_frozen_container(site: Site) -> None:
    apps = [site.app(), site.app()]
    checks = site.health_checks()
    wait_until(lambda: checks.rotation() == addresses(apps), "all are in rotation")
    docker("pause", apps[0])
    wait_until(lambda: checks.rotation() == {address(apps[1])}, "the frozen one is out")

    docker("exec", checks.name, "python", "-c", "import os, signal; os.kill(-1, signal.SIGKILL)", check=False)
    wait_until(lambda: docker("inspect", "--format", "{{.RestartCount}}", checks.name).stdout.strip() == "1", "it is started again")
    wait_until(checks.answers, "it answers again")
    assert checks.rotation() == {address(apps[1])}
