"""`ringback compare`: measure every backend with the same service and the same clients.

`workloads/` has the services and their calls, `load/` the load generator, `run/` the parent
process that starts servers and generators, `statistics/` the claims, `report/` the outputs;
`results.py` is the JSON, and `scenario.py` is for a user's own calls.

Terms. An *arm* is a backend with options of its server. A *peer* is another RPC library. A
*treatment* is an arm or a peer with one client style. A *cell* is one workload in one call style
with one client; a measurement of it has one arm or peer. A *round* is the block of the experiment:
it has every treatment once, in fresh processes, and one arm twice (the *A/A control*). A *slice* is
one short measurement; in a *unit* every treatment has a slice of the same workload and call style.
A *calibration* comes before the rounds. A *variant* is a protected or faster form of a workload.
"""
