"""dsjson: the exact form from which Vowpal Wabbit was seen to learn, as many labels as lines with a finite loss."""

from app.decision_log.lines import Candidate
from app.log_reading.dsjson import _features, dsjson
from app.log_reading.joined import Told
from tests.unit.app.decision_log.samples import decision, outcome

# With vowpalwabbit 9.11.9, 400 such lines had 400 labels; with the label behind `c` they had none, without an error.
LINE = (
    b'{"_label_cost":-0.5,"_label_probability":0.25,"_label_Action":2,"_labelIndex":1,'
    b'"Timestamp":"2026-11-28T09:00:00.123Z","Version":"1","EventId":"d1.YW5u","a":[2,1],'
    b'"c":{"Context":{"hour_of_day":9},"User":{"pro":true},"_multi":['
    b'{"Id":{"id":"rent"},"Action":{"priority":4}},{"Id":{"id":"walk"},"Action":{}}]},'
    b'"p":[0.25,0.75],"VWState":{"m":"egreedy-v1@1f3c"},'
    b'"oo":{"user":"ann","epoch":"9f2c","seq":1,"loop":"tips","policy":"egreedy-v1","by_policy":{"egreedy-v1":[0.5,0.5]}}}'
)
DECISION = decision(
    propensities=[0.75, 0.25],
    chosen=1,
    propensity=0.25,
    by_policy={"egreedy-v1": [0.5, 0.5]},
    user_features={"pro": True},
)


def test_the_form() -> None:
    """To the last byte, for the order of keys decides."""
    assert dsjson(Told(DECISION, [outcome()])) == LINE


def test_no_reward_is_no_example() -> None:
    """It may still come; and what was taken back was none."""
    assert dsjson(Told(DECISION, [])) is None
    assert dsjson(Told(DECISION, [outcome(), outcome(3, what="retracted", total=None)])) is None
    assert dsjson(Told(decision(deferred=True), [])) is None


def test_silence_and_what_was_never_shown() -> None:
    """A booked default is an example without observations, a void decision one that is not learned from."""
    silent = dsjson(Told(DECISION, [outcome(what="default", reward=None, total=0.0)]))
    assert silent == LINE.replace(b'"_label_cost":-0.5', b'"_label_cost":0.0').replace(b'"oo":', b'"o":[],"oo":')
    void = dsjson(Told(DECISION, [outcome(what="cancelled", total=None, learned=[])]))
    assert void == LINE.replace(b"-0.5", b"0.0").replace(b'"Timestamp"', b'"_skipLearn":true,"Timestamp"')


def test_features() -> None:
    """What Vowpal Wabbit cannot read is left out, also a name that means something else there; what is within objects
    is named by the path."""
    odd = {
        "_multi": [1],
        "none": None,
        "deep": {"a": 1, "_b": 2},
        "tags": ["a", "b"],
        "taste": [0.5, None, 1],
        "t": "x",
    }
    found = dsjson(Told(decision(context=odd, candidates=[Candidate("a", odd), Candidate("b", {})]), [outcome()]))
    told = b'{"deep.a":1,"tags=a":1,"tags=b":1,"taste[0]":0.5,"taste[2]":1,"t":"x"}'
    assert found is not None
    nested = _features({"features": [{"day": {"name": "monday"}}, {"cart": [2, {"of": "x"}]}]})
    assert nested == {"features.day.name": "monday", "features.cart[0]": 2, "features.cart.of": "x"}
    assert b'"c":{"Context":' + told + b',"User":{},"_multi":[{"Id":{"id":"a"},"Action":' + told in found
