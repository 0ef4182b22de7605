"""One step to another secret_key; the service `preflight` gets this file on stdin (rotation.py). make_secrets is the image's.

After each step every worker must have read the files again. accept: a new key is accepted everywhere before one worker signs with
it. sign: it signs, the old one is accepted. forget: the old one is not accepted any more.
"""

import secrets
import sys
from pathlib import Path

from make_secrets import FALLBACKS, ROOT, RefusedError, accept, given, store


def take(step: str, root: Path = ROOT) -> str:
    """Take the step and return what was done; exit code 1 when it cannot be."""
    path = root / "app" / "secret_key"
    beside, present = path.with_name(FALLBACKS), path.read_text(encoding="utf-8")
    if step == "accept":
        try:
            wanted = given(root / "given" / "secret_key")
        except RefusedError as refused:
            sys.exit(str(refused))
        if wanted == present:
            sys.exit("secrets/secret_key is the present one; right is a new one there, or no file")
        accept(path, wanted or secrets.token_urlsafe(48))
    elif step == "sign":
        store(path, beside.read_text(encoding="utf-8"))
        accept(path, present)
    else:
        accept(path)
    return f"secret_key: {step}"


if __name__ == "__main__":
    print(take(sys.argv[1]))
