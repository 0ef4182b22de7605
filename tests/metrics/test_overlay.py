"""What compose/metrics.yaml adds to the stack, and to nothing else."""

import re

import yaml

from tests.compose.conftest import Read, ask, read
from tests.conftest import ROOT
from tests.metrics.conftest import Exporter, Front, Serve

__all__ = ["ask", "read"]
ADDED = {"metrics", "probes", "prometheus"}
MORE = {"database-metrics": {"data", "metrics"}, "alertmanager": {"metrics", "outbound"}}
MOUNTED = {"/etc/nginx/conf.d/12-metrics.conf", "/etc/nginx/snippets/proxy-metrics.conf"}


def test_the_application_gets_a_setting_and_the_gateway_a_file(read: Read) -> None:
    """Neither gets a port or a network."""
    before, after = (read(variants=variants)["services"] for variants in ((), ("compose/metrics.yaml",)))

    assert after.keys() - before.keys() == ADDED
    assert after["app"]["environment"].pop("METRICS") == "1"
    added = [mount for mount in after["gateway"]["volumes"] if mount not in before["gateway"]["volumes"]]
    assert {mount["target"]: mount.get("read_only", False) for mount in added} == {"/run/metrics": False, **dict.fromkeys(MOUNTED, True)}
    after["gateway"]["volumes"] = before["gateway"]["volumes"]
    assert {name: after[name] for name in before} == before


def test_what_is_added_is_hardened_and_out_of_the_gateways_reach(read: Read) -> None:
    variants = ("compose/metrics.yaml", "compose/metrics-database.yaml", "compose/alerts.yaml")
    services = read(variants=variants, env={"ALERT_WEBHOOK_URL": "https://chat.example.org/1a2b"})["services"]
    for name in {*ADDED, *MORE}:
        kept = {key: services[name].get(key) for key in ("read_only", "cap_drop", "security_opt", "restart")}
        assert kept == {key: services["gateway"][key] for key in kept}
        assert {"cpus", "memory", "pids"} == services[name]["deploy"]["resources"]["limits"].keys()

    assert {name for name, service in services.items() if "metrics" in (service.get("networks") or ())} == {*ADDED, *MORE}
    assert {name: set(services[name]["networks"]) for name in MORE} == MORE
    assert set(services["metrics"]["networks"]) == {"metrics"}
    assert {port["host_ip"] for name in services.keys() - {"gateway"} for port in services[name].get("ports", [])} == {"127.0.0.1"}


def test_the_alerts_ask_for_what_there_is(serve: Serve, front: Front, exporter: Exporter) -> None:
    """A metric that nobody has would never fire."""
    front(serve()).get("/")
    exporter.counted("kit_request_seconds_count", 1)
    rules = [rule for group in yaml.safe_load((ROOT / "compose/metrics/rules.yml").read_text())["groups"] for rule in group["rules"]]
    named = set(re.findall(r"\bkit_\w+", " ".join(rule["expr"] for rule in rules)))

    assert named
    assert named <= {name for name, *_ in exporter.numbers()}


def test_the_page_names_each_alert() -> None:
    page = (ROOT / "docs/metrics.md").read_text()

    assert [alert for alert in re.findall(r"- alert: (\w+)", (ROOT / "compose/metrics/rules.yml").read_text()) if alert not in page] == []
