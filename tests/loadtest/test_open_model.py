"""The open model reads a stall as its visitors would, and Locust's own pacing does not."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import httpx
import numpy as np
import pytest

from loadtest.measure.generation import GeneratorError, GeneratorProcess
from loadtest.measure.order import Generated, Mix, Order, StepOrder
from loadtest.measure.schedule import poisson_arrivals
from tests.loadtest.servers import NEVER, STALL_S, cutting, running

HERE = Path(__file__).parent
VISITORS = str(HERE / "visitors.py")
RATE_PER_S = 200
MEASURE_S = 5.0
WARM_UP_S = 1.0
# The stall begins with this request: after the warm-up, and well before the end.
STALL_AT = 500
# Locust's users need so long to send a thousand requests beside the ten that meet the stall: that is what hides it from a p99.
PACED_S = 10


@pytest.fixture
def quick_server() -> Iterator[str]:
    with running(NEVER) as url:
        yield url


def load(generators: GeneratorProcess, url: str, user: str = "Visitor", **changes: object) -> Generated:
    """Measure for five seconds at 200/s, or as `changes` say."""
    settings: dict[str, object] = {
        "rate_per_s": float(RATE_PER_S),
        "warm_up_s": WARM_UP_S,
        "measure_s": MEASURE_S,
        "patience_s": 10.0,
    }
    order = Order(url=url, mix=((VISITORS, user, 1.0),))
    return generators.visit(order).step(StepOrder(**settings | changes))  # type: ignore[arg-type]


def due_moments_s(generated: Generated) -> np.ndarray:
    """The schedule, as readings of the monotonic clock: worked out again from the seed, without asking the generator."""
    start_s = generated.schedule_start_s
    arrivals = takewhile(lambda arrival: start_s + arrival.offset_s < generated.until_s, poisson_arrivals(RATE_PER_S, seed=1))
    due_s = start_s + np.array([arrival.offset_s for arrival in arrivals])
    return due_s[due_s >= generated.from_s]


def p99_ms(waits_s: np.ndarray) -> float:
    return float(np.quantile(waits_s, 0.99, method="higher")) * 1e3


@pytest.mark.timeout(120)
@pytest.mark.parametrize("user", ["DueVisitor", "PlainBrowser"])
def test_a_stall_of_two_seconds_reads_as_the_schedule_says(generators: GeneratorProcess, user: str) -> None:
    with running(STALL_AT) as url:
        generated = load(generators, url, user)
        record = httpx.get(f"{url}/record").json()
    recording, due_s = generated.recording, due_moments_s(generated)
    measured_ms = recording.all.latency.quantile_ms(0.99)
    # The server saw every request of the schedule, and knows when it answered each.
    seen = np.array([entry for entry in record["answered"] if generated.from_s <= entry[0] < generated.until_s])
    truth_ms = p99_ms(seen[:, 1] - seen[:, 0])
    # Whoever was due in the stall waited at least for its end: so much follows from the schedule alone.
    in_stall = (due_s >= record["began_s"]) & (due_s < record["ended_s"])
    least_ms = p99_ms(np.where(in_stall, record["ended_s"] - due_s, 0.0))

    assert recording.errors == {}
    assert recording.dropped == 0
    assert np.allclose(np.sort(seen[:, 0]), due_s, atol=1e-9)
    assert least_ms > 1800
    assert measured_ms >= 0.95 * least_ms
    # The server's truth ends with its answer; how late this machine let the generator act is known, and small when it is idle.
    assert truth_ms == pytest.approx(measured_ms, abs=0.05 * truth_ms + recording.slip.quantile_ms(1.0))


@pytest.mark.timeout(120)
def test_locusts_constant_throughput_does_not_see_that_stall(tmp_path: Path) -> None:
    """The negative twin: ten users that wait for their answers meet a stall once each."""
    with running(STALL_AT) as url:
        arguments = ["--headless", "-u", "10", "-r", "10", "-t", f"{PACED_S}s", "--host", url, "--json-file", str(tmp_path / "out")]
        subprocess.run(
            [sys.executable, "-m", "locust", "-f", VISITORS, "PacedVisitor", *arguments], check=True, capture_output=True, timeout=60
        )
        record = httpx.get(f"{url}/record").json()
    entry = json.loads((tmp_path / "out.json").read_text())[0]
    times_ms = np.repeat([float(t) for t in entry["response_times"]], list(entry["response_times"].values()))

    assert record["ended_s"] - record["began_s"] >= STALL_S  # it was there
    assert np.max(times_ms) > STALL_S * 900  # some user met it
    # And the p99 says nothing of it: the truth is nearly 2 s. A busy machine adds some hundred milliseconds of its own.
    assert np.quantile(times_ms, 0.99) < STALL_S * 1000 / 2


def test_every_arrival_is_accounted_for(quick_server: str, generators: GeneratorProcess) -> None:
    recording = load(generators, quick_server, measure_s=2.0).recording

    assert recording.offered == recording.all.latency.count + recording.dropped
    assert recording.offered == recording.slip.count
    assert recording.offered == pytest.approx(2 * RATE_PER_S, abs=4 * (2 * RATE_PER_S) ** 0.5)


def test_arrivals_beyond_the_bound_are_dropped_and_counted(generators: GeneratorProcess) -> None:
    with running(STALL_AT) as url:
        recording = load(generators, url, max_in_flight=50, measure_s=5.0).recording

    assert recording.dropped > 100  # 400 are due in the stall, 50 are let in
    assert recording.offered == recording.all.latency.count + recording.dropped


def test_requests_without_an_answer_at_the_end_are_failures(generators: GeneratorProcess) -> None:
    with running(RATE_PER_S * 3) as url:
        recording = load(generators, url, measure_s=3.0, patience_s=0.0).recording

    assert recording.unfinished > 50
    assert {"no answer at the end": recording.unfinished} == recording.errors
    assert recording.offered == recording.all.latency.count + recording.unfinished


# In a process of its own: importing locust patches the sockets of whoever does.
CALLED_AND_SENT_HOME = """
import time
from locust import FastHttpUser
from locust.env import Environment
from loadtest.measure.open_model import VisitorPool, Visit
from loadtest.measure.recorder import Recorder

class Caller(FastHttpUser):
    host = "http://127.0.0.1:9"

recorder = Recorder()
pool, now_s = VisitorPool(Environment(), recorder), time.perf_counter()
recorder.start(now_s)
for turns in range(2):
    recorder.arrival(now_s, dropped=False)
    pool.send(Caller, lambda visitor: None, Visit(now_s))
    pool.settle(turns * 5.0)  # the first has no time to begin
seen = recorder.recording(1.0)
print(seen.offered, seen.unfinished, seen.errors)
"""


def test_who_is_sent_home_before_the_first_turn_is_counted() -> None:
    answer = subprocess.run([sys.executable, "-c", CALLED_AND_SENT_HOME], cwd=HERE.parents[1], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "2 1 {'no answer at the end': 1, 'Caller sent no request': 1}"


def test_a_second_request_counts_from_its_send(quick_server: str, generators: GeneratorProcess) -> None:
    recording = load(generators, quick_server, "ThoughtfulVisitor", measure_s=1.0).recording

    assert recording.series["first"].latency.count == recording.series["second"].latency.count == recording.offered
    assert recording.slip.count == recording.offered


@pytest.mark.parametrize("user", ["Browser", "FastBrowser"])
def test_task_sets_go_on_where_they_were_from_arrival_to_arrival(quick_server: str, generators: GeneratorProcess, user: str) -> None:
    recording = load(generators, quick_server, user, measure_s=2.0).recording
    names = {"login", "look", "choose", "pay", "receipt", "logout"} | ({"hello"} if user == "FastBrowser" else set())
    before = httpx.get(f"{quick_server}/record").json()["requests"]
    generators.visit(Order(url="http://127.0.0.1:9", mix=((VISITORS, "Visitor", 1.0),)))

    assert recording.errors == {}  # each visitor found its steps in order
    assert recording.series.keys() == names
    assert recording.slip.count == recording.offered  # one request of each arrival is on the schedule, whatever it is
    assert httpx.get(f"{quick_server}/record").json()["requests"] == before  # whoever is sent home sends nothing more


FAULTS = [
    "BrokenVisitor raised RuntimeError: not today",
    "BrokenBrowser raised RuntimeError: not today",
    "ImpatientVisitor raised Timeout: 0.01 seconds",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_scenario_is_counted(quick_server: str, generators: GeneratorProcess, fault: str) -> None:
    recording = load(generators, quick_server, fault.partition(" ")[0], measure_s=1.0).recording

    assert recording.errors[fault] == recording.offered


@pytest.mark.parametrize("user", ["Visitor", "PlainBrowser"])
def test_a_server_that_is_away_gives_errors_by_kind(free_port: int, generators: GeneratorProcess, user: str) -> None:
    recording = load(generators, f"http://127.0.0.1:{free_port}", user, measure_s=1.0).recording

    assert {"refused": recording.offered} == recording.errors


@pytest.mark.parametrize("user", ["Visitor", "PlainBrowser"])
def test_a_request_that_is_lost_is_a_failure(generators: GeneratorProcess, user: str) -> None:
    with cutting() as (url, received):
        recording = load(generators, url, user, measure_s=1.0, warm_up_s=0.0).recording
    lost = recording.errors.pop("connection lost")

    assert recording.errors == {}
    assert lost == pytest.approx(recording.offered / 2, abs=recording.offered / 4)
    assert recording.all.latency.count == recording.offered - lost
    assert len(received) >= recording.offered


def test_a_wrong_body_is_an_error(quick_server: str, generators: GeneratorProcess) -> None:
    recording = load(generators, quick_server + "/record?", measure_s=1.0).recording

    assert {"wrong answer: body": recording.offered} == recording.errors


@pytest.mark.parametrize(
    ("mix", "reason"),
    [
        (((VISITORS, "Visitr", 1.0),), "the nearest is 'Visitor'"),
        ((("no/such/file.py", "*", 1.0),), "is no locustfile"),
        ((("", "Helo", 1.0),), "the nearest is 'Hello'"),
    ],
)
def test_a_wrong_scenario_is_refused_in_one_line(mix: Mix, reason: str) -> None:
    with GeneratorProcess() as refusing, pytest.raises(GeneratorError, match=reason):
        refusing.visit(Order(url="http://127.0.0.1:1", mix=mix))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nothing_of_that_name", "cannot be loaded: ModuleNotFoundError"),
        ("print('a locustfile may print')", "defines no user"),
        ("from locust import User\nclass Socket(User): pass", "Socket is no HttpUser or FastHttpUser"),
        ("from locust import FastHttpUser\nclass Idle(FastHttpUser): pass", "Idle has no task"),
        ("from locust import HttpUser, TaskSet\nclass Empty(TaskSet): pass\nclass Some(HttpUser): tasks = [Empty]", "Empty has no task"),
    ],
)
def test_a_locustfile_that_does_not_serve_is_refused_in_one_line(tmp_path: Path, source: str, reason: str) -> None:
    locustfile = tmp_path / "locustfile.py"
    locustfile.write_text(source)

    with GeneratorProcess() as refusing, pytest.raises(GeneratorError, match=reason):
        refusing.visit(Order(url="http://127.0.0.1:1", mix=((str(locustfile), "*", 1.0),)))


def test_the_closed_model_goes_as_fast_as_the_server(quick_server: str, generators: GeneratorProcess) -> None:
    recording = load(generators, quick_server, rate_per_s=0.0, users=2, measure_s=1.0).recording

    assert recording.errors == {}
    assert recording.all.latency.count == recording.offered > 2  # each user asks again when it has its answer


def test_a_generator_makes_several_steps(quick_server: str, generators: GeneratorProcess) -> None:
    generators.visit(Order(url=quick_server, mix=((VISITORS, "Visitor", 1.0),)))
    slow, fast = (generators.step(StepOrder(rate_per_s=rate, warm_up_s=0.2, measure_s=2.0)).recording for rate in (50.0, 200.0))

    assert slow.errors == fast.errors == {}
    assert slow.offered == pytest.approx(100, abs=40)
    assert fast.offered == fast.all.latency.count == pytest.approx(400, abs=80)


def test_background_visitors_are_there_and_not_counted(quick_server: str, generators: GeneratorProcess) -> None:
    order = Order(url=quick_server, mix=((VISITORS, "Visitor", 1.0),), background=((VISITORS, "ThoughtfulVisitor", 2.0),))
    step = StepOrder(rate_per_s=20.0, warm_up_s=0.2, measure_s=1.0)
    recording = generators.visit(order).step(step).recording

    assert recording.series.keys() == {"hello"}
    assert len(httpx.get(f"{quick_server}/record").json()["answered"]) > 2 * recording.offered
