"""The stalling server, started and stopped."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
STALL_S = 2.0
NEVER = 10**9


@contextmanager
def running(stall_at: int) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, str(HERE / "stalling_server.py"), str(stall_at), str(STALL_S)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.communicate(timeout=10)
