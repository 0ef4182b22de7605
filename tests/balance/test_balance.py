"""The load is shared, and instances come, go, die and move without a failed GET.

LIMITS=off because 3,000 requests from one address are more than one visitor's budget. The worker class is the default,
named so that the tests of the worker classes can go on with the same stack.
"""

import json
import re
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.clients import Background, Reply, Session, at_once, background, spread, wait_until
from tests.surgery import Edit, address_of, docker, edited_gateway, unit_list
from tools.stack import Stack

SETTINGS = {"LAB_ENABLED": "1", "LIMITS": "off", "GUNICORN_WORKER_CLASS": "gthread"}
pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(**SETTINGS)]
# Without the WAF the gateway itself chooses the container, so its configuration can be edited to choose otherwise.
gateway_chooses = pytest.mark.stack_env(**SETTINGS, WAF_MODE="Off")

REPLICAS = 3
PROCESS = "/lab/process"
# How soon a new instance serves is measured against 5 s and printed. What fails the test is far beyond what a busy
# machine adds, and far below the ten minutes for which Docker's DNS lets a name be remembered.
FOUND_S = 60


def server(reply: Reply) -> str:
    """Return the name of the container that answered."""
    container: str = json.loads(reply.body)["container"]
    return container


def shares(replies: Sequence[Reply]) -> Counter[str]:
    """Count the requests that each instance served; fail when one of them failed."""
    assert failures(replies) == []
    return Counter(server(reply) for reply in replies)


def failures(replies: Sequence[Reply]) -> list[Reply]:
    return [reply for reply in replies if reply.failed]


@pytest.fixture
def three(stack: Stack) -> Stack:
    """A stack with three instances, all known to nginx, whatever the test before left behind."""
    if stack.replicas != REPLICAS:
        stack.scale("app", REPLICAS)
    wait_until(lambda: all_serve(stack.url, REPLICAS), f"{REPLICAS} instances serve", timeout_s=FOUND_S)
    return stack


def all_serve(url: str, count: int) -> bool:
    """Say whether so many instances serve now, and no request fails. For waiting: failures on the way are no finding."""
    replies = spread(url, PROCESS, requests=4 * count, clients=1, keep_alive=False)
    return not failures(replies) and len(shares(replies)) == count


@contextmanager
def signing(url: str) -> Iterator[Callable[[], list[Reply]]]:
    """Let a client POST entries steadily, each with a key of its own, and never the same one twice."""
    with Session(url) as session:

        def post() -> Reply:
            key = secrets.token_hex(16)
            body = json.dumps({"name": "Balance", "message": key}).encode()
            return session.send("POST", "/api/entries", body=body, headers={"Content-Type": "application/json", "Idempotency-Key": key})

        with Background(post, pause_s=0.05) as running:
            yield lambda: list(running.replies)


def after(moment: float, replies: Sequence[Reply]) -> list[Reply]:
    """Return the replies to what was sent after a moment."""
    return [reply for reply in replies if reply.started_at >= moment]


# --- Equal shares -------------------------------------------------------------------------------------------------------


def test_3000_requests_are_shared_equally(three: Stack) -> None:
    """One after the other: of several at once, a container that a busy machine holds up gets fewer, as it should."""
    counts = shares(spread(three.url, PROCESS, requests=3000, clients=1, keep_alive=False))
    assert sorted(counts.values()) == pytest.approx([1000] * REPLICAS, rel=0.1)


def test_so_are_those_of_one_kept_connection(three: Stack) -> None:
    counts = shares(spread(three.url, PROCESS, requests=300, clients=1, keep_alive=True))
    assert sorted(counts.values()) == pytest.approx([100] * REPLICAS, rel=0.1)


@gateway_chooses
def test_also_without_connections_kept_to_gunicorn(three: Stack) -> None:
    with edited_gateway(three, Edit(r"proxy_set_header Host .*", r"\g<0>\nproxy_set_header Connection close;")):
        counts = shares(spread(three.url, PROCESS, requests=300, clients=1, keep_alive=True))
    assert sorted(counts.values()) == pytest.approx([100] * REPLICAS, rel=0.1)


@gateway_chooses
def test_a_fixed_choice_would_not_share(three: Stack) -> None:
    """The negative twin: with a balancing method that sends one client to one server, the count shows it."""
    # `hash` does not know backup servers.
    with edited_gateway(three, Edit("least_conn;", "hash $remote_addr;"), Edit(r"(?m)^ *server .* backup;", "")):
        assert list(shares(spread(three.url, PROCESS, requests=60, clients=1, keep_alive=False)).values()) == [60]


# --- Scaling under load ---------------------------------------------------------------------------------------------------


def test_five_instances_and_back_to_two_under_load(three: Stack, note: Callable[[str], None]) -> None:
    with background(three.url, PROCESS, clients=2) as gets, signing(three.url) as posts:
        wait_until(lambda: len(shares(gets())) == REPLICAS, "all three serve under load")

        three.scale("app", 5)
        ready_at = time.monotonic()
        wait_until(lambda: len(shares(gets())) == 5, "all five serve", timeout_s=FOUND_S)
        first_served = {one: min(reply.ended_at for reply in gets() if server(reply) == one) for one in shares(gets())}
        latest_s = max(first_served.values()) - ready_at
        assert failures(posts()) == []

        leaving_at = time.monotonic()
        three.scale("app", 2)
        gone_at = time.monotonic()
        wait_until(lambda: len(after(gone_at, gets())) >= 100, "requests go on")

    slowest_s = max(reply.seconds for reply in gets() if reply.started_at < leaving_at)
    note(f"scale 3 to 5 under load ({three.runtime}): the slowest GET meanwhile took {slowest_s:.2f} s")
    lost = failures(after(leaving_at, posts()))
    note(f"scale 3 to 5 under load ({three.runtime}): the last instance served {latest_s:+.1f} s after all were ready (wanted: 5)")
    note(f"scale 5 to 2 under load ({three.runtime}): {len(lost)} of {len(after(leaving_at, posts()))} POSTs failed {describe(lost)}")
    assert failures(gets()) == []
    assert len(shares(after(gone_at, gets()))) == 2


def describe(replies: Sequence[Reply]) -> dict[str, int]:
    """Count failed replies by status or error."""
    return dict(Counter(reply.error or str(reply.status) for reply in replies))


# --- Death and removal ------------------------------------------------------------------------------------------------------


def kill_one_under_load(stack: Stack) -> list[Reply]:
    """Kill one of the instances while clients ask steadily; return all replies."""
    with background(stack.url, PROCESS, clients=4, pause_s=0) as gets:
        wait_until(lambda: len(gets()) >= 200, "load", timeout_s=FOUND_S)
        docker("kill", unit_list(stack, "app")[0].id)
        killed_at = time.monotonic()
        wait_until(lambda: len(after(killed_at, gets())) >= 400, "requests after the death", timeout_s=FOUND_S)
    return gets()


def test_a_killed_instance_costs_no_get(three: Stack, note: Callable[[str], None]) -> None:
    lost = failures(kill_one_under_load(three))
    cut_off = [reply for reply in lost if reply.error.startswith("IncompleteRead")]
    note(f"an instance killed under load ({three.runtime}): {len(cut_off)} answers ended in the middle")
    # What nobody can repair: gunicorn had sent the head of the answer, and the client has it, when its process was killed.
    assert lost == cut_off


@gateway_chooses
def test_without_a_second_try_it_does(three: Stack) -> None:
    with edited_gateway(three, Edit("proxy_next_upstream error timeout;", "proxy_next_upstream off;")):
        lost = failures(kill_one_under_load(three))
    assert {reply.status for reply in lost} & {502, 504}


# --- New addresses ----------------------------------------------------------------------------------------------------------


def addresses(stack: Stack) -> set[str]:
    """Return the addresses of the app containers on the network that they share with the gateway."""
    return {address_of(unit, "web") for unit in unit_list(stack, "app")}


def replace_all(stack: Stack) -> None:
    """Put a new container in the place of each app container. The old ones go last: so no address can be given again."""
    old, old_addresses = unit_list(stack, "app"), addresses(stack)
    stack.scale("app", 2 * len(old))
    docker("rm", "--force", *(unit.id for unit in old))
    assert len(addresses(stack)) == len(old)
    assert not addresses(stack) & old_addresses


def test_replaced_containers_are_found_at_their_new_addresses(three: Stack) -> None:
    replace_all(three)
    wait_until(lambda: all_serve(three.url, REPLICAS), "the new containers serve, and nginx was not reloaded", timeout_s=FOUND_S)


@gateway_chooses
def test_without_resolve_they_are_never_found(three: Stack) -> None:
    """The negative twin: the name is looked up once, when the configuration is read, as nginx did before 1.27.3."""
    with edited_gateway(three, Edit(r" resolve\b", "")):
        assert len(shares(spread(three.url, PROCESS, requests=30, clients=1, keep_alive=False))) == REPLICAS
        replace_all(three)
        # Longer than it takes with `resolve`, by DNS that is asked every 2 s.
        until = time.monotonic() + 10
        with background(three.url, PROCESS) as gets:
            wait_until(lambda: time.monotonic() > until, "ten seconds have passed")
        assert {reply.status for reply in gets()} <= {502, 504}
    wait_until(lambda: all_serve(three.url, REPLICAS), "with the kit's own configuration they are", timeout_s=FOUND_S)


# --- A request that waits while the addresses change ---------------------------------------------------------------------------

# An instance that answers nothing, as one whose machine is gone: its queue of connections is full, so the kernel drops more.
HOLE = """
import select, socket
listener = socket.create_server(("", 8000), backlog=0)
clients = [socket.socket() for _ in range(3)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", 8000))
select.select([], [], [])
"""
# Longer than it takes to remove a container and for nginx to hear of it, so that the addresses do change meanwhile.
PATIENT = (
    Edit("proxy_connect_timeout 2s;", "proxy_connect_timeout 8s;"),
    Edit("proxy_next_upstream_timeout 5s;", "proxy_next_upstream_timeout 20s;"),
)


def wait_for_a_hole(stack: Stack) -> list[Reply]:
    """Let requests wait for an instance that answers nothing, remove it, and return what became of them."""
    (image,) = {docker("inspect", "--format", "{{.Config.Image}}", unit.id).strip() for unit in unit_list(stack, "app")}
    hole = docker(
        "run", "--detach", "--rm", "--network", f"{stack.name}_web", "--network-alias", "app", image, "python", "-c", HOLE
    ).strip()
    try:
        wait_until(lambda: any(reply.status is None for reply in at_once(stack.url, PROCESS, requests=6, timeout_s=1)), "nginx knows it")
        with ThreadPoolExecutor(1) as pool:
            replies = pool.submit(at_once, stack.url, PROCESS, requests=12)
            wait_until(replies.running, "the requests are on their way")
            docker("rm", "--force", hole)
            return replies.result()
    finally:
        subprocess.run(["docker", "rm", "--force", hole], check=False, capture_output=True)


@gateway_chooses
def test_a_get_that_waits_while_addresses_change_begins_again(three: Stack) -> None:

    def begun_again() -> bool:
        """Whether some have waited, and the wait has ended with nobody left to ask. None fails, however often it is tried."""
        assert failures(wait_for_a_hole(three)) == []
        return bool(re.search(r'"upstream":"[0-9.]+:8000, app : [0-9.]+:8000"', three.logs("gateway")))

    with edited_gateway(three, *PATIENT):
        wait_until(begun_again, "a request waits until the addresses have changed", timeout_s=120)


@gateway_chooses
def test_it_would_fail_without_a_second_beginning(three: Stack) -> None:
    with edited_gateway(three, *PATIENT, Edit(r"error_page 502 = \$kit_on_502;", "error_page 502 $kit_error_page;")):
        # Where nginx hears of the change only after the kernel has given up the connection, it asks the others: once more, then.
        wait_until(lambda: {reply.status for reply in wait_for_a_hole(three)} == {200, 502}, "a request fails", timeout_s=120)
