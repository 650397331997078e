"""What a spec will cost before it runs: memory and time by method, from the spec alone; free of torch."""

from core.planning.answer import Plan
from core.planning.plan import plan
from core.planning.sweep import SweepPlan, plan_sweep
from core.planning.work import DEVICES, Device

__all__ = ["DEVICES", "Device", "Plan", "SweepPlan", "plan", "plan_sweep"]
