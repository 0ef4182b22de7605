"""What was asked for on the command line, made into the manifest of a run; nothing is started here."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from loadtest.access_log import read_access_log
from loadtest.catalogue import choose, load_candidates, load_workloads
from loadtest.judge.inference import CONFIDENCE
from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.machine import fingerprint
from loadtest.measure.order import Order
from loadtest.measure.servers import Servers
from loadtest.plan import PROFILES, order_of
from loadtest.records.model import Candidate, Limits, Manifest, Workload
from loadtest.records.recording import ALL
from loadtest.records.store import RunError

RESULTS = Path(__file__).resolve().parent / "results"
MARGIN = 0.05
RATES = (0.5, 0.7, 0.9, 1.2)
OWN_SLO_MS = 200.0
# What stands before ARGS in the command that asks the same again, and what stands in it.
VARIABLES = ("profile", "runtime", "app", "scenario")
OPTIONS = ("seed", "candidates", "workloads", "slo", "blocks", "from_access_log")


def runtime_of(options: dict[str, Any]) -> str:
    """Return the runtime to ask for: an application that is not in the images runs as plain processes, unless there are images of it."""
    runtime: str = options["runtime"]
    if not options["app"] or os.environ.get("APP_IMAGE"):
        return runtime
    if runtime == "compose":
        raise RunError("the images hold the sample site only", "name one of your own (APP_IMAGE=…), or use RUNTIME=local", 2)
    return "local"


def settings_of(options: dict[str, Any]) -> dict[str, str]:
    """Return the settings of every server: which application, and from where it is imported."""
    if not options["app"]:
        return {}
    folders = [str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    health = {"HEALTH_PATH": os.environ["HEALTH_PATH"]} if os.environ.get("HEALTH_PATH") else {}
    return {"APP_MODULE": options["app"], "PYTHONPATH": os.pathsep.join(folders), **health}


def question(options: dict[str, Any]) -> tuple[tuple[Candidate, ...], tuple[Workload, ...]]:
    known, works = load_candidates(), load_workloads()
    candidates = choose(known, options["candidates"] or [name for name, one in known.items() if not one.on_request], "candidate")
    if options["app"] and not (options["scenario"] or options["from_access_log"]):
        raise RunError(
            "the workloads are those of the sample site", "say what visitors of your application do: SCENARIO=path/to/locustfile.py", 2
        )
    if options["from_access_log"]:
        workloads: tuple[Workload, ...] = (_replayed(options["from_access_log"]),)
    elif options["scenario"]:
        workloads = (_own_workload(options["scenario"].resolve(), options["scenario"].name),)
    else:
        workloads = choose(works, options["workloads"] or PROFILES[options["profile"]].workloads or list(works), "workload")
    if options["slo"]:
        workloads = tuple(replace(work, slo_ms=options["slo"]) for work in workloads)
    return candidates, workloads


def _replayed(log: Path) -> Workload:
    mix = read_access_log(log)
    click.echo("\n".join(mix.lines()))
    folder = RESULTS / "scenarios"
    folder.mkdir(parents=True, exist_ok=True)
    scenario = folder / f"{mix.name}.py"
    scenario.write_text(mix.locustfile(), encoding="utf-8")
    return _own_workload(scenario, f"the GET requests of {log.name}")


def _own_workload(scenario: Path, title: str) -> Workload:
    """Make a workload of a locustfile; a generator looks at it and refuses what does not serve, before anything is started."""
    users = ((str(scenario), "*", 1.0),)
    with GeneratorProcess() as generator:
        generator.visit(Order(url="http://127.0.0.1:9", mix=users))
    return Workload(name="own", title=title, question="Which server is best for this work?", users=users, judged=ALL, slo_ms=OWN_SLO_MS)


def manifest_of(options: dict[str, Any], candidates: Sequence[Candidate], workloads: Sequence[Workload], servers: Servers) -> Manifest:
    profile = PROFILES[options["profile"]]
    blocks = options["blocks"] or profile.blocks
    seed = options["seed"] if options["seed"] is not None else secrets.randbelow(100_000)
    now = datetime.now(UTC)
    return Manifest(
        run=f"{now:%Y%m%d-%H%M%S}-{options['profile']}-{seed}",
        created=now.isoformat(timespec="seconds"),
        command=command_of({**options, "seed": seed, "runtime": servers.runtime}),
        profile=options["profile"],
        gives_verdict=profile.gives_verdict,
        seed=seed,
        blocks=blocks,
        baseline=candidates[0].name,
        margin=MARGIN,
        confidence=CONFIDENCE,
        rates=RATES,
        pace=replace(profile.pace, rate_blocks=min(profile.pace.rate_blocks, blocks)),
        settings=settings_of(options),
        candidates=tuple(candidates),
        workloads=tuple(workloads),
        limits=Limits(),
        machine=fingerprint(servers.runtime, servers.versions()),
        order=order_of(seed, blocks, candidates),
    )


def command_of(options: dict[str, Any]) -> str:
    """Return the command that asks the same again."""
    variables = [f"{name.upper()}={shlex.quote(str(options[name]))}" for name in VARIABLES if options[name]]
    words = [word for name in OPTIONS if options[name] not in {None, ()} for word in (f"--{name.replace('_', '-')}", _text(options[name]))]
    return " ".join(["make loadtest", *variables, f"ARGS={shlex.quote(shlex.join(words))}"])


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)
