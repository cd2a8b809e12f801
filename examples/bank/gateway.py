"""The service for customers' programs. It knows only how to reach the other services.

It uses coroutines and the asyncio client. They run on the server's loop under asyncio, and on a
second, asyncio loop under any other backend. `BANK` is the registry of the other services:

    BANK=sqlite:///registry.db ringback serve examples/bank/gateway.py:service --backend asyncio
"""

import os
from typing import NamedTuple

import ringback
from ringback.clients.asyncio import AsyncioClient, connect

service = ringback.Service("gateway")


class Bank(NamedTuple):
    accounts: AsyncioClient
    transfers: AsyncioClient


@service.lifespan
async def bank():
    registry = os.environ["BANK"]
    async with (
        connect(f"{registry}?service=accounts") as accounts,
        connect(f"{registry}?service=transfers") as transfers,
    ):
        yield Bank(accounts, transfers)


@service.method(idempotent=True)
async def open_account(account: str, balance: int) -> None:
    await ringback.current_call().app.accounts.call("open_account", account, balance)


@service.method(idempotent=True)
async def transfer(transfer_id: str, source: str, target: str, amount: int) -> int:
    """Move money, once per id.

    The customer's program makes the id and keeps it until it knows the outcome. Only that program
    knows whether a second call means the same transfer or another.
    """
    return await ringback.current_call().app.transfers.call(
        "transfer", transfer_id, source, target, amount
    )


@service.method(readonly=True)
async def balance(account: str) -> int:
    return await ringback.current_call().app.accounts.call("balance", account)


@service.method(readonly=True)
async def statement(account: str) -> dict:
    return await ringback.current_call().app.accounts.call("statement", account)


@service.method(readonly=True)
async def audit() -> int:
    "The sum of all accounts."
    return await ringback.current_call().app.accounts.call("total")
