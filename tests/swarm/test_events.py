"""The whole of it, on a quiet machine (`make swarm-events`): what happens to three nodes under 100 requests/s, half of them POST."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import ROOT
from tests.swarm.events import Cluster, Seen
from tools.reliability.measure.releases import BAD_HEALTH, BAD_START
from tools.stack import StackError
from tools.stack.compose import docker
from tools.stack.waiting import wait_until
from tools.swarm.deploy import deploy, with_swarm
from tools.swarm.nodes import COUNT

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
SETTINGS: dict[str, str] = {}
Note = Callable[[str], None]


def version(cluster: Cluster, setting: str) -> str:
    """Make another version of the app's image and push it; return its name in the registry."""
    name, present = (
        f"kit-swarm-test-{setting.partition('=')[0].lower().replace('_', '-')}",
        cluster.nodes.stack().compose("config", "--images"),
    )
    image = next(line for line in present.stdout.split() if "app" in line)
    recipe = f"FROM {image}\nENV {setting}\n"
    subprocess.run(["docker", "build", "--quiet", "--tag", name, "-"], input=recipe, text=True, check=True, capture_output=True)
    try:
        return cluster.nodes.push(name, "app")
    finally:
        docker("image", "rm", name)


def release(cluster: Cluster, image: str) -> None:
    deploy(cluster.nodes.manager(), cluster.nodes.stack({**cluster.images, "APP_IMAGE": image}), print)


def flawless(seen: Seen) -> bool:
    return not seen.effect.failed and not seen.load.dropped and seen.balance.holds


@contextmanager
def cut_off(cluster: Cluster, number: int) -> Iterator[None]:
    """No packet enters or leaves a node."""
    rules = (("PREROUTING", "--in-interface"), ("OUTPUT", "--out-interface"))

    def turn(how: str) -> None:
        for chain, flag in rules:
            docker("exec", cluster.nodes.container(number), "iptables", "--table", "raw", how, chain, flag, "eth0", "--jump", "DROP")

    turn("--insert")
    try:
        yield
    finally:
        turn("--delete")


def test_each_node_answers_its_share(cluster: Cluster, note: Note) -> None:
    before = cluster.answered()
    seen = cluster.observe(lambda: None, after_s=15)
    answered = {number: count - before[number] for number, count in cluster.answered().items()}
    mean = sum(answered.values()) / 3
    note(f"no event: {seen}; answered by each node's app: {answered}")

    assert flawless(seen)
    assert max(abs(count - mean) for count in answered.values()) < 0.15 * mean


def test_updates(cluster: Cluster, note: Note) -> None:
    """10,000 requests over kept-alive connections, while versions replace each other."""
    versions = [version(cluster, "RELEASE=2"), cluster.images["APP_IMAGE"]]

    def update() -> None:
        for image in versions * 2:
            cluster.nodes.manager().docker("service", "update", "--quiet", "--image", image, f"{cluster.stack}_app")

    seen = cluster.observe(update, least_s=100)
    note(f"four updates: {seen}; app containers of each node afterwards: {cluster.spread()}")

    assert flawless(seen)
    assert seen.effect.requests >= 10_000


@pytest.mark.parametrize("setting", [BAD_START, BAD_HEALTH])
def test_a_bad_image_is_taken_back_by_the_engine(cluster: Cluster, note: Note, setting: str) -> None:
    bad, good = version(cluster, setting), cluster.images["APP_IMAGE"]
    said: list[str] = []

    def try_it() -> None:
        with pytest.raises(StackError) as raised:
            release(cluster, bad)
        said.append(raised.value.message)

    seen = cluster.observe(try_it)
    note(f"bad image, {setting}: {seen}; said: {said[0]}")

    assert flawless(seen)
    assert "_app: the engine has taken it back, and the old version serves (" in said[0]
    assert cluster.images["APP_IMAGE"] == good


def test_scaling(cluster: Cluster, note: Note) -> None:
    def scale() -> None:
        for count in (9, 3):
            cluster.nodes.manager().docker("service", "scale", f"{cluster.stack}_app={count}")

    seen = cluster.observe(scale, after_s=10)
    note(f"3, 9, 3 app containers: {seen}")

    assert cluster.spread() == [1, 1, 1]  # which updates do not keep
    assert seen.balance.holds
    assert {kind.partition(" ")[2] for kind in seen.effect.failed} <= {"status 503"}  # six imports at once on the processors of one machine


def test_a_drained_node(cluster: Cluster, note: Note) -> None:
    manager = cluster.nodes.manager()

    def drain() -> None:
        manager.docker("node", "update", "--availability", "drain", "node-3")
        cluster.lose()

    seen = cluster.observe(drain, least_s=15)
    manager.docker("node", "update", "--availability", "active", "node-3")
    cluster.regain()
    note(f"drained: {seen}")

    assert flawless(seen)


def test_a_killed_node(cluster: Cluster, note: Note) -> None:
    def kill() -> None:
        docker("kill", cluster.nodes.container(3))
        cluster.lose()

    seen = cluster.observe(kill, keep_alive=False)
    docker("start", cluster.nodes.container(3))
    cluster.regain()
    note(f"killed: {seen}; at strength again after {seen.lasted_s:.1f} s")

    assert seen.balance.holds
    assert seen.effect.last_failure_s is None or seen.effect.last_failure_s < 1


def test_a_node_that_is_cut_off_and_comes_back(cluster: Cluster, note: Note) -> None:
    """Alone it acknowledges no write."""
    answers: dict[str, str] = {}

    def ask(*arguments: str) -> str:
        """Ask the gateway on the node itself."""
        (box,) = cluster.boxes(2, "gateway")
        curl = ["curl", "--silent", "--max-time", "30", "--output", "/dev/null", "--write-out", "%{http_code}", *arguments]
        return cluster.nodes.manager(2).docker("exec", box, *curl)

    def cut() -> None:
        with cut_off(cluster, 2):
            cluster.lose()
            site = "http://127.0.0.1:8080"
            answers["alive"] = ask(f"{site}/healthz")
            entry = '{"name": "ledger", "message": "cut off"}'
            answers["write"] = ask("--header", "Content-Type: application/json", "--data", entry, f"{site}/api/entries")
        cluster.regain()

    seen = cluster.observe(cut, keep_alive=False)
    note(f"cut off and back: {seen}; meanwhile its own gateway said {answers}; it was back after {seen.lasted_s:.1f} s")

    assert seen.balance.holds
    assert answers["write"] == "503"


@contextmanager
def moving_address(cluster: Cluster) -> Iterator[str]:
    """An address of the nodes' network that the example's keepalived moves, and that the gateways know."""
    address = f"{cluster.nodes.addresses[0].rpartition('.')[0]}.100"
    names = " ".join(["localhost 127.0.0.1", *cluster.nodes.addresses, address])
    deploy(cluster.nodes.manager(), cluster.nodes.stack({**cluster.images, "SERVER_NAMES": names}), print)
    packages = "apt-get -qq update && apt-get -qq install -y --no-install-recommends curl iproute2 keepalived"
    for number in range(COUNT, 0, -1):  # the first to start has the address: not the first manager, who is asked
        text = (
            (ROOT / "compose/swarm/keepalived.conf")
            .read_text()
            .replace("192.0.2.10", address)
            .replace("priority 100", f"priority 10{number}")
        )
        box = [
            "docker",
            "exec",
            "--interactive",
            cluster.nodes.container(number),
            "sh",
            "-c",
            f"{packages} && cat > /etc/keepalived/keepalived.conf && keepalived",
        ]
        subprocess.run(box, input=text, text=True, check=True, capture_output=True)
    wait_until(lambda: holder(cluster, address) > 0, 30, "no node takes the address")
    try:
        yield f"http://{address}:{cluster.nodes.urls[0].rpartition(':')[2]}"
    finally:
        for number in range(1, COUNT + 1):  # a node that was killed has none
            docker("exec", cluster.nodes.container(number), "sh", "-c", "kill $(cat /run/keepalived.pid) || true")


def holder(cluster: Cluster, address: str) -> int:
    """Return which node has an address; 0: none."""
    shown = {n: docker("exec", cluster.nodes.container(n), "ip", "-brief", "address", "show", "eth0") for n in range(1, COUNT + 1)}
    return next((number for number, text in shown.items() if f" {address}/" in text), 0)


@pytest.mark.parametrize("event", ["killed", "cut off and back"])
def test_an_address_that_moves(cluster: Cluster, note: Note, event: str) -> None:
    """Visitors know one address; the node that has it is lost."""
    with moving_address(cluster) as url:
        number = holder(cluster, url.removeprefix("http://").partition(":")[0])

        def lose() -> None:
            if event == "killed":
                docker("kill", cluster.nodes.container(number))
                cluster.lose()
                return
            with cut_off(cluster, number):
                cluster.lose()
            cluster.regain()

        seen = cluster.observe(lose, urls=[url], keep_alive=False, after_s=10)
        if event == "killed":
            docker("start", cluster.nodes.container(number))
            cluster.regain()
        note(f"node {number} had the visitors' address, {event}: {seen}")

    assert seen.balance.holds


def test_a_swarm_without_a_quorum_is_named(cluster: Cluster) -> None:
    """The last one here: two of three managers are gone."""
    images = cluster.images
    for number in (2, 3):
        docker("kill", cluster.nodes.container(number))
    manager = cluster.nodes.manager()
    wait_until(lambda: bool(manager.ask("node", "ls").returncode), 60, "it still says that it leads")

    with pytest.raises(StackError, match="the Swarm has no quorum: 2 of the managers 10"):
        deploy(manager, cluster.nodes.stack(images), print)


def test_an_engine_in_no_swarm_is_named(cluster: Cluster) -> None:
    """This machine's own."""
    with pytest.raises(StackError, match="this engine is in no Swarm"):
        deploy(type(cluster.nodes.manager())(), cluster.nodes.stack({"COMPOSE_FILE": with_swarm("")}), print)
