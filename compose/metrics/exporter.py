"""Count what the gateway says of each request, in datagrams to a unix socket (gateway.conf), and serve it to Prometheus."""

import json
import os
import re
import socket
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
REQUESTS = Histogram(
    "kit_request_seconds", "From the whole request to the begin of its answer.", ["route", "method", "status"], buckets=SECONDS
)
QUEUE = Histogram("kit_queue_seconds", "From the gateway to a thread of a worker, the WAF included.", buckets=SECONDS)
VIEW = Histogram("kit_view_seconds", "In a thread, until its answer began; the sum's rate is how many threads are busy.", buckets=SECONDS)
STAGES = Histogram(
    "kit_stage_seconds", "What the application says in Server-Timing; without dur it is counted.", ["stage"], buckets=SECONDS
)
WORKERS = Counter("kit_workers_begun", "Workers that have given the gateway their first answer.")
FAILED = Counter("kit_failed_tries", "Tries at a container: refused (no connection), cut (its worker died), late (no answer).", ["how"])
UNREAD = Counter("kit_unread_lines", "Lines that are no answer's.")


def tries(text: str) -> list[str]:
    """Split what nginx says of the servers that it tried one after the other ("-": nothing)."""
    return [each for each in re.split(r"[,: ]+", text) if each]


def seconds(line: dict[str, Any]) -> float:
    """Return the time of all tries until the answer began; of one that never did, until it was given up."""
    pairs = zip(tries(line["header_s"]), tries(line["response_s"]), strict=True)
    return sum(float(next((each for each in pair if each != "-"), 0)) for pair in pairs)


def count(line: dict[str, Any], series: set[tuple[str, str, str]], stages: set[str]) -> None:
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
    ANSWERS.labels(source, status, limit).inc()

    key = (route, line["method"] if line["method"] in METHODS else "other", f"{status[0]}xx")
    key = key if key in series or len(series) < MOST_SERIES else ("other", *key[1:])
    series.add(key)
    REQUESTS.labels(*key).observe(seconds(line))

    for connected, answered in zip(tries(line["connect_s"]), statuses[:-1] if view else statuses, strict=False):
        if answered in NO_ANSWER:
            FAILED.labels("refused" if connected == "-" else NO_ANSWER[answered]).inc()
    if source == "app" and view:  # a cached answer has the header fields of the first
        passed_on = line["msec"] - line["request_s"] + line["received_s"]
        QUEUE.observe(max(0.0, float(began) - passed_on))
        VIEW.observe(float(view))
        WORKERS.inc(view.startswith("+"))  # of a worker's first answer
        for name, milliseconds in STAGE.findall(line["timing"]):
            stage = name if name in stages or len(stages) < MOST_STAGES else "other"
            stages.add(stage)
            STAGES.labels(stage).observe(float(milliseconds or 0) / 1000)


for how in ("refused", *NO_ANSWER.values()):
    FAILED.labels(how)  # Prometheus sees no increase in a number that begins with 1
ANSWERS.labels("gateway", "507", "")

if __name__ == "__main__":
    place = Path(os.environ["METRICS_SOCKET"])
    place.unlink(missing_ok=True)
    start_http_server(int(os.environ.get("PORT", "9100")))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gateway:
        gateway.bind(str(place))
        place.chmod(0o666)  # the gateway has another user
        series: set[tuple[str, str, str]] = set()
        stages: set[str] = set()
        while True:
            try:
                count(json.loads(gateway.recv(65536).partition(b": ")[2].decode(errors="replace")), series, stages)
            except (ValueError, LookupError, TypeError):
                UNREAD.inc()
