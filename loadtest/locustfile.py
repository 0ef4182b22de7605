"""The scenarios by hand: `locust -f loadtest/locustfile.py --class-picker`, web interface on http://127.0.0.1:8089.

Closed model (Locust's own): choose a scenario, Hello or Page or …, and a number of users.
Open model: choose Arrivals, and say `--rate 200 --visitors Hello:9,Page:1`; the rows "due" show latency from the moment a
request was due. Several Locust workers: as many users as workers, each takes its part of the rate.
"""

import sys
from pathlib import Path
from typing import Any

# Locust puts this folder on the path, where its files would stand for modules of the same name.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(path for path in sys.path if Path(path or ".").resolve() not in (_HERE, _HERE.parent))]

from locust import events  # noqa: E402 - after the path
from locust.env import Environment  # noqa: E402

from loadtest.measure.open_model import REQUEST, OpenModelUser  # noqa: E402
from loadtest.scenarios import SCENARIOS, load_users  # noqa: E402

globals().update({name: cls for name, cls in SCENARIOS.items() if name != "Null"})  # Locust looks for users among the names of this module


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: Any) -> None:
    """Options of the open model; the web interface shows them too."""
    parser.add_argument("--rate", type=float, default=10.0, help="Arrivals: visitors per second, all workers together")
    parser.add_argument("--visitors", default="Hello:1", help="Arrivals: scenarios and their shares, Hello:9,Page:1")
    parser.add_argument("--seed", type=int, default=1, help="Arrivals: the same seed gives the same moments")


class Arrivals(OpenModelUser):
    """The open model, with the options above."""

    fixed_count = 0

    def __init__(self, environment: Environment) -> None:
        options: Any = environment.parsed_options
        parts = max(int(options.num_users or 1), 1)
        self.rate_per_s = options.rate / parts
        self.seed = options.seed + 1000 * int(getattr(environment.runner, "worker_index", 0))
        self.mix = load_users(_shares(options.visitors))  # type: ignore[misc] # of this run, not of the class
        super().__init__(environment)


def _shares(text: str) -> list[tuple[str, str, float]]:
    parts = [part.strip().partition(":") for part in text.split(",")]
    return [("", name, float(share or 1)) for name, _, share in parts]


@events.init.add_listener  # type: ignore[untyped-decorator]
def show_latency_from_due(environment: Environment, **_: Any) -> None:
    """Add rows to Locust's table: its own say how long an answer took once the request was sent."""

    @environment.events.request.add_listener  # type: ignore[untyped-decorator]
    def on_request(name: str, response_time: float, context: dict[str, Any], **_: Any) -> None:
        request = context.get(REQUEST)
        if request is not None:
            environment.stats.log_request("due", name, (request.sent_s - request.intended_s) * 1e3 + response_time, 0)
