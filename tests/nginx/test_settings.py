"""nginx/docker-entrypoint.d: what must not get into the configuration is refused by name, the rest nginx names; and what must stay true."""

import re
import subprocess
from pathlib import Path
from typing import Any

import crossplane
import pytest
import yaml

from tests.nginx.conftest import Gateways
from tests.nginx.gateway import HOST, ROOT, ask, check, write
from tools.local import nginx
from tools.stack.machine import free_ports

INJECTED = 'x; } server { listen 9; } "'
DEFAULTS = (ROOT / "nginx/docker-entrypoint.d/10-defaults.envsh").read_text()

# (setting, wrong value): each alone must stop the start, and be named.
WRONG = [
    *[("LIMITS", value) for value in ("maybe", "ON", "on;")],
    *[("LIMIT_REQUESTS", value) for value in ("0", "20r/s", "1.5", "100000")],
    *[(f"LIMIT_{name}", "none") for name in ("BURST", "WRITES", "WRITES_BURST", "UPLOADS", "UPLOADS_BURST", "CONNECTIONS")],
    *[("ANSWER_FILE_SIZE", value) for value in ("16", "0m", "1g", "16M;", "off")],
    *[("BASIC_AUTH_PATH", value) for value in ("admin", "/a b", '/a" off; #', "/(a")],
    *[("MICROCACHE_SECONDS", value) for value in ("0", "1s", "1 404 1")],
    *[("TRACES_SAMPLED", value) for value in ("0%", "0.00%", "1", "0.001%", "1% 01; *")],
    *[("MAX_CONTENT_LENGTH", value) for value in ("10m", "0", "-1", "1e6", "010", "9999999999999")],
    *[("SERVER_NAMES", value) for value in ("example.org;", 'example.org"', "*", "_", "~.*", "www.*", "$host", "http://example.org")],
    *[("SERVER_NAMES", value) for value in ("example.org:8080", "::1", " ", "a..b", "exämple.org")],
    *[("TRUSTED_PROXIES", value) for value in ("0.0.0.0/0", "::/0", "10.0.0.1 0.0.0.0/0", "0.0.0.0/1,128.0.0.0/1", "2000::/3")],
    *[
        ("TRUSTED_PROXIES", value)
        for value in ("::ffff:0:0/96", "0:0:0:0:0:ffff:0:0/96", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "[::1]", "*", "unix:")
    ],
    *[("TRUSTED_PROXIES", value) for value in ("balancer.example.org", "10.0.0.1;")],
    *[("NGINX_LOCAL_RESOLVERS", value) for value in ("resolver.example.org", "127.0.0.11; ", "127.0.0.11 valid=9s")],
    *[("NGINX_WORKER_PROCESSES", value) for value in ("auto", "0", "1;")],
    *[("NGINX_WORKER_CONNECTIONS", value) for value in ("63", "99999999")],
    *[("MAX_IN_FLIGHT", value) for value in ("5", "many", "off", "100001", "064")],
    *[("WAF_MODE", value) for value in ("off", "on", "Maybe")],
    *[("LISTENERS", value) for value in ("https", "../x", "tls;")],
    *[("GATEWAY_TLS_PORT", value) for value in ("https", "0", "8443;")],
    *[("TLS_HSTS", value) for value in ("on", "-1", "600", "max-age=600; preload", "max-age=600; everything", "max-age=600\\")],
    *[("APP_MAX_CONNS", value) for value in ("1; }", "x")],
    *[(name, value) for name in ("APP_HOST", "WAF_HOST") for value in ("app;", "app:8000", "a b", ".app", "app..svc")],
    *[("HEALTH_PATH", value) for value in ("healthz", "/a b", "/a{")],
    *[("PROXY_PROTOCOL", value) for value in ("On", "v2", "on")],  # on: with TRUSTED_PROXIES alone
    *[("URL_PREFIX", value) for value in ("/", "shop", "/shop/", "//shop", "/a.b")],
    *[(name, value) for name in ("GUNICORN_TIMEOUT", "WEBSOCKET_TIMEOUT") for value in ("0", "030", "1m", "100000", "-1")],
    *[("WEBSOCKET_PATHS", value) for value in ("ws", "/ws chat", "/a|/b", "/a(", "/a;")],
]
# What 12-check-settings.sh lets pass and nginx does not, and a word of nginx's own about it.
LEFT_TO_NGINX = [
    ("TRUSTED_PROXIES", "300.1.1.1", "300.1.1.1"),
    ("TRUSTED_PROXIES", "10.0.0", "10.0.0"),
    ("TRUSTED_PROXIES", "fe80::1::2", "fe80::1::2"),
]
TEXTS = [*re.findall(r"(?m)^export ([A-Z_]+)=", DEFAULTS), "NGINX_LOCAL_RESOLVERS", "NGINX_WORKER_PROCESSES", "NGINX_WORKER_CONNECTIONS"]
TEXTS += ["APP_HOST", "WAF_HOST", "GUNICORN_TIMEOUT", "WEBSOCKET_PATHS", "WEBSOCKET_TIMEOUT"]
TEXTS = [name for name in TEXTS if not name.startswith("NGINX_ENVSUBST")]

Block = list[dict[str, Any]]  # as crossplane gives it


# --- Settings


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_setting_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    done = check(tmp_path, {name: value})

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{name}=")
    assert not (tmp_path / "run" / "conf").exists()


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", [INJECTED, "8080\nserver{}", "on\r", "${LIMITS}", "`id`", "$(id)", "a\x7fb"])
def test_no_setting_is_a_way_into_the_configuration(tmp_path: Path, name: str, value: str) -> None:
    done = check(tmp_path, {name: value})

    assert done.returncode == 2
    assert name in done.stderr


def test_all_wrong_settings_are_named_at_once(tmp_path: Path) -> None:
    done = check(tmp_path, {"LIMITS": "maybe", "SERVER_NAMES": "*", "MAX_CONTENT_LENGTH": "10m"})

    assert [line.partition("=")[0] for line in done.stderr.splitlines()] == ["SERVER_NAMES", "MAX_CONTENT_LENGTH", "LIMITS"]


@pytest.mark.parametrize(("name", "value", "word"), LEFT_TO_NGINX)
def test_what_cannot_be_nginx_itself_names(tmp_path: Path, name: str, value: str, word: str) -> None:
    done = check(tmp_path, {name: value})

    assert done.returncode != 0
    assert word in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "file", "text"),
    [
        ("SERVER_NAMES", "example.org *.example.org .example.com [2001:db8::1] 10.0.0.1", "60-site.conf", "server_name {};"),
        ("MAX_CONTENT_LENGTH", "1", "30-limits.conf", "client_max_body_size {};"),
        ("NGINX_WORKER_PROCESSES", "3", "main/workers.conf", "worker_processes {};"),
        ("NGINX_WORKER_CONNECTIONS", "512", "main/workers.conf", "worker_connections {};"),
        ("TRUSTED_PROXIES", "10.0.0.0/8", "trusted-proxies/real-ip.conf", "set_real_ip_from {};"),
        ("TRUSTED_PROXIES", "fc00::/7", "trusted-proxies/geo.conf", "{} 1;"),
        ("MAX_IN_FLIGHT", "50", "upstream/waf.conf", "max_conns=25;"),
        ("MAX_IN_FLIGHT", "0", "upstream/app.conf", "max_conns={};"),
    ],
)
def test_right_setting_is_used(tmp_path: Path, name: str, value: str, file: str, text: str) -> None:
    done = check(tmp_path, {name: value})

    assert done.returncode == 0, done.stderr
    assert text.format(value) in (tmp_path / "run" / "conf" / file).read_text()


@pytest.mark.parametrize("resolvers", ["[fd00::53]:5353 10.85.53.2:8053", "127.0.0.11"])
def test_resolvers_may_be_given(tmp_path: Path, resolvers: str) -> None:
    """Or they are those of /etc/resolv.conf. Both are looked at in the files alone: this machine's nginx has no use for them."""
    done = fill(tmp_path, {"NGINX_LOCAL_RESOLVERS": resolvers})

    assert f"resolver {resolvers} valid=1s ipv6=off;" in done["upstream/app.conf"]


def test_servers_have_other_names_where_dns_has(tmp_path: Path) -> None:
    """In a cluster: nginx completes no name by a search domain."""
    done = fill(tmp_path, {"APP_HOST": "app.shop.svc.cluster.local", "WAF_HOST": "waf.shop.svc.cluster.local"})

    servers = {file: re.findall(r"server (\S+) resolve", done[f"upstream/{file}.conf"]) for file in ("app", "waf")}
    assert servers == {"app": ["app.shop.svc.cluster.local:8000"] * 2, "waf": ["waf.shop.svc.cluster.local:8080"] * 2}


def fill(folder: Path, env: dict[str, str]) -> dict[str, str]:
    """The files that the image's own templates become, without comments."""
    done = nginx.fill("nginx", folder, env)
    assert done.returncode == 0, done.stderr
    files = sorted((folder / "run" / "conf").rglob("*.conf"))
    return {str(path.relative_to(folder / "run" / "conf")): re.sub(r"(?m)^\s*#.*\n", "", path.read_text()) for path in files}


@pytest.mark.parametrize(("mode", "upstream"), [("On", "waf"), ("DetectionOnly", "waf"), ("Off", "app"), ("", "waf")])
def test_the_waf_is_in_the_way_unless_it_is_off(tmp_path: Path, mode: str, upstream: str) -> None:
    files = fill(tmp_path, {"WAF_MODE": mode})

    assert f"upstream/{upstream}.conf" in files["60-site.conf"]
    assert re.findall(r"proxy_pass (.*);", files["snippets/proxy.conf"]) == [f"http://{upstream}"]


def test_each_app_container_has_its_share_of_the_requests_in_flight(tmp_path: Path) -> None:
    """In two sets of three, each of which counts for itself."""
    upstream = fill(tmp_path, {})["upstream/app.conf"]

    assert len(re.findall(r"(?m)^ *server app:8000 resolve .* max_conns=22[ ;]", upstream)) == 2


def test_empty_setting_is_the_default(tmp_path: Path) -> None:
    assert fill(tmp_path, dict.fromkeys(TEXTS, "")) == fill(tmp_path, {})


def test_nothing_of_the_templates_is_left(tmp_path: Path) -> None:
    assert not re.findall(r"\$\{[A-Z_]+\}", "".join(fill(tmp_path, {}).values()))


def test_every_setting_of_compose_is_known() -> None:
    """No default stands in docker-compose.yml, and no setting there that nothing reads."""
    given = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["gateway"]["environment"]

    assert [name for name in given if name not in TEXTS] == []
    assert [name for name, value in given.items() if value is not None] == ["HEALTH_PATH"]  # the app's, under URL_PREFIX


# --- What this machine or container allows


def workers(folder: Path, files: dict[str, str]) -> str:
    """The worker processes with these files as the cgroup's."""
    for name, text in files.items():
        (folder / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup" / name).write_text(text)
    edit = nginx.Edit("docker-entrypoint.d/15-timeouts-and-workers.envsh", "/sys/fs/cgroup", str(folder / "cgroup"))
    done = check(folder, {}, edits=[edit])
    assert done.returncode == 0, done.stderr
    return (folder / "run/conf/main/workers.conf").read_text()


@pytest.mark.parametrize(
    "files",
    [
        {"cpu.max": "50000 100000\n"},
        {"cpu.max": "100000 100000\n"},
        {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"},
    ],
)
def test_workers_follow_the_cpu_quota(tmp_path: Path, files: dict[str, str]) -> None:
    assert "worker_processes 1;" in workers(tmp_path, files)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000\n"},
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        {"cpu.max": "9900000 100000\n"},
    ],
)
def test_workers_are_as_many_as_cpus_without_a_quota(tmp_path: Path, files: dict[str, str]) -> None:
    cpus = subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout.strip()

    assert f"worker_processes {cpus};" in workers(tmp_path, files)


def test_connections_stay_within_the_limit_of_open_files(tmp_path: Path) -> None:
    done = check(tmp_path, {}, before="ulimit -n 1024")
    text = (tmp_path / "run/conf/main/workers.conf").read_text()

    assert "worker_connections 384;" in text
    assert "worker_rlimit_nofile 1024;" in text
    assert "fewer connections than 4096" in done.stderr


def test_too_few_open_files_are_refused(tmp_path: Path) -> None:
    done = check(tmp_path, {}, before="ulimit -n 300")

    assert done.returncode == 2
    assert "ulimit" in done.stderr


# --- The bounds


@pytest.mark.parametrize(("kib", "code", "said"), [(1024, 2, "write 1048576 at most"), (40960, 0, "for 4 bodies"), (122880, 0, "")])
def test_the_start_says_when_bodies_have_no_room(tmp_path: Path, kib: int, code: int, said: str) -> None:
    """None: refused; fewer than the 12 of the table: a warning."""
    folder = nginx.Edit("docker-entrypoint.d/17-derived.envsh", r'df -Pk "\$folder"', f"echo tmpfs {kib}")
    done = check(tmp_path, {}, edits=[folder])

    assert done.returncode == code
    assert said in done.stderr
    assert ("compose/uploads-on-disk.yaml" in done.stderr) == bool(said)


def test_temp_files_fit_their_tmpfs() -> None:
    """The table in 20-slow-clients.conf.template, what its directives say, and the Compose file."""
    text = (ROOT / "nginx/templates/20-slow-clients.conf.template").read_text()
    (largest,) = re.findall(r"ANSWER_FILE_SIZE:-(\d+)m", DEFAULTS)
    table = {folder: (int(count), int(size)) for folder, count, size in re.findall(r"(?m)^#   (proxy|body) .*? (\d+) +(\d+) MiB", text)}
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["gateway"]["tmpfs"]
    mounted = {folder: int(size) for folder, size in re.findall(r"/run/nginx/(\w+):size=(\d+)m", " ".join(mounts))}
    (upload,) = re.findall(r"MAX_CONTENT_LENGTH:-(\d+)", DEFAULTS)

    assert {folder: size for folder, (_, size) in table.items()} == mounted
    assert table["proxy"][0] * int(largest) <= mounted["proxy"]
    assert table["body"][0] * int(upload) <= mounted["body"] << 20


# --- What must stay true of the configuration, whatever else changes


def sources() -> dict[str, str]:
    """The files of nginx/ as they lie, without comments."""
    folders = ("conf.d", "snippets", "templates")
    paths = [ROOT / "nginx/nginx.conf", *(path for folder in folders for path in (ROOT / "nginx" / folder).rglob("*.*"))]
    return {str(path.relative_to(ROOT / "nginx")): re.sub(r"(?m)^\s*#.*\n", "", path.read_text()) for path in paths}


def test_a_placeholder_is_a_value_and_never_a_line() -> None:
    files = sources()
    alone = [line for text in files.values() for line in re.findall(r"(?m)^\s*\$\{[A-Z_]+\}.*$", text)]
    outside = [name for name, text in files.items() if "${" in text and not name.endswith(".template")]
    without = [name for name, text in files.items() if "${" not in text and name.endswith(".template")]

    assert (alone, outside, without) == ([], [], [])


def test_no_numbered_capture() -> None:
    """A value that joins one with a regex map is CVE-2026-42533 before 1.30.4."""
    assert not re.findall(r"\$[0-9]", "".join(sources().values()))


def test_no_if_and_no_second_place_for_proxy_headers() -> None:
    files = sources()

    # In a location `if` does not what it says; in a server block, with `return` alone, it does (templates/15-request.conf.template).
    conditions = re.findall(r"(?m)^\s*if\b[^{]*\{[^}]*\}", "".join(files.values()))
    allowed = r"if \([^{]*\) \{ (return \d+[^;]*|set \$\w+ [^;]+); \}"
    assert [condition for condition in conditions if not re.fullmatch(allowed, " ".join(condition.split()))] == []
    assert [name for name, text in files.items() if re.search(r"location[^{]*\{[^}]*\bif \(", text)] == []
    setting = [name for name, text in files.items() if "proxy_set_header" in text]
    assert setting == ["snippets/proxy-websockets.conf", "templates/snippets/proxy.conf.template"]
    assert [name for name, text in files.items() if "proxy_pass " in text] == ["templates/snippets/proxy.conf.template"]


@pytest.mark.parametrize("listeners", ["http", "tls", "http3"])
def test_every_block_that_adds_a_header_adds_the_security_headers(tmp_path: Path, listeners: str) -> None:
    """One add_header drops all inherited ones."""
    fill(tmp_path, {"LISTENERS": listeners})
    parsed = crossplane.parse(str(tmp_path / "conf/nginx.conf"), combine=True, check_args=False, check_ctx=False)
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
    "words",
    ["non_idempotent", "proxy_intercept_errors", "proxy_buffering off", "proxy_request_buffering off", "autoindex", "try_files /.no-such"],
)
def test_words_that_must_not_stand_here(words: str) -> None:
    assert words not in "".join(sources().values())


@pytest.mark.parametrize("timeout_s", ["1", "30", "600"])
def test_repeating_ends_before_a_slow_view_does(tmp_path: Path, timeout_s: str) -> None:
    assert check(tmp_path, {"GUNICORN_TIMEOUT": timeout_s}).returncode == 0
    files = {name: (tmp_path / "run/conf/upstream" / f"{name}.conf").read_text() for name in ("app", "waf")}
    text = files["app"] + sources()["conf.d/45-retries.conf"]
    names = ("proxy_connect_timeout", "proxy_next_upstream_timeout", "proxy_read_timeout")
    connect, tries, read = (int(re.findall(rf"{name} (\d+)s;", text)[0]) for name in names)
    (waf,) = re.findall(r"proxy_read_timeout (\d+)s;", files["waf"])

    assert connect < tries < read == int(timeout_s) + 5
    assert int(waf) > 2 * read + tries


# --- An old nginx (tools/local/nginx.py)


def test_what_an_old_nginx_lacks_is_left_out_aloud(tmp_path: Path) -> None:
    old = nginx.Nginx((1, 22, 1), (3, 0, 22), frozenset(), "/modules")
    notes = "\n".join(write(tmp_path, old, []))
    text = "".join(re.sub(r"(?m)^\s*#.*\n", "", path.read_text()) for path in (tmp_path / "conf").rglob("*.*") if path.is_file())

    for word in ("resolve", "keepalive_min_timeout", "max_headers", "brotli"):
        assert f": {word}: " in notes
        assert not re.search(rf"(?m)^\s*{word} | {word}\b.*;$", text)
    assert "resolver" not in text


def test_the_newest_gets_everything(tmp_path: Path) -> None:
    assert write(tmp_path, nginx.IMAGE, []) == []
    assert "max_headers 91;" in (tmp_path / "conf/templates/30-limits.conf.template").read_text()


def test_this_machine_nginx_is_asked() -> None:
    program = ask()

    assert program.version >= (1, 22, 0)
    assert program.openssl >= (3, 0, 0)


# --- nginx itself


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"LIMITS": "on", "TRUSTED_PROXIES": "10.0.0.0/8, 2001:db8::/32", "SERVER_NAMES": "*.example.org .example.com [::1]"},
    ],
)
def test_nginx_takes_it_without_a_warning(start_gateway: Gateways, settings: dict[str, str]) -> None:
    """`nginx -t`, and a start, with this machine's nginx and with the image's."""
    gateway = start_gateway(f"{HOST}:{free_ports(1)[0]}", settings)

    assert gateway.get("/", host="no.such.host").status == 421
    gateway.stop()
    assert not re.search(r"\[(warn|emerg|alert)\]", gateway.error_log())
