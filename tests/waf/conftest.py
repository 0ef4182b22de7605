"""Fixtures: gateways with the firewall, in front of a backend that answers 200 to everything."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateways import Gateways
from tests.nginx.backends import RawBackend, answer
from tests.nginx.gateway import Gateway


@pytest.fixture(scope="session")
def backend() -> Iterator[RawBackend]:
    """What stands behind the firewalls of this session; `seen` is what reached it."""
    with RawBackend(answer) as backend:
        yield backend


@pytest.fixture(scope="session")
def gateway(runtime: str, not_run: Callable[[str], None], shared_gateways: Gateways, backend: RawBackend) -> Gateway:
    """One with the firewall as it is by default (LIMITS=off); not run where this machine's nginx has no module for it."""
    if runtime == "local" and not any(Path("/usr/lib/nginx/modules").glob("ngx_http_modsecurity_module.so")):
        not_run("nginx here has no module for the firewall")
    if shutil.which("jq") is None:
        not_run("jq is not installed")
    return shared_gateways(backend.address)


def audited(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Map each request id to what ModSecurity wrote about it, before audit.jq (without nginx/start it is a plain file)."""
    text = (gateway.folder / "run" / "waf-audit").read_text(errors="replace")
    complete, _, _ = text.rpartition("\n")  # the last line may be in the middle of being written
    transactions = (json.loads(line)["transaction"] for line in complete.splitlines() if line)
    return {found["unique_id"]: found for found in transactions}


def rules_of(transaction: dict[str, Any]) -> list[int]:
    """The numbers of the rules that matched."""
    return [int(message["details"]["ruleId"]) for message in transaction["messages"]]
