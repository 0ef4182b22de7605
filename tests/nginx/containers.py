"""The gateway's image as containers: networks with a gateway in front of backends that come, go and hang."""

import subprocess
import uuid
from contextlib import ExitStack
from dataclasses import dataclass

from tests.clients import wait_until
from tests.nginx.gateway import Gateway

HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "256"]
OWNED = "uid=10101,gid=10101,mode=0700"
# More than all sockets between backend and client can hold: the kernel lets a receiver's buffer grow to 32 MiB (tcp_rmem),
# and where the engine passes published ports on by itself, a connection has twice as many of them.
LARGE = 128 * 1024 * 1024
# A backend out of the same image: says which container it is, and has a large file (of holes) to give.
BACKEND = f"""
cd /run/nginx && truncate -s {LARGE} large.bin && cat > backend.conf <<'END'
daemon off; pid /run/nginx/backend.pid; error_log stderr;
events {{}}
http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path x; scgi_temp_path y; uwsgi_temp_path z;
  server {{ listen 8000; location / {{ return 200 $hostname; }} location /large {{ alias /run/nginx/large.bin; }} }} }}
END
exec nginx -e stderr -p /run/nginx -c /run/nginx/backend.conf
"""


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@dataclass(frozen=True, slots=True)
class Site:
    """A network with the gateway in front of backends that all answer to the name `app`."""

    network: str
    image: str
    exits: ExitStack

    def backend(self, command: str = BACKEND) -> str:
        """Start one more; return its host name."""
        tmpfs = ["--tmpfs", f"/run/nginx:size=16m,{OWNED}"]
        options = ["--network", self.network, "--network-alias", "app", "--stop-signal", "QUIT", *tmpfs]
        name = self._run([*options, "--entrypoint", "bash"], ["-c", command])
        return docker("inspect", "--format", "{{.Config.Hostname}}", name).stdout.strip()

    def gateway(self, *options: str, body: str = "20m", proxy: str = "20m") -> "Container":
        """Start the gateway as the Compose file does, with tmpfs of these sizes, and wait until it is healthy."""
        mounts = {"": "4m", "/body": body, "/proxy": proxy}
        tmpfs = [word for path, size in mounts.items() for word in ("--tmpfs", f"/run/nginx{path}:size={size},{OWNED}")]
        health = ["--health-interval", "1s", "--health-start-interval", "1s", "--health-start-period", "60s"]
        # Without the WAF, which is another image.
        health += ["--env", "WAF_MODE=Off"]
        container = Container(
            self._run(["--network", self.network, "--publish", "127.0.0.1::8080", *HARDENED, *tmpfs, *health, *options], [])
        )
        wait_until(container.is_healthy, lambda: f"the gateway is healthy\n{container.logs()}")
        return container

    def _run(self, options: list[str], command: list[str]) -> str:
        name = f"kitn-{uuid.uuid4().hex[:12]}"
        self.exits.callback(docker, "rm", "--force", "--volumes", name, check=False)
        docker("run", "--detach", "--name", name, *options, self.image, *command)
        return name


class Container:
    """A running gateway. `name`, `runtime`, `logs` and `nginx_config` are what tests/conftest.py attaches to a failure."""

    runtime = "compose"

    def __init__(self, name: str) -> None:
        self.name = name

    def is_healthy(self) -> bool:
        return docker("inspect", "--format", "{{.State.Health.Status}}", self.name).stdout.strip() == "healthy"

    def logs(self) -> str:
        done = docker("logs", self.name)
        return done.stdout + done.stderr

    def nginx_config(self) -> str:
        return self.run("nginx -T")

    def run(self, command: str) -> str:
        return docker("exec", self.name, "bash", "-c", command).stdout

    def client(self) -> Gateway:
        """The gateway's clients, for a gateway that was started elsewhere."""
        client = Gateway.__new__(Gateway)
        client.port = int(docker("port", self.name, "8080/tcp").stdout.rpartition(":")[2])
        client.url = f"http://127.0.0.1:{client.port}"
        return client
