"""Head to head: `ringback compare` measures every backend with the same service and the same clients.

`workloads/` is what is called, `load/` the load generator, `run/` the parent of the processes, `statistics/` what is proved, `report/` what
is shown; `results.py` is the JSON, and `scenario.py` is for a user's own work.
"""
