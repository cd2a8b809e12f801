"""Two tasks of 1 s and 2 s with the gevent client: first in sequence, then concurrently.

ringback serve examples/calc.py:service
python examples/two_tasks_gevent.py tcp://127.0.0.1:5555
"""

import sys
import time

from ringback.clients import gevent


def synchronous(client):
    "Call one and wait, then the other: three seconds. Only this greenlet waits."
    print("result", client.call("nap", 1.0))
    print("result", client.call("nap", 2.0))


def asynchronous(client):
    "Fire both and continue; a callback runs on each reply: two seconds."
    first = client.fire("nap", 1.0, callback=lambda result: print("callback", result))
    second = client.fire("nap", 2.0, callback=lambda result: print("callback", result))
    print("both are on their way")
    first.get()
    second.get()


if __name__ == "__main__":
    with gevent.connect(sys.argv[1]) as client:
        for form in synchronous, asynchronous:
            start = time.monotonic()
            form(client)
            print(f"{form.__name__}: {time.monotonic() - start:.1f} s")
