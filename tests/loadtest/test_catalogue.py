"""The data files are read strictly: a mistake is named with its file, its line and what would be right."""

import re
from pathlib import Path

import pytest

from loadtest.catalogue import choose, load_candidates, load_workloads
from loadtest.store import RunError

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
    assert list(load_candidates()) == ["sync", "gthread", "gevent", "tornado"]
    assert {"json", "page", "wait", "mixed", "cpu", "write", "upload", "stream", "slow-clients", "journey"} < load_workloads().keys()


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("slo_ms = 100", 'slo_ms = "fast"', ":9: slo_ms = 'fast'", "is a number"),
        ("slo_ms = 100", "slo_ms = -1", ":9: slo_ms is -1", "above 0"),
        ("slo_ms = 100", "slo_ms = nan", ":9: slo_ms is nan", "above 0"),
        ("slo_ms = 100", 'slo_ms = 100\nmax_rate_per_s = "many"', ":10: max_rate_per_s = 'many'", "is a number"),
        ("slo_ms = 100", "slo_ms = 100\nmax_rate_per_s = inf", ":10: max_rate_per_s is inf", "above 0"),
        ("slo_ms = 100", "slo = 100", ":9: 'slo' is unknown", "the nearest is 'slo_ms'"),
        ("judged = ", "judged ", ":8|line 8", "right is TOML"),
        ('judged = "json"', "", ":3: judged is missing", "a text in quotes"),
        ("users = { Json = 1 }", "users = {}", ":7: users is empty", "scenarios and their shares"),
        ("users = { Json = 1 }", "users = { Json = 0 }", ":7: users is empty", "scenarios and their shares"),
        ('"json"\ntitle', '"J/son"\ntitle', ":4: the name 'J/son'", "lower-case"),
        ("[[workload]]", "[[worklod]]", ":3: 'worklod' is unknown", r"\[\[workload\]\]"),
        (GOOD, "", "there is no workload", r"at least one \[\[workload\]\]"),
        (GOOD, GOOD + GOOD, ":13: 'json' stands there twice", "another name"),
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
