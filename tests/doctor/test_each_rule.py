"""Each rule on the kit's own files: they pass as they stand, and one changed value breaks just that rule."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.doctor.conftest import MakeKit
from tests.doctor.kits import Report
from tests.tls.pairs import make_pair
from tools.doctor.rules import RULES

pytestmark = pytest.mark.usefixtures("compose_plugin")

CONF, COMPOSE, SLOW = "gunicorn.conf.py", "docker-compose.yml", "nginx/conf.d/20-slow-clients.conf.template"
PROXY, SITE, MAIN = "nginx/snippets/proxy-to-app.conf", "nginx/snippets/site.conf.template", "nginx/nginx.conf.template"
RETRIES, HOP = "nginx/snippets/retries.conf", "nginx/snippets/way-to-waf.conf.template"
WAF_BLOCK = "nginx/conf.d/55-waf.conf.template"
HSTS = "nginx/conf.d/27-hsts.conf.template"
UPSTREAM, CLIENT = "nginx/conf.d/40-upstream.conf.template", "nginx/conf.d/15-client.conf.template"


def assignment(name: str) -> str:
    """Match the line of gunicorn.conf.py that sets `name`."""
    return rf"(?m)^{name} = .*$"


def directive(name: str) -> str:
    """Match a directive of nginx."""
    return rf"(?m)^ *{name} [^;]*;"


@dataclass(frozen=True)
class Case:
    """One edit (the only match of `old` becomes `new`), and what the doctor must say.

    `values` are what the finding shows, by name; `files` is every file in which one of them stands.
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
    # Rules that the same edit breaks too, because it must.
    also: frozenset[str] = frozenset()
    # Compose files over the first.
    variants: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule}-{self.verdict}"


def given(rule: str, setting: str, values: dict[str, str], files: set[str], **more: object) -> Case:
    """Make a case of a setting that a user gives in .env instead of editing a file."""
    return Case(rule, ".env", "", setting, values, files, **more)  # type: ignore[arg-type]


CASES = (
    Case(
        "request-timeout", CONF, assignment("timeout"), "timeout = 40",
        {"timeout": "40 s", "proxy_read_timeout": "35 s"}, {CONF, PROXY},
    ),
    Case(
        "request-timeout", PROXY, directive("proxy_read_timeout"), "proxy_read_timeout 30s;",
        {"timeout": "30 s", "proxy_read_timeout": "30 s"}, {CONF, PROXY},
    ),
    given("request-timeout", "GUNICORN_TIMEOUT=0", {"timeout": "0 s", "proxy_read_timeout": "35 s"}, {".env", PROXY}),
    Case(
        "app-stop", CONF, assignment("graceful_timeout"), "graceful_timeout = 40",
        {"graceful_timeout": "40 s", "stop_grace_period": "40 s"}, {CONF, COMPOSE},
    ),
    Case(
        "gateway-stop", MAIN, directive("worker_shutdown_timeout"), "worker_shutdown_timeout 1m;",
        {"worker_shutdown_timeout": "60 s", "stop_grace_period": "40 s"}, {MAIN, COMPOSE},
    ),
    Case(
        "gateway-stop", MAIN, directive("worker_shutdown_timeout"), "",
        {"worker_shutdown_timeout": "0 s", "stop_grace_period": "40 s"}, {"nginx's default", COMPOSE},
    ),
    Case(
        "upstream-keepalive", CONF, assignment("keepalive"), "keepalive = 1",
        {"keepalive_timeout": "1 s", "keepalive": "1 s"}, {CONF, UPSTREAM},
    ),
    Case(
        "body-size", SLOW, directive("client_max_body_size"), "client_max_body_size 5m;",
        {"client_max_body_size": "5 MiB", "MAX_CONTENT_LENGTH": "10 MiB"}, {SLOW, COMPOSE}, app=True,
    ),
    Case(
        "header-line", CONF, assignment("limit_request_field_size"), "limit_request_field_size = 8190",
        {"large_client_header_buffers": "8 KiB", "limit_request_field_size": "8190 B"}, {SLOW, CONF},
    ),
    Case(
        "request-line", CONF, assignment("limit_request_line"), "limit_request_line = 4094",
        {"large_client_header_buffers": "8 KiB", "limit_request_line": "4094 B"}, {SLOW, CONF},
    ),
    Case(
        "header-count", SLOW, directive("max_headers"), "max_headers 95;",
        {"max_headers": "95", "limit_request_fields": "100"}, {SLOW, CONF},
    ),
    Case(
        "nginx-version", SITE, directive("absolute_redirect"), "early_hints $http_sec_fetch_mode;",
        {"nginx": "1.28.0", "early_hints": "early_hints $http_sec_fetch_mode"}, {"NGINX_VERSION", SITE},
        env={"NGINX_VERSION": "1.28.0"},
    ),
    Case(
        "buffering", SLOW, directive("proxy_buffering"), "proxy_buffering off;",
        {"proxy_buffering": "off"}, {SLOW},
    ),
    Case(
        "buffering", HOP, directive("proxy_pass"), "proxy_pass http://waf;\nproxy_request_buffering off;",
        {"proxy_request_buffering": "off"}, {HOP},
    ),
    Case(
        "retries", RETRIES, r"proxy_next_upstream error timeout;", "proxy_next_upstream error timeout non_idempotent;",
        {"proxy_next_upstream": "error timeout non_idempotent"}, {RETRIES},
    ),
    Case("resolver-valid", "nginx/render", r" valid=\d+s ", " valid=60s ", {"resolver": "60 s"}, {UPSTREAM}),
    Case(
        "resolver-valid", "nginx/render", r" valid=\d+s ", " ",
        {"resolver": "as long as the DNS server says (Docker: 600 s)"}, {UPSTREAM},
    ),
    Case("max-fails", "nginx/render", r"max_fails=[1-9]\d*", "max_fails=1", {"server": "max_fails=1"}, {UPSTREAM}),
    Case(
        "trusted-proxies", CLIENT, directive("real_ip_header"), "set_real_ip_from 0.0.0.0/0;",
        {"TRUSTED_PROXIES": "empty", "set_real_ip_from": "0.0.0.0/0"}, {CLIENT, COMPOSE},
    ),
    Case(
        "trusted-proxies", CLIENT, r"\$\{TRUSTED_GEO_LINES\}\n", "    10.9.0.0/16 1;\n",
        {"TRUSTED_PROXIES": "empty", "10.9.0.0/16": "10.9.0.0/16"}, {CLIENT, COMPOSE},
    ),
    Case(
        "forwarded-allow-ips", CONF, r"\Z", "\nforwarded_allow_ips = '*'\n",
        {"forwarded_allow_ips": "*"}, {CONF},
    ),
    Case(
        "database-connections", COMPOSE, r"replicas: \$\{APP_REPLICAS:-3\}", "replicas: ${APP_REPLICAS:-9}",
        {"replicas": "9", "workers": "2", "pool size": "8", "max_connections": "100"}, {COMPOSE, CONF}, app=True,
        also=frozenset({"in-work"}),
    ),
    given("pool-threads", "DATABASE_POOL_SIZE=4", {"threads": "8", "pool size": "4"}, {CONF, ".env"}, app=True),
    Case(
        "cpu-workers", CONF, r"(?m)gunicorn_hooks.sizing.workers\(worker_class\)$", "os.cpu_count() or 1",
        {"workers": "64", "cpus": "1"}, {CONF, COMPOSE}, also=frozenset({"memory-workers", "in-work"}),
    ),
    given("memory-workers", "WEB_CONCURRENCY=4\nAPP_MEMORY=240m", {"workers": "4", "memory limit": "240 MiB"}, {".env"}),
    Case(
        "open-files", MAIN, directive("worker_rlimit_nofile"), "worker_rlimit_nofile 64;",
        {"worker_rlimit_nofile": "64"}, {MAIN},
    ),
    Case(
        "temp-files", SLOW, directive("proxy_max_temp_file_size"), "proxy_max_temp_file_size 64m;",
        {"proxy_max_temp_file_size": "64 MiB", "tmpfs /run/nginx/proxy": "512 MiB"}, {SLOW, COMPOSE},
    ),
    given(
        "temp-files", "MAX_CONTENT_LENGTH=104857600",
        {"client_max_body_size": "100 MiB", "tmpfs /run/nginx/body": "120 MiB"}, {SLOW, COMPOSE},
    ),
    given("backlog", "GUNICORN_CMD_ARGS=--backlog 8192", {"backlog": "8192"}, {".env"}, verdict="warn"),
    given(
        "in-work", "MAX_IN_WORK=40",
        {"max_conns": "40", "replicas": "3", "workers": "2", "threads": "8"}, {WAF_BLOCK, COMPOSE, CONF},
    ),
    given("in-work", "MAX_IN_WORK=off", {}, set(), verdict="warn"),
    given("in-work", "WAF_MODE=Off\nMAX_IN_WORK=40", {"max_conns": "14", "workers": "2", "threads": "8"}, {UPSTREAM, CONF}),
    given(
        "idle-connections", "GUNICORN_CMD_ARGS=--worker-connections 16",
        {"keepalive": "32", "worker_connections": "16"}, {UPSTREAM, ".env"},
    ),
    Case(
        "ports", COMPOSE, "    user: postgres\n", "    user: postgres\n    ports: ['5432:5432']\n",
        {"database: ports": "*:5432->5432"}, {COMPOSE},
    ),
    Case(
        "healthcheck", COMPOSE, r'\["CMD", "/opt/gateway/healthcheck"\]', '["NONE"]',
        {"gateway: healthcheck": "disabled"}, {COMPOSE},
    ),
    Case("user", COMPOSE, "    user: postgres\n", "    user: '0'\n", {"database: user": "0"}, {COMPOSE}),
    Case("user", "app/Dockerfile", "\nUSER 10001:10001\n", "\n", {"app: user": "root"}, {"app/Dockerfile"}),
    Case("read-only", COMPOSE, "  read_only: true\n", "", {"gateway: read_only": "false"}, {COMPOSE}),
    Case("capabilities", COMPOSE, r"cap_drop: \[ALL\]", "cap_drop: [NET_RAW]", {"app: cap_drop": "NET_RAW"}, {COMPOSE}),
    Case(
        "no-new-privileges", COMPOSE, r"  security_opt: .*\n", "",
        {"app: security_opt": "none"}, {COMPOSE},
    ),
    Case("resource-limits", COMPOSE, r"memory: 256m, pids: \d+", "memory: 256m", {"migrate: pids limit": "none"}, {COMPOSE}),
    Case("tmpfs-memory", COMPOSE, r"size=\d+m,(?=mode=1777\W+\n    stop_grace)", "", {"tmpfs /tmp": "none"}, {COMPOSE}),
    given("tmpfs-memory", "GATEWAY_MEMORY=512m", {"tmpfs /run/nginx/proxy": "512 MiB", "memory limit": "512 MiB"}, {COMPOSE, ".env"}),
    Case(
        "port-reuse", COMPOSE, r"    sysctls:\n      net.ipv4.tcp_tw_reuse: \"1\"\n", "",
        {"net.ipv4.tcp_tw_reuse": "the kernel's default"}, {COMPOSE},
    ),
    Case(
        "log-rotation", COMPOSE, r"    driver: local\n    options:\n      max-size: .*\n      max-file: .*\n", "    driver: json-file\n",
        {"database: logging": "json-file without max-size"}, {COMPOSE},
    ),
    Case(
        "secret-defaults", COMPOSE, "    SECRET_KEY_FILE: ", "    SECRET_KEY: ${SECRET_KEY:-change-me}\n    SECRET_KEY_FILE: ",
        {"SECRET_KEY": "has a value"}, {COMPOSE},
    ),
    Case(
        "secret-defaults", COMPOSE, r"postgresql\+psycopg://kit@database", "postgresql+psycopg://kit:kit@database",
        {"DATABASE_URL": "has a value"}, {COMPOSE},
    ),
    given("certificate", "TLS_DIR=./tls", {"certificate": "tls/fullchain.pem"}, {"compose/tls.yaml"}, variants=("compose/tls.yaml",)),
    given(
        "hsts", "TLS_HSTS=300", {"Strict-Transport-Security": "max-age=300", "TLS": "off", "TRUSTED_PROXIES": "empty"}, {HSTS, COMPOSE},
    ),
    Case(
        "hsts", HSTS, r'default "";(?=\n    https   .\$\{HSTS\})', "default max-age=300;",
        {"Strict-Transport-Security": "max-age=300"}, {HSTS}, variants=("compose/tls.yaml",),
    ),
    Case(
        "http3-port", "compose/http3.yaml", "/udp", "",
        {"Alt-Svc": 'h3=":8443"; ma=86400'}, {HSTS, "compose/http3.yaml"}, variants=("compose/tls.yaml", "compose/http3.yaml"),
    ),
    given("limits-on", "LIMITS=off", {"LIMITS": "off", "APP_ENV": "production"}, {".env", COMPOSE}, verdict="warn"),
    given(
        "lab-private", "LAB_ENABLED=1\nGATEWAY_BIND=0.0.0.0",
        {"LAB_ENABLED": "1", "gateway: ports": "0.0.0.0:8080->8080"}, {".env", COMPOSE}, verdict="warn",
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_changed_value_breaks_the_rule(make_kit: MakeKit, case: Case) -> None:
    """The finding names every value, and every file in which one of them stands."""
    kit = make_kit(app=case.app)
    if case.file == ".env":
        (kit.root / ".env").write_text(f"{case.new}\n")
    else:
        kit.edit(case.file, case.old, case.new)

    report = kit.doctor("--json", *kit.files(*case.variants), env=case.env)

    finding = report.rules()[case.rule]
    assert finding["verdict"] == case.verdict, finding
    assert case.values.items() <= report.shown(case.rule).items()
    assert case.files <= {value["place"] for value in finding["files"]["values"]}
    assert finding["files"]["edit"]
    # That rule and no other: a doctor that complains of everything would pass the lines above.
    broken = {case.rule} | case.also if case.verdict == "BROKEN" else set()
    assert report.with_verdict("BROKEN") == broken
    assert report.code == (1 if broken else 0)


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == {rule.id for rule in RULES}


def test_the_kit_passes_as_it_stands(make_kit: MakeKit) -> None:
    report = make_kit(app=True).doctor("--json")

    without_tls = {"certificate", "hsts", "http3-port"}
    assert report.with_verdict("n/a") == without_tls
    assert report.with_verdict("ok") == set(report.rules()) - without_tls
    assert report.code == 0


@pytest.mark.parametrize(("worker_class", "keepalive"), [("gthread", "ok"), ("gevent", "ok"), ("sync", "n/a"), ("tornado", "n/a")])
def test_every_worker_class_passes(make_kit: MakeKit, worker_class: str, keepalive: str) -> None:
    """Workers, pool and connections follow the class."""
    kit = make_kit(app=True)
    (kit.root / ".env").write_text(f"GUNICORN_WORKER_CLASS={worker_class}\n")

    report = kit.doctor("--json")

    assert report.with_verdict("BROKEN") | report.with_verdict("warn") | report.with_verdict("not checked") == set()
    assert report.rules()["upstream-keepalive"]["verdict"] == keepalive


# --- The certificate


def with_tls(make_kit: MakeKit, pair: Callable[[Path], object], *settings: str) -> Report:
    """What the doctor says of the TLS variant with the pair that `pair` puts into the folder TLS_DIR."""
    kit = make_kit()
    folder = kit.root / "tls"
    pair(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    (kit.root / ".env").write_text("\n".join(["TLS_DIR=./tls", "SERVER_NAMES=localhost www.example.org", *settings, ""]))
    return kit.doctor("--json", *kit.files("compose/tls.yaml", "compose/http3.yaml"))


def mismatched(folder: Path) -> None:
    pair, other = make_pair(folder), make_pair(folder.parent / "other")
    other.key.replace(pair.key)


def without_key(folder: Path) -> None:
    make_pair(folder).key.write_text("not a key\n")


def test_a_right_certificate_passes(make_kit: MakeKit) -> None:
    report = with_tls(make_kit, make_pair, "TLS_HSTS=300")

    assert {report.rules()[rule]["verdict"] for rule in ("certificate", "hsts", "http3-port")} == {"ok"}
    assert report.code == 0


@pytest.mark.parametrize(
    ("pair", "says"),
    [(partial(make_pair, days=-1), "has expired on"), (mismatched, "is not the key of"), (without_key, "is no private key in PEM")],
)
def test_a_wrong_certificate_breaks_the_rule(make_kit: MakeKit, pair: Callable[[Path], object], says: str) -> None:
    report = with_tls(make_kit, pair)

    assert report.with_verdict("BROKEN") == {"certificate"}
    assert says in report.rules()["certificate"]["files"]["says"]


def test_a_certificate_for_another_name_is_worth_a_warning(make_kit: MakeKit) -> None:
    report = with_tls(make_kit, partial(make_pair, names=("localhost",)))

    assert report.with_verdict("BROKEN") == set()
    assert report.rules()["certificate"]["verdict"] == "warn"
    assert "does not hold for www.example.org" in report.rules()["certificate"]["files"]["says"]


def test_a_key_that_the_gateway_cannot_read_breaks_the_rule(make_kit: MakeKit) -> None:
    """Whoever asks the doctor: root could read it."""
    kit = make_kit()
    make_pair(kit.root / "tls").key.chmod(0o600)
    (kit.root / ".env").write_text("TLS_DIR=./tls\n")
    report = kit.doctor("--json", *kit.files("compose/tls.yaml"))

    assert "tls/privkey.pem cannot be read by user 10101" in report.rules()["certificate"]["files"]["says"]
