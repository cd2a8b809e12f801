"""The service that every backend serves unchanged, and the table of workloads that call it."""

from .handlers import after, cpu, service, stateful, steps_of_cpu
from .table import WORKLOADS, Workload

__all__ = ["WORKLOADS", "Workload", "after", "cpu", "service", "stateful", "steps_of_cpu"]
