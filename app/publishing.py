"""Publishing of the log of decisions, as the settings ask for it."""

from collections.abc import Callable
from functools import partial

from app.decision_log.place import STREAM, place_of
from app.decision_log.places import Folder, Streamed
from app.decision_log.publish import Observer, Place, Publisher
from app.events.client import reach, servers
from app.messages.health import LogHealth
from app.settings import Settings, SettingsError
from state.store import Store

__all__ = ["is_logged", "log_health", "made_publisher"]


def is_logged(settings: Settings) -> bool:
    """Whether changes write lines of the log. Raises SettingsError."""
    return _place(settings) is not None


def made_publisher(settings: Settings, store: Store, observer: Observer) -> Publisher | None:
    """What publishes the log of `store`'s changes; None without a log. Raises SettingsError."""
    place = _place(settings)
    if place is None:
        return None
    publisher = Publisher(store.outbox, place, settings.decision_log_backlog, observer)
    store.tell_emitted(publisher.take)
    return publisher


def log_health(publisher: Publisher | None) -> Callable[[], LogHealth]:
    """What /health says of the log."""

    def health() -> LogHealth:
        if publisher is None:
            return LogHealth(enabled=False)
        seen = publisher.progress
        return LogHealth(
            enabled=True,
            problem=seen.problem,
            waiting_lines=seen.waiting,
            oldest_seconds=round(seen.seconds, 1),
        )

    return health


def _place(settings: Settings) -> Place | None:
    try:
        found = place_of(settings.decision_log)
    except ValueError as error:
        raise SettingsError(f"DECISION_LOG: {error}, not {settings.decision_log!r}") from None
    if found is None:
        return None
    if found != STREAM:
        return Folder(found, days=settings.decision_log_days)
    listed = servers(settings.nats_url)
    if not listed:
        raise SettingsError("DECISION_LOG: nats needs NATS_URL")
    connect = partial(reach, listed, settings.nats_creds)
    return Streamed(connect, domain=settings.nats_jetstream_domain, days=settings.decision_log_days)
