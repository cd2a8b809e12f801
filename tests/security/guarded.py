"""The service of servers with CURVE that tests start as processes."""

import time

import ringback

service = ringback.Service("guarded")


@service.method(inline=True)
def whoami() -> str:
    return ringback.current_call().user


@service.method
def whoami_in_a_worker() -> str:
    return ringback.current_call().user


@service.method(executor="process")
def whoami_elsewhere() -> str:
    return ringback.current_call().user


@service.method(inline=True)
def echo(value):
    return value


@service.method
def hold(seconds: float) -> str:
    time.sleep(seconds)
    return "held"


@service.method
def count(n: int):
    yield from range(n)
