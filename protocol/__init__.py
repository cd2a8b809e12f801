"""The wire protocol: messages, their encoding, and the server's state machine. No I/O, no clock.

`messages.py` defines the messages, `codec.py` turns batches of messages into frames and back, and
`server.py` is the state machine of a server's end. The state machine of a client's end is in
`clients/conversation/`. The specification is docs/protocol.md.
"""
