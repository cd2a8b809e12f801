"""`python client.py WORK URL ...`: one process among several on one store. It prints a line for
what was acknowledged, once it was.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from ringback import errors
from ringback.state import Fence, State, open_state


def say(*words: object) -> None:
    print(*words, flush=True)


def write(state: State) -> None:
    """Versions of alternately one key and two together, until it is killed or the store is."""
    number = 0
    while True:
        try:
            one = state.put(f"one/{number}", number)
            say("one", number, one)
            with state.transaction() as tx:
                tx.put(f"left/{number}", number)
                tx.put(f"right/{number}", number)
                tx.put("last", number)
            say("two", number, tx.version)
        except errors.Unavailable:
            return
        number += 1


def add(state: State, count: str) -> None:
    """Read, modify, write."""
    say("ready")
    sys.stdin.readline()
    for _ in range(int(count)):
        state.update("sum", lambda value: value + 1, 0)
    say("added", count)


def hold(state: State, name: str, lease: str) -> None:
    """Take the lock, say its token, and do as told."""
    lock = state.lock(name, lease=float(lease))
    lock.acquire()
    say(lock.token)
    for line in sys.stdin:
        match line.split():
            case ["put", key, value]:
                try:
                    say(state.put(key, value, fence=Fence(name, lock.token)))
                except errors.CallError as error:
                    say(type(error).__name__)
            case ["held"]:
                say(lock.held)
            case ["release"]:
                lock.release()
                say("released")


def take(state: State, name: str, count: str, lease: str, stop_every: str) -> None:
    """Take the lock again and again, with two writes under it each time; now and then be stopped
    between the two.

    Prints per acquisition the token, when it was asked for and got, when it was let go of, and the
    versions of the accepted writes."""
    lock = state.lock(name, lease=float(lease))
    say("ready")
    sys.stdin.readline()
    for number in range(1, int(count) + 1):
        asked = time.monotonic()
        assert lock.acquire()
        got = time.monotonic()
        token, versions = lock.token, []
        stops = int(stop_every) and number % int(stop_every) == 0
        for step in range(2):
            if stops and step:
                say("stops", token)
                os.kill(os.getpid(), signal.SIGSTOP)
            try:
                versions.append(state.put("entered", [token, step], fence=Fence(name, token)))
            except errors.FailedPrecondition:
                versions.append(0)
        lock.release()
        say("took", json.dumps([token, asked, got, time.monotonic(), bool(stops), versions]))


def record(state: State, count: str, keys: str, seed: str) -> None:
    """Read, write, and write what was read if it is the same still, at random; one line for each
    operation.
    """
    chance = random.Random(seed)
    say("ready")
    sys.stdin.readline()
    for number in range(int(count)):
        key, value = f"register/{chance.randrange(int(keys))}", f"{seed}.{number}"
        begun = time.monotonic()
        kind = chance.choice(["read", "write", "cas"])
        if kind == "read":
            found = state.read(key)
            line = ["read", key, None, found.value, begun, time.monotonic(), found.version]
        elif kind == "write":
            version = state.put(key, value)
            line = ["write", key, value, None, begun, time.monotonic(), version]
        else:
            known = state.read(key)
            read = time.monotonic()
            say(json.dumps(["read", key, None, known.value, begun, read, known.version]))
            try:
                version = state.put(key, value, version=known.version)
            except errors.Aborted:
                version = 0
            line = ["cas", key, [known.value, value], version > 0, read, time.monotonic(), version]
        say(json.dumps(line))


WORKS = {"write": write, "add": add, "hold": hold, "take": take, "record": record}

if __name__ == "__main__":
    _, work, url, *words = sys.argv
    WORKS[work](open_state(url), *words)
