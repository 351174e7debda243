"""OpenTelemetry's variables: whether they ask for traces, and whether its SDK can be given them.

The SDK reads most of them itself, and ends in a traceback for some values. These are refused here, in one line.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from app.settings import SettingsError

__all__ = ["names_service", "wants_traces"]

# Variables that the SDK takes for whole numbers without checking.
_NUMBER: Final = re.compile(r"OTEL_(BSP_[A-Z_]+|[A-Z_]+_LIMIT)")
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_HEADER: Final = re.compile(r"""[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+[ \t]*=[ \t!#-+\--:<-\[\]-~]*""")


def wants_traces(environ: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's standard variables name an exporter.

    Raises SettingsError for an exporter, protocol or address that the service does not support, and for values that
    would make the SDK end in a traceback, or log a secret.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "")
    variable = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    endpoint = environ.get(variable, "")
    if not endpoint:
        variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
        endpoint = environ.get(variable, "")
    if exporter not in ("", "none", "otlp"):
        raise SettingsError(f"OTEL_TRACES_EXPORTER: takes otlp or none, not {exporter!r}")
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none" or not (exporter or endpoint):
        return False
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise SettingsError(f"{variable}: takes http://host:port or https://host:port")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environ.get(name, "") not in ("", "http/protobuf"):
            raise SettingsError(f"{name}: takes http/protobuf, not {environ[name]!r}")
    _check_what_the_sdk_reads(environ)
    return True


def names_service(environ: Mapping[str, str]) -> bool:
    """Whether the variables name the service, so that the SDK takes the name from them."""
    return "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")


def _check_what_the_sdk_reads(environ: Mapping[str, str]) -> None:
    for name, text in environ.items():
        least = 1 if name.startswith("OTEL_BSP_") else 0
        if text and _NUMBER.fullmatch(name) and not (text.isdecimal() and len(text) < 19 and int(text) >= least):
            raise SettingsError(f"{name}: takes a whole number, {least} or more, not {text!r}")
    for name in _HEADERS:
        if not all(map(_is_header, environ.get(name, "").split(","))):
            raise SettingsError(f"{name}: takes name=value pairs with commas between them, values percent-encoded")


def _is_header(pair: str) -> bool:
    """Whether the SDK takes the pair and HTTP can carry its value."""
    value = unquote(pair.partition("=")[2].strip())
    return not pair.strip() or bool(_HEADER.fullmatch(pair) and value.isascii() and value.isprintable())
