"""A client may be slow towards nginx, never towards gunicorn.

One sync worker in each instance: what a single slow client can hold is then the whole instance, and nothing is hidden
behind spare threads. LIMITS=off because all clients here have one address: with the limits on, nginx would refuse the
51st slow connection, and the tests would show that instead of the buffers.

The negative twins run the same stack, with the one directive changed that each is about (tests/surgery.py).
"""

from collections.abc import Callable

import pytest

from stack import Stack
from tests.clients import Readers, Reply, Senders, Session, percentile_ms, slow_clients, steady, wait_until
from tests.surgery import bare_url, directive, edited_gateway, held_connections

pytestmark = pytest.mark.stack_env(LAB_ENABLED="1", LIMITS="off", GUNICORN_WORKER_CLASS="sync", WEB_CONCURRENCY="1")

FAST = "/lab/json"
# A request that hangs would hang until nginx gives up after 35 s; one that is answered takes milliseconds. A loaded
# machine is far from both.
HANGS_S = 3
ANSWERED_S = 20

# 300 clients that read 1 MiB at 1 KB/s, which takes 17 minutes, and 300 that send 100 kB, which takes 100 s.
READERS = Readers(300, "/lab/payload?kib=1024")
SENDERS = Senders(300, "/lab/upload", body_bytes=100_000)

# Clients that stop altogether, enough of them for every worker of the stack. Their answer, the largest the lab gives, is
# smaller than what nginx takes (proxy_max_temp_file_size) and larger than what the kernel takes off a worker by itself:
# on loopback up to 4 MiB in gunicorn's socket, 1 MiB in nginx's and 2.5 MiB towards the client were seen.
STALLED_READERS = Readers(9, "/lab/payload?kib=10240", bytes_per_second=0)
STALLED_SENDERS = Senders(9, "/lab/upload", body_bytes=100_000, bytes_per_second=0)


def get_fast(url: str, *, timeout_s: float = ANSWERED_S) -> Reply:
    with Session(url, timeout_s=timeout_s) as session:
        return session.get(FAST)


def all_workers_held(stack: Stack) -> bool:
    return all(held_connections(stack))


def no_worker_held(stack: Stack) -> bool:
    return not any(held_connections(stack))


def test_a_fast_client_does_not_notice_600_slow_ones(stack: Stack, note: Callable[[str], None]) -> None:
    alone = steady(stack.url, FAST, requests=150, timeout_s=ANSWERED_S)
    with slow_clients(stack.url, READERS, SENDERS) as slow:
        slow.wait_until_holding()
        beside = steady(stack.url, FAST, requests=150, timeout_s=ANSWERED_S)
        # All of it happened while they held on: not one of them was done, refused or cut off.
        assert slow.holding() == 600
        wait_until(lambda: no_worker_held(stack), "no worker is in the hands of a slow client")

    figures = percentile_ms(alone, 99), percentile_ms(beside, 99)
    note(f"fast client ({stack.runtime}), not a quiet machine: p99 {figures[0]:.1f} ms alone, {figures[1]:.1f} ms beside 600 slow clients")
    assert [reply for reply in (*alone, *beside) if reply.failed] == []
    # Between this and the collapse, where no request is answered at all, lie orders of magnitude. The figure itself is
    # for a quiet machine: `pytest -m bench`.
    assert figures[1] < 1000 * HANGS_S


def test_the_same_attack_stops_bare_gunicorn(stack: Stack) -> None:
    url = bare_url(stack)
    assert get_fast(url).status == 200

    with slow_clients(url, READERS, SENDERS):
        wait_until(lambda: held_connections(stack)[0], "the worker is in the hands of a slow client")
        assert "timed out" in get_fast(url, timeout_s=HANGS_S).error

    wait_until(lambda: get_fast(url).status == 200, "the worker is free again after they hung up", timeout_s=60)


# --- The five rows: one stalled client, one directive -----------------------------------------------------------------


def test_a_client_that_reads_nothing_holds_no_worker(stack: Stack) -> None:
    with slow_clients(stack.url, STALLED_READERS) as slow:
        slow.wait_until_holding()
        wait_until(lambda: no_worker_held(stack), "nginx has taken the answers off the workers")
        assert get_fast(stack.url).status == 200
        assert slow.holding() == STALLED_READERS.clients


def test_without_buffered_answers_it_holds_one(stack: Stack) -> None:
    with edited_gateway(stack, directive("proxy_buffering", "off")), slow_clients(stack.url, STALLED_READERS):
        wait_until(lambda: all_workers_held(stack), "every worker waits for a client that reads nothing")
        assert "timed out" in get_fast(stack.url, timeout_s=HANGS_S).error


def test_a_full_buffer_holds_one(stack: Stack) -> None:
    """The bound itself: what does not fit the buffers and one temp file is not taken off the worker."""
    smaller = Readers(9, "/lab/payload?kib=1024", bytes_per_second=0)
    with edited_gateway(stack, directive("proxy_max_temp_file_size", "1m")):
        with slow_clients(stack.url, smaller) as slow:
            slow.wait_until_holding()
            wait_until(lambda: no_worker_held(stack), "what fits is taken off the worker")
        with slow_clients(stack.url, STALLED_READERS):
            wait_until(lambda: all_workers_held(stack), "every worker waits for a client that reads nothing")
            assert "timed out" in get_fast(stack.url, timeout_s=HANGS_S).error


def test_a_client_that_stops_sending_holds_no_worker(stack: Stack) -> None:
    with slow_clients(stack.url, STALLED_SENDERS) as slow:
        slow.wait_until_holding()
        assert no_worker_held(stack)
        assert get_fast(stack.url).status == 200
        assert slow.holding() == STALLED_SENDERS.clients


def test_without_buffered_requests_it_holds_one(stack: Stack) -> None:
    with edited_gateway(stack, directive("proxy_request_buffering", "off")), slow_clients(stack.url, STALLED_SENDERS):
        wait_until(lambda: all_workers_held(stack), "every worker waits for the rest of a body")
        assert "timed out" in get_fast(stack.url, timeout_s=HANGS_S).error
