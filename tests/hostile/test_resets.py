"""A connection that is reset while nobody reads what came over it ends nothing else.

(libzmq aborts there, decisions/0021.)
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

from processes import SOON
from raw import GREETING, args, by_hand, ready, received, reset, said, zmtp
from ringback.protocol.messages import Call, Pong, Welcome

# More than the pipes of old held, and each with what makes a broken engine write.
PING = zmtp(b"\x04PING\x00\x00", command=True)
MANY = 3000

CLIENT = """
import asyncio, sys, time
import ringback
from ringback.clients.asyncio import connect

async def main():
    async with connect(sys.argv[1], timeout=30) as client:
        call = asyncio.ensure_future(client.call("never"))
        await asyncio.sleep(0.2)
        print("called", flush=True)
        sys.stdin.readline()  # the loop stands still until all has been sent, and the connection reset
        try:
            await call
        except ringback.errors.Unavailable as error:
            print("lost:", error.started, flush=True)

asyncio.run(main())
"""


def test_a_server_that_is_busy_outlives_a_client_that_floods_it_and_resets(
    start_server, connected, backend
):
    server = start_server(backend)
    with by_hand(server.endpoint) as connection:
        connection.sendall(zmtp(said(Call(1, "block_inline", args(0.5)))[0]))
        connection.sendall((zmtp(said(Call(2, "add", args(1, 2)))[0]) + PING) * MANY)
        reset(connection)
    assert connected(server.endpoint).call("add", 1, 2) == 3
    assert server.stop() == 0


def test_a_client_that_is_busy_outlives_a_server_that_floods_it_and_resets():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        killer = threading.Timer(2 * SOON, client.kill)
        killer.start()
        try:
            connection, _ = listening.accept()
            listening.close()
            connection.sendall(GREETING + ready(kind=b"ROUTER"))
            heard = b""
            while b"RBK" not in heard:
                heard += received(connection)
            connection.sendall(zmtp(said(Welcome(b"s" * 16, "hostile", 1 << 24, 100, {}))[0]))
            assert client.stdout is not None
            assert client.stdout.readline() == "called\n"
            connection.sendall((zmtp(said(Pong(1))[0]) + PING) * MANY)
            reset(connection)
            out, err = client.communicate("go on\n")
        finally:
            killer.cancel()
            client.kill()
        assert (client.returncode, out) == (0, "lost: None\n"), err
