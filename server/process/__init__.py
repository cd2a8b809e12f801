"""The processes of `ringback serve`: their supervisor, logs, registration, the watchdog of a blocked loop, and the settings of a
dedicated process.
"""
