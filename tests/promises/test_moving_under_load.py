"""An export under load and its restore lose no reward and double none, whatever is repeated afterwards."""

from pathlib import Path

import pytest

from tests.system.chaos.__main__ import holding
from tests.system.chaos.moving import try_moving


@pytest.mark.parametrize("kind", ["standalone", "cluster"])
def test_nothing_is_lost_or_doubled(kind: str, tmp_path: Path) -> None:
    """Exported while rewards and decisions come in, restored into an empty Redis and into one that is in use: after
    all that was sent was repeated, each reward is in the models once, and the log tells every model."""
    tried = list(try_moving(kind, tmp_path, seed=1, rewards=150, hold=holding))
    assert len(tried) == 3
    assert [(name, verdict.findings) for name, verdict in tried if not verdict.right] == []
