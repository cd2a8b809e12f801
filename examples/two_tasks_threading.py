"""Two tasks of 1 s and 2 s with the blocking client: first in sequence, then concurrently.

ringback serve examples/calc.py:service
python examples/two_tasks_threading.py tcp://127.0.0.1:5555
"""

import queue
import sys
import time

import ringback


def synchronous(client):
    "Call one and wait, then the other: three seconds."
    print("result", client.call("nap", 1.0))
    print("result", client.call("nap", 2.0))


def asynchronous(client):
    "Fire both and continue; a callback runs on each reply: two seconds."
    answers = queue.SimpleQueue()  # the callbacks run on the client's own thread
    client.fire("nap", 1.0, callback=answers.put)
    client.fire("nap", 2.0, callback=answers.put)
    print("both are on their way")
    print("callback", answers.get())
    print("callback", answers.get())


if __name__ == "__main__":
    with ringback.connect(sys.argv[1]) as client:
        for form in synchronous, asynchronous:
            start = time.monotonic()
            form(client)
            print(f"{form.__name__}: {time.monotonic() - start:.1f} s")
