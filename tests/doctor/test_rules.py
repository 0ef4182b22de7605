"""Each rule on the kit's own files: they pass as they are, and one changed value breaks just that rule."""

from dataclasses import dataclass, field

import pytest

from tests.doctor.conftest import MakeKit
from tools.doctor.rules import RULES

pytestmark = pytest.mark.usefixtures("compose_plugin")

CONF, COMPOSE, MAIN = "gunicorn.conf.py", "docker-compose.yml", "nginx/nginx.conf"
SIZE, TIMEOUTS = "nginx/templates/30-limits.conf.template", "nginx/templates/upstream/app.conf.template"
SITE, UPSTREAM = "nginx/templates/60-site.conf.template", "nginx/templates/upstream/app.conf.template"
CLIENT = "nginx/templates/55-load-balancers.conf.template"


@dataclass(frozen=True)
class Case:
    """One edit (the only match of `old` becomes `new`), and what the doctor must say.

    `values` are what the finding shows, by name; `files` are places of some of them.
    """

    rule: str
    file: str
    old: str
    new: str
    values: dict[str, str]
    files: set[str]
    env: dict[str, str] = field(default_factory=dict)
    app: bool = False
    verdict: str = "BROKEN"
    also: frozenset[str] = frozenset()  # rules that the same edit breaks too, because it must

    def __str__(self) -> str:
        return f"{self.rule}-{self.verdict}"


def given(rule: str, setting: str, values: dict[str, str], files: set[str], **more: object) -> Case:
    """Make a case of a setting that a user gives in .env instead of editing a file."""
    return Case(rule, ".env", "", setting, values, files, **more)  # type: ignore[arg-type]


def conf(name: str) -> str:
    """Match the line of gunicorn.conf.py that sets `name`."""
    return rf"(?m)^{name} = .*$"


def nginx(name: str) -> str:
    """Match a directive of nginx."""
    return rf"(?m)^ *{name} [^;]*;"


CASES = (
    Case("request-timeout", CONF, conf("timeout"), "timeout = 40", {"timeout": "40 s", "proxy_read_timeout": "35 s"}, {CONF, TIMEOUTS}),
    Case(
        "request-timeout", TIMEOUTS, nginx("proxy_read_timeout"), "proxy_read_timeout 30s;",
        {"timeout": "30 s", "proxy_read_timeout": "30 s"}, {CONF, TIMEOUTS},
    ),
    given("request-timeout", "GUNICORN_CMD_ARGS=--timeout 0", {"timeout": "0 s", "proxy_read_timeout": "35 s"}, {".env", TIMEOUTS}),
    Case(
        "stop", CONF, conf("graceful_timeout"), "graceful_timeout = 40",
        {"graceful_timeout": "40 s", "stop_grace_period": "40 s"}, {CONF, COMPOSE},
    ),
    given(
        "stop", "GUNICORN_CMD_ARGS=--graceful-timeout 45", {"graceful_timeout": "45 s", "stop_grace_period": "40 s"}, {".env", COMPOSE},
    ),
    Case(
        "stop", MAIN, nginx("worker_shutdown_timeout"), "worker_shutdown_timeout 1m;",
        {"worker_shutdown_timeout": "60 s", "stop_grace_period": "40 s"}, {MAIN, COMPOSE},
    ),
    Case(
        "stop", MAIN, nginx("worker_shutdown_timeout"), "",
        {"worker_shutdown_timeout": "no limit", "stop_grace_period": "40 s"}, {"nginx's default", COMPOSE},
    ),
    Case(
        "upstream-keepalive", CONF, conf("keepalive"), "keepalive = 1",
        {"keepalive_timeout": "1 s", "keepalive": "1 s"}, {CONF, UPSTREAM},
    ),
    Case(
        "upstream-names", UPSTREAM, r"server \$\{APP_HOST\}:8000 resolve max_fails=3", "server shop:8000 resolve max_fails=3",
        {"server": "shop"}, {UPSTREAM},
    ),
    Case(
        "body-size", SIZE, nginx("client_max_body_size"), "client_max_body_size 5m;",
        {"client_max_body_size": "5 MiB", "MAX_CONTENT_LENGTH": "10 MiB"}, {SIZE, COMPOSE}, app=True,
    ),
    Case(
        "trusted-proxies", CLIENT, nginx("real_ip_header"), "set_real_ip_from 0.0.0.0/0;",
        {"TRUSTED_PROXIES": "not set", "set_real_ip_from": "0.0.0.0/0"}, {CLIENT},
    ),
    Case(
        "trusted-proxies", CLIENT, r"    default 0;\n    include", "    default 0;\n    10.9.0.0/16 1;\n    include",
        {"TRUSTED_PROXIES": "not set", "geo": "10.9.0.0/16"}, {CLIENT},
    ),
    Case("trusted-proxies", CONF, r"\Z", "\nforwarded_allow_ips = '*'\n", {"forwarded_allow_ips": "*"}, {CONF}),
    given("trusted-proxies", "FORWARDED_ALLOW_IPS=0.0.0.0/1", {"forwarded_allow_ips": "0.0.0.0/1"}, {".env"}),
    Case(
        "database-connections", COMPOSE, r"replicas: \$\{APP_REPLICAS:-3\}", "replicas: ${APP_REPLICAS:-9}",
        {"replicas": "9", "workers": "2", "pool size": "8", "max_connections": "100"}, {COMPOSE, CONF}, app=True,
        also=frozenset({"in-flight"}),
    ),
    given("pool-threads", "DATABASE_POOL_SIZE=4", {"threads": "8", "pool size": "4"}, {CONF, ".env"}, app=True),
    given("pool-threads", "GUNICORN_CMD_ARGS=--threads 16\nDATABASE_POOL_SIZE=8", {"threads": "16", "pool size": "8"}, {".env"}, app=True),
    Case(
        "session-key", "app/kit_app/settings.py", r"return key\.get_secret_value\(\)", 'return __import__("secrets").token_hex()',
        {"SECRET_KEY": "differs"}, {"the application"}, app=True,
    ),
    given("database-driver", "DATABASE_URL=postgresql://kit@database/kit", {"DATABASE_URL": "postgresql://..."}, {".env"}, verdict="warn"),
    given("memory-workers", "WEB_CONCURRENCY=4\nAPP_MEMORY=240m", {"workers": "4", "memory limit": "240 MiB"}, {".env"}),
    Case("memory-workers", CONF, r"gunicorn_hooks\.sizing\.workers\(worker_class\)", "64", {"workers": "64"}, {CONF, COMPOSE},
         also=frozenset({"in-flight"})),
    Case("tmpfs-memory", COMPOSE, r"size=\d+m,(?=mode=1777\W+\n    stop_grace)", "", {"tmpfs /tmp": "none"}, {COMPOSE}),
    given("tmpfs-memory", "GATEWAY_MEMORY=512m", {"tmpfs /run/nginx/proxy": "512 MiB", "memory limit": "512 MiB"}, {COMPOSE, ".env"}),
    given("in-flight", "WAF_MODE=Off\nMAX_IN_FLIGHT=40", {"max_conns": "7", "workers": "2", "threads": "8"}, {UPSTREAM, CONF}),
    given("in-flight", "MAX_IN_FLIGHT=0", {"max_conns": "0"}, set(), verdict="warn"),
    given("limits-on", "LIMITS=off", {"LIMITS": "off", "APP_ENV": "production"}, {".env", COMPOSE}, verdict="warn"),
    given(
        "lab-private", "LAB_ENABLED=1\nGATEWAY_BIND=0.0.0.0", {"LAB_ENABLED": "1", "ports": "0.0.0.0:8080->8080"}, {".env"},
        verdict="warn",
    ),
    Case(
        "swarm", "compose/swarm.yaml", r"    oom_score_adj: .*\n", "", {"app oom_score_adj": "500: it is ignored"}, {COMPOSE},
        env={"COMPOSE_FILE": f"{COMPOSE}:compose/swarm.yaml"}, verdict="warn",
    ),
    given(
        "swarm", f"COMPOSE_FILE={COMPOSE}:compose/swarm.yaml:compose/tls.yaml:compose/instance.yaml",
        {
            "certificate network_mode": "none: it is ignored",
            "gateway ports": "127.0.0.1:8443: the nodes listen on all their addresses",
            "app volumes": "instance: each node has a volume of its own by that name",
        },
        {"compose/tls.yaml", "compose/instance.yaml"}, verdict="warn",
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_changed_value_breaks_the_rule(make_kit: MakeKit, case: Case) -> None:
    """The finding names both values, and the files to edit."""
    kit = make_kit(app=case.app)
    if case.file == ".env":
        (kit.root / ".env").write_text(f"{case.new}\n")
    else:
        kit.edit(case.file, case.old, case.new)

    report = kit.doctor("--json", env=case.env)

    finding = report.rules()[case.rule]
    assert finding["verdict"] == case.verdict, finding
    assert case.values.items() <= report.shown(case.rule).items()
    assert case.files <= {value["origin"]["place"] for value in finding["files"]["values"]}
    assert any(value["editable"] for value in finding["files"]["values"])
    # That rule and no other: a doctor that complains of everything would pass the lines above.
    broken = ({case.rule} if case.verdict == "BROKEN" else set()) | case.also
    assert report.with_verdict("BROKEN") == broken
    assert report.code == (1 if broken else 0)


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == RULES.keys()


def test_the_kit_passes_as_it_is(make_kit: MakeKit) -> None:
    report = make_kit(app=True).doctor("--json")

    assert report.with_verdict("ok") == set(report.rules())
    assert report.code == 0


def test_the_stack_of_a_swarm_passes(make_kit: MakeKit) -> None:
    report = make_kit(app=True).doctor("--json", env={"COMPOSE_FILE": f"{COMPOSE}:compose/swarm.yaml"})

    assert report.with_verdict("ok") == set(report.rules())


@pytest.mark.parametrize(("worker_class", "keepalive"), [("gthread", "ok"), ("gevent", "ok"), ("sync", "n/a"), ("tornado", "n/a")])
def test_every_worker_class_passes(make_kit: MakeKit, worker_class: str, keepalive: str) -> None:
    """Workers, pool and connections follow the class."""
    kit = make_kit(app=True)
    (kit.root / ".env").write_text(f"GUNICORN_WORKER_CLASS={worker_class}\n")

    report = kit.doctor("--json")

    assert report.with_verdict("BROKEN") | report.with_verdict("warn") | report.with_verdict("not checked") == set()
    assert report.rules()["upstream-keepalive"]["verdict"] == keepalive


def test_a_copy_without_the_hooks_passes(make_kit: MakeKit) -> None:
    """As a foreign project may have it."""
    kit = make_kit(app=True)
    conf = kit.root / CONF
    conf.write_text("".join(line for line in conf.read_text().splitlines(keepends=True) if "gunicorn_hooks" not in line))
    (kit.root / ".env").write_text("WEB_CONCURRENCY=2\n")

    assert kit.doctor().code == 0
