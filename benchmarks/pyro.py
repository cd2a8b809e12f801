"""The same echo with Pyro5, whose server has a thread per connection. It serves until killed."""

from __future__ import annotations

import time

import Pyro5.api
from Pyro5 import config


@Pyro5.api.expose
class Echo:
    def echo(self, value: object) -> object:
        return value

    def nap(self) -> None:
        time.sleep(0.01)


if __name__ == "__main__":
    config.SERIALIZER = "msgpack"
    config.THREADPOOL_SIZE = 200
    with Pyro5.api.Daemon(host="127.0.0.1") as daemon:
        print(daemon.register(Echo, "echo"), flush=True)
        daemon.requestLoop()
