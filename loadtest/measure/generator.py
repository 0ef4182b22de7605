"""One process that makes load: `python -m loadtest.measure.generator`, told what to do on stdin, answers on stdout.

In, one JSON object per line: an Order for each server and the visitors it gets, then a StepOrder for each stretch of load on one of them;
the end of stdin ends the process. Out, one per line: "ready" for each Order, and for each step "measuring", "measured", and "done" with
what was seen; or "refused" with the reason. Times are readings of the monotonic clock, which all processes of a machine share.
"""

import gc
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import psutil
from gevent.fileobject import FileObjectThread
from locust.env import Environment
from pydantic import RootModel, TypeAdapter

from loadtest.measure.closed_model import ClosedModel
from loadtest.measure.open_model import OpenModelUser, VisitorPool, choices_of, listen
from loadtest.measure.order import LEAD_S, Generated, Order, StepOrder
from loadtest.measure.recorder import Recorder
from loadtest.scenarios import load_users

SAMPLE_S = 0.02


def say(event: str, **facts: Any) -> None:
    """Write one line for the process that gave the order."""
    print(json.dumps({"event": event, **facts}), file=sys.__stdout__, flush=True)


class Generator:
    """Visitors of one server, in steps of different rates; their connections last from step to step, until `close`."""

    def __init__(self, order: Order) -> None:
        self._mix = load_users(order.mix)
        list(choices_of(self._mix))  # raises for a user that does not serve, before anything is sent
        self._environment = Environment(host=order.url)
        self._recorder = Recorder()
        self._environment.recorder = self._recorder  # type: ignore[attr-defined]
        listen(self._environment, self._recorder)
        self._pool = VisitorPool(self._environment, self._recorder)
        self._order = order

    def close(self) -> None:
        """End all visitors, and forget them: other servers must not pay for this one's."""
        self._pool.close()
        gc.unfreeze()
        gc.collect()

    def step(self, step: StepOrder) -> None:
        background = [_stay(self._order.url, part) for part in self._order.background]
        source, recorder = self._source(step), self._recorder
        load = gevent.spawn(source.arrive)
        recorder.start(time.perf_counter())
        gevent.sleep(step.warm_up_s)
        start_s = time.perf_counter() + LEAD_S
        # Before the moment comes: an arrival that is due at it must find the recorder ready.
        recorder.start(start_s)
        source.until_s = start_s + step.measure_s
        gc.collect()
        gc.freeze()  # what lives now lives to the end: later collections need not look at it
        gevent.sleep(max(start_s - time.perf_counter(), 0))
        cpu_ns = time.process_time_ns()
        say("measuring")
        in_flight = list(_watch(source))
        cpu_ns = time.process_time_ns() - cpu_ns
        load.join(timeout=1)
        load.kill()  # so far behind that it must not reach into the next step; what was not sent is missed (judge/gates.py)
        say("measured")
        source.finish(step.patience_s)
        for pool in background:
            pool.finish(0)
        seen = Generated(
            recording=recorder.recording(step.measure_s),
            from_s=start_s,
            until_s=source.until_s,
            cpu_share=cpu_ns / 1e9 / step.measure_s,
            in_flight_mean=sum(in_flight) / max(len(in_flight), 1),
            schedule_start_s=source.start_s,
        )
        say("done", **RootModel(seen).model_dump())

    def _source(self, step: StepOrder) -> OpenModelUser | ClosedModel:
        if not step.rate_per_s:
            return ClosedModel(self._environment, self._recorder, self._mix, step.users)
        settings = {"mix": self._mix, "rate_per_s": step.rate_per_s, "seed": step.seed, "max_in_flight": step.max_in_flight}
        source: OpenModelUser = type("Arrivals", (OpenModelUser,), settings)(self._environment)
        source.pool = self._pool
        return source


def _stay(url: str, part: tuple[str, str, float]) -> ClosedModel:
    """Let background visitors run until they are told to finish; what they meet is not recorded."""
    locustfile, name, number = part
    pool = ClosedModel(Environment(host=url), Recorder(), load_users([(locustfile, name, 1.0)]), round(number))
    gevent.spawn(pool.arrive)
    return pool


def _watch(source: OpenModelUser | ClosedModel) -> Iterator[int]:
    """Yield how many visitors are on their way, until the measured time is over."""
    while (left_s := source.until_s - time.perf_counter()) > 0:
        gevent.sleep(min(left_s, SAMPLE_S))
        yield source.in_flight


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what is wrong with an order or a scenario into one line."""
    try:
        yield
    except (ValueError, KeyError, TypeError, OSError) as error:
        say("refused", reason=f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error))
        raise SystemExit(1) from None


def _generator(order: Order) -> Generator:
    if order.cpus:
        psutil.Process().cpu_affinity(list(order.cpus))
    return Generator(order)


def main() -> None:
    sys.stdout = sys.stderr  # what a scenario prints is not for the process that reads our answers
    sys.path.insert(0, str(Path.cwd()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536, hard))
    orders = FileObjectThread(sys.stdin.fileno(), "rb")
    generators: dict[str, Generator] = {}
    while line := orders.readline().decode():
        with _refusals():
            if "url" in json.loads(line):
                order = TypeAdapter(Order).validate_json(line)
                if order.name in generators:
                    generators.pop(order.name).close()
                generators[order.name] = _generator(order)
                say("ready")
                continue
            step = TypeAdapter(StepOrder).validate_json(line)
            generator = generators[step.name]
        generator.step(step)


if __name__ == "__main__":
    main()
