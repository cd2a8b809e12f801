"""Log lines: rate-limited ones, errors with tracebacks, and the user's part of a traceback."""
