"""The load generator: a process of its own that makes the calls of one measurement after another."""
