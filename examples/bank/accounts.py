"""The service that owns the money: every account, and the ledger of all that was done to them, in the state store.

It knows nothing of who may pay whom: that is decided in `transfers.py`. What it keeps is that money is neither made nor lost, and that
nothing is done twice. One server is the primary; replicas follow its store and answer what is `readonly`:

    ringback serve examples/bank/accounts.py:service --state sqlite:///bank.db --role primary
"""

import ringback
from ringback import errors

service = ringback.Service("accounts", needs_state=True)

# Entries that an account itself remembers.
RECENT = 10


@service.method(idempotent=True)
def open_account(account: str, balance: int) -> None:
    "Open an account. Opened again in the same way, it is left as it is."

    def step(tx):
        row, entry = f"accounts/{account}", {"changes": {account: balance}, "refused": ""}
        if tx.get(row) is None:
            tx.put(row, {"balance": balance, "recent": [["open", balance]]})
            tx.put(f"ledger/open/{account}", entry)
        elif tx.get(f"ledger/open/{account}") != entry:
            raise errors.FailedPrecondition(f"there is an account {account!r} already")

    ringback.current_call().state.transact(step)


@service.method(idempotent=True)
def settle(transfer_id: str, changes: dict[str, int], seen: dict[str, int], refused: str = "") -> str:
    """The one way to change balances: add these changes, or write down why they were refused, if no account has changed since it was
    `seen`, by the version that `look` told; Aborted if one has. What came first under an id is what came of it, whoever asks again, and
    with whatever they have seen. Returns why it was refused, nothing if it was not."""
    if sum(changes.values()):
        raise errors.InvalidArgument(
            f"{transfer_id}: changes must add up to nothing, not {sum(changes.values())}"
        )
    with ringback.current_call().state.transaction() as tx:
        entry = tx.get(f"ledger/{transfer_id}")
        if entry is None:
            entry = {"changes": changes, "refused": refused}
            tx.put(f"ledger/{transfer_id}", entry)
            for account, version in seen.items():
                tx.expect(f"accounts/{account}", version)
            for account, change in {} if refused else changes.items():
                found = tx.get(f"accounts/{account}")
                if found is None:
                    raise errors.FailedPrecondition(f"there is no account {account!r}")
                recent = [*found["recent"], [transfer_id, change]][-RECENT:]
                tx.put(f"accounts/{account}", {"balance": found["balance"] + change, "recent": recent})
    if entry["changes"] != changes:
        raise errors.FailedPrecondition(f"the id {transfer_id!r} was used for something else")
    return entry["refused"]


@service.method(readonly=True)
def look(accounts: list[str]) -> dict[str, tuple[int | None, int]]:
    "Balance and version of each, all of one moment; None and 0 of an account that does not exist."
    state = ringback.current_call().state

    def step(tx):
        found = {account: state.read(f"accounts/{account}") for account in accounts}
        for account, (_, version) in found.items():
            tx.expect(f"accounts/{account}", version)
        return {account: (value and value["balance"], version) for account, (value, version) in found.items()}

    return state.transact(step)


@service.method(readonly=True)
def balance(account: str) -> int:
    return _existing(account)["balance"]


@service.method(readonly=True)
def statement(account: str) -> dict:
    "The balance, and the newest entries with their ids."
    return _existing(account)


@service.method(readonly=True)
def total() -> int:
    "What all accounts have together, at one moment: what changed while we looked is looked at again."
    state, balances, since = ringback.current_call().state, {}, 0
    while changed := state.changes("accounts/", since=since):
        balances.update((each.key, each.value["balance"]) for each in changed)
        since = changed[-1].version
    return sum(balances.values())


def _existing(account: str) -> dict:
    found = ringback.current_call().state.get(f"accounts/{account}")
    if found is None:
        raise errors.FailedPrecondition(f"there is no account {account!r}")
    return found
