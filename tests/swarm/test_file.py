"""What `docker stack deploy` is given: its own client reads it, and nothing that protects is lost on the way. No engine is needed."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tools.swarm.deploy import with_swarm
from tools.swarm.stack_file import losses, stack_file

ROOT = Path(__file__).resolve().parents[2]
# dev has folders of this machine, health-checks fixed addresses, metrics a socket, and four read the volume of the database's password;
# locust needs the lab beside it, and alerts the metrics.
NOT_FOR_SWARM = {"dev", "health-checks", "metrics", "alerts", "metrics-database", "pgbouncer", "replica", "archive"}
OVERLAYS = sorted({path.stem for path in (ROOT / "compose").glob("*.yaml")} - NOT_FOR_SWARM - {"locust", "swarm"})
Model = Mapping[str, Any]
Read = Callable[..., Model]


@pytest.fixture
def docker(command: Callable[[str], str]) -> str:
    return command("docker")


@pytest.fixture
def read(docker: str) -> Read:
    """Return a function (*overlays) -> what Compose makes of the files."""

    def model(*overlays: str) -> Model:
        files = [part for name in ("docker-compose.yml", *(f"compose/{one}.yaml" for one in overlays)) for part in ("--file", name)]
        env = {"PATH": "/usr/bin:/bin", "HOME": "/", "DATABASE_URL": "postgresql://kit@db/kit", "BASIC_AUTH_PATH": "/admin"}
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://collector:4318"
        done = subprocess.run(
            [docker, "compose", *files, "config", "--format", "json"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    return model


def config(docker: str, file: object) -> subprocess.CompletedProcess[str]:
    """Let the client of `docker stack deploy` read a file."""
    return subprocess.run([docker, "stack", "config", "-c", "-"], input=json.dumps(file), capture_output=True, text=True, check=False)


def test_swarm_refuses_what_compose_reads(docker: str, read: Read) -> None:
    """The reason for all of this."""
    assert config(docker, read()).returncode == config(docker, read("swarm")).returncode == 1


@pytest.mark.parametrize("overlay", ["", *OVERLAYS])
def test_swarm_takes_the_stack_with_each_overlay(docker: str, read: Read, overlay: str) -> None:
    """Without a word about what it ignores."""
    answer = config(docker, stack_file(read("swarm", *([overlay] if overlay else [])))[0])

    assert (answer.returncode, answer.stderr) == (0, "")


def test_nothing_is_lost_that_the_overlay_does_not_name(read: Read) -> None:
    assert list(losses(read("swarm"))) == []
    assert {loss.key for loss in losses(read())} == {
        *("cpu_shares", "group_add", "network_mode", "networks", "oom_score_adj", "ports", "security_opt", "volumes")
    }


def test_what_must_be_written_is_in_memory_with_its_size(read: Read) -> None:
    """Swarm makes no file system of the short form, and containers are read-only."""
    services = stack_file(read("swarm"))[0]["services"]
    mounts = {
        name: {one["target"]: one["tmpfs"]["size"] for one in about["volumes"] if one["type"] == "tmpfs"}
        for name, about in services.items()
    }
    mib = 1024**2

    assert mounts["gateway"] == {"/run/nginx": 16 * mib, "/run/nginx/body": 120 * mib, "/run/nginx/proxy": 512 * mib}
    assert mounts["app"] == {"/tmp": 192 * mib}  # noqa: S108 - the container's
    assert mounts["database"]["/dev/shm"] == 128 * mib  # noqa: S108 - the container's
    assert {about["read_only"] for about in services.values()} == {True}


def test_what_updates_is_healthy_first_and_taken_back(read: Read) -> None:
    services = stack_file(read("swarm"))[0]["services"]
    orders = {name: about["deploy"].get("update_config", {}).get("order") for name, about in services.items()}

    assert orders == {"app": "start-first", "waf": "start-first", "gateway": "stop-first", "database": "stop-first", "migrate": None}
    assert {services[name]["deploy"]["update_config"]["failure_action"] for name in ("app", "waf", "gateway")} == {"rollback"}
    assert all(services[name]["healthcheck"]["start_interval"] == "1s" for name in ("app", "waf", "gateway", "database"))


def test_a_full_queue_is_no_hang(read: Read) -> None:
    """Longer than nginx waits (35 s), or Swarm replaces all containers at once."""
    app = stack_file(read("swarm"))[0]["services"]["app"]

    assert (app["environment"]["PROBE_TIMEOUT"], app["healthcheck"]["timeout"]) == ("60", "1m5s")


def test_a_mounted_file_is_sent_to_the_nodes(read: Read) -> None:
    file, configs = stack_file(read("swarm", "microcache"))
    (name,) = configs

    assert configs[name].name == "microcache.conf.template"
    assert file["services"]["gateway"]["configs"] == [{"source": name, "target": "/etc/nginx/templates/34-microcache.conf.template"}]


def test_the_overlay_comes_second() -> None:
    """What it replaces, others may add to."""
    assert with_swarm("") == "docker-compose.yml:compose/swarm.yaml"
    assert with_swarm("docker-compose.yml:compose/tls.yaml:compose/swarm.yaml") == "docker-compose.yml:compose/swarm.yaml:compose/tls.yaml"
