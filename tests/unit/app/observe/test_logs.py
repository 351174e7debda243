"""Log lines of both forms, as they are written to stderr."""

import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from app.observe.logs import REQUEST_ID, set_up


class Terminal(io.StringIO):
    is_one = True

    def isatty(self) -> bool:
        return self.is_one


@contextmanager
def terminal(*, is_one: bool = True) -> Iterator[Terminal]:
    """A stderr that says whether it is a terminal; the logging of the test run is put back afterwards."""
    root = logging.getLogger()
    handlers, level, stderr = root.handlers[:], root.level, sys.stderr
    root.handlers[:] = []
    logging.captureWarnings(capture=False)
    sys.stderr = screen = Terminal()
    screen.is_one = is_one
    try:
        yield screen
    finally:
        sys.stderr = stderr
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(level)


def test_at_a_terminal_lines_are_readable() -> None:
    """A person sees time, level, logger, message and what belongs to it; and a traceback below it."""
    with terminal() as screen:
        set_up("info", "auto")
        log = logging.getLogger("oo.test")
        log.debug("unseen")
        REQUEST_ID.set("r-1")
        try:
            log.info("a %s line", "readable", extra={"status": 200})
            raise ValueError("broken")
        except ValueError:
            log.exception("it failed")
        finally:
            REQUEST_ID.set(None)
    first, second, *traceback = screen.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d info    oo\.test: a readable line status=200 request_id=r-1", first)
    assert second.endswith("error   oo.test: it failed request_id=r-1")
    assert traceback[-1] == "ValueError: broken"


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("text", False), ("auto", True)])
def test_the_form_and_level_can_be_chosen(form: Literal["json", "text", "auto"], *, is_json: bool) -> None:
    """LOG_FORMAT is JSON or text, and auto is JSON wherever stderr is no terminal; LOG_LEVEL hides what is less
    severe."""
    with terminal(is_one=False) as screen:
        set_up("error", form)
        logging.getLogger("oo.test").warning("unseen")
        logging.getLogger("oo.test").error("seen")
    [line] = screen.getvalue().splitlines()
    assert "seen" in line
    assert line.startswith("{") is is_json


def test_a_warning_is_a_line() -> None:
    """What Python or a library warns of at run time is no text of another form among the lines."""
    with terminal() as screen, warnings.catch_warnings():
        warnings.simplefilter("always")
        set_up("info", "json")
        warnings.warn("soon to be removed", DeprecationWarning, stacklevel=1)
    # What else is warned of meanwhile, by a garbage collection for example, is a line of its own.
    said = [json.loads(line) for line in screen.getvalue().splitlines()]
    assert [line["level"] for line in said if "soon to be removed" in line["message"]] == ["warning"]


def test_json_lines_hold_whatever_is_logged() -> None:
    """A line end in a message does not make two lines, and a value that JSON does not know is written as text."""
    with terminal() as screen:
        set_up("info", "json")
        log = logging.getLogger("oo.test")
        log.info("two\nlines", extra={"number": 1, "path": RuntimeError("x")})
        try:
            raise ValueError("broken\nin two")
        except ValueError:
            log.exception("it failed")
    first, second = screen.getvalue().splitlines()
    said = json.loads(first)
    assert (said["message"], said["number"], said["path"]) == ("two\nlines", 1, "x")
    assert json.loads(second)["exception"].endswith("ValueError: broken\nin two")


def test_readable_lines_hold_whatever_is_logged() -> None:
    """What could be taken for another line, or move a terminal's cursor, is escaped."""
    with terminal() as screen:
        set_up("info", "text")
        logging.getLogger("oo.test").info("two\nlines", extra={"key": "\x1b[2J"})
    [line] = screen.getvalue().splitlines()
    assert line.endswith(r"oo.test: 'two\nlines' key='\x1b[2J'")
