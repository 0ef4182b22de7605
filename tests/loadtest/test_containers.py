"""compose/locust.yaml: Locust's master and its workers in containers beside the site, as its first lines say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients import wait_until
from tools.stack import Stack

OVERLAYS = [Path(__file__).resolve().parents[2] / "compose" / name for name in ("lab.yaml", "locust.yaml")]
WORKERS = 2


@pytest.mark.runtimes("compose")
@pytest.mark.timeout(600)  # its image is built here
def test_a_master_gives_visitors_to_its_workers(stack_factory: Callable[..., Stack], free_port: int) -> None:
    stack = stack_factory({"APP_REPLICAS": "1", "LOCUST_PORT": str(free_port)}, OVERLAYS)
    stack.scale("locust-worker", WORKERS)
    with httpx.Client(base_url=f"http://127.0.0.1:{free_port}", timeout=20) as locust:

        def seen() -> dict[str, Any]:
            answer: dict[str, Any] = locust.get("/stats/requests").raise_for_status().json()
            return answer

        wait_until(lambda: len(seen()["workers"]) == WORKERS, "all workers are known to the master", timeout_s=60)
        # /lab/wait: nobody is limited, the laboratory is open, and the slow service behind it runs.
        started = locust.post("/swarm", data={"user_count": "4", "spawn_rate": "4", "user_classes": "Wait"}).json()
        assert started["success"], started
        wait_until(lambda: sum(row["num_requests"] for row in seen()["stats"]) >= 100, "requests are counted", timeout_s=60)
        found = seen()
        locust.post("/stop").raise_for_status()

    assert found["errors"] == []
    assert {row["name"] for row in found["stats"]} == {"wait", "Aggregated"}
    assert [worker["user_count"] for worker in found["workers"]] == [2, 2]
