"""The bank of examples/bank: no money is lost and none is made, whoever dies, and who has paid sees
it, wherever they look.
"""

from __future__ import annotations

import itertools
import os
import random
import runpy
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from processes import SOON, ServerProcess, eventually
from ringback import errors
from ringback.clients.threading import ThreadingClient
from ringback.state import State, open_state
from sizes import FULL, size
from stores import Valkey

BANK = Path(__file__).parent.parent.parent / "examples" / "bank"
RUN = runpy.run_path(str(BANK / "run.py"))
Kind, SERVERS = RUN["Kind"], RUN["SERVERS"]
PRIMARY = SERVERS[0]

# Who pays one another, so few that they often meet; and those who move money between two accounts
# that nobody else touches.
ACCOUNTS, OPENED, CUSTOMERS, SAVERS = 8, 1000, 12, 4

# What may be answered where servers come and go: nobody knows what came of the call, so it is made
# again.
UNKNOWN = (errors.Unavailable, errors.DeadlineExceeded, errors.Aborted, errors.Cancelled)


class Servers:
    """Those of the example, each of which may be stopped and killed; another takes its place."""

    def __init__(self, registry: str, state: str) -> None:
        self.registry, self.state = registry, state
        self.restarts = self.kills = 0
        self._running: dict[Any, ServerProcess] = {}
        with ThreadPoolExecutor(len(SERVERS)) as starting:
            begun = {kind: starting.submit(self._started, kind) for kind in SERVERS}
        self._running.update(
            (kind, each.result()) for kind, each in begun.items() if not each.exception()
        )
        for each in begun.values():
            if each.exception():
                self.close()
            each.result()

    def _started(self, kind: Any) -> ServerProcess:
        options = ["--register", self.registry]
        if kind.role:
            options += ["--state", self.state, "--role", kind.role]
        return ServerProcess(kind.backend, "service", *options, path=BANK / f"{kind.service}.py")

    def restart(self, kind: Any) -> None:
        """As for a new version: it drains, then the next begins."""
        assert self._running[kind].stop() == 0
        self._running[kind].kill()  # of which nothing is left but its log
        self._running[kind] = self._started(kind)
        self.restarts += 1

    def kill(self, kind: Any) -> None:
        self._running[kind].kill()
        self._running[kind] = self._started(kind)
        self.kills += 1

    def stop(self) -> None:
        """In the order of who calls whom."""
        assert [self._running[kind].stop() for kind in reversed(SERVERS)] == [0] * len(SERVERS)

    def close(self) -> None:
        for server in self._running.values():
            server.kill()


@pytest.fixture(scope="module", params=["sqlite", "valkey"] if FULL else ["sqlite"])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    home = tmp_path_factory.mktemp("bank")
    registry, state, valkey = f"sqlite:///{home}/registry.db", f"sqlite:///{home}/bank.db", None
    if request.param == "valkey":
        pytest.importorskip("redis")
        valkey = Valkey(home / "valkey")
        state = valkey.url()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BANK", registry)
        made = Servers(registry, state)
        try:
            yield made
            made.stop()
        finally:
            made.close()
            if valkey is not None:
                valkey.close()


@pytest.fixture
def client_of(
    servers: Servers, connected: Callable[..., ThreadingClient]
) -> Callable[[str], ThreadingClient]:
    """`client_of(service)`: one that finds the servers of that service by itself."""
    return lambda service: connected(f"{servers.registry}?service={service}", timeout=SOON)


class Paid(NamedTuple):
    changes: dict[str, int]
    refused: bool


class Seen:
    """What customers were told, and what they met on the way."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Paid] = {}  # by the transfer's id
        self.errors: Counter[str] = Counter()
        self.conflicts = self.reads = 0
        self.stale: list[str] = []
        self.given_up = False  # whether nobody asks again any more

    def pay(
        self, gateway: ThreadingClient, name: str, source: str, target: str, amount: int
    ) -> bool:
        """Whether it was done; asked for again until that is known."""

        def ask() -> bool:
            try:
                self.conflicts += gateway.call("transfer", name, source, target, amount) - 1
            except errors.FailedPrecondition:
                return False
            return True

        done = self.until_known(ask)
        self.outcomes[name] = Paid({source: -amount, target: amount}, not done)
        return done

    def read(self, client: ThreadingClient, account: str, expected: int) -> None:
        try:
            found = self.until_known(lambda: client.call("balance", account))
        except errors.FailedPrecondition as error:  # it has not heard of the account yet
            found = error
        self.reads += 1
        if found != expected:
            self.stale.append(f"{account} has {expected}, not {found}")

    def until_known(self, ask: Callable[[], Any]) -> Any:
        while True:
            try:
                return ask()
            except UNKNOWN as error:
                if self.given_up:
                    raise
                how = f"({error.started})" if isinstance(error, errors.Unavailable) else ""
                self.errors[f"{type(error).__name__}{how}"] += 1
                time.sleep(0.01)  # (who refuses at once is not to be asked without end)


def save(
    seen: Seen,
    name: str,
    gateway: ThreadingClient,
    accounts: ThreadingClient,
    go_on: Callable[[], object],
    *,
    session: Any,
) -> None:
    """Move money between two accounts of one's own, and look each time whether that is seen:
    through the gateway, and with a session at
    the accounts' own servers."""
    gateway = gateway.options(session=session)
    mine = {f"{name}/giro": 10**6, f"{name}/savings": 0}
    for account, balance in mine.items():
        seen.until_known(
            lambda account=account, balance=balance: gateway.call("open_account", account, balance)
        )
    source, target = mine
    numbers = itertools.count()
    while go_on():
        amount = 1 + next(numbers) % 7
        assert seen.pay(gateway, f"{name}/{next(numbers)}", source, target, amount)
        mine[source] -= amount
        mine[target] += amount
        seen.read(gateway, target, mine[target])
        if session is not False:
            seen.read(accounts.options(session=gateway.versions), source, mine[source])


def test_the_example_runs_and_ends(run_program):
    ran = run_program(str(BANK / "run.py"), "--transfers", "5", within=4 * SOON)
    assert ran.status == 0, ran
    assert ran.lines[-2].endswith("and the sum is 1500")
    assert ran.lines[-1] == "ended with status" + " 0" * len(SERVERS)


def test_who_asks_for_it_reads_what_it_has_written_and_others_need_not(client_of):
    gateway, accounts = client_of("gateway"), client_of("accounts")
    with_session, without = Seen(), Seen()
    end = time.monotonic() + SOON

    def nothing_stale() -> bool:
        return not without.stale and time.monotonic() < end

    with ThreadPoolExecutor(1) as beside:
        other = beside.submit(
            save, without, "other", gateway, accounts, nothing_stale, session=False
        )
        save(with_session, "one", gateway, accounts, lambda: with_session.reads < 300, session={})
        other.result()
    assert not with_session.stale
    assert without.stale  # so there was something to be seen


@pytest.mark.timeout(size(120, 1800))
def test_no_money_is_lost_or_made_and_no_transfer_done_twice_whoever_dies(
    servers, client_of, capsys
):
    seed = int(os.environ.get("RINGBACK_SEED", 0)) or random.SystemRandom().randrange(1 << 32)
    print(f"RINGBACK_SEED={seed}")
    least, seen, begun = size(1500, 20_000), Seen(), time.monotonic()
    names = [f"account {number}" for number in range(ACCOUNTS)]
    gateways = [client_of("gateway") for _ in range(4)]
    before = total_of(servers.state)
    for name in names:
        gateways[0].call("open_account", name, OPENED)
    upset = threading.Event()

    def go_on() -> bool:
        return not seen.given_up and (len(seen.outcomes) < least or not upset.is_set())

    def customer(number: int) -> None:
        chance = random.Random(f"{seed}/{number}")
        while go_on():
            source, target = chance.sample(names, 2)
            name = f"{chance.getrandbits(128):032x}"
            seen.pay(gateways[number % 4], name, source, target, chance.randint(1, OPENED))

    def saver(number: int) -> None:
        save(
            seen, f"saver {number}", gateways[number % 4], client_of("accounts"), go_on, session={}
        )

    with ThreadPoolExecutor(CUSTOMERS + SAVERS) as working:
        work = [working.submit(customer, number) for number in range(CUSTOMERS)]
        work += [working.submit(saver, number) for number in range(SAVERS)]
        try:
            disturb(servers, random.Random(seed), seen, lambda: FULL and len(seen.outcomes) < least)
            upset.set()
        except BaseException:
            seen.given_up = True
            raise
        for each in work:
            each.result()

    seconds = time.monotonic() - begun
    assert not seen.stale
    opened = ACCOUNTS * OPENED + SAVERS * 10**6
    assert gateways[0].options(session=True).call("audit") - before == opened
    check_the_books(servers.state, seen.outcomes)
    with capsys.disabled() if FULL else pytest.MonkeyPatch.context():
        refused = sum(paid.refused for paid in seen.outcomes.values())
        print(
            f"\n{servers.state.partition(':')[0]}: {len(seen.outcomes):,} transfers, of which "
            f"{refused:,} were refused, in {seconds:.0f} s;"
            f" {servers.restarts} restarts, {servers.kills} kills; {seen.conflicts:,} conflicts; "
            f"asked again after {dict(seen.errors)};"
            f" {seen.reads:,} reads of what was written, {len(seen.stale)} stale"
        )


def disturb(servers: Servers, chance: random.Random, seen: Seen, go_on: Callable[[], bool]) -> None:
    """Every server is restarted or killed, the primary both; and again while it is to go on.

    After each, the bank goes on.
    """
    while True:
        steps = [(servers.restart, PRIMARY), (servers.kill, PRIMARY)]
        steps += [(chance.choice([servers.restart, servers.kill]), kind) for kind in SERVERS[1:]]
        chance.shuffle(steps)
        for step, kind in steps:
            step(kind)
            enough = len(seen.outcomes) + CUSTOMERS + SAVERS
            eventually(lambda enough=enough: len(seen.outcomes) > enough)
        if not go_on():
            return


def rows(state: State, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    since = 0
    while changes := state.changes(prefix, since=since):
        found.update((each.key.removeprefix(prefix), each.value) for each in changes)
        since = changes[-1].version
    return found


def total_of(url: str) -> int:
    with open_state(url) as state:
        return sum(each["balance"] for each in rows(state, "accounts/").values())


def check_the_books(url: str, outcomes: dict[str, Paid]) -> None:
    """What customers were told is what is written in the ledger, and what is written there makes
    the balances.
    """
    with open_state(url) as state:
        ledger, accounts = rows(state, "ledger/"), rows(state, "accounts/")
    for name, paid in outcomes.items():
        assert ledger[name]["changes"] == paid.changes
        assert bool(ledger[name]["refused"]) == paid.refused
    balances: Counter[str] = Counter()
    for entry in ledger.values():
        if not entry["refused"]:
            balances.update(entry["changes"])
    assert {name: account["balance"] for name, account in accounts.items()} == balances
    assert min(balances.values()) >= 0
