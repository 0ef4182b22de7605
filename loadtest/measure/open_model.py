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
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gevent
from gevent import Greenlet
from locust import FastHttpUser, HttpUser, MarkovTaskSet, TaskSet, User, task
from locust.env import Environment
from locust.exception import StopUser
from locust.user.task import DefaultTaskSet

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

HttpVisitor = FastHttpUser | HttpUser
Work = Callable[[Any], None] | type[TaskSet]  # what an arrival does: a task of the user, or the next task of a task set
REQUEST = "request"  # key of the request's context


@dataclass(slots=True)
class Visit:
    """One arrival on its way through the server. Times: readings of time.perf_counter, seconds."""

    due_s: float  # on the schedule
    planned: bool = True  # its next request is the one on the schedule; later ones follow the answer before them
    begun: bool = False  # it has its task
    counted: bool = False  # by a request, or by a fault of the scenario
    last: Request | None = None


@dataclass(slots=True)
class Request:
    """One request of a visit: when it should have been sent, and when it was."""

    visit: Visit
    intended_s: float
    sent_s: float
    planned: bool
    open: bool = True  # no answer yet


class SentHome(BaseException):
    """Ends a visitor. Upon an Exception Locust's loop would go on, and upon GreenletExit call on_stop: requests that nobody measures."""


gevent.get_hub().NOT_ERROR += (SentHome,)


class _Visitor:
    """Mixed into a scenario's user, which Locust's own loop runs: an arrival takes the place of the end of a wait."""

    visit: Visit | None = None
    work: Work

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)  # type: ignore[call-arg]
        client: Any = self.client  # type: ignore[attr-defined]
        if isinstance(self, FastHttpUser):
            patch_client(self)
            return
        send, client.user = client.request, None  # it would ask for the context after the answer

        def request(*args: Any, context: Mapping[str, Any] | None = None, **settings: Any) -> Any:
            return send(*args, context={**self.context(), **(context or {})}, **settings)

        client.request = request

    def context(self) -> dict[str, Any]:
        """Called immediately before a request is sent."""
        context: dict[str, Any] = super().context()  # type: ignore[misc]
        visit = self.visit
        if visit is None:
            return context
        sent_s = time.perf_counter()
        visit.last = Request(visit, visit.due_s if visit.planned else sent_s, sent_s, visit.planned)
        visit.planned, visit.counted = False, True
        return {**context, REQUEST: visit.last}


class _Arrivals(DefaultTaskSet):
    """Locust's outermost task set, but the arrival says which task comes next."""

    def get_next_task(self) -> Work:
        visitor: Any = self.user
        if visitor.visit.begun:  # a task set has ended itself
            if visitor.visit.counted:
                self.wait()  # type: ignore[no-untyped-call]
            else:
                gevent.sleep(0)  # it may do so without end
        visitor.visit.begun = True
        return visitor.work  # type: ignore[no-any-return]


_wait = TaskSet.wait


def _until_next_arrival(task_set: TaskSet) -> None:
    visitor: Any = task_set.user
    if isinstance(visitor, _Visitor):
        visitor.work, visitor.visit = visitor.next_arrival()  # type: ignore[attr-defined]
        visitor.visit.begun = not isinstance(task_set, _Arrivals)  # a task set goes on by itself
    else:
        _wait(task_set)  # type: ignore[no-untyped-call]


TaskSet.wait = _until_next_arrival  # type: ignore[method-assign] # of nested task sets too, which Locust makes


def listen(environment: Environment, recorder: Recorder) -> None:
    """Hand every request of an open-model visit to the recorder, and every fault of its scenario."""

    def on_request(
        name: str, response_time: float, context: Mapping[str, Any], exception: BaseException | None, response: Any = None, **more: Any
    ) -> None:
        request: Request | None = context.get(REQUEST)
        if request and request.open:
            request.open = False
            if recorder.counts(request.visit.due_s):
                error = None if exception is None else kind_of(exception, response)
                recorder.received_bytes += more.get("response_length") or 0
                ended_s = request.sent_s + response_time / 1e3
                recorder.answer(name, request.intended_s, request.sent_s, ended_s, error, planned=request.planned)

    def on_fault(user_instance: Any, exception: BaseException, **_: Any) -> None:
        visitor = user_instance.user  # what Locust calls the user here is the task set
        if isinstance(visitor, _Visitor) and visitor.visit:
            _fault(recorder, type(visitor).__name__, visitor.visit, exception)

    environment.events.request.add_listener(on_request)  # type: ignore[no-untyped-call]
    environment.events.user_error.add_listener(on_fault)  # type: ignore[no-untyped-call]


def _fault(recorder: Recorder, name: str, visit: Visit, error: BaseException) -> None:
    visit.counted = True
    if recorder.counts(visit.due_s):
        recorder.problem(f"{name} raised {type(error).__name__}: {error}"[:200])


class OpenModelUser(User):
    """The source of all arrivals of this process; its visitors are instances of the users in `mix`.

    mix: users and their shares; of each, the weights of its tasks apply. rate_per_s: arrivals per second.
    seed: the same seed gives the same arrivals. max_in_flight: visitors at once, at the bound an arrival is dropped and
    counted; None: five seconds' worth, from 100 to 2000.
    Wait times of the users in `mix` are not used: the schedule takes their place.
    """

    abstract = True
    fixed_count = 1  # two would double the rate
    mix: ClassVar[Mapping[type[HttpVisitor], float]] = {}
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
        return len(self.pool.busy)

    def _admit(self, due_s: float, choice: int) -> None:
        dropped = self.in_flight >= self._bound
        self.recorder.arrival(due_s, dropped=dropped)
        if not dropped:
            self.pool.send(*self._choices[choice][:2], Visit(due_s))


class VisitorPool:
    """Idle visitors, each in a greenlet of its own, and busy ones.

    As with Locust a visitor keeps its greenlet: a new one for each visit took a fifth of the generator's time. CPython, since
    3.11, maps memory for the first frames of each, and unmaps it at the end. `after` is called when a visit has ended.
    """

    def __init__(self, environment: Environment, recorder: Recorder, after: Callable[[], None] = lambda: None) -> None:
        self._environment, self._recorder, self._after = environment, recorder, after
        # Who is in the middle of a task set goes on with that.
        self._idle: defaultdict[tuple[type[HttpVisitor], Work | None], list[Greenlet[..., None]]] = defaultdict(list)
        self.busy: dict[Greenlet[..., None], tuple[str, Visit]] = {}

    def send(self, cls: type[HttpVisitor], work: Work, visit: Visit) -> None:
        """Give a visit to an idle visitor, or to a new one."""
        idle = self._idle[cls, work if isinstance(work, type) else None]
        if idle:
            visitor = idle.pop()  # the last one used has the warmest connection
            gevent.get_hub().loop.run_callback(visitor.switch, (work, visit))
        else:
            visitor = gevent.spawn(self._live, cls, work, visit, idle)
        self.busy[visitor] = cls.__name__, visit

    def settle(self, patience_s: float) -> None:
        """Wait until all are idle; the rest is counted as given up."""
        until_s = time.perf_counter() + patience_s
        while self.busy and time.perf_counter() < until_s:
            gevent.sleep(SETTLE_S)
        for name, visit in self.busy.values():
            request = visit.last
            if self._recorder.counts(visit.due_s) and (request.open if request else not visit.counted):
                self._recorder.gave_up(name, request.intended_s if request else visit.due_s, time.perf_counter())
            if request:
                request.open = False
        _send_home(self.busy)
        self.busy.clear()  # one that was killed before its first turn does not come back

    def close(self) -> None:
        _send_home([*self.busy, *(visitor for idle in self._idle.values() for visitor in idle)])

    def _live(self, cls: type[HttpVisitor], work: Work, visit: Visit, idle: list[Greenlet[..., None]]) -> None:
        me: Any = gevent.getcurrent()
        visitor: Any = None

        def next_arrival() -> tuple[Work, Visit]:
            if not visitor.visit.counted and self._recorder.counts(visitor.visit.due_s):
                self._recorder.problem(f"{cls.__name__} sent no request")
            self.busy.pop(me, None)
            idle.append(me)
            self._after()
            return gevent.get_hub().switch()  # type: ignore[no-any-return] # until `send`

        try:
            kind = _visitor_class(cls)
            kind.host = self._environment.host or cls.host
            visitor = kind(self._environment)
            visitor.work, visitor.visit, visitor.next_arrival = work, visit, next_arrival
            visitor.on_start()
            _Arrivals(visitor).run()  # type: ignore[no-untyped-call]
        except (SentHome, StopUser):
            pass
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001 - a scenario's fault must be counted, not lost with its greenlet
            _fault(self._recorder, cls.__name__, visitor.visit if visitor else visit, error)
        finally:
            if me in idle:
                idle.remove(me)
            if self.busy.pop(me, None):
                self._after()
            _close(visitor)


def _send_home(visitors: Collection[Greenlet[..., None]]) -> None:
    gevent.killall(list(visitors), SentHome)


def _close(visitor: Any) -> None:
    """Close the connections of a visitor, but no pool that it shares with others."""
    if isinstance(visitor, HttpUser) and visitor.pool_manager is None:
        visitor.client.close()
    elif isinstance(visitor, FastHttpUser) and visitor.client_pool is None:
        visitor.client.client.close()


def _visitor_class(cls: type[HttpVisitor]) -> type[HttpVisitor]:
    if "_open_model" not in cls.__dict__:
        cls._open_model = type(cls.__name__, (_Visitor, cls), {"abstract": True})  # type: ignore[union-attr]
    return cls._open_model  # type: ignore[union-attr,no-any-return]


def choices_of(mix: Mapping[type[HttpVisitor], float]) -> Iterator[tuple[type[HttpVisitor], Work, float]]:
    """Yield (user, task, share): Locust lists a task as often as its weight says. Raises ValueError for a user or a task set without."""
    for cls, share in mix.items():
        _require_tasks(cls)
        tasks: list[Any] = list(cls.tasks)
        for work in dict.fromkeys(tasks):
            yield cls, work, share * tasks.count(work) / len(tasks)


def _require_tasks(holder: Any) -> None:
    if not holder.tasks:
        raise ValueError(f"{holder.__name__} has no task; right is at least one method with @task")
    for work in holder.tasks:
        if isinstance(work, type) and not issubclass(work, MarkovTaskSet):  # which refuses to be made without
            _require_tasks(work)
