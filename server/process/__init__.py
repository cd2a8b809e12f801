"""Server processes: supervisor, logs, registration, the watchdog of a blocked loop, and settings of
a dedicated process.
"""
