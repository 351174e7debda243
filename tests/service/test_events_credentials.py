"""A nats-server that trusts an operator's signature, and a service that comes with a file of credentials."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]  # comes without types
import pytest

from app.events.consumers import Consumers
from app.events.handlers import Uses
from app.settings import Secret, Settings
from tests.support.nats_servers import nats_server
from tests.support.waiting import until_async

pytestmark = pytest.mark.anyio


def key_pair(role: int) -> Any:
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), role)))


def public(pair: Any) -> str:
    return str(pair.public_key.decode())


def token(signer: Any, subject: Any, kind: str, **claims: Any) -> str:
    """A JWT of version 2, as an operator's tools write it: `signer` says what `subject` is and may do."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    body = {"jti": "x", "iat": 1_700_000_000, "iss": public(signer), "name": kind, "sub": public(subject)}
    body["nats"] = {**claims, "type": kind, "version": 2}
    signed = f"{part(json.dumps({'typ': 'JWT', 'alg': 'ed25519-nkey'}).encode())}.{part(json.dumps(body).encode())}"
    return f"{signed}.{part(signer.sign(signed.encode()))}"


class NoTasks:
    async def synced(self, user_id: str, fields: dict[str, str], received_at: float) -> None:
        pass

    async def ping(self) -> None:
        pass

    async def reward(self, decision_id: str, reward: float, part: str | None) -> None:
        pass


async def state(consumers: Consumers) -> str:
    return consumers.health().consumers["signals"].state


async def problem(consumers: Consumers) -> str:
    return consumers.health().consumers["signals"].problem or ""


async def test_credentials_from_a_file(tmp_path: Path) -> None:
    """NATS_CREDS signs the service in; a file that comes later is read then. Its lack, or half of one, is told
    and holds nothing up."""
    operator, system, account = map(
        key_pair, (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_ACCOUNT)
    )
    limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
    storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    config = tmp_path / "nats.conf"
    config.write_text(
        f"operator: {token(operator, operator, 'operator')}\n"
        f"system_account: {public(system)}\n"
        "resolver: MEMORY\n"
        "resolver_preload: {\n"
        f"  {public(system)}: {token(operator, system, 'account', limits=limits)}\n"
        f"  {public(account)}: {token(operator, account, 'account', limits=limits | storage)}\n"
        "}\n"
    )
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    user = token(account, nkeys.from_seed(bytearray(seed)), "user", subs=-1, data=-1, payload=-1)
    creds = tmp_path / "oo.creds"
    with nats_server("-c", str(config)) as server:
        tasks = NoTasks()
        settings = Settings(nats_url=Secret(server.url), nats_creds=str(creds), nats_create_streams=True)
        consumers = Consumers(settings, Uses(tasks, tasks.reward), tasks.ping)
        consumers.start()
        try:

            async def missing() -> bool:
                return "No such file or directory" in await problem(consumers) and "oo.creds" in await problem(
                    consumers
                )

            async def incomplete() -> bool:
                return "oo.creds lacks a user's JWT or seed" in await problem(consumers)

            await until_async(missing, "no credentials yet")
            half = f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
            creds.write_text(half)
            await until_async(incomplete, "half of the credentials")
            creds.write_text(f"-----BEGIN NATS USER JWT-----\n{user}\n------END NATS USER JWT------\n\n{half}")

            async def runs() -> bool:
                return await state(consumers) == "running"

            await until_async(runs, "running")
        finally:
            await consumers.stop(1)
