"""The WAF, and the WAF with the gateway in front of it, with the nginx of this machine or of the images (as tests/nginx/gateway.py)."""

import json
import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.nginx.gateway import HOST, PATH, Gateway, ask
from tools.local import nginx, waf
from tools.local.nginx import Edit, Nginx
from tools.stack.machine import free_ports

# Without the pipe to jq ModSecurity writes a plain file, which the tests read.
PLAIN_AUDIT = Edit("docker-entrypoint.d/40-audit-log.envsh", r"\A(?s:.*)\Z", "\n")


def write(folder: Path, program: Nginx, ports: Sequence[int], upstreams: Sequence[str], edits: Sequence[Edit] = ()) -> None:
    """Write the WAF's configuration to folder/conf."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    edits = [PLAIN_AUDIT, *edits]
    root = os.geteuid() == 0
    waf.write(folder / "conf", program=program, run=folder / "run", ports=ports, upstreams=upstreams, edits=edits, as_root=root)
    log = folder / "run" / "waf-audit"
    log.touch()
    # libmodsecurity asks for shared memory whose key is made of the file's last 16 bits: in that of another WAF here it stays silent.
    while _shared_memory_key(log) in _shared_memory_keys():
        log.rename(log.with_name(f"{log.name}-{uuid.uuid4().hex}"))  # kept: its inode would come again
        log.touch()


def _shared_memory_key(path: Path) -> int:
    """Return ftok(path, 1)."""
    found = path.stat()
    return 1 << 24 | (found.st_dev & 0xFF) << 16 | (found.st_ino & 0xFFFF)


def _shared_memory_keys() -> set[int]:
    return {int(line.split()[0]) for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def check(folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the entrypoint of the WAF's image with these settings and nothing else from the environment, and `nginx -t`, here."""
    write(folder, ask(), free_ports(4), [f"{HOST}:8000"])
    command = nginx.command(folder / "conf", "-t")
    return subprocess.run(command, env={"PATH": PATH, **env}, capture_output=True, text=True, timeout=60, check=False)


class Waf(Gateway):
    """One running WAF, without a gateway."""

    def __init__(self, folder: Path, box: str, *, upstreams: Sequence[str], env: Mapping[str, str], edits: Sequence[Edit] = ()) -> None:
        self.folder, self._box = folder, box
        self.runtime = "compose" if box else "local"
        self._env, self._process = dict(env), None
        self.name = f"kitn-{uuid.uuid4().hex[:12]}"
        ports = free_ports(4)
        self.port, self.status_port = ports[:2]
        self.url = f"http://{HOST}:{self.port}"
        write(folder, ask("docker", "exec", box) if box else ask(), ports, upstreams, edits)

    def self_test(self) -> subprocess.CompletedProcess[str]:
        """Ask the container's health check."""
        return subprocess.run(self._command("sh", str(self.folder / "conf" / "self-test")), capture_output=True, text=True, check=False)

    def reload(self) -> None:
        subprocess.run(self._command("nginx", "-e", "stderr", "-s", "reload", "-c", self._conf), capture_output=True, check=True)

    def audited(self) -> dict[str, dict[str, Any]]:
        """Map each request id to what ModSecurity wrote about it, before audit.jq."""
        text = (self.folder / "run" / "waf-audit").read_text(errors="replace")
        complete, _, _ = text.rpartition("\n")  # the last line may be in the middle of being written
        transactions = (json.loads(line)["transaction"] for line in complete.splitlines() if line)
        return {found["unique_id"]: found for found in transactions}


class Site(Gateway):
    """A gateway with a WAF behind it, and these servers behind the WAF; a client's view is the gateway's."""

    def __init__(
        self, folder: Path, boxes: tuple[str, str], *, upstreams: Sequence[str], env: Mapping[str, str],
        edits: Sequence[Edit] = (), gateway_edits: Sequence[Edit] = (),
    ) -> None:  # fmt: skip
        """`boxes`: containers for the gateway and for the WAF; `edits`: the WAF's."""
        gateway_box, waf_box = boxes
        self.waf = Waf(folder.with_name(f"{folder.name}-waf"), waf_box, upstreams=upstreams, env=env, edits=edits)
        behind = nginx.servers("waf", [f"{HOST}:{self.waf.port}"])
        super().__init__(folder, gateway_box, upstreams=upstreams, env={"WAF_MODE": "On", **env}, edits=[*behind, *gateway_edits])

    def start(self) -> None:
        self.waf.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self.waf.stop()

    def logs(self) -> str:
        return f"{super().logs()}\n--- WAF\n{self.waf.logs()}"

    def nginx_config(self) -> str:
        return f"{super().nginx_config()}\n--- WAF\n{self.waf.nginx_config()}"
