"""The policies and loops that POLICIES names."""

from pathlib import Path
from typing import Final

from app.policies.catalog import Catalog, catalog
from app.policies.reading import MOST_BYTES, BadPolicies
from app.settings import Settings, SettingsError

__all__ = ["read_catalog"]

_DAY: Final = 86_400


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


def _check_idle(settings: Settings, found: Catalog) -> None:
    """Raise SettingsError unless all decisions of a user who expires are over by then."""
    loop = max(found.loops.values(), key=lambda each: each.window)
    kept = loop.window + settings.decision_grace_seconds
    days = settings.idle_user_days
    if days and days * _DAY <= kept:
        raise SettingsError(
            f"IDLE_USER_DAYS: takes 0, or more days than the window of the loop {loop.name!r} and "
            f"DECISION_GRACE_SECONDS together, so at least {kept // _DAY + 1:,}, not {days:,}"
        )
