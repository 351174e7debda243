"""The command `key`: make an API key."""

import argparse

from app.http.api_keys import make_key
from app.settings import Settings
from app.terminal import say

__all__ = ["print_key"]


async def print_key(arguments: argparse.Namespace, _: Settings) -> int:
    """Print a new key, and the line by which the service knows it; the exit code. Raises SettingsError."""
    key, line = make_key(arguments.name, arguments.role)
    say(f"key, shown this once: {key}")
    say(f"line for API_KEYS:    {line}")
    return 0
