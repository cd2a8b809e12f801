"""Two tasks of 1 s and 2 s with the Twisted client: first in sequence, then concurrently.

ringback serve examples/calc.py:service
python examples/two_tasks_twisted.py tcp://127.0.0.1:5555
"""

import sys
import time

from ringback.clients.twisted import connect
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import react


@inlineCallbacks
def synchronous(client):
    "Wait for one Deferred, then for the other: three seconds. The reactor stays free."
    print("result", (yield client.call("nap", 1.0)))
    print("result", (yield client.call("nap", 2.0)))


@inlineCallbacks
def asynchronous(client):
    "Fire both and continue; a callback runs on each reply: two seconds."
    first = client.fire("nap", 1.0, callback=lambda result: print("callback", result))
    second = client.fire("nap", 2.0, callback=lambda result: print("callback", result))
    print("both are on their way")
    yield first
    yield second


@inlineCallbacks
def main(_reactor, endpoint):
    client = connect(endpoint)
    for form in synchronous, asynchronous:
        start = time.monotonic()
        yield form(client)
        print(f"{form.__name__}: {time.monotonic() - start:.1f} s")
    yield client.close()


if __name__ == "__main__":
    react(main, sys.argv[1:])
