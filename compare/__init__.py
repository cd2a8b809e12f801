"""Head to head: `ringback compare` measures every backend with the same service and the same clients.

`command.py` is the command, `run.py` the parent of the processes, `workloads.py` what is called; `generate.py` is the load generator,
with `caller.py` for one caller and `drive_*.py` for how each client style holds N of them in flight; `results.py` is the JSON.
"""
