"""The whole bank on one machine: `python examples/bank/run.py`. Use `--stay` to kill servers at
will.

It starts the servers of SERVERS, which find one another in a registry, and restarts those that end.
It acts as their customer for a while, and then stops them.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import ringback
from ringback import errors

HERE = Path(__file__).parent


class Kind(NamedTuple):
    service: str
    backend: str
    role: str = ""

    def command(self, registry: str, state: str) -> list[str]:
        "The command line of such a server on any free port."
        words = ["serve", f"{HERE / self.service}.py:service", "--backend", self.backend]
        words += ["--bind", "tcp://127.0.0.1:*", "--register", registry]
        if self.role:
            words += ["--state", state, "--role", self.role]
        return [sys.executable, "-m", "ringback", *words]


# Every backend calls another one. Each service except the primary survives the loss of a server.
SERVERS = (
    Kind("accounts", "twisted", "primary"),
    Kind("accounts", "gevent", "replica"),
    Kind("accounts", "asyncio", "replica"),
    Kind("transfers", "gevent"),
    Kind("transfers", "threading"),
    Kind("gateway", "asyncio"),
    Kind("gateway", "threading"),
)

ACCOUNTS = {"ada": 1000, "bob": 500, "cleo": 0}


@contextmanager
def running(registry: str, state: str):
    "Start all servers and wait until they are ready. Restart those that end. Drain them at the"
    "end."
    servers = {kind: start(kind, registry, state) for kind in SERVERS}
    over = threading.Event()
    keeper = threading.Thread(target=keep, args=(servers, registry, state, over))
    try:
        for kind, server in servers.items():
            tell(kind, server)
        keeper.start()
        yield
    finally:
        over.set()
        if keeper.is_alive():
            keeper.join()
        for server in servers.values():
            server.send_signal(signal.SIGTERM)
        print("ended with status", *[server.wait() for server in servers.values()])


def keep(servers: dict, registry: str, state: str, over: threading.Event) -> None:
    while not over.wait(0.2):
        dead = {kind: server for kind, server in servers.items() if server.poll() is not None}
        for kind, server in dead.items():
            print(f"process {server.pid} ended with status {server.returncode}")
            servers[kind] = start(kind, registry, state)
        for kind in dead:
            tell(kind, servers[kind])


def start(kind: Kind, registry: str, state: str) -> subprocess.Popen:
    return subprocess.Popen(
        kind.command(registry, state),
        env={**os.environ, "BANK": registry},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches only this program, which ends them
    )


def tell(kind: Kind, server: subprocess.Popen) -> None:
    "Print the line that the server prints when it answers calls."
    print(
        f"{server.stdout.readline().strip()} {kind.role or 'server'}, process {server.pid}",
        flush=True,
    )


def pay(gateway, transfer_id: str, source: str, target: str, amount: int) -> str:
    "Retry with the same id until the outcome is known. The transfer is made once, even after"
    "crashes."
    while True:
        try:
            gateway.call("transfer", transfer_id, source, target, amount)
        except errors.FailedPrecondition as refused:
            return f"refused: {refused}"
        except (errors.Unavailable, errors.DeadlineExceeded, errors.Aborted) as error:
            print(f"retry after {type(error).__name__}: {error}")
            time.sleep(0.1)
        else:
            return "done"


def customer(gateway, transfers: int) -> None:
    for _ in range(transfers):
        source, target = random.sample(list(ACCOUNTS), 2)
        amount = random.randint(1, 400)
        outcome = pay(gateway, uuid.uuid4().hex, source, target, amount)
        print(f"{source} pays {target} {amount}: {outcome}")
    balances = {account: gateway.call("balance", account) for account in ACCOUNTS}
    print(
        *[f"{account} has {balance}," for account, balance in balances.items()],
        "and the sum is",
        gateway.call("audit"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--directory", help="directory that keeps the data; by default a temporary one"
    )
    parser.add_argument(
        "--state", help="state store instead of SQLite, as valkey://127.0.0.1:6379/0"
    )
    parser.add_argument("--transfers", type=int, default=10, help="transfers to make")
    parser.add_argument("--stay", action="store_true", help="continue until Ctrl-C")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(asked.directory or temporary).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        registry, state = (
            f"sqlite:///{directory}/registry.db",
            asked.state or f"sqlite:///{directory}/bank.db",
        )
        print(f"the registry is {registry}, the data in {state}")
        with running(registry, state), ringback.connect(f"{registry}?service=gateway") as client:
            gateway = client.options(session=True)  # it reads its own writes
            for account, balance in ACCOUNTS.items():
                gateway.call("open_account", account, balance)
            customer(gateway, asked.transfers)
            while asked.stay:
                time.sleep(1)
                customer(gateway, 3)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        pass
