"""The four modes of slowhttptest with 1,000 connections, and a visitor beside them (`make slow-attacks`; figures in docs/limits.md).

The attack comes from this machine's own address; the visitor has another one, which a trusted load balancer would have said (PROXIES).
With the limits off nothing but time and memory stands against the attack.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients import PATIENCE_S, Background, Reply, Session, percentile_ms, wait_until
from tests.limits.servers import PROXIES, family, memory_bytes, open_files
from tests.surgery import gateway_url
from tools.stack import Stack

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

CONNECTIONS, PER_S, SECONDS = 1000, 250, 20
PAYLOAD = "/lab/payload?kib=256"
# As options of slowhttptest, and the path that each is aimed at ("": a static file). To be read slowly, an answer must be made first:
# 250 a second are more than two cores make, and a matter of the limits.
MODES = {
    "headers": (["-H", "-i", "5", "-x", "24"], "/"),
    "body": (["-B", "-i", "5", "-x", "10", "-s", "8192"], "/"),
    "read": (["-X", "-n", "5", "-z", "32", "-w", "512", "-y", "1024", "-r", "50", "-l", "30"], PAYLOAD),
    "range": (["-R", "-a", "10", "-b", "3000"], ""),
}
PROBE = "/lab/json"
VISITOR = "203.0.113.1"
BOUND_S = 1.0
SAMPLE_S = 0.2
RECOVERY_S = 10
# Idle connections to the application and to the firewall's block that nginx may keep.
KEPT = 80
# What nginx may need for a thousand slow clients besides the temp files: buffers of 64 KiB and some for each.
MEMORY = 256 * 1024**2
TEMP_FILES = CONNECTIONS * 256 * 1024


@contextmanager
def attack(program: str, url: str, options: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    # As if through a proxy: so the request names localhost, which the site answers to, wherever the gateway is.
    target = ["-d", urlsplit(url).netloc, "-u", f"http://localhost{urlsplit(url).path}"]
    if query := urlsplit(url).query:
        target[-1] += f"?{query}"
    command = [program, "-c", str(CONNECTIONS), "-r", str(PER_S), "-l", str(SECONDS), "-p", "3", *options, *target]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()


def ends_within(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


def static_file(url: str) -> str:
    """The path of a file that the first page names."""
    with Session(url) as session:
        named = re.search(rb'"(/static/[^"]+\.css)"', session.get("/").body)
    assert named
    return named[1].decode()


Siege = Callable[[Stack, str, float], None]


@pytest.fixture
def siege(command: Callable[[str], str], tmp_path: Path, note: Callable[[str], None]) -> Siege:
    """Return a function that attacks a stack in one mode, notes what that cost, and insists on what must hold."""

    def run(stack: Stack, mode: str, bound_s: float) -> None:
        url = gateway_url(stack)
        options, path = MODES[mode]
        nginx = family(stack, "gateway")
        memory, files = memory_bytes(stack, "gateway"), open_files(nginx)
        most_memory, most_files = memory, files

        def probe() -> Reply:
            with Session(url) as session:
                return session.send("GET", PROBE, headers={"X-Forwarded-For": VISITOR})

        with Background(probe, pause_s=0.1) as visitor:
            wait_until(lambda: len(visitor.replies) >= 10, "the visitor is served")
            with attack(command("slowhttptest"), url + (path or static_file(url)), options, tmp_path / "log") as process:
                while not ends_within(process, SAMPLE_S):
                    most_memory = max(most_memory, memory_bytes(stack, "gateway"))
                    most_files = max(most_files, open_files(nginx))
            ended = time.monotonic()
            wait_until(lambda: open_files(nginx) <= files + KEPT, "nginx holds none of the attack any more", timeout_s=RECOVERY_S)
            back_s = time.monotonic() - ended
            served = len(visitor.replies)
            wait_until(lambda: len(visitor.replies) >= served + 10, "the visitor is served on")

        slowest = max(reply.seconds for reply in visitor.replies)
        note(
            f"{len(visitor.replies)} probes, p50 {percentile_ms(visitor.replies, 50):.0f} ms, slowest {1000 * slowest:.0f} ms; "
            f"descriptors {files}, at most {most_files}; memory {memory >> 20} MiB, at most {most_memory >> 20} MiB; "
            f"back to normal {back_s:.1f} s after"
        )
        log = re.sub(r"\x1b\[[0-9;]*m", "", (tmp_path / "log").read_text(errors="replace"))
        assert [reply for reply in visitor.replies if reply.failed] == []
        assert slowest < bound_s
        assert most_memory - memory < MEMORY + (TEMP_FILES if stack.runtime == "compose" else 0)
        # It was an attack: otherwise the figures above say nothing. (Answers to ranges are over at once.)
        assert mode == "range" or most_files > files + CONNECTIONS / 4, log[-2000:]

    return run


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.stack_env(LAB_ENABLED="1", LIMITS="off", MAX_IN_FLIGHT="0", TRUSTED_PROXIES=PROXIES)
def test_without_limits_a_visitor_is_served_throughout(stack: Stack, siege: Siege, mode: str) -> None:
    # Whoever reads slowly has made the application work first: without limits that is what a visitor waits for.
    siege(stack, mode, PATIENCE_S if mode == "read" else BOUND_S)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.stack_env(LAB_ENABLED="1", TRUSTED_PROXIES=PROXIES)
def test_with_limits_a_visitor_is_served_throughout(stack: Stack, siege: Siege, mode: str) -> None:
    siege(stack, mode, BOUND_S)
