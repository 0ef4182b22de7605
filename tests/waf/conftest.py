"""Fixtures: what is behind the sites, and one that is as it is by default."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.nginx.backends import RawBackend, answer
from tests.nginx.gateway import ROOT
from tests.sites import Sites
from tests.waf.site import Site, Waf


@pytest.fixture(scope="session")
def backend() -> Iterator[RawBackend]:
    """What is behind the sites of this session; `seen` is what reached it."""
    with RawBackend(answer) as backend:
        yield backend


@pytest.fixture(scope="session")
def site(shared_sites: Sites, backend: RawBackend) -> Site:
    """One with the WAF as it is by default (LIMITS=off)."""
    return shared_sites(backend.address)


def rules_of(transaction: Mapping[str, Any]) -> list[int]:
    """The numbers of the rules that matched."""
    return [int(message["details"]["ruleId"]) for message in transaction["messages"]]


def printed(waf: Waf) -> list[dict[str, Any]]:
    """The lines of the container's log, out of what ModSecurity has written."""
    command = ["jq", "-n", "-R", "-c", "-f", str(ROOT / "waf" / "audit.jq"), str(waf.folder / "run" / "waf-audit")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
