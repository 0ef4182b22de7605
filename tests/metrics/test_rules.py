"""compose/metrics/rules.yml in Debian's Prometheus: each alert in its fault, silent without it, and a broken file refused by name."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.nginx.containers import docker

pytestmark = pytest.mark.runtimes("compose")
RULES = ROOT / "compose/metrics/rules.yml"
# What all is like when nothing is wrong, and just below the bounds. A minute between values.
WELL = {
    'probe_success{job="health"}': "1x400",
    'probe_success{job="ready"}': "1x400",
    'probe_http_status_code{job="ready"}': "200x400",
    'probe_ssl_earliest_cert_expiry{job="health"}': f"{15 * 86400}x400",
    'up{job="gateway"}': "1x400",
    'pg_stat_activity_count{state="idle"}': "80x400",
    'pg_stat_activity_count{state="active"}': "9x400",
    "pg_settings_max_connections": "100x400",
    'kit_failed_tries_total{how="cut"}': "0x375 4x25",
    'kit_failed_tries_total{how="refused"}': "0+20x400",
    'kit_answers_total{source="app",status="200",limit=""}': "0+9000x400",
    'kit_answers_total{source="app",status="503",limit=""}': "0+1000x400",
    'kit_answers_total{source="gateway",status="503",limit=""}': "0+80x400",
    'kit_answers_total{source="gateway",status="429",limit="requests"}': "0+400x400",
    'kit_answers_total{source="gateway",status="499",limit=""}': "0+400x400",
    'kit_answers_total{source="gateway",status="507",limit=""}': "0x400",
    'kit_request_seconds_count{status="2xx"}': "0+9950x400",
    'kit_request_seconds_count{status="5xx"}': "0+50x400",
    'kit_request_seconds_bucket{le="1.0"}': "0+9000x400",
    'kit_queue_seconds_bucket{le="0.5"}': "0+9600x400",
    'kit_queue_seconds_bucket{le="+Inf"}': "0+10000x400",
}
# What each fault changes, at minute 380, and the alerts that it has: these and no other.
FAULTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "none": ({}, set()),
    "no answer": (
        {
            'probe_success{job="health"}': "1x375 0x25",
            'probe_success{job="ready"}': "1x375 0x25",
            'probe_http_status_code{job="ready"}': "0x400",
        },
        {"SiteDown"},
    ),
    "the database is away": (
        {'probe_success{job="ready"}': "1x375 0x25", 'probe_http_status_code{job="ready"}': "503x400"},
        {"NotReady"},
    ),
    "the WAF refuses everything": (
        {'probe_success{job="ready"}': "1x375 0x25", 'probe_http_status_code{job="ready"}': "200x375 403x25"},
        {"WafRefusesEverything"},
    ),
    "errors for ten minutes": (
        {'kit_request_seconds_count{status="5xx"}': "0+50x370 18500+2000x30"},
        {"ErrorsFast"},
    ),
    "few errors for hours": ({'kit_request_seconds_count{status="5xx"}': "0+100x400"}, {"ErrorsSlow"}),
    "slow answers": ({'kit_request_seconds_bucket{le="1.0"}': "0+8000x400"}, {"AnswersSlow"}),
    "a queue": ({'kit_queue_seconds_bucket{le="0.5"}': "0+100x400", 'kit_queue_seconds_bucket{le="2.5"}': "0+10000x400"}, {"QueueLong"}),
    "workers die": ({'kit_failed_tries_total{how="cut"}': "0x375 6x25"}, {"WorkersDie"}),
    "more than may be in flight": (
        {'kit_answers_total{source="gateway",status="503",limit=""}': "0+80x370 29600+300x30"},
        {"Overloaded"},
    ),
    "a flood from one address": (
        {'kit_answers_total{source="gateway",status="429",limit="requests"}': "0+400x370 148000+1000x30"},
        {"LimitsRefuse"},
    ),
    "clients do not wait": ({'kit_answers_total{source="gateway",status="499",limit=""}': "0+400x370 148000+1000x30"}, {"ClientsGiveUp"}),
    "no room for uploads": ({'kit_answers_total{source="gateway",status="507",limit=""}': "0x380 1x20"}, {"UploadsRefused"}),
    "the exporter is away": ({'up{job="gateway"}': "1x375 0x25"}, {"NoMetrics"}),
    "the gateway's lines are lost": (
        {name: values.replace("x400", "x370 stale") for name, values in WELL.items() if name.startswith("kit_")},
        {"NoMetrics"},
    ),
    "few connections are left": ({'pg_stat_activity_count{state="active"}': "9x370 11x30"}, {"DatabaseFull"}),
    "a certificate ends": ({'probe_ssl_earliest_cert_expiry{job="health"}': f"{13 * 86400}x400"}, {"CertificateEnds"}),
}


@pytest.fixture(scope="module")
def image(runtime: str) -> Iterator[str]:
    """The image of compose/metrics/."""
    assert runtime == "compose"
    name = f"kit-prometheus-{os.getpid()}"
    docker("build", "--quiet", "--tag", name, str(RULES.parent))
    yield name
    docker("image", "rm", "--no-prune", name)


def test_each_fault_has_its_alerts_and_no_other(image: str, tmp_path: Path) -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert {alert for _, expected in FAULTS.values() for alert in expected} == set(alerts)  # none is untried
    tests = [
        {
            "name": fault,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in {**WELL, **changed}.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "385m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(expected)],
                }
            ],
        }
        for fault, (changed, expected) in FAULTS.items()
    ]
    suite = {"rule_files": ["/etc/metrics/rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(suite))
    promtool = ["promtool", "test", "rules", "/tests/test.yml"]
    done = docker("run", "--rm", "--user", "0", "--volume", f"{tmp_path}:/tests:ro", image, *promtool, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_rules_file_is_refused_by_name(image: str, tmp_path: Path) -> None:
    """Before Prometheus listens; as it is it is taken."""
    broken = tmp_path / "rules.yml"
    broken.write_text(RULES.read_text().replace("probe_success{", "probe_success{{", 1))
    settings = [word for name in ("SITE_URL", "HEALTH_PATH", "READY_PATH", "SERVER_NAMES") for word in ("--env", f"{name}=x")]
    done = docker("run", "--rm", *settings, "--volume", f"{broken}:/etc/metrics/rules.yml:ro", image, "/etc/metrics/start", check=False)

    assert done.returncode == 2
    assert "/etc/metrics/rules.yml" in done.stderr
    assert docker("run", "--rm", *settings, image, "/etc/metrics/start", "--version").stdout.startswith("prometheus, version 3.")


def test_alertmanager_takes_its_configuration(image: str) -> None:
    mounted = f"{RULES.parent}/alertmanager.yml:/alertmanager.yml:ro"

    assert "SUCCESS" in docker("run", "--rm", "--volume", mounted, image, "amtool", "check-config", "/alertmanager.yml").stdout
