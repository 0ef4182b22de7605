"""What docker-compose.yml promises, read from the model that Compose makes of it."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.compose.conftest import ROOT, Ask, Model, Read

Services = Mapping[str, Model]
TRAFFIC = ("gateway", "waf", "app", "database", "downstream")
ONE_SHOT = ("preflight", "migrate")
EVERY = (*TRAFFIC, *ONE_SHOT)


def seconds(duration: str) -> int:
    """Read Compose's "1m30s"."""
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


def test_these_are_all_services(services: Services) -> None:
    """A new one must meet what stands below."""
    assert sorted(services) == sorted(EVERY)


@pytest.mark.parametrize("name", EVERY)
class TestEveryService:
    """Whatever runs here."""

    def test_cannot_change_itself_or_gain_rights(self, services: Services, name: str) -> None:
        hardening = {key: services[name].get(key) for key in ("read_only", "cap_drop", "security_opt", "cap_add", "privileged")}

        assert hardening == {
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "cap_add": None,
            "privileged": None,
        }

    def test_is_limited(self, services: Services, name: str) -> None:
        limits = services[name]["deploy"]["resources"]["limits"]

        assert 0 < limits["cpus"] <= 1  # the engine refuses more than the machine has, and the smallest has one
        assert 0 < int(limits["memory"]) <= 1024**3
        assert 0 < limits["pids"] <= 256

    def test_cannot_fill_the_disk(self, services: Services, name: str) -> None:
        assert services[name]["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
        assert [mount for mount in services[name].get("tmpfs", []) if "size=" not in mount] == []

    def test_can_be_replicated(self, services: Services, name: str) -> None:
        assert "container_name" not in services[name]


@pytest.mark.parametrize("name", TRAFFIC)
def test_a_service_comes_back_and_says_how_it_is(services: Services, name: str) -> None:
    assert services[name]["restart"] == "unless-stopped"
    assert services[name]["healthcheck"]["start_interval"] == "1s"
    # A WAF that lets attacks pass is named at once; its own check tries three times.
    assert services[name]["healthcheck"]["retries"] >= (1 if name == "waf" else 3)


@pytest.mark.parametrize("name", ONE_SHOT)
def test_a_one_shot_runs_once_and_hears_ctrl_c(services: Services, name: str) -> None:
    assert (services[name]["restart"], services[name]["init"]) == ("no", True)


def test_only_the_gateway_publishes_a_port_and_only_to_this_machine(services: Services) -> None:
    published = {(name, port["host_ip"], port["published"]) for name, service in services.items() for port in service.get("ports", [])}

    assert published == {("gateway", "127.0.0.1", "8080")}


def test_opening_it_to_the_world_is_a_setting(read: Read) -> None:
    (port,) = read(env={"GATEWAY_BIND": "0.0.0.0", "GATEWAY_PORT": "80"})["services"]["gateway"]["ports"]  # noqa: S104

    assert (port["host_ip"], port["published"]) == ("0.0.0.0", "80")  # noqa: S104


def test_one_setting_publishes_it_over_ipv4_and_ipv6(read: Read) -> None:
    model = read(env={"GATEWAY_BIND": "[]"})

    assert [port.get("host_ip") for port in model["services"]["gateway"]["ports"]] == [None]  # the engine's: every address
    assert model["networks"]["edge"]["enable_ipv6"] is True
    assert read(env={"GATEWAY_IPV6": "false"})["networks"]["edge"]["enable_ipv6"] is False


def test_who_can_reach_whom(model: Model, services: Services) -> None:
    members = {
        network: {name for name, service in services.items() if network in service.get("networks", {})} for network in model["networks"]
    }

    assert members == {
        "edge": {"gateway"},
        "web": {"gateway", "waf", "app", "downstream"},
        "data": {"app", "migrate", "database"},
        "outbound": {"app", "migrate"},
    }
    assert services["preflight"]["network_mode"] == "none"
    assert {name for name, network in model["networks"].items() if network.get("internal")} == {"web", "data"}


def test_outgoing_calls_are_taken_away_by_an_overlay(read: Read) -> None:
    model = read(variants=("compose/no-outbound.yaml",))
    internal = {name for name, network in model["networks"].items() if network.get("internal")}

    assert internal == {"web", "data", "outbound"}
    assert {name for name, service in model["services"].items() if set(service.get("networks") or ()) - internal} == {"gateway"}


def test_an_overlay_puts_uploads_on_volumes(read: Read, services: Services) -> None:
    """At folders that the image makes for their owner, as a volume of Docker's begins with the image's."""
    overlaid = read(variants=("compose/uploads-on-disk.yaml",))["services"]
    on_disk = {name: {one["target"] for one in overlaid[name]["volumes"]} for name in ("gateway", "app")}
    in_memory = {name: {one.partition(":")[0] for one in services[name]["tmpfs"]} for name in on_disk}
    (made,) = re.findall(r"install -d -o 10101 -g 10101 -m 0700 (.*\n?.*)\n", (ROOT / "nginx/Dockerfile").read_text())

    assert in_memory["gateway"] - {"/run/nginx"} == {"/run/nginx/body", "/run/nginx/proxy"} <= on_disk["gateway"]
    assert in_memory["app"] == {"/tmp"} <= on_disk["app"]  # noqa: S108
    assert {one.partition(":")[0] for name in on_disk for one in overlaid[name].get("tmpfs", [])} == {"/run/nginx"}
    assert {"/run/nginx/body", "/run/nginx/proxy"} <= set(made.split())


def test_the_application_knows_its_name_on_the_gateways_network(services: Services) -> None:
    """gunicorn.conf.py finds out by it whose forwarded headers count."""
    assert services["app"]["networks"]["web"]["aliases"] == [services["app"]["environment"]["GATEWAY_NETWORK_ALIAS"]]


def test_the_order_of_the_start(services: Services) -> None:
    order = {
        name: {other: how["condition"].removeprefix("service_") for other, how in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }

    assert order == {
        "preflight": {},
        "downstream": {},
        "database": {"preflight": "completed_successfully"},
        "migrate": {"database": "healthy"},
        "app": {"migrate": "completed_successfully"},
        "waf": {},
        "gateway": {"app": "healthy", "waf": "healthy"},
    }


def test_the_database_has_time_for_a_fast_shutdown(services: Services) -> None:
    """Times of nginx, gunicorn and their containers: tests/doctor."""
    assert (services["database"]["stop_signal"], seconds(services["database"]["stop_grace_period"]) >= 30) == ("SIGINT", True)


def test_each_secret_reaches_those_who_need_it(services: Services) -> None:
    def readers(volume: str) -> dict[str, bool]:
        mounts = ((name, mount) for name, service in services.items() for mount in service.get("volumes", []))
        return {name: mount.get("read_only", False) for name, mount in mounts if mount["source"] == volume}

    assert readers("app-secrets") == {"preflight": False, "app": True, "migrate": True}
    assert readers("database-secrets") == {"preflight": False, "app": True, "migrate": True, "database": True}


# A variable that holds a secret itself, not its file or name, with a default value, and an address with a password in it.
GIVEN_AWAY = re.compile(r"\$\{\w*(?:SECRET|PASSWORD|TOKEN)\w*(?<!_FILE)(?<!_NAME):?-[^}]|://[^:/@\s${]+:[^@\s$]+@")


def test_no_secret_is_in_the_files(services: Services) -> None:
    """Every copy of the kit would sign its sessions with a key that the whole world knows."""
    settings = {key for service in services.values() for key in service.get("environment", {})}

    assert {key for key in settings if re.search("SECRET|PASSWORD", key) and not key.endswith(("_FILE", "_FIELDS"))} == set()
    assert [path.name for path in (ROOT / "docker-compose.yml", *ROOT.glob("compose/*.yaml")) if GIVEN_AWAY.search(path.read_text())] == []


@pytest.mark.parametrize("line", ["SECRET_KEY: ${SECRET_KEY:-change-me}", "DATABASE_URL: postgresql+psycopg://kit:kit@database:5432/kit"])
def test_one_that_is_would_be_found(line: str) -> None:
    """The twin."""
    assert GIVEN_AWAY.search(line)


def test_nothing_is_fetched_under_a_name_that_we_do_not_own(services: Services) -> None:
    assert {name for name, service in services.items() if service.get("pull_policy") != "never"} == {"database"}


# --- Settings ---------------------------------------------------------------------------------------------------------


def test_what_is_not_set_is_not_passed(services: Services) -> None:
    """An empty WEB_CONCURRENCY kills gunicorn; None is Compose's word for "only when it is set"."""
    environment = services["app"]["environment"]

    assert {environment[name] for name in ("WEB_CONCURRENCY", "GUNICORN_THREADS", "FORWARDED_ALLOW_IPS")} == {None}


def test_the_most_used_settings_pass_from_a_shell(read: Read) -> None:
    exported = {"WEB_CONCURRENCY": "4", "GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_TIMEOUT": "61", "GUNICORN_CMD_ARGS": "--backlog 512"}
    environment = read(env=exported)["services"]["app"]["environment"]

    assert {name: environment[name] for name in exported} == exported


def test_any_setting_passes_from_dotenv(read: Read) -> None:
    services = read(dotenv="MY_OWN=1\n")["services"]

    assert {name for name, service in services.items() if service.get("environment", {}).get("MY_OWN") == "1"} == {
        "app",
        "migrate",
        "preflight",
    }


def test_one_value_limits_the_body_in_both_layers(read: Read) -> None:
    services = read(env={"MAX_CONTENT_LENGTH": "2048"})["services"]

    assert {services[name]["environment"]["MAX_CONTENT_LENGTH"] for name in ("gateway", "app")} == {"2048"}


def test_replicas(read: Read) -> None:
    assert read()["services"]["app"]["deploy"]["replicas"] == 3
    assert read(env={"APP_REPLICAS": "7"})["services"]["app"]["deploy"]["replicas"] == 7
    assert read(env={"WAF_REPLICAS": "0"})["services"]["waf"]["deploy"]["replicas"] == 0


def test_an_overlay_keeps_the_waf_and_one_takes_it_away(read: Read) -> None:
    """Its build context may be missing then: a copy without WAF."""
    tls, none = (read(variants=("compose/tls.yaml", *more))["services"] for more in ((), ("compose/no-waf.yaml",)))

    assert "waf" in tls
    assert none.keys() == tls.keys() - {"waf"}
    assert none["gateway"]["environment"]["WAF_MODE"] == "Off"
    assert none["gateway"]["depends_on"].keys() == tls["gateway"]["depends_on"].keys() - {"waf"}


def test_the_gateway_starts_without_a_waf_where_there_is_none(services: Services) -> None:
    assert services["gateway"]["depends_on"]["waf"]["required"] is False


# --- Variants ---------------------------------------------------------------------------------------------------------


def test_the_development_variant_shows_what_is_edited(read: Read) -> None:
    services = read(variants=("compose/dev.yaml",))["services"]
    app = services["app"]

    assert {mount["target"]: mount.get("read_only") for mount in app["volumes"] if mount["type"] == "bind"} == {"/srv/app": True}
    assert (app["environment"]["GUNICORN_CMD_ARGS"].split()[0], app["environment"]["STATIC_ROOT"]) == ("--reload", "")
    assert {mount["target"] for mount in services["gateway"]["volumes"] if mount["type"] == "bind"} == {"/srv/static"}
    assert (app["read_only"], app["cap_drop"], app["deploy"]["replicas"]) == (True, ["ALL"], 1)


def test_the_production_file_mounts_no_source(services: Services) -> None:
    binds = {mount["source"] for service in services.values() for mount in service.get("volumes", []) if mount["type"] == "bind"}

    # /dev/null: no rules of the user's own (WAF_RULES_DIR).
    assert {Path(source).name for source in binds} - {"null"} == {"secrets"}


def test_another_database_needs_no_container(read: Read) -> None:
    url = "postgresql://kit@db.example.org/kit"
    model = read(env={"DATABASE_URL": url}, variants=("compose/database.yaml",))

    assert "database" not in model["services"]
    assert list(model["services"]["migrate"]["depends_on"]) == ["preflight"]
    assert not model["networks"]["outbound"].get("internal")
    assert {model["services"][name]["environment"]["DATABASE_URL"] for name in ("app", "migrate")} == {url}


def test_another_database_must_be_named(ask: Ask) -> None:
    answer = ask("config", variants=("compose/database.yaml",))

    assert answer.returncode
    assert "DATABASE_URL is missing a value: set it in .env" in answer.stderr


def test_the_health_checks_are_hardened_like_the_app_and_both_nginx_ask_them(read: Read) -> None:
    model = read(variants=("compose/health-checks.yaml",), env={"HEALTH_CHECKS_SUBNET": "10.1.2"})
    services = model["services"]
    checks, app = services["health-checks"], services["app"]
    shared = ("read_only", "cap_drop", "security_opt", "restart", "logging", "pull_policy")

    assert {key: checks[key] for key in shared} == {key: app[key] for key in shared}
    assert set(checks["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert checks["networks"] == {"web": {"ipv4_address": "10.1.2.2"}}
    assert model["networks"]["web"]["ipam"] == {"config": [{"subnet": "10.1.2.0/24", "ip_range": "10.1.2.128/25"}]}
    assert model["networks"]["web"]["internal"]
    for name in ("gateway", "waf"):
        assert services[name]["environment"]["NGINX_LOCAL_RESOLVERS"] == "10.1.2.2:8053"
        assert services[name]["depends_on"]["health-checks"]["condition"] == "service_healthy"
