"""What the settings name: the policies and loops of the built-in file and the operator's own."""

from pathlib import Path

from app.policies.catalog import Catalog, catalog
from app.policies.reading import BadPolicies
from app.settings import Settings, SettingsError

__all__ = ["configured"]


def configured(settings: Settings) -> Catalog:
    """The policies and loops of this service. Raises SettingsError for a file that cannot be read or used."""
    try:
        own = Path(settings.policies).read_text(encoding="utf-8") if settings.policies else ""
        return catalog(own, alpha=settings.alpha, epsilon=settings.epsilon)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"POLICIES: {settings.policies}: {getattr(error, 'strerror', 'is not UTF-8')}") from None
    except BadPolicies as error:
        raise SettingsError(f"POLICIES: {settings.policies}: {error}") from None
