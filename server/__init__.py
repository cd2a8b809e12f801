"""Who answers: `service.py` is what a user declares, `arguments.py` checks what arrives against it, `dispatcher.py` runs the calls,
`streams.py` those that stream, `core.py` ties them to a socket and a loop, `server.py` is what a user starts and stops.
"""
