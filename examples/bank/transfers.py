"""The service that decides who may pay whom. It keeps nothing: it may be killed at any moment, and as many run as one likes.

It looks at both accounts, decides, and has `accounts` settle that, if neither has changed meanwhile; if one has, it looks again. Plain
functions and the blocking client: a thread each on threads, a greenlet on gevent. `BANK` is the registry in which `accounts` is found:

    BANK=sqlite:///registry.db ringback serve examples/bank/transfers.py:service --backend gevent
"""

import os
import random
import time

import ringback
from ringback import errors

service = ringback.Service("transfers")

# Seconds before the next look, at most: after the first conflict, and after many.
PAUSE, PAUSE_AT_MOST = 0.002, 0.1


@service.lifespan
def accounts():
    with ringback.connect(f"{os.environ['BANK']}?service=accounts") as client:
        yield client


@service.method(idempotent=True)
def transfer(transfer_id: str, source: str, target: str, amount: int) -> int:
    """Move money. The id is the transfer's own: asked for again with the same, it is done once. FailedPrecondition says that it is
    refused, for good. Returns how often it had to look."""
    if amount <= 0 or source == target:
        raise errors.InvalidArgument("a transfer moves more than nothing from one account to another")
    accounts = ringback.current_call().app
    changes = {source: -amount, target: amount}
    for looks, pause in enumerate(pauses(), 1):
        found = accounts.call("look", [source, target])  # by a replica, perhaps a moment late
        seen = {account: version for account, (_, version) in found.items()}
        try:
            refused = accounts.call("settle", transfer_id, changes, seen, why_not(found, source, amount))
        except errors.Aborted:
            time.sleep(pause)  # somebody was faster
        else:
            if refused:
                raise errors.FailedPrecondition(refused)
            return looks
    raise AssertionError("pauses() never ends")


def why_not(found: dict, source: str, amount: int) -> str:
    "Why this may not be, nothing if it may."
    for account, (balance, _) in found.items():
        if balance is None:
            return f"there is no account {account!r}"
    if found[source][0] < amount:
        return f"{source!r} has {found[source][0]}, not {amount}"
    return ""


def pauses():
    "Longer and longer, by chance, so that those who met do not meet again. The calls' deadline is the end."
    longest = PAUSE
    while True:
        yield random.uniform(0, longest)
        longest = min(2 * longest, PAUSE_AT_MOST)
