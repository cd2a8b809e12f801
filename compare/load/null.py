"""A server that does nothing: `python -m ringback.compare.load.null`.

It returns each call's first argument, whatever the method. The throughput of a load generator with
it is the generator's own ceiling.
"""

from __future__ import annotations

import os

import msgspec
import zmq

from ...protocol.codec import Encoder, from_client
from ...protocol.messages import Call, Hello, Ping, Pong, Reply, Welcome

_MAX_SIZE = 1 << 24


def serve() -> None:
    """Serve until the process is killed. The first line of output has the endpoint."""
    router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    router.set_hwm(0)
    router.bind("tcp://127.0.0.1:*")
    print(f"ringback: null on {router.get_string(zmq.LAST_ENDPOINT)} (null)", flush=True)  # noqa: T201
    decode, encode = from_client().decode, Encoder().encode
    welcome = Welcome(os.urandom(16), "null", _MAX_SIZE, _MAX_SIZE, {})
    while True:
        address, *frames = router.recv_multipart()
        answers: list[object] = []
        for message in decode(frames):
            if type(message) is Call:
                # An array of one argument is one byte and that argument.
                answers.append(Reply(message.id, msgspec.Raw(bytes(message.args)[1:])))
            elif type(message) is Ping:
                answers.append(Pong(message.token))
            elif type(message) is Hello:
                answers.append(welcome)
        if answers:
            for batch in encode(answers):
                router.send_multipart([address, *batch])


if __name__ == "__main__":
    serve()
