"""The functions and files of ringback that a call enters, at either end.

    python benchmarks/path.py [--backend NAME]... [--client NAME]... [--list]

It follows a few warm calls of each kind with the interpreter's profiler. Each function counts once,
on whatever thread it runs; lambdas and comprehensions are functions. `--list` names the functions
of each row in the order of their first entry.
"""

from __future__ import annotations

import atexit
import json
import mmap
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import ringback
from running import BACKENDS, HERE, options_of, program

ROOT = Path(ringback.__file__).parent
KINDS = ("call", "fire", "worker", "stream", "notify")
WARM, FOLLOWED = 50, 5


class Recorder:
    """Profiles every thread of its process.

    The first byte of a file that both processes map is the kind of call being recorded; 0 means
    none.
    """

    def __init__(self, shared: str) -> None:
        with Path(shared).open("r+b") as file:
            self.kind = mmap.mmap(file.fileno(), 1)
        self.entered: list[dict[CodeType, None]] = [{} for _ in range(len(KINDS) + 1)]
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and self.kind[0]:
            self.entered[self.kind[0]].setdefault(frame.f_code)

    def functions(self) -> dict[str, list[tuple[str, str]]]:
        """The file and name of each function, by kind of call."""
        found = {}
        for kind, codes in zip(KINDS, self.entered[1:], strict=True):
            own = [code for code in codes if Path(code.co_filename).is_relative_to(ROOT)]
            files = [
                (str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname) for code in own
            ]
            found[kind] = [each for each in files if not each[0].startswith("benchmarks/")]
        return found


def serve(backend: str, shared: str) -> None:
    """A server that writes the functions that its calls entered beside the shared file."""
    from service import service

    recorder = Recorder(shared)
    atexit.register(lambda: Path(f"{shared}.server").write_text(json.dumps(recorder.functions())))
    ringback.serve(service, bind="tcp://127.0.0.1:*", backend=backend)


def client(style: str, endpoint: str, shared: str) -> None:
    """Make calls of each kind in that style, and write their functions beside the shared file."""
    recorder = Recorder(shared)
    connect = import_module(f"ringback.clients.{style}").connect
    calls = {"threading": _blocking, "gevent": _blocking, "asyncio": _asyncio, "twisted": _twisted}
    calls[style](connect, endpoint, recorder)
    Path(f"{shared}.client").write_text(json.dumps(recorder.functions()))


async def _calls(
    client: Any, recorder: Recorder, done: Callable[[Any], Awaitable[Any]], pause: Any
) -> None:
    """Make the calls of every kind.

    `done` waits for the return value of a client's method. `pause` waits for work that continues
    after it.
    """
    value = b"x" * 32

    async def once(kind: str) -> None:
        if kind == "call":
            await done(client.call("echo", value))
        elif kind == "fire":
            await done(client.fire("echo", value, callback=_nothing))
        elif kind == "worker":
            await done(client.call("pooled", value))
        elif kind == "stream":
            await done(client.stream("count"))
        else:
            client.notify("echo", value)

    for number, kind in enumerate(KINDS, 1):
        for _ in range(WARM):
            await once(kind)
        await pause(0.2)
        await once(kind)  # an idle client first checks its connections
        recorder.kind[0] = number
        for _ in range(FOLLOWED):
            await once(kind)
        await pause(0.2)
        recorder.kind[0] = 0
        await pause(0.05)


def _nothing(_: Any) -> None:
    pass


def _blocking(connect: Any, endpoint: str, recorder: Recorder) -> None:
    sleep = import_module("gevent" if "gevent" in connect.__module__ else "time").sleep

    async def done(value: Any) -> None:
        if hasattr(value, "__next__"):
            list(value)
        elif hasattr(value, "get"):
            value.get()
        elif hasattr(value, "result"):
            value.result()

    async def pause(seconds: float) -> None:
        sleep(seconds)

    with connect(endpoint) as connected, suppress(StopIteration):
        _calls(connected, recorder, done, pause).send(None)


async def _awaited(value: Any) -> None:
    if hasattr(value, "__anext__"):
        async for _ in value:
            pass
    else:
        await value


def _asyncio(connect: Any, endpoint: str, recorder: Recorder) -> None:
    import asyncio

    async def main() -> None:
        async with connect(endpoint) as connected:
            await _calls(connected, recorder, _awaited, asyncio.sleep)

    asyncio.run(main())


def _twisted(connect: Any, endpoint: str, recorder: Recorder) -> None:
    from twisted.internet import reactor, task
    from twisted.internet.defer import ensureDeferred

    async def main(_: Any) -> None:
        async with connect(endpoint) as connected:
            await _calls(
                connected, recorder, _awaited, lambda seconds: task.deferLater(reactor, seconds)
            )

    with suppress(SystemExit):
        task.react(lambda reactor: ensureDeferred(main(reactor)), [])


def measured(backend: str, style: str) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """The functions by end and kind of call."""
    with tempfile.TemporaryDirectory() as folder:
        shared = f"{folder}/kind"
        Path(shared).write_bytes(b"\0")
        this = str(HERE / "path.py")
        with (
            program(this, "--serve", backend, shared) as (_, line),
            program(this, "--call", style, line.split()[-2], shared) as (caller, _),
        ):
            caller.wait()
        return {
            end: json.loads(Path(f"{shared}.{end}").read_text()) for end in ("client", "server")
        }


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--client", action="append", choices=BACKENDS)
    parser.add_argument("--list", action="store_true", help="list the functions")
    options = parser.parse_args()
    pairs = [("asyncio", style) for style in options.client or BACKENDS]
    pairs += [
        (backend, "threading") for backend in options.backend or BACKENDS if backend != "asyncio"
    ]
    print(f"{'':24}" + "".join(f"{kind:>16}" for kind in KINDS))
    seen = set()
    for backend, style in pairs:
        both = measured(backend, style)
        for end, name in (("client", style), ("server", backend)):
            if (end, name) in seen:
                continue
            seen.add((end, name))
            counts = [
                f"{len(both[end][kind])} in {len({file for file, _ in both[end][kind]})}"
                for kind in KINDS
            ]
            print(f"{end} {name:17}" + "".join(f"{count:>16}" for count in counts), flush=True)
            for kind in KINDS if options.list else ():
                print(f"\n  {kind}:")
                for file, function in both[end][kind]:
                    print(f"    {file:32} {function}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    elif sys.argv[1:2] == ["--call"]:
        client(*sys.argv[2:])
    else:
        main()
