"""What dashboards show of compose/metrics.yaml: one list for Grafana's (`make dashboards`) and for a page without it (`make overview`)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    """`unit`: Grafana's name of it. `queries`: PromQL by the name of its series ({{label}} is a value); RATE: some scrapes."""

    title: str
    unit: str
    says: str
    queries: dict[str, str]


@dataclass(frozen=True)
class Board:
    """`overlay`: beside compose/metrics.yaml, without which there is nothing to show."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    overlay: str = ""


def quantiles(metric: str, *shares: float, labels: str = "") -> dict[str, str]:
    return {f"{share:.0%} within": f"histogram_quantile({share}, {rate(f'{metric}_bucket{labels}', 'le')})" for share in shares}


def rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[RATE]))"


def top(query: str) -> str:
    return f"topk(6, {query})"


ROUTES = "kit_request_seconds"
# fmt: off
PROBES = Panel("Probes", "bool_on_off", "1: the site answers a visitor; ready: with its database.", {"{{job}}": "probe_success"})
QUEUE = Panel("Queue", "s", "Until a thread takes a request: WAF, listen backlog, threads.", quantiles("kit_queue_seconds", 0.5, 0.95))
BUSY = Panel("Busy threads", "short", "At once, of replicas x workers x threads.", {"busy": "sum(rate(kit_view_seconds_sum[RATE]))"})
DATABASE = Panel("Database time", "s", "Of a request, in the database.", quantiles("kit_stage_seconds", 0.5, 0.95, labels='{stage="db"}'))

BOARDS = (
    Board("well", "Is it well?", (
        Panel("Alerts", "short", "How many fire.", {"firing": 'sum(ALERTS{alertstate="firing"}) or vector(0)'}),
        PROBES,
        Panel("Requests", "reqps", "Answers, by who gave them; the gateway's own are refusals and errors.",
              {"{{source}}": rate("kit_answers_total", "source")}),
        Panel("Errors", "percentunit", "Share of 5xx. The aim is 0.1 %; ErrorsFast begins at 1.44 %, ErrorsSlow at 0.6 %.",
              {"in 5 minutes": "site:errors:share5m or vector(0)", "in an hour": "site:errors:share1h or vector(0)"}),
        Panel("Time to answer", "s", "From the whole request to the begin of its answer.", quantiles(ROUTES, 0.5, 0.95, 0.99)),
        QUEUE, BUSY, DATABASE,
        Panel("Refused", "reqps", "By the WAF, or by a limit of requests or connections.",
              {"WAF": 'sum(rate(kit_answers_total{source="waf"}[RATE])) or vector(0)',
               "limits": 'sum(rate(kit_answers_total{limit!=""}[RATE])) or vector(0)'}),
    )),
    Board("gateway", "Gateway", (
        Panel("Answers by status", "reqps", "The six most frequent.", {"{{status}}": top(rate("kit_answers_total", "status"))}),
        Panel("By itself", "reqps", "What no application answered. 499: the client closed.",
              {"{{status}}": rate('kit_answers_total{source="gateway"}', "status")}),
        Panel("In flight", "short", "At once, until their answers begin.", {"requests": "sum(rate(kit_request_seconds_sum[RATE]))"}),
        Panel("Limits", "reqps", "Refused, by the limit.", {"{{limit}}": rate('kit_answers_total{limit!=""}', "limit")}),
        Panel("Clients that gave up", "percentunit", "Share of 499; ClientsGiveUp above 5 %.",
              {"499": 'sum(rate(kit_answers_total{status="499"}[RATE])) / sum(rate(kit_answers_total[RATE]))'}),
        Panel("Failed tries", "reqps", "Refused: the container is away, as in a release. Cut: its worker died. Late: no answer in time.",
              {"{{how}}": rate("kit_failed_tries_total", "how")}),
        Panel("Lines not read", "reqps", "Of the gateway's log, by the exporter; none is right.",
              {"lines": "rate(kit_unread_lines_total[RATE])"}),
    )),
    Board("waf", "WAF", (
        Panel("Refused by the WAF", "reqps", "By status.", {"{{status}}": rate('kit_answers_total{source="waf"}', "status")}),
        Panel("Share refused", "percentunit", "Of all answers. More after a release is a false positive: make waf-report.",
              {"refused": 'sum(rate(kit_answers_total{source="waf"}[RATE])) / sum(rate(kit_answers_total[RATE]))'}),
        QUEUE,
    )),
    Board("app", "Application", (
        Panel("Requests by route", "reqps", "The six most frequent; (none): an unknown path, or no worker answered.",
              {"{{route}}": top(rate(f"{ROUTES}_count", "route"))}),
        Panel("Slow routes", "s", "95% within; the six slowest.",
              {"{{route}}": top(f"histogram_quantile(0.95, {rate(ROUTES + '_bucket', 'le, route')})")}),
        Panel("Errors by route", "reqps", "5xx.", {"{{route}}": top(rate(ROUTES + '_count{status="5xx"}', "route"))}),
        Panel("Views", "s", "In a thread, until the answer began.", quantiles("kit_view_seconds", 0.5, 0.95, 0.99)),
        BUSY, QUEUE,
        Panel("Workers begun", "short", "In 15 minutes: in a release, after max_requests, when one died.",
              {"begun": "increase(kit_workers_begun_total[15m])"}),
        Panel("Workers that died", "short", "Connections that broke with a request in them, in 15 minutes; WorkersDie above 5.",
              {"cut": 'increase(kit_failed_tries_total{how="cut"}[15m])'}),
        Panel("Wait for a connection", "s", "Until the pool had one. Long: DATABASE_POOL_SIZE is too small for the threads.",
              quantiles("kit_stage_seconds", 0.5, 0.95, labels='{stage="pool"}')),
        Panel("Stages", "s", "What the application says in Server-Timing, its own too: the mean of each.",
              {"{{stage}}": top(f"{rate('kit_stage_seconds_sum', 'stage')} / {rate('kit_stage_seconds_count', 'stage')}")}),
        Panel("Connections in use", "short", "Of the pools, of replicas x workers x DATABASE_POOL_SIZE.",
              {"in use": 'rate(kit_stage_seconds_sum{stage="db"}[RATE])'}),
    )),
    Board("database", "PostgreSQL", (
        Panel("Connections", "short", "By what they do; DatabaseFull at nine tenths of the most.",
              {"{{state}}": "sum by (state) (pg_stat_activity_count) > 0", "most": "max(pg_settings_max_connections)"}),
        Panel("Transactions", "ops", "Rolled back are also those that have only read.",
              {"committed": "sum(rate(pg_stat_database_xact_commit[RATE]))",
               "rolled back": "sum(rate(pg_stat_database_xact_rollback[RATE]))"}),
        Panel("Longest transaction", "s", "It holds up the removal of old rows, and others that want its locks.",
              {"longest": "max(pg_stat_activity_max_tx_duration)"}),
        Panel("Locks", "short", "The six most frequent modes.", {"{{mode}}": top("sum by (mode) (pg_locks_count)")}),
        Panel("Read from memory", "percentunit", "Share of blocks; below 99 % PostgreSQL's memory is too small for what is read often.",
              {"hits": "1 / (1 + sum(rate(pg_stat_database_blks_read[RATE])) / sum(rate(pg_stat_database_blks_hit[RATE])))"}),
        Panel("Size", "bytes", "On disk.", {"{{datname}}": 'pg_database_size_bytes{datname="kit"}'}),
    ), "compose/metrics-database.yaml"),
)
# fmt: on
