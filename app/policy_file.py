"""The policies and loops of this service: the built-in file, and the one that POLICIES names."""

from pathlib import Path

from app.policies.catalog import Catalog, catalog
from app.policies.reading import BadPolicies
from app.settings import Settings, SettingsError

__all__ = ["read_catalog"]


def read_catalog(settings: Settings) -> Catalog:
    """What both files say. Raises SettingsError."""
    try:
        own = Path(settings.policies).read_text(encoding="utf-8") if settings.policies else ""
        return catalog(own, alpha=settings.alpha, epsilon=settings.epsilon)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"POLICIES: {settings.policies}: {getattr(error, 'strerror', 'is not UTF-8')}") from None
    except BadPolicies as error:
        raise SettingsError(f"POLICIES: {settings.policies}: {error}") from None
