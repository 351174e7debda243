"""Thoughts and values in a reply: what a model thinks, in tags of any kind, is not its answer."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tips.reply import BadReply, read
from app.tips.thoughts import OPENINGS, spans

ITEMS = [{"id": "a", "content": "Walk.", "rationale": "Sun."}, {"id": "b", "content": "Rest."}]
ARRAY = json.dumps(ITEMS)


def parts(text: str) -> list[tuple[str, str]]:
    """Each span with its part of the text."""
    return [(span.what, text[span.start : span.end]) for span in spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing [here] {either}", []),
        ('a [1, [2]] b {"c": []} d', [("value", "[1, [2]]"), ("value", '{"c": []}')]),
        ("[1, 2", [("broken", "[1, 2")]),
        ('["a" "b"] [1]', [("broken", '["a" '), ("value", "[1]")]),
        ("<think>[1]</think>[2]", [("thought", "<think>[1]</think>"), ("value", "[2]")]),
        ("<think>[1]", [("thought", "<think>[1]")]),
        ("[1]</think>[2]", [("value", "[1]"), ("thought", "[1]</think>"), ("value", "[2]")]),
        ("<Ponder a=1>[1]</PONDER>", [("thought", "<Ponder a=1>[1]")]),
        ("<ponder>[1]", [("value", "[1]")]),
        ("<answer>[1]</answer>", [("value", "[1]")]),
        ("<|channel|>analysis [1]<|end|>[2]", [("thought", "<|channel|>analysis [1]"), ("value", "[2]")]),
        ("<|channel|>final [1]", [("value", "[1]")]),
        ("[" + "9" * 5_000 + "]", [("value", "[" + "9" * 5_000 + "]")]),
        ("[1, NaN]", [("broken", "[1, NaN]")]),
    ],
)
def test_spans(text: str, expected: list[tuple[str, str]]) -> None:
    """The outermost values, those that break, and the thoughts, in the order in which they end."""
    assert parts(text) == expected


def test_so_many_openings_are_looked_at() -> None:
    """The last value that is read is the one at the bound."""
    assert len(parts("[1] " * (OPENINGS + 1))) == OPENINGS


GOOD = {
    "thought before": f"<think>They want [tips]. {{maybe}}</think>{ARRAY}",
    "draft in a thought": f'\n<think>\nPerhaps [{{"content": "draft"}}]\n</think> <think>{ARRAY[:9]}</think>\n{ARRAY}',
    "thinking": f'<thinking>maybe [{{"content": "bad"}}]</thinking>{ARRAY}',
    "Reasoning with an attribute": f'<Reasoning effort="high">[{{"content": "bad"}}]</REASONING>\n{ARRAY}',
    "thought after": f'{ARRAY}<reflection>or [{{"content": "bad"}}]?</reflection>',
    "unknown tag": f'<ponder>[{{"content": "bad"}}]</ponder>{ARRAY}<musing>[{{"content": "bad"}}]</musing>',
    "thought that was never opened": f'[{{"content": "bad"}}]</think>{ARRAY}',
    "thoughts one in another": f'<think><think>a</think>[{{"content": "bad"}}]</think>{ARRAY}',
    "thought with another end": f'<think>[{{"content": "bad"}}]</thinking>{ARRAY}',
    "end of a thought in a text": f'<think>"</think>" [{{"content": "bad"}}]</think>{ARRAY}',
    "channels": f'<|channel|>analysis<|message|>[{{"content": "bad"}}]<|end|><|start|>assistant<|channel|>final'
    f"<|message|>{ARRAY}<|return|>",
    "channel without end": f'<|channel|>analysis<|message|>[{{"content": "bad"}}]<|channel|>final {ARRAY}',
    "channel after": f'{ARRAY}<|channel|>commentary<|message|>[{{"content": "bad"}}]',
    "THINK in brackets": f'[THINK][{{"content": "bad"}}][/THINK]{ARRAY}',
    "thought in tokens": f'<|begin_of_thought|>[{{"content": "bad"}}]<|end_of_thought|>{ARRAY}',
    "THINKING in tokens": f'<|START_THINKING|>[{{"content": "bad"}}]<|END_THINKING|><|START_RESPONSE|>{ARRAY}',
    "triangles": f'◁think▷[{{"content": "bad"}}]◁/think▷{ARRAY}',
    "answer in a tag": f'<think>[{{"content": "bad"}}]</think><answer>\n```json\n{ARRAY}\n```\n</answer>',
    "HTML": f"<p>Here:<br></p><pre><code>{ARRAY}</code></pre>",
    "tag that is not closed": f"Tips for <user>: {ARRAY}",
    "tag that closes nothing": f"Tips</user>: {ARRAY}",
    "less than": f"1 < 2, a<b, <3 <| {ARRAY} x>y",
    "letter that grows in lower case": f'{"İ" * 9}<Ponder>[{{"content": "bad"}}]</PONDER>{ARRAY}',
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_thoughts_are_passed_over(text: str) -> None:
    """The answer is read, whatever the thoughts around it quote."""
    tips = [(tip.id, tip.content, tip.rationale) for tip in read(text, 3)]
    assert tips == [("a", "Walk.", "Sun."), ("b", "Rest.", None)]


BAD = {
    "thoughts only": (f"<think>Perhaps {ARRAY}</think> I cannot.", "holds no JSON array"),
    "thoughts without end": (f"<think>Perhaps {ARRAY}", "holds no JSON array"),
    "draft in an unknown tag": (f"<ponder>{ARRAY}</ponder> I cannot.", "outside of its thoughts"),
    "draft before the end of thoughts": (f"{ARRAY}</think> I cannot.", "outside of its thoughts"),
    "channel of thoughts": (f"<|channel|>analysis<|message|>{ARRAY}<|end|>", "outside of its thoughts"),
    "object after thoughts": (f"<think>{ARRAY}</think>{{}}", "an object, not an array"),
    "answer within thoughts": (f"<think><answer>{ARRAY}</answer></think>", "outside of its thoughts"),
    "HTML": ("<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>", "holds no JSON array"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD.keys())
def test_thoughts_are_not_an_answer(text: str, says: str) -> None:
    """An array that stands only in thoughts is refused."""
    with pytest.raises(BadReply, match=says):
        read(text, 3)


MIB = 2**20
RUNAWAY = {
    "thoughts": "<think> </think>" * (MIB // 16),
    "thoughts in thoughts": "<think>" * (MIB // 7),
    "tags": "".join(f"<t{number}>" for number in range(MIB // 9)),
    "tags without end": "".join(f"<t{number}>" for number in range(MIB // 18)) + "</t" * (MIB // 6),
    "tags with long attributes": ("<t " + "x" * 290) * (MIB // 293),
    "ends of thoughts": "</think>" * (MIB // 8),
    "less than": "<" * MIB,
    "tokens": "<|" * (MIB // 2),
    "channels": "<|channel|>" * (MIB // 11),
    "names": "<" + "t" * MIB,
}


@pytest.mark.parametrize("text", RUNAWAY.values(), ids=RUNAWAY.keys())
def test_runaway_tags(text: str) -> None:
    """A mebibyte of tags is read in a time that does not delay other requests for long."""
    started = time.process_time()
    assert all(span.what == "thought" for span in spans(text))
    # It takes 0.03 s. Were the reading not bounded, or quadratic, it would be minutes.
    assert time.process_time() - started < 10


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["think", "Thinking", "reasoning", "ponder", "x-y:z", "T1"]),
            st.text(alphabet='ab []{}",:\\n`') | st.sampled_from([ARRAY, ARRAY[:-5], "<b>", "<think>", "{}"]),
        ),
        max_size=4,
    ),
    st.text(alphabet="abc\n`.:!<>"),
)
def test_any_thoughts(thoughts: list[tuple[str, str]], between: str) -> None:
    """The answer is read, whatever stands in tags before and after it."""
    tagged = "".join(f"<{name}>{text}</{name}>{between}" for name, text in thoughts)
    (tip,) = read(f'{tagged}[{{"content": "the answer"}}]{tagged}', 3)
    assert tip.content == "the answer"
