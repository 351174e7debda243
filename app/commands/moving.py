"""The commands `import`, `export` and `restore`: state of the first system, to a file, and from that file."""

import argparse
import os
from collections.abc import Iterable, Iterator
from itertools import compress, islice
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from app.backup import first_system, reader
from app.backup.decision import in_new_epoch, named_by_decisions
from app.backup.first_system import Unusable
from app.backup.writer import ODD, Writer
from app.policies.catalog import SIZES, policies
from app.publishing import is_logged
from app.settings import Settings
from app.terminal import FAILED, PATIENCE, complain, connected, progress_bar, say
from state import keys
from state.redis.servers import Servers
from state.shared import Shared
from state.sorter import Sorter
from state.store import Store
from state.transfer import Transfer, all_results
from state.update.changes import Change, Fields, Hash, Step, Values
from state.update.idle import Idle
from state.users import Found, Users
from state.values.decision import SHARED, unlogged
from state.values.stored import NAMED, is_part

__all__ = ["export_state", "import_state", "restore_state"]

T = TypeVar("T")
_FIXED: Final = keys.fixed(SIZES)
_BATCH: Final = 1_024
_BATCH_BYTES: Final = 2**23
_OF_VERSION_1: Final = (
    "is of version 1, in which the keys of one user may be from different moments: "
    "a reward that is repeated may be lost or counted twice"
)


async def import_state(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write the first system's models to Redis; the exit code."""
    rows = policies()
    ids = _read_ids(arguments.ids) if arguments.ids else None
    problems = list(ids.problems) if ids else []
    for problem in problems:
        complain(f"{arguments.ids}: {problem}")
    left_out = written = models = 0
    total = sum(1 for _ in first_system.files(arguments.directory))
    async with connected(settings, embedded=arguments.dry_run) as servers:
        idle = Idle(settings.idle_user_days, SIZES)
        if idle.days and not arguments.dry_run:
            idle.policies |= dict.fromkeys(await Shared(servers, timeout=PATIENCE).policies())
        transfer = Transfer(servers, patience=PATIENCE, idle=idle)
        store = Store(servers, timeout=PATIENCE, history_size=1, marker_seconds=1) if is_logged(settings) else None
        with progress_bar() as progress:
            task = progress.add_task("import", total=total)
            for paths in _batches(first_system.files(arguments.directory), _BATCH):
                found = []
                for path in paths:
                    try:
                        imported = first_system.read(path, rows, ids)
                    except Unusable as error:
                        left_out += 1
                        complain(f"{path.name}: left out: {error}")
                    else:
                        found.append(imported.stored)
                        if imported.note:
                            complain(f"{path.name}: {imported.note}")
                models += len(found)
                if not arguments.dry_run:
                    written += await transfer.write(found, overwrite=arguments.overwrite)
                    await _log_anew(store, {one.user for one in found})
                else:
                    written += len(found) - (0 if arguments.overwrite else await transfer.present(found))
                progress.advance(task, len(paths))
    would = "would be " if arguments.dry_run else ""
    say(f"{would}imported: {written:,} models; there already: {models - written:,}; left out: {left_out:,}")
    if not total:
        return complain(f"{arguments.directory}: has no files of the first system: their names end in .json")
    return FAILED if left_out or problems else 0


async def export_state(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write all users to a file; the exit code."""
    left_out: list[str] = []
    async with connected(settings) as servers:
        transfer, shared = Transfer(servers, patience=PATIENCE), Shared(servers, timeout=PATIENCE)
        with Writer(arguments.file) as writer, Sorter() as sorter, progress_bar() as progress:
            writer.begin()
            task = progress.add_task("export: look for users", total=await transfer.count())
            async for count, odd in transfer.list_all(sorter, _FIXED):
                left_out += (f"{name}: left out: {ODD}" for name in odd)
                progress.advance(task, count)
            progress.reset(task, description="export", total=sorter.count())
            wanted = ((user, [kind for kind, _ in rows]) for user, rows in sorter)
            users = await _whole_users(servers, shared)
            async for group in users.read(wanted):
                if not _named(group) <= writer.columns.keys():
                    writer.columns |= await shared.all_columns()
                for found in group:
                    left_out += writer.write(found)
                progress.advance(task, len(group))
            size = writer.finish()
    for line in left_out:
        complain(line)
    counted = f"{writer.users:,} users: {_counted(writer.counts)}"
    say(f"exported: {counted}; left out: {len(left_out):,} keys; {arguments.file} has {size:,} bytes")
    if not writer.users and not left_out:
        return complain("this Redis has no users: does REDIS_URL name the right one?")
    return FAILED if left_out else 0


async def restore_state(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write the users of a file to Redis; the exit code."""
    done = _Restored()
    async with connected(settings) as servers:
        transfer, shared = Transfer(servers, patience=PATIENCE), Shared(servers, timeout=PATIENCE)
        with arguments.file.open("rb") as file, Sorter() as there, progress_bar() as progress:
            if reader.version(file) == 1:
                complain(f"{arguments.file}: {_OF_VERSION_1}")
            size = os.fstat(file.fileno()).st_size
            task = progress.add_task("restore", total=2 * size)
            # Read it to its end before writing anything: half a backup must not be restored.
            for _ in reader.read(file):
                progress.update(task, completed=file.tell())
            if arguments.overwrite:
                async for _ in transfer.list_all(there, _FIXED):
                    pass
            users = await _whole_users(servers, shared, settings.idle_user_days)
            file.seek(0)
            for batch in _bounded(reader.read(file)):
                await _restore_batch(batch, users, shared, there if arguments.overwrite else None, done)
                progress.update(task, completed=size + file.tell())
    written = f"{done.users:,} users ({done.keys:,} keys)"
    say(f"restored: {written}; there already: {done.there:,}; left out: {done.left_out:,}")
    if not (done.users or done.there or done.left_out):
        return complain(f"{arguments.file}: has no users")
    return FAILED if done.left_out else 0


async def _restore_batch(
    batch: list[reader.Read], users: Users, shared: Shared, there: Sorter | None, done: "_Restored"
) -> None:
    good = []
    for user in batch:
        if user.problem is None:
            good.append(in_new_epoch(user.stored))
        else:
            done.left_out += 1
            complain(f"left out: {user.problem}")
    strays = None if there is None else [there.kinds(stored[0].user) for stored in good]
    for columns in {name: one for user in batch for name, one in user.columns.items()}.values():
        await shared.publish(columns)
    if models := {one.kind for stored in good for one in stored if keys.is_policy(one.kind)} - SIZES.keys():
        await shared.note_policies(sorted(models))
    written = await users.write(good, strays=strays)
    done.users += sum(written)
    done.there += len(written) - sum(written)
    done.keys += sum(len(stored) for stored in compress(good, written))


def _named(group: Iterable[Found]) -> set[bytes]:
    """The fingerprints that the models and decisions of these users name."""
    named: set[bytes] = set()
    for stored in (stored for found in group for stored in found.stored):
        if stored.kind == keys.DECISIONS or is_part(stored.kind):
            named |= named_by_decisions(stored)
        elif isinstance(stored.value, dict) and keys.is_policy(stored.kind) and NAMED in stored.value:
            named.add(stored.value[NAMED])
    return named


class _Restored(msgspec.Struct):
    """What a restore has done so far: users and keys restored, users there already, users left out."""

    users: int = 0
    keys: int = 0
    there: int = 0
    left_out: int = 0


def _bounded(users: Iterable[reader.Read]) -> Iterator[list[reader.Read]]:
    """The users in groups of at most _BATCH users and, unless one user is larger, _BATCH_BYTES."""
    batch: list[reader.Read] = []
    size = 0
    for user in users:
        if batch and (size + user.size > _BATCH_BYTES or len(batch) == _BATCH):
            yield batch
            batch, size = [], 0
        batch.append(user)
        size += user.size
    if batch:
        yield batch


async def _whole_users(servers: Servers, shared: Shared, idle_days: int = 0) -> Users:
    """With the models of every policy there is, also those that a user gets after all users were looked for: without
    them a decision would be there with a reward that its policies have not learned."""
    there = dict.fromkeys((*SIZES, *await shared.policies()))
    return Users(servers, patience=PATIENCE, fixed=keys.fixed(there), idle=Idle(idle_days, there))


async def _log_anew(store: Store | None, users: Iterable[str]) -> None:
    """Have the log of these users begin anew with the models that were written."""

    def step(user: str) -> Step[None]:
        key = keys.shared(user)

        def unlog(values: Values) -> Change[None]:
            fields = unlogged(values[key])
            return Change(None, (Fields(key, fields),) if fields else ())

        return unlog

    if store is not None:
        await all_results(store.update(user, (Hash(keys.shared(user), SHARED),), step(user)) for user in users)


def _read_ids(path: Path) -> first_system.Ids:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return first_system.read_ids(file)
    except UnicodeDecodeError:
        raise OSError(0, "is not UTF-8", str(path)) from None


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items())) or "nothing"
