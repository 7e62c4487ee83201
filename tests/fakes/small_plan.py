"""A plan of sixteen accelerators for a day, made once a process: a second's work."""

from functools import cache

from mynah.plan.planning import Plan, PlanConfig, make_plan

__all__ = ["CONFIG", "small_plan"]

CONFIG = PlanConfig(gpus=16, days=1.0, num_trials=50)


@cache
def small_plan() -> Plan:
    """Work it out."""
    return make_plan(CONFIG)
