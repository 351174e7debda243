"""New lines by kind and hour."""

from pathlib import Path

from app.decision_log.files import Files
from app.decision_log.lines import Line, encode, moment
from app.log_reading.split import split
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome, state


def test_by_kind_and_hour(tmp_path: Path) -> None:
    """An outcome goes with its decision; the place after each line is told, from where another run goes on."""
    late = BEGIN + 3_600_000
    with_hour = outcome(3, ms=late, decided="")
    lines: list[Line] = [decision(1), outcome(2, ms=late), with_hour, state(4), decision(5, ms=late)]
    files = Files(tmp_path, clock=lambda: BEGIN / 1_000)
    files.append(map(encode, lines))
    files.close()
    places = list(split(tmp_path, tmp_path / "a", {}, print))
    assert [number for _, (_, number) in places] == [0, 1, 2, 3, 4, 5]
    found = {str(path.relative_to(tmp_path / "a")): path.read_bytes().count(b"\n") for path in tmp_path.glob("a/*/*/*")}
    day = f"date={moment(BEGIN)[:10]}"
    assert found == {
        f"decisions/{day}/hour=09.jsonl": 1,
        f"decisions/{day}/hour=10.jsonl": 1,
        f"outcomes/{day}/hour=09.jsonl": 1,
        f"outcomes/{day}/hour=10.jsonl": 1,
        f"states/{day}/hour=09.jsonl": 1,
    }
    name, place = places[3]
    assert [number for _, (_, number) in split(tmp_path, tmp_path / "b", {name: place}, print)] == [3, 4, 5]
    assert (tmp_path / "b" / f"states/{day}/hour=09.jsonl").read_bytes() == encode(lines[3]) + b"\n"
