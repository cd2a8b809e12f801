"""Two tasks of 1 s and 2 s with the asyncio client: first in sequence, then concurrently.

ringback serve examples/calc.py:service
python examples/two_tasks_asyncio.py tcp://127.0.0.1:5555
"""

import asyncio
import sys
import time

from ringback.clients.asyncio import connect


async def synchronous(client):
    "Await one, then the other: three seconds. The event loop stays free."
    print("result", await client.call("nap", 1.0))
    print("result", await client.call("nap", 2.0))


async def asynchronous(client):
    "Fire both and continue; a callback runs on each reply: two seconds."
    first = client.fire("nap", 1.0, callback=lambda result: print("callback", result))
    second = client.fire("nap", 2.0, callback=lambda result: print("callback", result))
    print("both are on their way")
    await first
    await second


async def main(endpoint):
    async with connect(endpoint) as client:
        for form in synchronous, asynchronous:
            start = time.monotonic()
            await form(client)
            print(f"{form.__name__}: {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
