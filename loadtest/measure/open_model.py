"""A Locust user for the open model: visitors arrive when they are due, whether the server keeps up or not.

Locust's own wait times are a closed loop: a user that waits for an answer sends nothing, so that a stall of two seconds
is one slow request instead of the four hundred that would have come meanwhile. Here the arrivals are fixed in advance,
and latency counts from the moment a request was due.

    class Arrivals(OpenModelUser):
        mix = {Hello: 9, Page: 1}   # plain Locust users and their shares
        rate_per_s = 200
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import gevent
from gevent import Greenlet, GreenletExit
from locust import FastHttpUser, TaskSet, User, task
from locust.env import Environment
from locust.exception import InterruptTaskSet, RescheduleTask, StopUser

from loadtest.measure.client import patch_client
from loadtest.measure.errors import kind_of
from loadtest.measure.recorder import Recorder
from loadtest.measure.schedule import poisson_arrivals

# Visitors at once, when nothing else is asked for: all that arrive in so many seconds, within limits.
# The upper one keeps the sockets of generator and gateway below the usual limit of open files.
IN_FLIGHT_S = 5
FEWEST_IN_FLIGHT, MOST_IN_FLIGHT = 100, 2000
# A generator that is late sends at once instead of sleeping; it still lets answers be read after so many sends.
SENDS_WITHOUT_PAUSE = 32
SETTLE_S = 0.01  # between two looks whether all visitors are idle

Work = Callable[[Any], None]  # a task: a function of the visitor
VISIT = "visit"  # key of the request's context


@dataclass(slots=True)
class Visit:
    """One arrival on its way through the server. Times: readings of time.perf_counter, seconds."""

    due_s: float  # on the schedule
    intended_s: float  # when the present request should have been sent
    sent_s: float = math.nan
    planned: bool = True  # the request was on the schedule; later requests of a visit follow the answer before them
    open: bool = True  # no answer yet
    requests: int = 0


class _Visitor:
    """Mixed into a scenario's user: tells each request which arrival it belongs to."""

    visit: Visit | None = None

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)  # type: ignore[call-arg]
        patch_client(self)  # type: ignore[arg-type]

    def context(self) -> dict[str, Any]:
        """Called by Locust's client immediately before it sends."""
        context: dict[str, Any] = super().context()  # type: ignore[misc]
        visit = self.visit
        if visit is None:  # on_start: before the first arrival
            return context
        visit.sent_s = time.perf_counter()
        if visit.requests:
            visit.intended_s, visit.planned = visit.sent_s, False
        visit.requests += 1
        visit.open = True
        return {**context, VISIT: visit}


def listen(environment: Environment, recorder: Recorder) -> None:
    """Hand every request of an open-model visit to the recorder."""

    def on_request(
        name: str, response_time: float, context: Mapping[str, Any], exception: BaseException | None, response: Any = None, **_: Any
    ) -> None:
        visit: Visit | None = context.get(VISIT)
        error = None if exception is None else kind_of(exception, response)
        if visit is None:
            if error is not None:
                recorder.problem(f"on_start: {error}")
            return
        visit.open = False
        if recorder.counts(visit.due_s):
            ended_s = visit.sent_s + response_time / 1e3
            recorder.answer(name, visit.intended_s, visit.sent_s, ended_s, error, planned=visit.planned)

    environment.events.request.add_listener(on_request)  # type: ignore[no-untyped-call]


class OpenModelUser(User):
    """The source of all arrivals of this process; its visitors are instances of the users in `mix`.

    mix: users and their shares; of each, the weights of its tasks apply. rate_per_s: arrivals per second.
    seed: the same seed gives the same arrivals. max_in_flight: visitors at once, at the bound an arrival is dropped and
    counted; None: five seconds' worth, from 100 to 2000.
    Wait times of the users in `mix` are not used: the schedule takes their place.
    """

    abstract = True
    fixed_count = 1  # two would double the rate
    mix: ClassVar[Mapping[type[FastHttpUser], float]] = {}
    rate_per_s: float = 10.0
    seed: int = 1
    max_in_flight: int | None = None

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        if not self.mix:
            raise ValueError(f"{type(self).__name__}.mix is empty; right is {{a Locust user: its share}}")
        recorder: Recorder | None = getattr(environment, "recorder", None)
        self.recorder = recorder or Recorder()
        if recorder is None:
            listen(environment, self.recorder)
        self._choices = list(choices_of(self.mix))
        self.pool = VisitorPool(environment, self.recorder)
        self._bound = self.max_in_flight or round(min(max(IN_FLIGHT_S * self.rate_per_s, FEWEST_IN_FLIGHT), MOST_IN_FLIGHT))
        self.start_s = math.nan  # reading of time.perf_counter: moment 0 of the schedule
        self.until_s = math.inf  # reading of time.perf_counter: nothing that is due later is sent

    @task
    def arrive(self) -> None:
        """Send visitors on their way at the scheduled moments; returns when `until_s` has come."""
        weights = [weight for _, _, weight in self._choices]
        self.start_s = time.perf_counter()
        sends = 0
        for arrival in poisson_arrivals(self.rate_per_s, self.seed, weights):
            due_s = self.start_s + arrival.offset_s
            wait_s = min(due_s, self.until_s) - time.perf_counter()
            if wait_s > 0 or sends >= SENDS_WITHOUT_PAUSE:
                gevent.sleep(max(wait_s, 0))
                sends = 0
            if due_s >= self.until_s:
                break
            sends += 1
            self._admit(due_s, arrival.choice)

    def finish(self, patience_s: float) -> None:
        """Wait for the visitors that are on their way; those without an answer by then are counted as unfinished."""
        self.pool.settle(patience_s)

    def on_stop(self) -> None:
        self.finish(0)
        self.pool.close()

    @property
    def in_flight(self) -> int:
        """Visitors on their way."""
        return len(self.pool.busy)

    def _admit(self, due_s: float, choice: int) -> None:
        dropped = self.in_flight >= self._bound
        self.recorder.arrival(due_s, dropped=dropped)
        if not dropped:
            self.pool.send(*self._choices[choice][:2], Visit(due_s, due_s))


class VisitorPool:
    """Idle visitors, each in a greenlet of its own, and busy ones.

    As with Locust a visitor keeps its greenlet: a new one for each visit took a fifth of the generator's time. CPython, since
    3.11, maps memory for the first frames of each, and unmaps it at the end.
    """

    def __init__(self, environment: Environment, recorder: Recorder) -> None:
        self._environment, self._recorder = environment, recorder
        self._idle: defaultdict[type[FastHttpUser], list[Greenlet[..., None]]] = defaultdict(list)
        self.busy: set[Greenlet[..., None]] = set()
        # Of those the visitors that have not run yet: killed, they run no code that could count them.
        self._called: dict[Greenlet[..., None], tuple[type[FastHttpUser], Visit]] = {}

    def send(self, cls: type[FastHttpUser], work: Work, visit: Visit) -> None:
        """Give a visit to an idle visitor, or to a new one."""
        idle = self._idle[cls]
        if idle:
            visitor = idle.pop()  # the last one used has the warmest connection
            gevent.get_hub().loop.run_callback(visitor.switch, (work, visit))
        else:
            visitor = gevent.spawn(self._live, cls, work, visit)
        self.busy.add(visitor)
        self._called[visitor] = cls, visit

    def settle(self, patience_s: float) -> None:
        """Wait until all are idle; the rest is counted as given up."""
        until_s = time.perf_counter() + patience_s
        while self.busy and time.perf_counter() < until_s:
            gevent.sleep(SETTLE_S)
        gevent.killall(list(self.busy))
        for cls, visit in self._called.values():
            if self._recorder.counts(visit.due_s):
                self._recorder.gave_up(cls.__name__, visit.intended_s, time.perf_counter())
        self._called.clear()
        self.busy.clear()  # one that was killed before its first turn does not come back

    def close(self) -> None:
        """End all visitors."""
        gevent.killall([*self.busy, *(visitor for idle in self._idle.values() for visitor in idle)])

    def _live(self, cls: type[FastHttpUser], work: Work, visit: Visit) -> None:
        me: Any = gevent.getcurrent()
        idle, hub = self._idle[cls], gevent.get_hub()
        try:
            visitor = new_visitor(cls, self._environment)
            with nullcontext() if cls.client_pool else closing(visitor.client.client):  # a pool is shared with others
                while True:
                    self._called.pop(me, None)
                    run_task(visitor, work, visit, self._recorder)
                    self.busy.discard(me)
                    idle.append(me)
                    work, visit = hub.switch()  # until `send`
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001 - as in run_task, which lets none through
            self._called.pop(me, None)
            self._recorder.problem(f"{cls.__name__} could not start: {type(error).__name__}: {error}"[:200])
        finally:
            self.busy.discard(me)
            if me in idle:
                idle.remove(me)


def new_visitor(cls: type[FastHttpUser], environment: Environment) -> Any:
    """Return a new visitor of this user class, started."""
    kind = _visitor_class(cls)
    kind.host = environment.host or cls.host
    visitor = kind(environment)
    visitor.on_start()
    return visitor


def run_task(visitor: Any, work: Work, visit: Visit, recorder: Recorder) -> None:
    """Run one task for one arrival, and see to it that whatever happens is counted."""
    visitor.visit = visit
    try:
        work(visitor)
    except GreenletExit:
        if visit.open and recorder.counts(visit.due_s):
            recorder.gave_up(type(visitor).__name__, visit.intended_s, time.perf_counter())
        raise
    except (StopUser, InterruptTaskSet, RescheduleTask):
        pass
    except (Exception, gevent.Timeout) as error:  # noqa: BLE001 - a scenario's fault must be counted, not lost with its greenlet
        if recorder.counts(visit.due_s):
            recorder.problem(f"{type(visitor).__name__} raised {type(error).__name__}: {error}"[:200])
        return
    if not visit.requests and recorder.counts(visit.due_s):
        recorder.problem(f"{type(visitor).__name__} sent no request")


def _visitor_class(cls: type[FastHttpUser]) -> type[FastHttpUser]:
    if "_open_model" not in cls.__dict__:
        cls._open_model = type(cls.__name__, (_Visitor, cls), {"abstract": True})  # type: ignore[attr-defined]
    return cls._open_model  # type: ignore[attr-defined,no-any-return]


def choices_of(mix: Mapping[type[FastHttpUser], float]) -> Iterator[tuple[type[FastHttpUser], Work, float]]:
    """Yield (user, task, share): Locust lists a task as often as its weight says."""
    for cls, share in mix.items():
        tasks: list[Any] = list(cls.tasks)
        if not tasks:
            raise ValueError(f"{cls.__name__} has no task; right is at least one method with @task")
        for work in dict.fromkeys(tasks):
            if isinstance(work, type) and issubclass(work, TaskSet):
                raise ValueError(  # noqa: TRY004 - the user's input, not a caller's mistake
                    f"{cls.__name__} has the task set {work.__name__}; the open model takes @task methods of the user"
                )
            yield cls, work, share * tasks.count(work) / len(tasks)
