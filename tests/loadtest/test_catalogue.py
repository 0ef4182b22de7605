"""The data files are read strictly: a mistake is named with its file, its entry and what would be right."""

import re
from pathlib import Path

import pytest

from loadtest.catalogue import choose, load_candidates, load_workloads
from loadtest.records.store import RunError

GOOD = """# a comment

[[workload]]
name = "json"
title = "t"
question = "q"
users = { Json = 1 }
judged = "json"
slo_ms = 100
"""


def test_the_kits_own_files_are_right() -> None:
    found = load_candidates()
    assert [name for name, one in found.items() if not one.on_request] == ["sync", "gthread", "gevent", "tornado"]
    servers = {path.parent.name for path in Path(__file__).parents[2].glob("servers/*/server.toml")}
    assert {one.settings["SERVER"] for one in found.values() if one.on_request} == servers
    assert {"json", "page", "wait", "mixed", "cpu", "write", "upload", "stream", "slow-clients", "journey"} < load_workloads().keys()


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("slo_ms = 100", 'slo_ms = "fast"', "workload 1 .json.: slo_ms = 'fast'", "valid number"),
        ("slo_ms = 100", "slo_ms = -1", "slo_ms = -1", "greater than 0"),
        ("slo_ms = 100", "slo_ms = nan", "slo_ms = nan", "finite|greater than 0"),
        ("slo_ms = 100", 'slo_ms = 100\nmax_rate_per_s = "many"', "max_rate_per_s = 'many'", "valid number"),
        ("slo_ms = 100", "slo_ms = 100\nmax_rate_per_s = inf", "max_rate_per_s = inf", "finite"),
        ("slo_ms = 100", "slo = 100", "workload 1 .json.: 'slo' is unknown", "the nearest is 'slo_ms'"),
        ("judged = ", "judged ", "line 8", "right is a TOML"),
        ('judged = "json"', "", "workload 1 .json.: judged", "required|missing"),
        ("users = { Json = 1 }", "users = {}", "users = ", "at least 1"),
        ("users = { Json = 1 }", "users = { Json = 0 }", "users.0.2 = 0", "greater than 0"),
        ('"json"\ntitle', '"J/son"\ntitle', "name = 'J/son'", "match pattern"),
        ("[[workload]]", "[[worklod]]", "worklod instead of", r"\[\[workload\]\]"),
        (GOOD, "", "nothing instead of", r"at least one \[\[workload\]\]"),
        (GOOD, GOOD + GOOD, "'json' stands there twice", "another name"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str, hint: str) -> None:
    path = tmp_path / "workloads.toml"
    path.write_text(GOOD.replace(old, new, 1))

    with pytest.raises(RunError) as caught:
        load_workloads(path)

    assert caught.value.exit_code == 2
    assert str(path) in caught.value.message
    assert re.search(message, caught.value.message)
    assert re.search(hint, caught.value.hint)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(RunError) as caught:
        choose(load_candidates(), ["gevnt"], "candidate")

    assert caught.value.message == "there is no candidate 'gevnt'"
    assert caught.value.hint == "the nearest is 'gevent'"


def test_a_file_that_is_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        load_candidates(tmp_path / "nothing.toml")
