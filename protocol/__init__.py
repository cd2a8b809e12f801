"""What is said on the wire, and the rules of the conversation, without a socket, a clock or an event loop.

`messages.py` are the words, `codec.py` turns batches of them into frames and back, `client.py` and `server.py` are the state
machine of each end. The specification is docs/protocol.md.
"""
