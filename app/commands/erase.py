"""The command `erase`: remove all there is of one user."""

import argparse
import sys
from functools import partial

from app.ledger.telling import last_line
from app.policies.catalog import SIZES
from app.publishing import is_logged
from app.settings import Settings
from app.terminal import FAILED, INTERRUPTED, PATIENCE, USAGE, complain, connected, say
from state import keys
from state.store import Store

__all__ = ["ask", "erase_user"]


def ask(user: str) -> int:
    """0 if a person at a terminal agrees to remove all there is of `user`, else the exit code."""
    if not sys.stdin.isatty():
        return complain("erase asks first, and here is no terminal: --yes answers", USAGE)
    code = FAILED
    try:
        if input(f"Remove all there is of {user!r}? [y/N] ").strip().lower() in {"y", "yes"}:
            return 0
    except (EOFError, KeyboardInterrupt) as end:
        sys.stderr.write("\n")
        code = INTERRUPTED if isinstance(end, KeyboardInterrupt) else FAILED
    return complain("nothing was removed", code)


async def erase_user(arguments: argparse.Namespace, settings: Settings) -> int:
    """Remove all keys of a user and print their names; the exit code."""
    async with connected(settings) as servers:
        life = settings.idempotency_ttl_seconds
        store = Store(servers, timeout=PATIENCE, history_size=1, marker_seconds=life)
        policies = dict.fromkeys((*SIZES, *await store.shared.policies()))
        fixed = [keys.of(arguments.user, kind) for kind in keys.fixed(policies)]
        last = partial(last_line, arguments.user, "erased") if is_logged(settings) else None
        removed = await store.erase(arguments.user, fixed, thorough=arguments.thorough, last=last)
    for key in removed:
        say(key)
    say(f"removed: {len(removed):,} keys")
    return 0
