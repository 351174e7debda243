"""The commands `events …`: look at streams and dead letters in NATS, replay dead letters, and discard them."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from app.events.client import Connection, servers
from app.events.dead_letters import Letter, letter_at, letters, replay
from app.events.durable import SUBJECTS, api_of, streams_of
from app.settings import Settings, SettingsError
from app.terminal import FAILED, complain, count, note, say

__all__ = ["add_events"]

_CONNECT_SECONDS: Final = 10.0
_API_SECONDS: Final = 10.0
_DEAD: Final = "dlq.>"
_NO_STREAM: Final = f"no stream has {_DEAD}"
_MOST: Final = 1_000_000
_MORE: Final = "there are more than {:,}: --limit takes another number"


def add_events(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    number = count(_MOST)
    add("status", _status, "show the streams, how many events wait, and how many dead letters there are")
    listing = add("letters", _letters, "list dead letters, oldest first, with the reason of each")
    again = add("replay", _replay, "publish dead letters again and remove them, all but malformed ones")
    for one in (listing, again):
        one.add_argument("--limit", type=number, default=1_000, metavar="N", help="at most this many (1000)")
        one.add_argument(
            "--subject", metavar="SUBJECT", help="only events of this subject, such as signals.task.synced"
        )
    again.add_argument("--dry-run", action="store_true", help="only say what would be replayed")
    removing = add("discard", _discard, "remove dead letters for good", "discard 17 18")
    removing.add_argument(
        "sequences", type=number, nargs="+", metavar="SEQUENCE", help="the number of a letter in its stream"
    )
    removing.add_argument("--stream", metavar="NAME", help="the stream, if several hold dead letters")


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[tuple[Connection, JetStreamContext]]:
    """A connection to NATS. Raises SettingsError, and nats.errors.Error if no server can be used."""
    urls = servers(settings.nats_url)
    if not urls:
        raise SettingsError("NATS_URL is empty: it names the NATS servers")
    client = Connection()
    trouble: list[Exception] = []

    async def on_error(error: Exception) -> None:
        trouble.append(error)

    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await client.connect(
                urls,
                name=settings.nats_durable_prefix,
                user_credentials=settings.nats_creds or None,
                connect_timeout=int(_CONNECT_SECONDS),
                max_reconnect_attempts=2,
                reconnect_time_wait=0,
                error_cb=on_error,
            )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        await client.close()
        last = trouble[-1] if trouble else error
        raise nats.errors.Error(f"cannot connect to NATS: {str(last) or 'it did not answer in time'}") from None
    try:
        where = client.connected_url
        note(f"NATS: {where.hostname}:{where.port}" if where else "NATS")
        yield client, client.jetstream(timeout=_API_SECONDS, domain=settings.nats_jetstream_domain or None)
    finally:
        await client.close()


def _told(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, with what NATS refuses as a line and an exit code."""

    async def told(arguments: argparse.Namespace, settings: Settings) -> int:
        try:
            async with _connected(settings) as (client, jetstream):
                api = api_of(settings.nats_jetstream_domain)
                code: int = await command(arguments, settings, client, jetstream, api)
                return code
        except nats.errors.Error as error:
            return complain(str(error) or type(error).__name__)

    return told


@_told
async def _status(
    _: argparse.Namespace, settings: Settings, client: Connection, jetstream: JetStreamContext, api: str
) -> int:
    whole = True
    for name, subject in SUBJECTS.items():
        found = await streams_of(client, api, subject)
        for stream in found:
            durable = f"{settings.nats_durable_prefix}-{name}"
            try:
                info = await jetstream.consumer_info(stream, durable)
            except NotFoundError:
                say(f"stream {stream} has {subject}, but no durable {durable}: no service has taken events of it")
                whole = False
            else:
                waiting, handed, again = info.num_pending or 0, info.num_ack_pending or 0, info.num_redelivered or 0
                say(
                    f"stream {stream}, durable {durable}: {waiting:,} wait, {handed:,} in hand, {again:,} failed before"
                )
        if not found:
            say(f"no stream has {subject}")
            whole = False
    holding = await streams_of(client, api, _DEAD)
    for stream in holding:
        state = (await jetstream.stream_info(stream, subjects_filter=_DEAD)).state
        say(f"stream {stream}: {sum((state.subjects or {}).values()):,} dead letters")
    if not holding:
        say(_NO_STREAM)
    return 0 if whole and holding else FAILED


async def _some(
    arguments: argparse.Namespace, jetstream: JetStreamContext, streams: list[str]
) -> AsyncIterator[Letter]:
    """The dead letters of the subject that `arguments` name, at most as many as they say and one."""
    seen = 0
    for stream in streams:
        async for letter in letters(jetstream, stream):
            if arguments.subject in (None, letter.subject):
                seen += 1
                yield letter
            if seen > arguments.limit:
                return


def _line(letter: Letter) -> str:
    return f"{letter.stream} {letter.sequence}  {letter.subject}  {letter.reason}"


@_told
async def _letters(
    arguments: argparse.Namespace, _: Settings, client: Connection, jetstream: JetStreamContext, api: str
) -> int:
    shown = 0
    holding = await streams_of(client, api, _DEAD)
    if not holding:
        return complain(_NO_STREAM)
    async for letter in _some(arguments, jetstream, holding):
        if shown == arguments.limit:
            return complain(_MORE.format(shown))
        say(_line(letter))
        shown += 1
    say(f"dead letters: {shown:,}")
    return 0


@_told
async def _replay(
    arguments: argparse.Namespace, _: Settings, client: Connection, jetstream: JetStreamContext, api: str
) -> int:
    done = left = 0
    more = False
    would = "would be " if arguments.dry_run else ""
    holding = await streams_of(client, api, _DEAD)
    if not holding:
        return complain(_NO_STREAM)
    try:
        async for letter in _some(arguments, jetstream, holding):
            if more := done + left == arguments.limit:
                complain(_MORE.format(arguments.limit))
                break
            if letter.why_not:
                left += 1
                complain(f"left: {_line(letter)} ({letter.why_not})")
                continue
            if not arguments.dry_run:
                await replay(jetstream, letter)
            done += 1
            say(f"{would}replayed: {_line(letter)}")
    finally:
        say(f"{would}replayed: {done:,}; left: {left:,}")
    return FAILED if left or more else 0


@_told
async def _discard(
    arguments: argparse.Namespace, _: Settings, client: Connection, jetstream: JetStreamContext, api: str
) -> int:
    streams = [arguments.stream] if arguments.stream else await streams_of(client, api, _DEAD)
    if len(streams) != 1:
        return complain(f"--stream must name one of: {', '.join(streams)}" if streams else _NO_STREAM)
    code = 0
    for sequence in dict.fromkeys(arguments.sequences):
        letter = await letter_at(jetstream, streams[0], sequence)
        if letter is None or letter.sequence != sequence:
            code = complain(f"{streams[0]} {sequence}: there is no such dead letter")
        else:
            await jetstream.delete_msg(letter.stream, letter.sequence)
            say(f"removed: {_line(letter)}")
    return code
