"""The service that decides on transfers. It has no state: it may be killed at any time and scaled
freely.

It reads both accounts, decides, and has `accounts` settle the transfer unless an account has
changed meanwhile; in that case it starts again. It uses plain functions and the blocking client:
each call runs in a thread, or in a greenlet on gevent. `BANK` is the registry in which it finds
`accounts`:

    BANK=sqlite:///registry.db ringback serve examples/bank/transfers.py:service --backend gevent
"""

import os
import random
import time

import ringback
from ringback import errors

service = ringback.Service("transfers")

# Maximum seconds before a retry: after the first conflict, and after many.
PAUSE, PAUSE_AT_MOST = 0.002, 0.1


@service.lifespan
def accounts():
    with ringback.connect(f"{os.environ['BANK']}?service=accounts") as client:
        yield client


@service.method(idempotent=True)
def transfer(transfer_id: str, source: str, target: str, amount: int) -> int:
    """Move money, once per transfer id.

    Raises FailedPrecondition if the transfer is refused, which is final. Returns the number of
    attempts.
    """
    if amount <= 0 or source == target:
        raise errors.InvalidArgument(
            "a transfer needs an amount above 0 and two different accounts"
        )
    accounts = ringback.current_call().app
    changes = {source: -amount, target: amount}
    for looks, pause in enumerate(pauses(), 1):
        found = accounts.call("look", [source, target])  # a replica's reply may be slightly stale
        seen = {account: version for account, (_, version) in found.items()}
        try:
            refused = accounts.call(
                "settle", transfer_id, changes, seen, why_not(found, source, amount)
            )
        except errors.Aborted:
            time.sleep(pause)  # another transfer was faster
        else:
            if refused:
                raise errors.FailedPrecondition(refused)
            return looks
    raise AssertionError("pauses() never ends")


def why_not(found: dict, source: str, amount: int) -> str:
    "The reason to refuse the transfer, or nothing."
    for account, (balance, _) in found.items():
        if balance is None:
            return f"there is no account {account!r}"
    if found[source][0] < amount:
        return f"{source!r} has {found[source][0]}, not {amount}"
    return ""


def pauses():
    "Random, growing pauses, so that conflicting transfers separate. The call's deadline ends them."
    longest = PAUSE
    while True:
        yield random.uniform(0, longest)
        longest = min(2 * longest, PAUSE_AT_MOST)
