"""A loop polls its descriptors between two steps of a long piece of work."""

from __future__ import annotations

from typing import Any

# Steps of a millisecond each, until the loop sees a byte that was there from the start.
STEPS = """
import socket, sys, time
from ringback import backends

loop = backends.load(sys.argv[1])()
mine, theirs = socket.socketpair()
steps = 0
seen = False

def readable():
    global seen
    seen = True
    watch.cancel()

def step():
    global steps
    steps += 1
    time.sleep(0.001)
    if seen or steps == 100:
        loop.stop()
    else:
        loop.call_after_poll(step)

def start():
    global watch
    theirs.send(b"x")
    watch = loop.watch(mine.fileno(), readable)
    loop.call_after_poll(step)

loop.run(start)
loop.close()
print(steps)
"""


def test_a_loop_polls_its_descriptors_between_two_steps(run_program: Any, backend: str) -> None:
    done = run_program("-c", STEPS, backend)
    assert done.status == 0, done
    assert int(done.lines[0]) <= 3
