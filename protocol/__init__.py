"""What is said on the wire, and the rules of the conversation, without a socket, a clock or an event loop.

`messages.py` are the words, `codec.py` turns batches of them into frames and back, `server.py` is the state machine of a server's end;
that of a client's end is in `clients/conversation/`. The specification is docs/protocol.md.
"""
