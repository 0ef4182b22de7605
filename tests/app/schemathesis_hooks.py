"""Make the fuzzer's idempotency keys its own: it likes to send "00000000" with one entry after the other.

The API answers that with 422, as it must, and the fuzzer would report a valid request that was refused.
"""

import re
import uuid
from typing import Any

import schemathesis

VALID_KEY = re.compile(r"[A-Za-z0-9._:-]{8,128}")
LENGTH = 128


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _options: dict[str, Any]) -> None:
    """Put something unique in front of each valid key; invalid ones stay as they are."""
    headers: Any = case.headers or {}
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and VALID_KEY.fullmatch(key):
        headers["Idempotency-Key"] = f"{uuid.uuid4()}-{key}"[:LENGTH]
