"""The policies and loops that POLICIES names."""

from pathlib import Path
from typing import Final

import msgspec

from app.policies.catalog import Catalog, catalog
from app.policies.reading import MOST_BYTES, BadPolicies
from app.settings import Settings, SettingsError

__all__ = ["PERSONALIZER", "read_catalog", "served_catalog"]

_DAY: Final = 86_400
# The loop of Azure Personalizer's clients, whose configuration may make its window as long as this.
PERSONALIZER: Final = "personalizer"
_LONGEST_WAIT: Final = 6 * _DAY


def read_catalog(settings: Settings) -> Catalog:
    """What the built-in file and the one that POLICIES names say now. Raises SettingsError with one line."""

    def refuse(problem: str) -> SettingsError:
        return SettingsError(f"POLICIES: {settings.policies}: {problem}")

    try:
        own = ""
        if settings.policies:
            with Path(settings.policies).open("rb") as file:  # at most a byte too many, which is told
                own = file.read(MOST_BYTES + 1).decode("utf-8-sig")
        found = catalog(own, alpha=settings.alpha, epsilon=settings.epsilon)
    except UnicodeDecodeError as error:
        raise refuse(f"is not UTF-8: byte {error.start:,}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, BadPolicies):
            raise refuse(str(error)) from None
        raise refuse(error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)) from None
    _check_idle(settings, found)
    return found


def served_catalog(settings: Settings) -> Catalog:
    """The catalog as the service uses it: without the loop of Azure Personalizer's clients if they have no key, since
    each loop makes every reward read one more model. Raises SettingsError."""
    found = read_catalog(settings)
    if not settings.personalizer_key:
        loops = {name: loop for name, loop in found.loops.items() if name != PERSONALIZER}
        return msgspec.structs.replace(found, loops=loops)
    return found


def _check_idle(settings: Settings, found: Catalog) -> None:
    """Raise SettingsError unless all decisions of a user who expires are over by then."""
    windows = {name: loop.window for name, loop in found.loops.items()}
    if settings.personalizer_key:
        windows[PERSONALIZER] = _LONGEST_WAIT
    longest = max(windows, key=lambda name: windows[name])
    kept = windows[longest] + settings.decision_grace_seconds
    days = settings.idle_user_days
    if days and days * _DAY <= kept:
        raise SettingsError(
            f"IDLE_USER_DAYS: takes 0, or more days than the window of the loop {longest!r} and "
            f"DECISION_GRACE_SECONDS together, so at least {kept // _DAY + 1:,}, not {days:,}"
        )
