"""The service that owns the money: all accounts and the ledger of their changes, in the state
store.

It does not decide on transfers: `transfers.py` does. It guarantees that money is neither created
nor lost, and that no transfer is made twice. One server is the primary. Replicas follow its store
and answer `readonly` methods:

    ringback serve examples/bank/accounts.py:service --state sqlite:///bank.db --role primary
"""

import ringback
from ringback import errors

service = ringback.Service("accounts", needs_state=True)

# Newest ledger entries kept in each account.
RECENT = 10


@service.method(idempotent=True)
def open_account(account: str, balance: int) -> None:
    "Open an account. A repeated call with the same balance changes nothing."

    def step(tx):
        row, entry = f"accounts/{account}", {"changes": {account: balance}, "refused": ""}
        if tx.get(row) is None:
            tx.put(row, {"balance": balance, "recent": [["open", balance]]})
            tx.put(f"ledger/open/{account}", entry)
        elif tx.get(f"ledger/open/{account}") != entry:
            raise errors.FailedPrecondition(f"there is an account {account!r} already")

    ringback.current_call().state.transact(step)


@service.method(idempotent=True)
def settle(
    transfer_id: str, changes: dict[str, int], seen: dict[str, int], refused: str = ""
) -> str:
    """Change balances, or record why the transfer was refused. All balance changes go through here.

    It requires that no account has changed since the versions in `seen`, which `look` returned, and
    raises Aborted otherwise. The first outcome under an id is final: every later call returns it,
    whatever it has seen. Returns the reason of a refusal, or "".
    """
    if sum(changes.values()):
        raise errors.InvalidArgument(
            f"{transfer_id}: changes must add up to 0, not {sum(changes.values())}"
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
                tx.put(
                    f"accounts/{account}", {"balance": found["balance"] + change, "recent": recent}
                )
    if entry["changes"] != changes:
        raise errors.FailedPrecondition(f"the id {transfer_id!r} was used for something else")
    return entry["refused"]


@service.method(readonly=True)
def look(accounts: list[str]) -> dict[str, tuple[int | None, int]]:
    "Balance and version of each account at one moment; None and 0 if it does not exist."
    state = ringback.current_call().state

    def step(tx):
        found = {account: state.read(f"accounts/{account}") for account in accounts}
        for account, (_, version) in found.items():
            tx.expect(f"accounts/{account}", version)
        return {
            account: (value and value["balance"], version)
            for account, (value, version) in found.items()
        }

    return state.transact(step)


@service.method(readonly=True)
def balance(account: str) -> int:
    return _existing(account)["balance"]


@service.method(readonly=True)
def statement(account: str) -> dict:
    "The balance and the newest entries with their ids."
    return _existing(account)


@service.method(readonly=True)
def total() -> int:
    "The sum of all accounts at one moment. Accounts that change meanwhile are read again."
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
