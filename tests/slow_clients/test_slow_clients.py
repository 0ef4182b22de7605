"""A client may be slow towards nginx, never towards gunicorn.

One sync worker in each instance: what a single slow client can hold is then the whole instance, and nothing is hidden
behind spare threads. LIMITS=off because all clients here have one address: with the limits on, nginx would refuse the
51st slow connection, and the tests would show that instead of the buffers. MAX_IN_FLIGHT=0 because 300 clients begin in
one moment, and each instance answers them one after the other.

The negative twins run the same stack, with the one directive changed that each is about (tests/surgery.py).
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import Readers, Reply, Senders, Session, percentile_ms, slow_clients, steady, wait_until
from tests.surgery import Edit, TempFiles, Workers, bare_url, directive, edited_gateway, gateway_url
from tools.stack import Stack

# Uploads here are plain bytes, which the firewall refuses unless they are named.
pytestmark = [
    pytest.mark.runtimes("compose"),
    pytest.mark.stack_env(
        LAB_ENABLED="1",
        LIMITS="off",
        MAX_IN_FLIGHT="0",
        GUNICORN_WORKER_CLASS="sync",
        WEB_CONCURRENCY="1",
        WAF_CONTENT_TYPES="application/octet-stream",
    ),
]
BYTES = {"Content-Type": "application/octet-stream"}

FAST = "/lab/json"
# A request that hangs would hang until nginx gives up after 35 s; one that is answered takes milliseconds. A loaded
# machine is far from both.
HANGS_S = 3
ANSWERED_S = 20

# 300 clients that read 1 MiB at 1 KB/s, which takes 17 minutes, and 300 that send 100 kB, which takes 100 s.
READERS = Readers(300, "/lab/payload?kib=1024")
SENDERS = Senders(300, "/lab/upload", body_bytes=100_000)

# Clients that stop altogether, enough of them for every worker of the stack. Besides nginx the kernel takes an answer off
# a worker: up to 4 MiB in gunicorn's socket, 1 MiB in nginx's, the same once more between WAF and gateway, and 2.5 MiB towards
# the client were seen. So LARGE is more than the kernel takes and less than nginx does (proxy_max_temp_file_size), and LARGEST
# is more than both together.
LARGE_KIB = 15 * 1024
LARGE = f"/lab/payload?kib={LARGE_KIB}"
LARGEST = "/lab/payload?kib=49152"
STALLED_READERS = Readers(9, LARGE, bytes_per_second=0)
# From a million bytes on: the WAF holds smaller bodies itself, to inspect them.
STALLED_SENDERS = Senders(9, "/lab/upload", body_bytes=1_100_000, bytes_per_second=0)


@pytest.fixture
def url(stack: Stack) -> str:
    """Where nginx itself accepts connections."""
    return gateway_url(stack)


@pytest.fixture
def workers(stack: Stack) -> Workers:
    """The workers of the stack: one in each instance."""
    return Workers(stack)


def get(url: str, path: str = FAST, *, timeout_s: float = ANSWERED_S) -> Reply:
    with Session(url, timeout_s=timeout_s) as session:
        return session.get(path)


def hangs(url: str) -> bool:
    """Say whether a fast client waits in vain."""
    return "timed out" in get(url, timeout_s=HANGS_S).error


# --- 600 slow clients -------------------------------------------------------------------------------------------------


def test_a_fast_client_does_not_notice_600_slow_ones(stack: Stack, url: str, workers: Workers, note: Callable[[str], None]) -> None:
    alone = steady(url, FAST, requests=150, timeout_s=ANSWERED_S)
    with slow_clients(url, READERS, SENDERS) as slow:
        slow.wait_until_holding()
        beside = steady(url, FAST, requests=150, timeout_s=ANSWERED_S)
        # All of it happened while they held on: not one of them was done, refused or cut off.
        assert slow.holding() == 600
        wait_until(lambda: not any(workers.held()), "no worker is in the hands of a slow client")

    figures = percentile_ms(alone, 99), percentile_ms(beside, 99)
    note(f"fast client ({stack.runtime}), not a quiet machine: p99 {figures[0]:.1f} ms alone, {figures[1]:.1f} ms beside 600 slow clients")
    assert [reply for reply in (*alone, *beside) if reply.failed] == []
    # Between this and the collapse, where no request is answered at all, lie orders of magnitude. The figure itself is
    # for a quiet machine: `pytest -m bench`.
    assert figures[1] < 1000 * HANGS_S


def test_the_same_attack_stops_bare_gunicorn(stack: Stack, workers: Workers) -> None:
    url = bare_url(stack)
    assert get(url).status == 200

    with slow_clients(url, READERS, SENDERS):
        wait_until(lambda: workers.held()[0] and hangs(url), "the worker is in the hands of a slow client")

    wait_until(lambda: get(url).status == 200, "the worker is free again after they hung up", timeout_s=60)


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_how_much_a_fast_client_notices(stack: Stack, url: str, note: Callable[[str], None]) -> None:
    """Measure the ratio of the fast client's p99 beside 600 slow ones to its p99 alone; a figure for a quiet machine."""
    rounds = []
    for _ in range(3):
        # Half of the time alone before and half after, so that a machine that becomes busier does not look like a finding.
        alone = steady(url, FAST, requests=500, per_second=100)
        with slow_clients(url, READERS, SENDERS) as slow:
            slow.wait_until_holding()
            beside = steady(url, FAST, requests=1000, per_second=100)
            assert slow.holding() == 600
        alone += steady(url, FAST, requests=500, per_second=100)
        assert [reply for reply in (*alone, *beside) if reply.failed] == []
        alone_ms, beside_ms = percentile_ms(alone, 99), percentile_ms(beside, 99)
        rounds.append({"p99_alone_ms": alone_ms, "p99_beside_ms": beside_ms, "ratio": beside_ms / alone_ms})
        note(f"slow clients ({stack.runtime}): p99 {alone_ms:.2f} ms alone, {beside_ms:.2f} ms beside, ratio {beside_ms / alone_ms:.2f}")
    artifacts = Path(__file__).parents[1] / "artifacts"
    artifacts.mkdir(exist_ok=True)
    (artifacts / f"slow-clients-{stack.runtime}.json").write_text(json.dumps(rounds, indent=2))


# --- The five rows: one stalled client, one directive -----------------------------------------------------------------


def test_a_client_that_reads_nothing_holds_no_worker(url: str, workers: Workers) -> None:
    with slow_clients(url, STALLED_READERS) as slow:
        slow.wait_until_holding()
        wait_until(lambda: not any(workers.held()), "nginx has taken the answers off the workers")
        assert get(url).status == 200
        assert slow.holding() == STALLED_READERS.clients


# In the twins a worker may still be busy with an answer that the buffers will take in the end, so what is waited for is the harm itself.


def test_without_buffered_answers_it_holds_one(stack: Stack, url: str, workers: Workers) -> None:
    with edited_gateway(stack, directive("proxy_buffering", "off")), slow_clients(url, STALLED_READERS):
        wait_until(lambda: all(workers.held()) and hangs(url), "every worker waits for a client that reads nothing")


def test_a_small_buffer_holds_one(stack: Stack, url: str, workers: Workers) -> None:
    with edited_gateway(stack, directive("proxy_max_temp_file_size", "1m")), slow_clients(url, Readers(9, LARGEST, bytes_per_second=0)):
        wait_until(lambda: all(workers.held()) and hangs(url), "every worker waits for a client that reads nothing")


def test_an_answer_larger_than_the_buffer_holds_one(url: str, workers: Workers) -> None:
    """The bound of the kit's own configuration: an answer over proxy_max_temp_file_size (16m) and what sockets hold."""
    with slow_clients(url, Readers(9, LARGEST, bytes_per_second=0)):
        wait_until(lambda: all(workers.held()) and hangs(url), "every worker waits for a client that reads nothing")


def test_a_client_that_stops_sending_holds_no_worker(url: str, workers: Workers) -> None:
    with slow_clients(url, STALLED_SENDERS) as slow:
        slow.wait_until_holding()
        assert not any(workers.held())
        assert get(url).status == 200
        assert slow.holding() == STALLED_SENDERS.clients


def test_without_buffered_requests_it_holds_one(stack: Stack, url: str, workers: Workers) -> None:
    with edited_gateway(stack, directive("proxy_request_buffering", "off")), slow_clients(url, STALLED_SENDERS):
        wait_until(lambda: all(workers.held()) and hangs(url), "every worker waits for the rest of a body")


# --- Temp files ---------------------------------------------------------------------------------------------------------


def test_an_upload_lies_in_a_temp_file_only_while_it_lasts(stack: Stack, url: str) -> None:
    """What exceeds client_body_buffer_size (64k) goes to a file; what does not never touches the disk."""
    files = TempFiles(stack, "client_body")
    large = Senders(4, "/lab/upload", body_bytes=200_000, bytes_per_second=0, first_bytes=100_000)
    small = Senders(4, "/lab/upload", body_bytes=60_000, bytes_per_second=0, first_bytes=50_000)
    with slow_clients(url, large, small) as slow:
        slow.wait_until_holding()
        wait_until(lambda: files.count() == large.clients, "each large upload has a temp file")
        slow.hurry()
        assert {(one.status, one.sent) for one in slow.wait_until_ended(timeout_s=60)} == {(200, 200_000), (200, 60_000)}
        wait_until(lambda: not files.count(), "the files of complete uploads are gone")

    with slow_clients(url, large) as slow:
        slow.wait_until_holding()
        wait_until(lambda: files.count() == large.clients, "each large upload has a temp file")
    wait_until(lambda: not files.count(), "the files of clients that hung up are gone too")


def test_an_answer_lies_in_a_temp_file_only_while_it_is_read(stack: Stack, url: str) -> None:
    files = TempFiles(stack, "proxy")
    with slow_clients(url, STALLED_READERS) as slow:
        slow.wait_until_holding()
        wait_until(lambda: files.count() == STALLED_READERS.clients, "each large answer has a temp file")
        slow.hurry()
        assert {(one.ending, one.received) for one in slow.wait_until_ended(timeout_s=60)} == {("complete", LARGE_KIB * 1024)}
        wait_until(lambda: not files.count(), "the files of answers that were read are gone")


def wait_until_full(stack: Stack, files: TempFiles) -> None:
    """Return when nginx has met the end of the file system on which these temp files lie."""
    # The last one that fits in part is told of in other words, and where all end there, in no others.
    complaint = re.compile(rf'"{files.folder}/\d+" (failed \(28: No space left on device\)|has written only \d+ of \d+)')
    wait_until(lambda: complaint.search(stack.logs("gateway")), "the tmpfs is full", timeout_s=180)


@pytest.mark.timeout(600)
def test_too_many_large_answers_cost_slow_readers_theirs_and_nobody_else(stack: Stack, url: str, workers: Workers) -> None:
    """The bound of the tmpfs. What does not fit any more is cut off, and the gateway lives on."""
    files = TempFiles(stack, "proxy")
    before = files.used_bytes()
    # 512 MiB are full when each of these leaves 3.5 MiB there, so the kernel may take 8 of each answer's 12.
    with slow_clients(url, Readers(150, LARGE)) as slow:
        wait_until_full(stack, files)
        # Making 150 large answers is work like any other: who comes in the middle of it waits, slow readers or not.
        wait_until(lambda: not any(workers.held()), "no worker is in the hands of a slow client", timeout_s=180)
        beside = steady(url, FAST, requests=100, timeout_s=ANSWERED_S)
        slow.hurry()
        ended = slow.wait_until_ended(timeout_s=180)

    assert [reply for reply in beside if reply.failed] == []
    complete = [one for one in ended if one.ending == "complete"]
    cut_off = [one for one in ended if one.ending == "closed by peer" and one.received < LARGE_KIB * 1024]
    assert complete
    assert cut_off
    assert [one for one in ended if one not in complete and one not in cut_off] == []
    assert len(get(url, LARGE).body) == LARGE_KIB * 1024
    wait_until(lambda: files.used_bytes() == before, "nothing is left of them")


def test_too_many_large_uploads_cost_slow_senders_theirs_and_nobody_else(stack: Stack, url: str) -> None:
    large = Senders(20, "/lab/upload", body_bytes=10_000_000, bytes_per_second=0, first_bytes=9_000_000)
    files = TempFiles(stack, "client_body")
    before = files.used_bytes()
    with slow_clients(url, large) as slow, Session(url, timeout_s=ANSWERED_S) as session:
        wait_until_full(stack, files)
        small = [session.send("POST", "/lab/upload", body=b"x" * 1000, headers=BYTES) for _ in range(20)]
        slow.hurry()
        ended = slow.wait_until_ended(timeout_s=120)
        alone = session.send("POST", "/lab/upload", body=b"x" * large.body_bytes, headers=BYTES)

    assert [reply for reply in (*small, alone) if reply.failed] == []
    assert 507 in {one.status for one in ended} <= {200, 507}
    wait_until(lambda: files.used_bytes() == before, "nothing is left of them")


def test_temp_files_that_are_kept_fill_their_place(stack: Stack, url: str) -> None:
    """Nginx can be told to keep the file of each body, as for debugging."""
    files = TempFiles(stack, "client_body")
    before = files.used_bytes()
    keep = Edit(r"(?m)^( *)(client_body_temp_path)", r"\1client_body_in_file_only on;\n\1\2")
    with edited_gateway(stack, keep), Session(url, timeout_s=ANSWERED_S) as session:
        assert session.send("POST", "/lab/upload", body=b"x" * 200_000, headers=BYTES).status == 200
    assert files.used_bytes() >= before + 200_000
    stack.exec("gateway", ["sh", "-c", f"rm -r {files.folder}/*"])
    assert files.used_bytes() == before
