"""Log lines: bounded ones, those of errors with a traceback, and what a traceback shows."""
