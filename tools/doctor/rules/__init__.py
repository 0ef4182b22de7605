"""All rules, in the order in which they are printed: a request's way first, then what surrounds it."""

from tools.doctor.rules import capacity, containers, gateway, limits, settings, timeouts, tls, trust
from tools.doctor.rules.base import Rule

RULES: tuple[Rule, ...] = (
    *timeouts.RULES,
    *limits.RULES,
    *gateway.RULES,
    *trust.RULES,
    *tls.RULES,
    *capacity.RULES,
    *containers.RULES,
    *settings.RULES,
)
