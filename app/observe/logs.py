"""Log lines: JSON for machines, text for a person at a terminal; each with the id of its request."""

import contextvars
import logging
import sys
import time
from typing import Any, Final, Literal

import msgspec

__all__ = ["REQUEST_ID", "TRACE_ID", "set_up"]

REQUEST_ID: Final[contextvars.ContextVar[str | None]] = contextvars.ContextVar("request_id", default=None)
# The trace that the request belongs to; set only while traces are made.
TRACE_ID: Final[contextvars.ContextVar[str | None]] = contextvars.ContextVar("trace_id", default=None)

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that the caller added, and the ids of the request and its trace."""
    extra = {name: value for name, value in vars(record).items() if name not in _OWN}
    for variable in (REQUEST_ID, TRACE_ID):
        value = variable.get()
        if value is not None:
            extra.setdefault(variable.name, value)
    return extra


def _one_line(value: object) -> str:
    """The value as text, escaped if it could be taken for another line."""
    text = str(value)
    return text if text.isprintable() else ascii(text)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class _Readable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={_one_line(value)}" for name, value in _extra(record).items())
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{when} {record.levelname.lower():8}{record.name}: {_one_line(record.getMessage())}{extra}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(level: str, form: Literal["auto", "json", "text"]) -> None:
    """Write all log lines of this process to stderr; `auto` is text at a terminal and JSON elsewhere."""
    readable = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Readable() if readable else _Json())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # They log every call, with its URL.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
