"""The gateway as a container: hardened, refusing wrong settings, following the app's containers, and what happens when a tmpfs is full."""

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.clients import background, wait_until
from tests.nginx.containers import HARDENED, LARGE, OWNED, Site, docker

pytestmark = pytest.mark.runtimes("compose")


@pytest.fixture
def run_once(gateway_image: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a container of the image to its end."""

    def run(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        variables = [word for key, value in (env or {}).items() for word in ("--env", f"{key}={value}")]
        tmpfs = [word for folder in ("nginx", "tls") for word in ("--tmpfs", f"/run/{folder}:{OWNED}")]
        return docker("run", "--rm", *HARDENED, *tmpfs, *variables, gateway_image, *command, check=False)

    return run


# --- The container


def test_container_has_no_privileges(site: Site) -> None:
    gateway = site.gateway()
    status = gateway.run("cat /proc/1/status")

    assert re.findall(r"Uid:\s+(\d+)", status) == ["10101"]
    assert set(re.findall(r"Cap\w+:\s+(\w+)", status)) == {"0" * 16}
    assert re.findall(r"NoNewPrivs:\s+(\d)", status) == ["1"]


def test_container_writes_nothing_but_its_tmpfs(site: Site) -> None:
    gateway = site.gateway()
    written = gateway.run(
        "find / -xdev -newer /proc/1/exe -type f 2>/dev/null; touch /srv/x /etc/nginx/x /docker-entrypoint.d/x 2>/dev/null; echo $?"
    )

    assert written.split()[-1] == "1"
    assert docker("diff", gateway.name).stdout.split() in ([], ["C", "/run", "C", "/run/nginx"])


def test_master_is_the_first_process(site: Site) -> None:
    """So `docker stop` reaches nginx itself, as SIGQUIT."""
    gateway = site.gateway()

    assert "nginx: master process" in gateway.run("tr '\\0' ' ' < /proc/1/cmdline")
    assert docker("inspect", "--format", "{{.Config.StopSignal}}", gateway.name).stdout.strip() == "SIGQUIT"


def test_workers_follow_the_cpu_quota_of_the_container(site: Site) -> None:
    assert "worker_processes 1;" in site.gateway("--cpus", "0.5").nginx_config()


def test_plain_nginx_t_reads_what_runs(site: Site) -> None:
    assert "server app:8000 resolve max_fails=3" in site.gateway().nginx_config()


def test_the_folder_as_it_lies_passes_nginx_t(run_once: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """No variable set: `docker compose run --rm --no-deps gateway nginx -t` (docs/design.md)."""
    done = run_once("nginx", "-t")

    assert (done.returncode, "syntax is ok" in done.stderr) == (0, True), done.stderr


@pytest.mark.parametrize("listeners", ["tls", "http3"])
def test_so_it_does_with_tls(run_once: Callable[..., subprocess.CompletedProcess[str]], listeners: str) -> None:
    command = "certificate make /run/tls localhost && exec /docker-entrypoint.sh nginx -t"
    done = run_once("sh", "-c", command, env={"LISTENERS": listeners})

    assert (done.returncode, "syntax is ok" in done.stderr) == (0, True), done.stderr


def test_a_folder_that_cannot_be_written_is_an_error(gateway_image: str) -> None:
    """Of the official image it is a message, and nginx starts without the configuration."""
    done = docker("run", "--rm", *HARDENED, gateway_image, "nginx", "-t", check=False)

    assert done.returncode == 2
    assert "mount a tmpfs on /run/nginx/conf" in done.stderr


def test_stop_is_graceful(site: Site) -> None:
    """A request in flight is answered although the gateway was told to stop."""
    site.backend()
    gateway = site.gateway()
    client = gateway.client()
    wait_until(lambda: client.get("/").status == 200, "the app is found")
    with closing(client.connect()) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n1")
        wait_until(
            lambda: "Writing: 2" in gateway.run(status_page()) or "Reading: 1" in gateway.run(status_page()), "the request has begun"
        )
        docker("kill", "--signal", "QUIT", gateway.name)
        connection.sendall(b"2")

        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def status_page() -> str:
    return r"exec 3<>/dev/tcp/127.0.0.1/8081; printf 'GET /nginx-status HTTP/1.0\r\n\r\n' >&3; cat <&3"


def test_wrong_setting_stops_the_container_with_a_sentence(run_once: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_once(env={"LIMITS": "maybe"})

    assert done.returncode == 2
    assert "LIMITS=maybe" in done.stderr


def test_another_command_is_run_as_it_is(run_once: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert run_once("bash", "-c", "echo $UID").stdout == "10101\n"


def test_health_check_fails_without_nginx(run_once: Callable[..., subprocess.CompletedProcess[str]], gateway_image: str) -> None:
    assert run_once(*health_check(gateway_image)).returncode != 0


def test_health_check_fails_on_another_answer(site: Site, gateway_image: str) -> None:
    """Asked on the public listener, nginx answers too: 421 is not healthy."""
    gateway, check = site.gateway(), health_check(gateway_image)
    public = [word.replace(":8081", ":8080") for word in check]

    assert docker("exec", gateway.name, *check).returncode == 0
    assert docker("exec", gateway.name, *public, check=False).returncode != 0


def health_check(image: str) -> list[str]:
    """The command that the image says."""
    words: list[str] = json.loads(docker("image", "inspect", "--format", "{{json .Config.Healthcheck.Test}}", image).stdout)
    assert words[0] == "CMD"
    return words[1:]


def test_static_files_come_out_of_the_app_image(site: Site) -> None:
    answer = site.gateway().client().get("/static/app.css")

    assert (answer.status, answer.body) == (200, b"body{}")


# --- Containers of the app that come and go


def names_in(replies: list[bytes]) -> set[str]:
    return {reply.decode() for reply in replies}


def test_new_containers_are_used_without_a_reload(site: Site) -> None:
    names = {site.backend(), site.backend()}
    gateway = site.gateway("--env", "LIMITS=off")
    with background(gateway.client().url, "/", clients=2) as replies:
        wait_until(lambda: names_in([reply.body for reply in replies() if reply.status == 200]) >= names, "both answer")
        names |= {site.backend(), site.backend(), site.backend()}
        since = len(replies())
        wait_until(lambda: names_in([reply.body for reply in replies()[since:] if reply.status == 200]) == names, "all five answer")
        done = replies()

    assert {reply.status for reply in done[since:]} == {200}


def test_no_reading_fails_when_three_of_five_leave(site: Site) -> None:
    names = [site.backend() for _ in range(5)]
    gateway = site.gateway("--env", "LIMITS=off")
    with background(gateway.client().url, "/", clients=4) as replies:
        wait_until(lambda: names_in([reply.body for reply in replies() if reply.status == 200]) == set(names), "all five answer")
        before = len(replies())
        docker("stop", *names[:3])
        since = len(replies())
        wait_until(lambda: len(replies()) > since + 200, "200 more requests")
        done = replies()[before:]

    assert {(reply.status, reply.error) for reply in done} == {(200, "")}
    assert {reply.body.decode() for reply in done[-50:]} <= set(names[3:])


def test_no_container_at_all_is_a_503_until_one_is_there(site: Site) -> None:
    gateway = site.gateway()
    client = gateway.client()

    assert client.get("/").status == 503
    name = site.backend()
    assert wait_until(lambda: client.get("/").body == name.encode(), "the first container is found")


# --- A full tmpfs


def test_upload_that_does_not_fit_fails_alone(site: Site) -> None:
    site.backend()
    gateway = site.gateway("--env", "MAX_CONTENT_LENGTH=4000000", body="4m")
    client = gateway.client()
    wait_until(lambda: client.get("/").status == 200, "the app is found")
    assert "for 1 bodies of that size at once, more get 507" in gateway.logs()
    gateway.run("head -c 2000000 /dev/zero > /run/nginx/body/others")

    reply = client.request("POST", "/api/entries", body=b"x" * 3_000_000)
    assert reply.status == 507
    assert reply.json()["status"] == 507
    wait_until(lambda: "No space left" in gateway.logs(), "nginx says why")
    assert client.request("POST", "/", body=b"x" * 50_000).status == 200


def test_answer_that_does_not_fit_is_cut_off_alone(site: Site) -> None:
    """The reader waits, so the answer must go to the temp file; it ends where the tmpfs does."""
    site.backend()
    gateway = site.gateway(proxy="1m")
    client = gateway.client()
    wait_until(lambda: client.get("/").status == 200, "the app is found")
    with closing(client.connect()) as slow:
        slow.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        # The write that fits in part is told of in other words than the next.
        wait_until(lambda: re.search("No space left|has written only", gateway.logs()), "the tmpfs is full")
        assert client.get("/").status == 200
        received = 0
        while part := slow.recv(65536):
            received += len(part)

    assert received < LARGE
