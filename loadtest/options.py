"""What was asked for on the command line, made into the manifest of a run; nothing is started here."""

import math
import os
import secrets
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from loadtest.access_log import read_access_log
from loadtest.catalogue import choose, load_candidates, load_workloads
from loadtest.judge.answers import DIFFERENCES
from loadtest.judge.inference import CONFIDENCE, FEWEST_BLOCKS
from loadtest.measure.generation import GeneratorProcess
from loadtest.measure.kit import KitServers
from loadtest.measure.machine import fingerprint
from loadtest.measure.order import Order
from loadtest.plan import MOST_BLOCKS, PROFILES, block_spread, blocks_for, blocks_in, minutes as minutes_of, probe, sees
from loadtest.records.model import Candidate, Limits, Manifest, Workload
from loadtest.records.recording import ALL
from loadtest.records.store import RunError

RESULTS = Path(__file__).resolve().parent / "results"
MARGIN = 0.05
OWN_SLO_MS = 200.0
# What stands before ARGS in the command that asks the same again, and what stands in it.
VARIABLES = ("profile", "runtime", "app", "scenario")
OPTIONS = ("seed", "candidates", "workloads", "slo", "minutes", "sees", "from_access_log", "generators")


def runtime_of(options: dict[str, Any]) -> str:
    """Return the runtime to ask for: an application that is not in the images runs as plain processes, unless there are images of it."""
    runtime: str = "compose" if options["generators"] else options["runtime"]
    if not options["app"] or os.environ.get("APP_IMAGE"):
        return runtime
    if runtime == "compose":
        raise RunError("the images hold the sample site only", "name one of your own (APP_IMAGE=…), or use RUNTIME=local", 2)
    return "local"


def reached_at(options: dict[str, Any]) -> str:
    """Return the address of this machine for generators on other hosts; empty when there are none."""
    if not options["generators"]:
        return ""
    if not (bind := os.environ.get("GATEWAY_BIND", "")):
        raise RunError("the generators need an address of this machine", "say which one they reach: GATEWAY_BIND=10.0.0.1", 2)
    if options["runtime"] == "local":
        raise RunError("the local runtime listens on 127.0.0.1 only, which other hosts do not reach", "use RUNTIME=compose", 2)
    return bind


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


def manifest_of(options: dict[str, Any], candidates: Sequence[Candidate], workloads: Sequence[Workload], servers: KitServers) -> Manifest:
    profile = PROFILES[options["profile"]]
    seed = options["seed"] if options["seed"] is not None else secrets.randbelow(100_000)
    now = datetime.now(UTC)
    manifest = Manifest(
        run=f"{now:%Y%m%d-%H%M%S}-{options['profile']}-{seed}",
        created=now.isoformat(timespec="seconds"),
        command=command_of({**options, "seed": seed, "runtime": servers.runtime}),
        profile=options["profile"],
        gives_verdict=profile.gives_verdict,
        seed=seed,
        baseline=candidates[0].name,
        margin=MARGIN,
        confidence=CONFIDENCE,
        sees=options["sees"],
        pace=profile.pace,
        settings=settings_of(options),
        candidates=tuple(candidates),
        workloads=tuple(workloads),
        limits=Limits(),
        machine=replace(fingerprint(servers.runtime), one_machine=not options["generators"]),
    )
    minutes = _minutes(options, manifest, servers) if options["sees"] else options["minutes"] or profile.pace.minutes
    fit = blocks_in(manifest, minutes)
    # More than fit as long as nothing is decided, for what is leaves its time to the rest; but each look that is planned costs width.
    blocks = fit if options["minutes"] or options["sees"] else min(profile.pace.blocks, fit * 4 // 3)
    if profile.gives_verdict and fit < FEWEST_BLOCKS:
        needed = f"{len(workloads)} workloads of {len(candidates)} candidates need {minutes_of(manifest, FEWEST_BLOCKS):.0f}"
        hint = "name fewer of them, give more --minutes, or ask for no verdict (PROFILE=smoke)"
        raise RunError(f"{minutes:g} minutes are too short for a verdict: {needed}", hint, 2)
    return replace(manifest, pace=replace(profile.pace, minutes=minutes, blocks=max(blocks, 1)))


def _minutes(options: dict[str, Any], manifest: Manifest, servers: KitServers) -> float:
    """Return how long it takes here to see what was asked for; raises RunError when that is out of reach."""
    wanted, spread = options["sees"], block_spread(probe(servers.cpus), manifest)
    blocks = blocks_for(wanted, spread, manifest)
    if blocks and minutes_of(manifest, blocks) <= (options["minutes"] or math.inf):
        return minutes_of(manifest, blocks)
    given = options["minutes"] or minutes_of(manifest, MOST_BLOCKS)
    best = sees(spread, manifest, blocks_in(manifest, given))
    possible = f"{given:.0f} minutes see {best:.0%} or more" if best else f"{given:.0f} minutes give no verdict"
    hint = "ask for less, or name fewer candidates and workloads"
    raise RunError(f"{wanted:.1%} is out of reach on this machine: {possible}", hint, 2)


def expectation(manifest: Manifest, servers: KitServers) -> Iterator[str]:
    """Yield what a run can see on this machine, after a look at its noise."""
    spread = block_spread(probe(servers.cpus), manifest)
    seen = sees(spread, manifest, manifest.pace.blocks)
    yield f"sees       {f'differences of {seen:.0%} or more, four times of five' if seen else 'nothing for sure'}, as quiet as it is now"
    for share in DIFFERENCES:
        if seen is None or share < seen:
            blocks = blocks_for(share, spread, manifest)
            needed = f"would need about {minutes_of(manifest, blocks):.0f} minutes" if blocks else "is out of reach"
            yield f"           {share:.0%} {needed}"


def command_of(options: dict[str, Any]) -> str:
    """Return the command that asks the same again."""
    given = {**options, "sees": options["sees"] and f"{options['sees'] * 100:g}%"}
    variables = [f"{name.upper()}={shlex.quote(str(given[name]))}" for name in VARIABLES if given[name]]
    words = [word for name in OPTIONS if given[name] not in {None, ()} for word in (f"--{name.replace('_', '-')}", _text(given[name]))]
    return " ".join(["make loadtest", *variables, f"ARGS={shlex.quote(shlex.join(words))}"])


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)
