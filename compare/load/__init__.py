"""The load generator: a separate process that makes the calls of one measurement after another."""
