"""The command line: every mistake is one clear line and an exit code, before anything is started."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.judge.answers import answer_run
from loadtest.judge.difference import difference, obstacles
from loadtest.options import OPTIONS, VARIABLES, command_of
from loadtest.records.slices import Slice, Start
from loadtest.records.store import Store
from loadtest.report.words import difference as lines
from tests.loadtest.synthetic import manifest, run, stored

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = ROOT / "tests" / "loadtest" / "foreign"


def loadtest(*arguments: str | Path, cwd: Path = ROOT, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **settings}
    return subprocess.run(
        [sys.executable, "-m", "loadtest", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
        timeout=120,
    )


@pytest.fixture
def locustfile(tmp_path: Path) -> Path:
    path = tmp_path / "idle.py"
    path.write_text("print('no users here')\n")
    return path


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["run", "--candidates", "sync,gevnt"], "there is no candidate 'gevnt'\n          the nearest is 'gevent'", 2),
        (["run", "--workloads", "jsn"], "there is no workload 'jsn'\n          the nearest is 'json'", 2),
        (["run", "--slo", "fast"], "'fast' is not a valid float", 2),
        (["run", "--slo", "-5"], "-5", 2),
        (["run", "--minutes", "0"], "0", 2),
        (["run", "--minutes", "1", "--runtime", "local"], "1 minutes are too short for a verdict: 4 workloads of 4 candidates need", 2),
        (["run", "--sees", "much"], "'much' is no difference; right is a percentage such as 5%", 2),
        (["run", "--sees", "0.1%", "--runtime", "local"], "0.1% is out of reach on this machine", 2),
        (
            ["run", "--app", "nothing_of_that_name:app", "--scenario", "VISITORS"],
            "nothing_of_that_name:app cannot be imported: ModuleNotFoundError",
            1,
        ),
        (["run", "--app", "json:nothing", "--scenario", "VISITORS"], "json:nothing cannot be imported", 1),
        (["run", "--app", "shop:app", "--scenario", "VISITORS"], "shop:app answers GET /healthz with 404", 2),
        (["run", "--app", "json:dumps"], "the workloads are those of the sample site", 2),
        (["run", "--app", "json:dumps", "--scenario", "LOCUSTFILE", "--runtime", "compose"], "defines no user", 1),
        (["run", "--from-access-log", "LOCUSTFILE"], "holds no GET request that can be repeated", 2),
        (["run", "--from-access-log", "/nowhere"], "/nowhere cannot be read", 2),
        (["run", "--scenario", "LOCUSTFILE"], "defines no user", 1),
        (["report", "CUT"], "is not complete", 1),
        (["report", "OLD"], "manifest.json has format 2; this version reads 3", 2),
        (["report", "EMPTY"], "is empty", 2),
        (["report", "/nowhere"], "there is no run /nowhere", 2),
        (["report", "/"], "is not a run of this load test", 2),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, locustfile: Path, arguments: list[str], message: str, code: int) -> None:
    (tmp_path / "empty").mkdir()
    plan = manifest(("sync",), ("json",), blocks=1)
    stored(tmp_path / "cut", plan, run(plan, {}))
    with (tmp_path / "cut" / "records.jsonl").open("a") as file:
        file.write('{"kind": "slice", "work\n')
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text('{"format": 2, "blocks": 5}')
    named = {name.upper(): str(tmp_path / name) for name in ("empty", "old", "cut")}
    named |= {"LOCUSTFILE": str(locustfile), "VISITORS": str(ROOT / "tests" / "loadtest" / "visitors.py")}
    answer = loadtest(*[named.get(argument, argument) for argument in arguments], PYTHONPATH=f"{FOREIGN}:{ROOT}")

    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.returncode == code


@pytest.mark.parametrize(
    ("bind", "more", "message"),
    [
        ("", ["--runtime", "compose"], "the generators need an address of this machine"),
        ("192.0.2.1", ["--runtime", "local"], "the local runtime listens on 127.0.0.1 only"),
        ("192.0.2.1", ["--app", "json:dumps", "--scenario", str(FOREIGN / "shoppers.py")], "the images hold the sample site only"),
    ],
)
def test_generators_elsewhere_need_what_they_can_reach(bind: str, more: list[str], message: str) -> None:
    answer = loadtest("run", "--generators", "a,b", *more, GATEWAY_BIND=bind, APP_IMAGE="")

    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.returncode == 2


def test_the_plan_starts_nothing(tmp_path: Path) -> None:
    answer = loadtest("run", "--plan", "--runtime", "local", "--seed", "7", "--out", tmp_path / "run")

    assert answer.returncode == 0
    assert "seed 7" in answer.stdout
    assert "runtime local" in answer.stdout
    assert "minutes at most" in answer.stdout
    assert "four times of five, as quiet as it is now" in answer.stdout
    assert not (tmp_path / "run").exists()


def test_the_command_in_a_report_asks_the_same_again() -> None:
    options: dict[str, Any] = dict.fromkeys((*VARIABLES, *OPTIONS)) | {"profile": "quick", "runtime": "local", "workloads": ()}
    options |= {"seed": 1, "minutes": 10.0, "slo": 50.0, "sees": 0.05, "candidates": ("sync", "gevent")}

    assert command_of(options) == (
        "make loadtest PROFILE=quick RUNTIME=local ARGS='--seed 1 --candidates sync,gevent --slo 50 --minutes 10 --sees 5%'"
    )


def test_a_report_is_drawn_from_a_saved_run(tmp_path: Path) -> None:
    plan = manifest(("sync", "gthread"), ("json",), blocks=3)
    stored(tmp_path / "run", plan, run(plan, {}))

    assert loadtest("report", tmp_path / "run").stdout.split() == [
        str(tmp_path / "run" / name) for name in ("report.html", "report.md", "summary.json", "overview.svg")
    ]


def test_runs_that_ask_different_questions_are_not_compared(tmp_path: Path) -> None:
    for name, workload in (("a", "json"), ("b", "page")):
        plan = manifest(("sync", "gthread"), (workload,), blocks=3)
        stored(tmp_path / name, plan, run(plan, {}))
    answer = loadtest("diff", tmp_path / "a", tmp_path / "b")

    assert answer.returncode == 2
    assert "they have no workload in common" in answer.stderr


def test_two_runs_are_compared_and_contradictions_found() -> None:
    plan = manifest(("sync", "gthread"), ("page",), synthetic=False)
    first = answer_run(plan, run(plan, {("page", "gthread"): 300.0}, seed=1))
    same = difference(first, answer_run(plan, run(plan, {("page", "gthread"): 300.0}, seed=2)))
    turned = difference(first, answer_run(plan, run(plan, {("page", "gthread"): 100.0}, seed=2)))

    assert obstacles(plan, plan) == []
    assert same.contradictions == ()
    assert same.same_recommendation == {"page": True}
    assert len(turned.contradictions) == 1
    assert any("less" in line for line in lines(turned))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gives_verdict": False}, "gives no verdict"),
        ({"synthetic": True}, "is synthetic"),
        ({"machine": {"cpus": 64}}, "cpus is 2 and 64"),
        ({"limits": {"steal_share": 1.0}}, "what counts as valid differs"),
    ],
)
def test_runs_that_cannot_be_compared_say_why(changes: dict[str, Any], reason: str) -> None:
    plan = manifest(("sync",), ("json",), synthetic=False)
    parts: dict[str, Any] = {
        name: replace(getattr(plan, name), **value) if isinstance(value, dict) else value for name, value in changes.items()
    }

    assert any(reason in obstacle for obstacle in obstacles(plan, replace(plan, **parts)))


@pytest.mark.runtimes("local")
@pytest.mark.timeout(200)
def test_an_application_that_is_not_ours_is_compared_with_its_own_visitors(tmp_path: Path, runtime: str) -> None:
    question = ["--profile", "smoke", "--candidates", "gthread", "--app", "shop:app", "--scenario", str(FOREIGN / "shoppers.py")]
    answer = loadtest("run", *question, "--runtime", runtime, "--out", tmp_path / "run", PYTHONPATH=f"{FOREIGN}:{ROOT}", HEALTH_PATH="/up")
    records = Store(tmp_path / "run").records()
    recordings = [one.recording for one in records if isinstance(one, Slice)]

    assert answer.returncode == 0, answer.stderr
    assert "own: No verdict" in answer.stdout
    assert all(one.proof["worker_class"] == "gthread" for one in records if isinstance(one, Start))
    # What the shop was asked for, and nothing else. Who has no answer at the end of a slice counts under his own name.
    assert {name for one in recordings for name in one.series} - {"Shopper", "Guest"} == {"/", "/tea", "enter"}
    kinds = {kind for one in recordings for kind in one.errors}
    assert not {kind for kind in kinds if kind.startswith(("wrong answer", "status 4"))}
