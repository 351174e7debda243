"""The command `prior` over an embedded store: who counts, what is written, and what is said."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from app.commands import prior as command
from app.commands.cli import run
from app.policies.catalog import catalog
from app.settings import Settings
from state import keys
from state.redis.connect import open_servers
from state.redis.exchange import Command, exchange
from state.redis.servers import Servers
from state.values import prior, record
from state.values.prior import PriorRecord
from state.values.record import Meta, Record
from tests.support.models import NOISE, columns_of, like_minded

OWN = """
[features]
one = { of = "candidate", kind = "number", min = 0, max = 1 }
two = { of = "candidate", kind = "number", min = 0, max = 1 }
[policies.p]
columns = ["one", "two"]
prior = "population"
explore = { by = "epsilon", epsilon = 0.1 }
[policies.plain]
columns = ["one", "two"]
explore = { by = "epsilon", epsilon = 0.1 }
"""
P = catalog(OWN).policies["p"]
MU = [0.5, -0.25]
FEW = "p: 19 users seen, 19 taken: fewer than 20 have 5 rewards, so new users start from nothing\n"


class Redis:
    """An embedded store that outlives the command: each begins with `commands`. `priors` are those after each one."""

    def __init__(self, *commands: Command) -> None:
        self.commands: list[Command] = list(commands)
        self.priors: list[PriorRecord] = []

    @asynccontextmanager
    async def connected(self, settings: Settings, *, embedded: bool = False) -> AsyncIterator[Servers]:
        """What is written stays in `commands` for the next one."""
        servers = open_servers("memory://", size=40, timeout=1.0)
        try:
            async with servers.connection("") as connection:
                await exchange(connection, self.commands)
            yield servers
            async with servers.connection("") as connection:
                [text] = await exchange(connection, [("HGET", keys.PRIORS, "p")])
            if text is not None:
                self.commands.append(("HSET", keys.PRIORS, "p", text))
                self.priors.append(prior.decode("k", text))
        finally:
            await servers.close()


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Redis:
    """An empty store, and a policy file that POLICIES names."""
    redis = Redis()
    monkeypatch.setattr(command, "connected", redis.connected)
    (tmp_path / "own.toml").write_text(OWN)
    monkeypatch.setenv("POLICIES", str(tmp_path / "own.toml"))
    return redis


Operate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def operate(capsys: pytest.CaptureFixture[str]) -> Operate:
    def operate(*words: str) -> tuple[int, str, str]:
        code = run(["prior", "--policy", "p", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return operate


def odd(user: str, meta: Meta, scale: float = 2.0) -> Command:
    """A model of P that is not like the others."""
    found = Record(scale * np.eye(2), np.array([5.0, 5.0]), meta, columns_of(P).fingerprint)
    return "HSET", keys.record(user, "p"), *(part for pair in record.encode(found).items() for part in pair)


def test_it_is_fitted_and_written(redis: Redis, operate: Operate) -> None:
    """What is said is what is written: users, noise, version, and where a new user starts."""
    redis.commands += like_minded(P, MU, range(300))
    code, out, err = operate()
    assert (code, err) == (0, "")
    head, said, *rows = out.splitlines()
    assert head == "p"
    assert said.startswith("  300 users seen, 300 taken, noise ±0.3")
    assert said.endswith(", version 1; a new user starts with")
    [written] = redis.priors
    assert (written.version, written.users, written.columns) == (1, 300, columns_of(P))
    theta = np.linalg.solve(written.a, written.b)
    assert theta == pytest.approx(MU, abs=0.05)
    assert [row.split()[:2] for row in rows] == [
        [name, f"{value:+.4f}"] for name, value in zip(("one", "two"), theta, strict=True)
    ]
    assert 0.9 * NOISE < float(said.partition("±")[2].partition(",")[0]) < 1.1 * NOISE


def test_who_counts(redis: Redis, operate: Operate) -> None:
    """Not who has fewer than five rewards, nor who has rewards from before they were counted; who is damaged is named,
    and the exit code tells."""
    redis.commands += like_minded(P, MU, range(30))
    redis.commands += [
        odd("four", Meta(reward_count=4, weight=4.0, squares=4.0)),
        odd("old", Meta(reward_count=9, weight=None)),
        odd("broken", Meta(reward_count=9, weight=9.0, squares=9.0), scale=0.5),
    ]
    assert redis.commands[-1][1] == "oo:{broken}:p"
    code, out, err = operate()
    assert "  33 users seen, 30 taken, " in out
    assert (code, err) == (1, "left out: oo:{broken}:p: A is less than the identity, with which every model begins\n")
    assert redis.priors[0].users == 30


def test_models_with_other_columns_are_taken_by_name(redis: Redis, operate: Operate) -> None:
    """What users learned under a file with more columns in another order counts for the columns that are left."""
    wide = catalog(OWN.replace('["one", "two"]', '["1", "two", "one"]')).policies["p"]
    redis.commands += like_minded(wide, [0.0, -0.25, 0.5], range(200), rewards=20)
    assert operate()[0] == 0
    assert np.linalg.solve(redis.priors[0].a, redis.priors[0].b) == pytest.approx(MU, abs=0.1)


def test_at_most_so_many(redis: Redis, operate: Operate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is one of users or of memory, and the sample is the same each time."""
    redis.commands += like_minded(P, MU, range(100))
    monkeypatch.setattr(command, "_MOST", 40)
    assert "100 users seen, 40 taken" in operate()[1]
    assert operate()[0] == 0
    assert redis.priors[0].a.tolist() == redis.priors[1].a.tolist()
    monkeypatch.setattr(command, "_ROOM", 100)
    assert "100 users seen, 25 taken" in operate()[1]


def test_dry_run(redis: Redis, operate: Operate) -> None:
    """It says what would be written, and writes nothing."""
    redis.commands += like_minded(P, MU, range(30))
    assert ", would be version 1; " in operate("--dry-run")[1]
    assert redis.priors == []
    operate()
    assert ", would be version 2; " in operate("--dry-run")[1]
    assert [each.version for each in redis.priors] == [1, 1]


def test_too_few_users(redis: Redis, operate: Operate) -> None:
    """Nothing is written and one line says so. A prior from users who are gone is replaced by one that says nothing."""
    redis.commands += like_minded(P, MU, range(19))
    assert operate() == (0, FEW, "")
    assert redis.priors == []
    redis.commands += like_minded(P, MU, range(19, 20), seed=2)
    assert "20 taken, noise" in operate()[1]
    redis.commands.append(("DEL", keys.record("user 7", "p")))
    assert operate() == (0, FEW, "")
    assert [(each.version, each.users) for each in redis.priors] == [(1, 20), (2, 19)]
    assert redis.priors[1].a.tolist() == np.eye(2).tolist()
    assert not redis.priors[1].b.any()


def test_users_who_say_nothing(redis: Redis, operate: Operate) -> None:
    """If all rewards are 0 there is no noise to weigh users by; that is a failure."""
    redis.commands += like_minded(P, MU, range(1))
    redis.commands += [odd(f"u{number}", Meta(reward_count=9, weight=9.0)) for number in range(20)]
    redis.commands.append(("DEL", keys.record("user 0", "p")))
    code, out, err = operate()
    assert (code, err) == (1, "p: there is no prior: there are no rewards but 0\n")
    assert out == "p: 20 users seen, 20 taken: they say nothing, so new users start from nothing\n"
    assert redis.priors == []


def test_a_damaged_prior_is_replaced(redis: Redis, operate: Operate) -> None:
    """Its version is still counted on from, if it can be read."""
    redis.commands += [*like_minded(P, MU, range(30)), ("HSET", keys.PRIORS, "p", '{"version":41}')]
    operate()
    assert redis.priors[0].version == 42


def test_another_rebuild_is_faster(redis: Redis, operate: Operate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is one more than that which is there at the moment of writing, not that of the start."""
    redis.commands += like_minded(P, MU, range(30))
    original = command._write
    found: list[Servers] = []
    connected = redis.connected

    @asynccontextmanager
    async def noted(settings: Settings) -> AsyncIterator[Servers]:
        async with connected(settings) as servers:
            found.append(servers)
            yield servers

    async def write(*arguments: object, **named: object) -> int:
        async with found[0].connection("") as connection:
            await exchange(connection, [("HSET", keys.PRIORS, "p", '{"version":8}')])
        return await original(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "connected", noted)
    monkeypatch.setattr(command, "_write", write)
    assert ", version 9; " in operate()[1]
    assert redis.priors[0].version == 9


def test_a_policy_without_a_prior(redis: Redis, operate: Operate) -> None:
    """It is refused in one line that names those that have one; without a name all of these are built."""
    code, out, err = operate("--policy", "plain")
    assert (code, out) == (2, "")
    assert err.startswith('plain: no policy of this name has prior = "population"; there are: ')
    assert err.endswith(", p\n")


def test_all_policies(redis: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the built-in file and of the own one, each once."""
    redis.commands += like_minded(P, MU, range(30))
    assert run(["prior"]) == 0
    out = capsys.readouterr().out
    built_in = [name for name, row in catalog().policies.items() if row.population]
    assert [line.partition(":")[0] for line in out.splitlines() if not line.startswith("  ")] == [*built_in, "p"]
    assert run(["prior", "--policy", "p", "--policy", "p", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("would be") == 1
