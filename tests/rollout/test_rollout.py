"""A new version takes over under load: nothing acknowledged is lost or doubled; a bad one is taken back by itself and says why."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import httpx
import pytest

from tests.clients import wait_until
from tests.conftest import ROOT, Stacks
from tests.surgery import docker, unit_list
from tools.reliability.judge.ledger import reconcile
from tools.reliability.measure.load import Load
from tools.reliability.measure.stacks import stored_writes
from tools.reliability.records import LoadResult
from tools.stack import Stack
from tools.stack.compose import ComposeStack
from tools.stack.machine import free_ports

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.xdist_group("rollout")]

# What a busy machine of two cores carries beside the start of containers.
RATE_PER_S = 3
TOO_SLOW = {"status 503", "status 504", "timeout"}


class Site:
    """A stack of this file's own, because a rollout moves the name of its image."""

    def __init__(self, stacks: Stacks, runtime: str) -> None:
        self.image = f"kit-test-rollout-{os.getpid()}"
        self.settings = {"LIMITS": "off", "APP_REPLICAS": "2", "APP_IMAGE": self.image, "GATEWAY_PORT": str(free_ports(1)[0])}
        built = ComposeStack("unused", root=ROOT, settings=self.environment).compose("build", "app")
        assert built.returncode == 0, built.stderr
        self.stack: Stack = stacks.get(runtime, self.settings)

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, **self.settings}

    def version(self, setting: str) -> str:
        """Make another version of the image, with one more environment variable."""
        name = f"{self.image}:{setting.partition('=')[0].lower()}"
        recipe = f"FROM {self.image}\nENV {setting}\n"
        subprocess.run(["docker", "build", "--quiet", "--tag", name, "-"], input=recipe, text=True, check=True, capture_output=True)
        return name

    def command(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m tools.stack` on it, with other settings where `changed` names them."""
        command = [sys.executable, "-m", "tools.stack", "--runtime", "compose", "--name", self.stack.name, *arguments]
        return subprocess.run(command, cwd=ROOT, env={**self.environment, **changed}, capture_output=True, text=True, check=False)

    def started(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, going on in a process group of its own; its errors are written among what it says."""
        command = [sys.executable, "-u", "-m", "tools.stack", "--runtime", "compose", "--name", self.stack.name, *arguments]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def images(self) -> list[str]:
        """The images that the app's containers run, one for each."""
        return [docker("inspect", "--format", "{{.Image}}", unit.id).strip() for unit in unit_list(self.stack, "app")]


@pytest.fixture(scope="module")
def site(stacks: Stacks, runtime: str) -> Iterator[Site]:
    """Two app containers; the same stack for all tests of this file."""
    site = Site(stacks, runtime)
    yield site
    site.stack.down(volumes=True)
    docker("image", "rm", *docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={site.image}").split())


def id_of(image: str) -> str:
    return docker("image", "inspect", "--format", "{{.Id}}", image).strip()


def account(site: Site, seen: LoadResult, note: Callable[[str], None]) -> None:
    """Nothing acknowledged is lost, nothing is there twice, and no request is lost on its way.

    A busy machine may take longer than a database (503), a view (504) or a visitor waits; none of that is for a release to prevent.
    """
    balance = reconcile(seen.writes, stored_writes(site.stack))
    failed = Counter(request.error for request in seen.failed)
    note(f"release under {RATE_PER_S} requests/s: {dict(failed)} of {len(seen.requests)} failed; {balance}")
    assert balance.holds, str(balance)
    assert balance.acknowledged > 0
    assert set(failed) <= TOO_SLOW, site.stack.logs("gateway")


def test_a_release_and_the_way_back_lose_no_request(site: Site, note: Callable[[str], None]) -> None:
    old, new = site.images(), id_of(site.version("RELEASE=2"))
    with Load(site.stack.url, rate_per_s=RATE_PER_S) as load:
        released = site.command("rollout", "--image", site.version("RELEASE=2"), "--at-once", "2", "--ready", "200")
        assert released.returncode == 0, released.stderr
        assert site.images() == [new, new]
        back = site.command("rollback")
        assert back.returncode == 0, back.stderr
    assert site.images() == old
    assert {shares_of(unit.id) for unit in unit_list(site.stack, "app")} == {"1024"}
    account(site, load.result(), note)


def shares_of(container: str) -> str:
    return docker("inspect", "--format", "{{.HostConfig.CpuShares}}", container).strip()


def test_what_starts_comes_after_what_serves(site: Site) -> None:
    """Importing an application takes a processor for a second or so. What such a share is worth: tests/limits/test_processors.py."""
    serving = {unit.id for unit in unit_list(site.stack, "app")}
    with site.started("rollout", "--image", site.version("PROBE_TIMEOUT=soon"), "--ready", "10", "--no-migrate") as rollout:
        (fresh,) = wait_until(lambda: {unit.id for unit in unit_list(site.stack, "app")} - serving, "the new container runs")
        wait_until(lambda: shares_of(fresh) == "64", "it steps back")
        assert {shares_of(container) for container in serving} == {"1024"}
        assert rollout.stdout
        rollout.stdout.read()
    assert rollout.returncode == 1


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("PRELOAD_LIBRARIES=no_such_library", "PRELOAD_LIBRARIES: no_such_library"),
        ("PROBE_TIMEOUT=soon", "could not convert string to float"),
    ],
    ids=["does not start", "fails its health check"],
)
def test_a_bad_release_is_taken_back_and_says_why(site: Site, setting: str, says: str, note: Callable[[str], None]) -> None:
    before = [unit.id for unit in unit_list(site.stack, "app")]
    with Load(site.stack.url, rate_per_s=RATE_PER_S) as load:
        answer = site.command("rollout", "--image", site.version(setting), "--ready", "20", "--no-migrate")
    assert answer.returncode == 1
    assert says in answer.stderr
    assert "the old version went on serving" in answer.stderr
    assert [unit.id for unit in unit_list(site.stack, "app")] == before
    assert id_of(site.image) == site.images()[0]
    account(site, load.result(), note)


@pytest.mark.parametrize("moment", ["Starting 1 beside", "Draining"])
def test_a_release_that_is_interrupted_is_taken_back(site: Site, moment: str, note: Callable[[str], None]) -> None:
    """Ctrl-C reaches `docker` as well: the engine then stops a container of which nobody waits for the end."""
    images, new = site.images(), site.version("RELEASE=4")
    with Load(site.stack.url, rate_per_s=RATE_PER_S) as load, site.started("rollout", "--image", new, "--no-migrate") as rollout:
        assert rollout.stdout
        said = next((line for line in rollout.stdout if moment in line), "")
        os.killpg(rollout.pid, signal.SIGTERM)
        rest = rollout.stdout.read()
        wait_until(load.sent_for(3), "the ledger has writes")
    assert said, rest
    assert rollout.returncode == 1
    assert "Taking it back" in rest
    assert site.images() == images
    assert id_of(site.image) == images[0]
    account(site, load.result(), note)


def ids(site: Site) -> list[str]:
    return [unit.id for unit in unit_list(site.stack, "app")]


def test_scaling_up_and_down_loses_no_request(site: Site, note: Callable[[str], None]) -> None:
    before = ids(site)
    with Load(site.stack.url, rate_per_s=RATE_PER_S) as load:
        more = site.command("scale", "app", "4")
        assert more.returncode == 0, more.stderr
        assert re.findall("Starting .* beside [0-9]+", more.stdout) == ["Starting 1 beside 2", "Starting 1 beside 3"]
        assert [shares_of(container) for container in ids(site)] == ["1024"] * 4
        fewer = site.command("scale", "app", "2")
        assert fewer.returncode == 0, fewer.stderr
    assert ids(site) == before
    account(site, load.result(), note)


def test_a_container_that_has_ended_is_not_counted(site: Site) -> None:
    """Left by one who interrupted a release, or killed: Compose takes it for one of those that were asked for."""
    ended, stays = ids(site)
    docker("stop", ended)
    answer = site.command("scale", "app", "2")
    assert answer.returncode == 0, answer.stderr
    assert f"Removing {ended}" in answer.stdout
    assert stays in ids(site)
    assert len(ids(site)) == 2
    known = docker("ps", "--all", "--quiet", "--filter", f"name=^{site.stack.name}-app-")
    assert set(known.split()) == set(ids(site))


def test_new_containers_that_do_not_start_are_removed_again(site: Site) -> None:
    """Nor does it start what was built and never released."""
    before, built = ids(site), id_of(site.version("RELEASE=5"))
    docker("tag", built, site.image)
    answer = site.command("scale", "app", "4", GUNICORN_TIMEOUT="soon")
    assert id_of(site.image) == built
    docker("tag", site.images()[0], site.image)
    assert answer.returncode == 1
    assert "Invalid value for timeout: soon" in answer.stderr
    assert "the others went on serving" in answer.stderr
    assert ids(site) == before


def test_a_gateway_is_replaced(site: Site) -> None:
    """By one with another setting; the stack answers, and is spoken to, as before. What is built on the way is not released."""
    before, released = gateways(site), id_of(site.version("RELEASE=3"))
    docker("tag", released, site.image)
    answer = site.command("rollout", "gateway", NGINX_WORKER_CONNECTIONS="4000")
    assert answer.returncode == 0, answer.stderr
    assert id_of(site.image) == released
    docker("tag", site.images()[0], site.image)
    assert len(gateways(site)) == 1
    assert gateways(site) != before
    assert "worker_connections 4000;" in site.stack.nginx_config()
    assert httpx.get(f"{site.stack.url}/readyz", timeout=30).status_code == 200
    assert docker("inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", *gateways(site)).strip() == "unless-stopped"


def test_a_bad_gateway_changes_nothing(site: Site) -> None:
    before = gateways(site)
    answer = site.command("rollout", "gateway", LIMITS="maybe")
    assert answer.returncode == 1
    assert "LIMITS=maybe: write on, or off" in answer.stderr
    assert "the old gateway serves" in answer.stderr
    assert gateways(site) == before
    assert httpx.get(f"{site.stack.url}/readyz", timeout=30).status_code == 200


def gateways(site: Site) -> list[str]:
    return [unit.id for unit in unit_list(site.stack, "gateway")]


def test_a_plan_changes_nothing(site: Site) -> None:
    before = [unit.id for unit in unit_list(site.stack, "app")]
    answer = site.command("rollout", "--plan")
    assert answer.returncode == 0
    assert "2 containers, 1 at a time" in answer.stdout
    assert [unit.id for unit in unit_list(site.stack, "app")] == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--image", "no-such-image"), "there is no image no-such-image on this machine"),
        (("--at-once", "0"), "0 is not in the range"),
        (("database",), "'database' is not one of 'app', 'gateway'"),
        (("gateway", "--plan"), "--image and --plan are for the app"),
    ],
)
def test_a_wrong_wish_is_refused(site: Site, arguments: tuple[str, ...], says: str) -> None:
    answer = site.command("rollout", *arguments)
    assert answer.returncode == 2
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
