"""nginx/render: every wrong setting refused by name, what an older nginx does not know left out aloud, and a tree that nginx takes."""

import re
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crossplane
import pytest

from tests.nginx.conftest import Gateways
from tests.nginx.gateway import PATH, RENDER, ROOT, render
from tools.stack.machine import free_ports

NEWEST, OLDEST = "1.30.6", "1.22.1"
INJECTED = 'x; } server { listen 9; } "'

# (setting, wrong value): each alone must stop the render, and be named.
WRONG = [
    ("LIMITS", "maybe"),
    ("LIMITS", "ON"),
    ("LIMITS", "on;"),
    ("MAX_CONTENT_LENGTH", "10m"),
    ("MAX_CONTENT_LENGTH", "0"),
    ("MAX_CONTENT_LENGTH", "-1"),
    ("MAX_CONTENT_LENGTH", "1e6"),
    ("MAX_CONTENT_LENGTH", "010"),
    ("MAX_CONTENT_LENGTH", "9999999999999"),
    ("SERVER_NAMES", "example.org;"),
    ("SERVER_NAMES", 'example.org"'),
    ("SERVER_NAMES", "*"),
    ("SERVER_NAMES", "_"),
    ("SERVER_NAMES", "~.*"),
    ("SERVER_NAMES", "www.*"),
    ("SERVER_NAMES", "$host"),
    ("SERVER_NAMES", "http://example.org"),
    ("SERVER_NAMES", "example.org:8080"),
    ("SERVER_NAMES", "::1"),
    ("SERVER_NAMES", "300.1.1.1"),
    ("SERVER_NAMES", " "),
    ("SERVER_NAMES", "a..b"),
    ("SERVER_NAMES", "exämple.org"),
    ("TRUSTED_PROXIES", "0.0.0.0/0"),
    ("TRUSTED_PROXIES", "::/0"),
    ("TRUSTED_PROXIES", "10.0.0.1 0.0.0.0/0"),
    ("TRUSTED_PROXIES", "0.0.0.0/1,128.0.0.0/1"),
    ("TRUSTED_PROXIES", "2000::/3"),
    ("TRUSTED_PROXIES", "::ffff:0:0/96"),
    ("TRUSTED_PROXIES", "300.1.1.1"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("TRUSTED_PROXIES", "10.0.0.0/"),
    ("TRUSTED_PROXIES", "10.0.0.0/08"),
    ("TRUSTED_PROXIES", "10.0.0"),
    ("TRUSTED_PROXIES", "fe80::1::2"),
    ("TRUSTED_PROXIES", "[::1]"),
    ("TRUSTED_PROXIES", "balancer.example.org"),
    ("TRUSTED_PROXIES", "*"),
    ("TRUSTED_PROXIES", "unix:"),
    ("LISTEN", "nonsense"),
    ("LISTEN", "0"),
    ("LISTEN", "65536"),
    ("LISTEN", "08080"),
    ("LISTEN", "::1:8080"),
    ("LISTEN", "unix:/tmp/x"),
    ("LISTEN", "8080 default_server"),
    ("LISTEN", "8080;"),
    ("STATUS_LISTEN", "127.0.0.1"),
    ("STATUS_LISTEN", "127.0.0.1:8080"),
    ("UPSTREAM_SERVERS", ""),
    ("UPSTREAM_SERVERS", " "),
    ("UPSTREAM_SERVERS", "app"),
    ("UPSTREAM_SERVERS", "app:80 backup"),
    ("UPSTREAM_SERVERS", "app:8000;"),
    ("UPSTREAM_SERVERS", "http://app:8000"),
    ("UPSTREAM_SERVERS", "300.1.1.1:8000"),
    ("UPSTREAM_SERVERS", "-x:8000"),
    ("HEALTH_CHECKS", "maybe"),
    ("HEALTH_CHECKS", "on"),  # beside a RESOLVER
    ("RESOLVER", "resolver.example.org"),
    ("RESOLVER", "127.0.0.11; "),
    ("RESOLVER", "127.0.0.11:0"),
    ("NGINX_RUNTIME", "podman"),
    ("NGINX_VERSION", "latest"),
    ("NGINX_VERSION", "1.30"),
    ("NGINX_VERSION", "1.18.0"),
    ("NGINX_WORKER_PROCESSES", "auto"),
    ("NGINX_WORKER_PROCESSES", "0"),
    ("MAX_IN_WORK", "5"),
    ("MAX_IN_WORK", "many"),
    ("MAX_IN_WORK", "100001"),
    ("MAX_IN_WORK", "064"),
    ("NGINX_WORKER_CONNECTIONS", "63"),
    ("NGINX_WORKER_CONNECTIONS", "99999999"),
    ("GATEWAY_PORT", "http"),
    ("STATIC_ROOT", "static"),
    ("STATIC_ROOT", '/srv/"'),
    ("STATIC_ROOT", "/srv/$x"),
    ("NGINX_PREFIX", "run"),
    ("NGINX_PREFIX", "/run\\"),
    ("NGINX_MODULES_DIR", '/usr"; x'),
]
TEXT_SETTINGS = [
    "HEALTH_CHECKS",
    "LIMITS",
    "MAX_IN_WORK",
    "MAX_CONTENT_LENGTH",
    "SERVER_NAMES",
    "TRUSTED_PROXIES",
    "LISTEN",
    "STATUS_LISTEN",
    "UPSTREAM_SERVERS",
    "RESOLVER",
]
TEXT_SETTINGS += ["NGINX_RUNTIME", "NGINX_VERSION", "NGINX_WORKER_PROCESSES", "NGINX_WORKER_CONNECTIONS", "GATEWAY_PORT"]

Config = Callable[..., dict[str, str]]
Block = list[dict[str, Any]]  # as crossplane gives it


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a function that renders with these settings (for the image's nginx) and gives the text of each file, without comments."""

    def make(**settings: str) -> dict[str, str]:
        done = render(tmp_path / "conf", {**image_settings(tmp_path), **settings})
        assert done.returncode == 0, done.stderr
        files = sorted((tmp_path / "conf").rglob("*.conf"))
        return {str(path.relative_to(tmp_path / "conf")): re.sub(r"(?m)^\s*#.*\n", "", path.read_text()) for path in files}

    return make


def image_settings(folder: Path) -> dict[str, str]:
    """As in the container, for a machine without nginx."""
    return {
        "NGINX_RUNTIME": "compose",
        "NGINX_VERSION": NEWEST,
        "NGINX_MODULES_DIR": "/none",
        "NGINX_PREFIX": str(folder / "run"),
        "RESOLVER": "127.0.0.11",
    }


# --- Settings


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_setting_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    done = render(tmp_path / "conf", {**image_settings(tmp_path), name: value})

    assert done.returncode == 2
    assert done.stdout == ""
    assert name in done.stderr
    assert all(line.startswith("render: ") for line in done.stderr.splitlines())
    assert not (tmp_path / "conf").exists()


@pytest.mark.parametrize("name", TEXT_SETTINGS)
@pytest.mark.parametrize("value", [INJECTED, "8080\nserver{}", "on\r", "${LIMITS}", "`id`", "$(id)", "a\x7fb"])
def test_no_setting_is_a_way_into_the_configuration(tmp_path: Path, name: str, value: str) -> None:
    done = render(tmp_path / "conf", {**image_settings(tmp_path), name: value})

    assert done.returncode == 2
    assert name in done.stderr


def test_all_wrong_settings_are_named_at_once(tmp_path: Path) -> None:
    done = render(tmp_path / "conf", {**image_settings(tmp_path), "LIMITS": "maybe", "SERVER_NAMES": "*", "MAX_CONTENT_LENGTH": "10m"})

    assert len(done.stderr.splitlines()) == 3
    assert all(name in done.stderr for name in ("LIMITS=maybe", "SERVER_NAMES", "MAX_CONTENT_LENGTH=10m"))


@pytest.mark.parametrize("name", ["UPSTREAM_SERVERS", "STATIC_ROOT", "NGINX_PREFIX"])
def test_local_runtime_must_be_told(tmp_path: Path, name: str) -> None:
    given = {
        "UPSTREAM_SERVERS": "127.0.0.1:8000",
        "STATIC_ROOT": "/srv/static",
        "NGINX_PREFIX": str(tmp_path / "run"),
        "NGINX_VERSION": NEWEST,
    }
    del given[name]
    done = render(tmp_path / "conf", given)

    assert done.returncode == 2
    assert name in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "file", "text"),
    [
        ("SERVER_NAMES", "example.org *.example.org .example.com [2001:db8::1] 10.0.0.1", "conf.d/60-site.conf", "server_name {};"),
        ("MAX_CONTENT_LENGTH", "1", "conf.d/20-slow-clients.conf", "client_max_body_size {};"),
        ("MAX_IN_WORK", "50", "conf.d/55-waf.conf", 'waf.sock" max_conns={};'),
        ("NGINX_WORKER_PROCESSES", "3", "nginx.conf", "worker_processes {};"),
        ("NGINX_WORKER_CONNECTIONS", "512", "nginx.conf", "worker_connections {};"),
        ("TRUSTED_PROXIES", "10.0.0.0/8", "conf.d/15-client.conf", "set_real_ip_from {};"),
        ("TRUSTED_PROXIES", "fc00::/7", "conf.d/15-client.conf", "set_real_ip_from {};"),
        ("RESOLVER", "[fd00::53]:5353", "conf.d/40-upstream.conf", "resolver {} valid=1s"),
        ("UPSTREAM_SERVERS", "[::1]:8000", "conf.d/40-upstream.conf", "server {} max_fails=3"),
        ("LISTEN", "[::]:8080", "conf.d/50-unknown-host.conf", "listen {} default_server;"),
        ("STATIC_ROOT", "/srv/a folder; with {signs}", "snippets/static.conf", 'alias "{}/";'),
    ],
)
def test_right_setting_is_used(config: Config, name: str, value: str, file: str, text: str) -> None:
    assert text.format(value) in config(**{name: value})[file]


@pytest.mark.parametrize(("servers", "each"), [("app:8000", 22), ("10.0.0.1:80", 64), ("10.0.0.1:80 10.0.0.2:80", 32)])
def test_without_the_firewall_each_server_has_its_share_of_the_bound(config: Config, servers: str, each: int) -> None:
    """In two sets, each of which counts for itself."""
    upstream = config(WAF_MODE="Off", UPSTREAM_SERVERS=servers)["conf.d/40-upstream.conf"]

    assert len(re.findall(rf"(?m)^ *server .* max_conns={each}[ ;]", upstream)) == 2 * len(servers.split())


def test_there_need_be_no_bound(config: Config) -> None:
    assert "max_conns" not in "".join(config(MAX_IN_WORK="off").values()) + "".join(config(MAX_IN_WORK="off", WAF_MODE="Off").values())


def checked(folder: Path, **settings: str) -> tuple[str, str]:
    """Return what nginx/rotation is started with, and the line of the resolver."""
    done = render(folder / "conf", {**image_settings(folder), "RESOLVER": "", **settings})
    assert done.returncode == 0, done.stderr
    asked, upstream = folder / "conf" / "rotation", (folder / "conf" / "conf.d" / "40-upstream.conf").read_text()
    (resolver,) = re.findall(r"(?m)^resolver .*$", upstream) or [""]
    return asked.read_text() if asked.exists() else "", resolver


def test_in_the_container_nginx_asks_who_is_in_rotation(tmp_path: Path) -> None:
    servers = "app:8000 10.0.0.1:80 other:9000"

    assert checked(tmp_path, UPSTREAM_SERVERS=servers, HEALTH_PATH="/up") == (
        "/up\napp:8000\nother:9000\n",
        "resolver 127.0.0.1:8053 valid=1s ipv6=off;",
    )
    assert checked(tmp_path, HEALTH_CHECKS="off", RESOLVER="127.0.0.11") == ("", "resolver 127.0.0.11 valid=1s ipv6=off;")
    assert checked(tmp_path, UPSTREAM_SERVERS="10.0.0.1:80") == ("", "")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"NGINX_RUNTIME": "local", "UPSTREAM_SERVERS": "127.0.0.1:8000", "STATIC_ROOT": "/srv/static"}, "only the gateway's container"),
        ({"UPSTREAM_SERVERS": "app:8000 app:8001"}, "a DNS name has no port"),
    ],
)
def test_health_checks_that_cannot_be_are_refused(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    done = render(tmp_path / "conf", {**image_settings(tmp_path), "RESOLVER": "", "HEALTH_CHECKS": "on", **settings})

    assert done.returncode == 2
    assert says in done.stderr


def test_empty_setting_is_the_default(config: Config) -> None:
    assert config(LIMITS="", SERVER_NAMES="", MAX_CONTENT_LENGTH="", TRUSTED_PROXIES="") == config()


def test_nothing_of_the_templates_is_left(config: Config) -> None:
    assert not re.findall(r"\$\{[A-Z_]+\}", "".join(config().values()))


def test_usage_without_a_folder() -> None:
    done = subprocess.run(["/bin/sh", str(RENDER)], env={"PATH": PATH}, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "conf" / "conf.d").mkdir(parents=True)
    mine = tmp_path / "conf" / "conf.d" / "mine.conf"
    mine.write_text("mine")
    done = render(tmp_path / "conf", image_settings(tmp_path))

    assert done.returncode == 2
    assert mine.read_text() == "mine"


def test_rendering_again_leaves_nothing_old(config: Config, tmp_path: Path) -> None:
    before = config(LIMITS="off")
    (tmp_path / "conf" / "conf.d" / "99-old.conf").write_text("old")

    assert config(LIMITS="off") == before


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = render(tmp_path / "file" / "conf", image_settings(tmp_path))

    assert done.returncode == 2
    assert "may write" in done.stderr


def test_no_nginx(tmp_path: Path) -> None:
    done = render(tmp_path / "conf", {**image_settings(tmp_path), "NGINX_VERSION": "", "NGINX_BINARY": "no-such-nginx"})

    assert done.returncode == 2
    assert "no-such-nginx" in done.stderr


# --- Versions


def test_newest_nginx_gets_everything(tmp_path: Path) -> None:
    done = render(tmp_path / "conf", image_settings(tmp_path))

    assert "is left out" not in re.sub(r".*brotli.*", "", done.stderr)


def test_older_nginx_is_told_apart_aloud(tmp_path: Path) -> None:
    settings = {**image_settings(tmp_path), "NGINX_RUNTIME": "local", "NGINX_VERSION": OLDEST, "STATIC_ROOT": "/srv/static"}
    done = render(tmp_path / "conf", {**settings, "UPSTREAM_SERVERS": "localhost:8000"})
    text = "".join(path.read_text() for path in (tmp_path / "conf").rglob("*.conf"))

    for word in ("resolve", "keepalive_min_timeout", "max_headers", "brotli", "brotli_static"):
        assert f"note: {word} is left out" in done.stderr
        assert not re.search(rf"(?m)^\s*{word} ", text)
    assert "server localhost:8000 max_fails=3" in text
    assert " resolve" not in re.sub(r"(?m)^\s*#.*$", "", text)


def test_nothing_is_left_out_that_is_not_there(tmp_path: Path) -> None:
    """No name among the servers: nothing to say about resolving it."""
    settings = {**image_settings(tmp_path), "NGINX_RUNTIME": "local", "NGINX_VERSION": OLDEST, "STATIC_ROOT": "/srv/static"}

    assert "resolve is" not in render(tmp_path / "conf", {**settings, "UPSTREAM_SERVERS": "127.0.0.1:8000"}).stderr


@pytest.mark.parametrize("version", ["1.22.1", "1.26.3", "1.27.2"])
def test_containers_need_an_nginx_that_follows_them(tmp_path: Path, version: str) -> None:
    done = render(tmp_path / "conf", {**image_settings(tmp_path), "NGINX_VERSION": version})

    assert done.returncode == 2
    assert "GATEWAY_BASE" in done.stderr


# --- What this machine or container allows


def cgroup(folder: Path, files: dict[str, str]) -> dict[str, str]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return {"CGROUP_ROOT": str(folder)}


@pytest.mark.parametrize(
    "files",
    [
        {"cpu.max": "50000 100000\n"},
        {"cpu.max": "100000 100000\n"},
        {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        {"cpu,cpuacct/cpu.cfs_quota_us": "20000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
    ],
)
def test_workers_follow_the_cpu_quota(config: Config, tmp_path: Path, files: dict[str, str]) -> None:
    assert "worker_processes 1;" in config(**cgroup(tmp_path / "cgroup", files))["nginx.conf"]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000\n"},
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        {"cpu.max": "9900000 100000\n"},
    ],
)
def test_workers_are_as_many_as_cpus_without_a_quota(config: Config, tmp_path: Path, files: dict[str, str]) -> None:
    cpus = subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout.strip()

    assert f"worker_processes {cpus};" in config(**cgroup(tmp_path / "cgroup", files))["nginx.conf"]


def test_connections_stay_within_the_limit_of_open_files(tmp_path: Path) -> None:
    done = render(tmp_path / "conf", image_settings(tmp_path), before="ulimit -n 1024")
    text = (tmp_path / "conf" / "nginx.conf").read_text()

    assert "worker_connections 384;" in text
    assert "worker_rlimit_nofile 1024;" in text
    assert "384 connections, not 8192" in done.stderr


def test_too_few_open_files_are_refused(tmp_path: Path) -> None:
    done = render(tmp_path / "conf", image_settings(tmp_path), before="ulimit -n 300")

    assert done.returncode == 2
    assert "ulimit" in done.stderr


def test_two_open_files_for_each_connection(config: Config) -> None:
    text = config()["nginx.conf"]
    (connections,), (files,) = (re.findall(rf"{name} (\d+);", text) for name in ("worker_connections", "worker_rlimit_nofile"))

    assert int(files) >= 2 * int(connections)
    assert int(files) <= resource.getrlimit(resource.RLIMIT_NOFILE)[1]


# --- The bounds


def test_temp_files_are_bounded_as_the_comment_says(config: Config, tmp_path: Path) -> None:
    text = config()["conf.d/20-slow-clients.conf"]
    comment = (ROOT / "nginx/conf.d/20-slow-clients.conf.template").read_text()
    rows = [line.split("\t") for line in (tmp_path / "conf" / "temp-files.tsv").read_text().splitlines()]
    assert rows[0] == ["folder", "bytes_each", "at_once", "bytes_needed"]
    answers, bodies = ([int(number) for number in row[1:]] for row in rows[1:])
    (spill,) = re.findall(r"proxy_max_temp_file_size (\d+)m;", text)
    documented = dict(re.findall(r"(?m)^#   (proxy|body) .*? (\d+) +\d+ MiB", comment))

    assert answers == [int(spill) << 20, int(documented["proxy"]), (int(spill) << 20) * int(documented["proxy"])]
    assert bodies == [10485760, int(documented["body"]), 10485760 * int(documented["body"])]
    assert [row[0] for row in rows[1:]] == [f"{tmp_path}/run/proxy", f"{tmp_path}/run/body"]


def test_size_of_the_temp_files_fits_the_documented_tmpfs(config: Config, tmp_path: Path) -> None:
    config()
    comment = (ROOT / "nginx/conf.d/20-slow-clients.conf.template").read_text()
    sizes = [int(size) << 20 for size in re.findall(r"(?m)^#   (?:proxy|body) .*? (\d+) MiB  ", comment)]
    needed = [int(line.split("\t")[3]) for line in (tmp_path / "conf" / "temp-files.tsv").read_text().splitlines()[1:]]

    assert all(size >= need for size, need in zip(sizes, needed, strict=True))


# --- What must stay true of the configuration, whatever else changes


def test_no_numbered_capture(config: Config) -> None:
    """A value that joins one with a regex map is CVE-2026-42533 before 1.30.4."""
    assert not re.findall(r"\$[0-9]", "".join(config().values()))


def test_no_if_and_no_second_place_for_proxy_headers(config: Config) -> None:
    files = config()

    # In a location `if` does not what it says; in a server block, with `return` alone, it does (conf.d/17-paths.conf).
    conditions = re.findall(r"(?m)^\s*if\b[^{]*\{[^}]*\}", "".join(files.values()))
    assert [" ".join(condition.split()) for condition in conditions] == ["if ($kit_ambiguous_path) { return 400; }"]
    assert "if (" not in "".join(text for name, text in files.items() if name.startswith("snippets/"))
    # To the app in one place; to the firewall's block and its check in one each.
    assert [name for name, text in files.items() if "proxy_set_header" in text] == [
        "conf.d/55-waf.conf",
        "snippets/proxy-to-app.conf",
        "snippets/way-to-waf.conf",
    ]
    assert [name for name, text in files.items() if "proxy_pass http://app" in text] == ["snippets/proxy-to-app.conf"]


def test_every_block_that_adds_a_header_adds_the_security_headers(config: Config, tmp_path: Path) -> None:
    """One add_header drops all inherited ones."""
    config()
    parsed = crossplane.parse(str(tmp_path / "conf" / "nginx.conf"), combine=True)
    assert parsed["status"] == "ok", parsed["errors"]
    blocks = list(walk(parsed["config"][0]["parsed"]))
    adding = [block for block in blocks if any(line["directive"] == "add_header" for line in block)]

    assert len(adding) > 3
    for block in adding:
        assert "X-Content-Type-Options" in [line["args"][0] for line in block if line["directive"] == "add_header"]


def walk(block: Block) -> list[Block]:
    """Return a block and all blocks inside it."""
    return [block, *(found for line in block for found in walk(line.get("block", [])))]


@pytest.mark.parametrize(
    "words", ["non_idempotent", "proxy_intercept_errors", "proxy_buffering off", "proxy_request_buffering off", "autoindex"]
)
def test_words_that_must_not_stand_here(config: Config, words: str) -> None:
    files = config()
    if words == "proxy_request_buffering off":
        # Behind the edge, which has the body complete by then.
        assert files["conf.d/55-waf.conf"].count(words) == 1
        del files["conf.d/55-waf.conf"]

    assert words not in "".join(files.values())


def test_repeating_ends_before_a_slow_view_does(config: Config) -> None:
    files = config()
    text = files["snippets/proxy-to-app.conf"] + files["snippets/retries.conf"]
    names = ("proxy_connect_timeout", "proxy_next_upstream_timeout", "proxy_read_timeout")
    (connect,), (tries,), (read,) = ({int(value) for value in re.findall(rf"{name} (\d+)s;", text)} for name in names)

    assert connect < tries < read


# --- nginx itself


@pytest.mark.parametrize("limits", ["on", "off"])
def test_gixy_finds_nothing(tmp_path: Path, limits: str) -> None:
    settings = {"LIMITS": limits, "TRUSTED_PROXIES": "10.0.0.0/8", "SERVER_NAMES": "*.example.org"}
    assert render(tmp_path / "conf", {**image_settings(tmp_path), **settings}).returncode == 0
    # The one exception and its reason stand in tests/lint.
    command = ["gixy", "--skips", "try_files_is_evil_too", "--nginx-version", NEWEST, str(tmp_path / "conf" / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"LIMITS": "on", "TRUSTED_PROXIES": "10.0.0.0/8, 2001:db8::/32", "SERVER_NAMES": "*.example.org .example.com [::1]"},
        {"UPSTREAM_SERVERS": "localhost:8000 [::1]:8000", "RESOLVER": "127.0.0.53:53"},
        {"STATIC_ROOT": "/srv/a folder; with {signs} #1"},
    ],
)
def test_nginx_takes_it_without_a_warning(start_gateway: Gateways, settings: dict[str, str]) -> None:
    """`nginx -t`, and a start, with this machine's nginx and with the image's."""
    upstream = settings.get("UPSTREAM_SERVERS", f"127.0.0.1:{free_ports(1)[0]}")
    gateway = start_gateway(upstream, settings)

    assert gateway.get("/", host="no.such.host").status == 421
    gateway.stop()
    assert not re.search(r"\[(warn|emerg|alert)\]", gateway.error_log())
