"""Count what the gateway says of each request, in a file (gateway.conf), and serve it to Prometheus.

Written for little CPU, as it reads a line for each request: it wakes once for many, and looks a series up in a dict, not by labels().
"""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Histogram, start_http_server

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
NO_ANSWER = {"502": "cut", "504": "late"}
MOST_STAGES = 20  # later ones are "other"
STAGE = re.compile(r"(?:^|,) *([\w-]{1,40})(?:;[^,]*?dur=(\d+(?:\.\d+)?))?")
MOST_SERIES = 300  # of route, method and status: a scrape takes 25 ms then; later ones have the route "other"
SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30)

ANSWERS = Counter("kit_answers", "By who gave them: app, cache, waf or gateway; and the limit that refused.", ["source", "status", "limit"])
REQUESTS = Histogram("kit_request_seconds", "From the whole request to its answer's begin.", ["route", "method", "status"], buckets=SECONDS)
QUEUE = Histogram("kit_queue_seconds", "From the gateway to a thread of a worker, the WAF included.", buckets=SECONDS)
VIEW = Histogram("kit_view_seconds", "In a thread, until its answer began; the sum's rate is how many threads are busy.", buckets=SECONDS)
STAGES = Histogram("kit_stage_seconds", "What the application says in Server-Timing; without dur 0.", ["stage"], buckets=SECONDS)
WORKERS = Counter("kit_workers_begun", "Workers that have given the gateway their first answer.")
FAILED = Counter("kit_failed_tries", "Tries at a container: refused (no connection), cut (its worker died), late (no answer).", ["how"])
UNREAD = Counter("kit_unread_lines", "Lines that are no answer's.")


class Series(dict[tuple[str, ...], Any]):
    """The series of a metric by their labels; when there are `most`, later ones have "other" for the first label."""

    def __init__(self, metric: Any, most: int) -> None:
        self._metric, self._most = metric, most

    def __missing__(self, labels: tuple[str, ...]) -> Any:
        labels = labels if len(self) < self._most else ("other", *labels[1:])
        return self.setdefault(labels, self._metric.labels(*labels))


def tries(text: str) -> list[str]:
    """Split what nginx says of the servers that it tried one after the other ("-": nothing)."""
    return text.replace(",", " ").replace(":", " ").split()


def seconds(line: dict[str, Any]) -> float:
    """Return the time of all tries until the answer began; of one that never did, until it was given up."""
    pairs = zip(tries(line["header_s"]), tries(line["response_s"]), strict=True)
    return sum(float(next((each for each in pair if each != "-"), 0)) for pair in pairs)


def count(line: dict[str, Any], answers: Series, requests: Series, stages: Series) -> None:
    """Count one answer."""
    status, began, view, route = str(line["status"]), *[*line["app"].split(" ", 2), "", "", ""][:3]
    statuses = tries(line["upstream_status"])
    if line["waf"] == "refused":
        source = "waf"
    elif line["cache"] in {"HIT", "STALE", "UPDATING"}:
        source = "cache"
    else:  # 502 and 504 are nginx's own, where no view said anything
        source = "app" if view or (statuses[-1:] == [status] and status not in NO_ANSWER) else "gateway"
    limit = next((name for name in ("requests", "connections") if line[name].startswith("REJECTED")), "")
    answers[source, status, limit].inc()
    requests[route, line["method"] if line["method"] in METHODS else "other", f"{status[0]}xx"].observe(seconds(line))

    for connected, answered in zip(tries(line["connect_s"]), statuses[:-1] if view else statuses, strict=False):
        if answered in NO_ANSWER:
            FAILED.labels("refused" if connected == "-" else NO_ANSWER[answered]).inc()
    if source == "app" and view:  # a cached answer has the header fields of the first
        passed_on = line["msec"] - line["request_s"] + line["received_s"]
        QUEUE.observe(max(0.0, float(began) - passed_on))
        VIEW.observe(float(view))
        WORKERS.inc(view.startswith("+"))  # of a worker's first answer
        for name, milliseconds in STAGE.findall(line["timing"]):
            stages[(name,)].observe(float(milliseconds or 0) / 1000)


for how in ("refused", *NO_ANSWER.values()):
    FAILED.labels(how)  # Prometheus sees no increase in a number that begins with 1
ANSWERS.labels("gateway", "507", "")

if __name__ == "__main__":
    start_http_server(int(os.environ.get("PORT", "9100")))
    series = [Series(ANSWERS, MOST_SERIES), Series(REQUESTS, MOST_SERIES), Series(STAGES, MOST_STAGES)]
    with Path(os.environ["METRICS_LINES"]).open("a+b") as lines:
        while True:
            time.sleep(0.5)
            lines.seek(0)
            read = lines.readlines()
            lines.truncate(0)  # nginx appends. What it wrote in these microseconds is lost; to count it twice would be worse
            for line in read:
                try:
                    count(json.loads(line.decode(errors="replace")), *series)
                except (ValueError, LookupError, TypeError):
                    UNREAD.inc()
