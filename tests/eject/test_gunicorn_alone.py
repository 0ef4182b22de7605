"""The smallest copy: gunicorn's file and its hooks, in a project that knows nothing of this kit."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.clients import wait_until
from tests.eject.conftest import copy_as_the_readme_says


def test_it_serves(shop: Path, free_port: int) -> None:
    copy_as_the_readme_says(0, shop)
    environment = {"PATH": os.environ["PATH"], "APP_MODULE": "shop:app", "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{free_port}"}
    # gunicorn finds ./gunicorn.conf.py by itself.
    with subprocess.Popen([sys.executable, "-m", "gunicorn"], cwd=shop, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            wait_until(lambda: answers(free_port) or server.poll() is not None, "gunicorn answers", timeout_s=20)
            answer = httpx.get(f"http://127.0.0.1:{free_port}/")
        finally:
            server.terminate()
        said = server.communicate(timeout=40)[1]

    assert answer.status_code == 200, said
    assert answer.json()["client"] == "127.0.0.1"
    assert server.returncode == 0, said


def answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=2)
    except httpx.TransportError:
        return False
    return True
