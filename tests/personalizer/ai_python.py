"""The SDK azure-ai-personalizer 1.0.0b1 as an application uses it: rank, reward, activate, slots.

Prints what each part did, and last as JSON what the service must have counted.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from azure.ai.personalizer import PersonalizerAdministrationClient, PersonalizerClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceResponseError

ENDPOINT = os.environ["ENDPOINT"]
KEY = AzureKeyCredential(os.environ["KEY"])
client = PersonalizerClient(ENDPOINT, KEY)
admin = PersonalizerAdministrationClient(ENDPOINT, KEY)
TWO: list[dict[str, Any]] = [
    {
        "id": "news",
        "features": [{"kind": "article", "minutes": 3}, {"about": {"topic": "politics", "tags": ["a", "b"]}}],
    },
    {"id": "film", "features": [{"kind": "movie", "minutes": 90.5, "new": True}]},
]
CONTEXT = [{"now": {"day": "tuesday", "hour": 9}}, {"cart": 2}]
counted = {"pulls": 0, "reward_count": 0, "cumulative_reward": 0.0}


def count(*, ranks: int = 0, rewards: tuple[float, ...] = ()) -> None:
    """Note what the service must have counted once, however often it was sent."""
    counted["pulls"] += ranks
    counted["reward_count"] += len(rewards)
    counted["cumulative_reward"] += sum(rewards)


def refused(call: Callable[[], Any], status: int, code: str = "") -> HttpResponseError:
    """The exception of a call that must fail with this status, and this code of Personalizer's."""
    try:
        said = call()
    except HttpResponseError as error:
        raised = error
    else:
        raise AssertionError(f"not refused: {said!r}")
    assert raised.status_code == status, raised
    assert raised.error is not None, raised
    assert raised.error.message, raised
    assert raised.error.code == code if code else raised.error.code, raised
    return raised


def probabilities(answer: Any) -> dict[str, float]:
    return {one["id"]: one["probability"] for one in answer["ranking"]}


def single() -> str:
    """Rank, reward and activate: what an application calls."""
    event = "ev 1/ü"
    full = {
        "actions": TWO,
        "contextFeatures": CONTEXT,
        "eventId": event,
        "excludedActions": ["film"],
        "deferActivation": True,
    }
    answer = client.rank(full)
    assert answer["eventId"] == event, answer
    assert answer["rewardActionId"] == "news", answer
    assert [one["id"] for one in answer["ranking"]] == ["news", "film"], answer
    assert probabilities(answer) == {"news": 1.0, "film": 0.0}, answer
    assert client.rank(full) == answer
    client.activate(event)
    client.reward(event, {"value": 0.5})
    client.reward(event, {"value": 1.0})  # the first one counts, and no later one fails
    count(ranks=1, rewards=(0.5,))

    least = client.rank({"actions": [{"id": "only", "features": []}]})
    assert least["eventId"], least
    assert (least["rewardActionId"], probabilities(least)) == ("only", {"only": 1.0}), least
    client.reward(least["eventId"], {"value": -1.0})
    count(ranks=1, rewards=(-1.0,))

    open_one = client.rank({"actions": TWO, "eventId": "never-shown", "deferActivation": True})
    assert abs(sum(probabilities(open_one).values()) - 1) < 1e-6, open_one
    client.reward("never-shown", {"value": 1.0})  # learned if the application activates it, and it does not
    count(ranks=1)
    client.reward("nobody-asked", {"value": 1.0})  # Azure raised nothing either

    own = {"x-oo-user": "ann-1"}  # is counted for another user
    client.rank({"actions": TWO, "eventId": "own"}, headers=own)
    client.reward("own", {"value": 1.0}, headers=own)
    return "ranked, rewarded, activated"


def errors() -> str:
    """Mistakes come as the SDK's exceptions, with Personalizer's codes."""
    none = refused(lambda: client.rank({"actions": []}), 400, "InvalidRankRequest")
    assert "actions" in none.error.message, none
    many = [{"id": f"a{number}", "features": []} for number in range(51)]
    refused(lambda: client.rank({"actions": many}), 400, "InvalidRankRequest")
    refused(lambda: client.rank({"actions": TWO, "excludedActions": ["news", "film"]}), 400, "InvalidRankRequest")
    refused(lambda: client.reward("ev 1/ü", {"value": 5}), 400, "InvalidRewardRequest")
    stranger = PersonalizerClient(ENDPOINT, AzureKeyCredential("a-wrong-key"))
    wrong = refused(lambda: stranger.rank({"actions": TWO}), 401)
    assert isinstance(wrong, ClientAuthenticationError), wrong
    return str(none).partition("\n")[0]


def retries() -> str:
    """What the SDK sends again, and what the application sends again after a cut, counts once."""
    for fault in ("refuse", "lose"):
        # Without an event id the request's own id is all that the two have in common.
        answer = client.rank({"actions": TWO, "contextFeatures": [{"fault": f"{fault}-1"}]})
        client.reward(answer["eventId"], {"value": 0.25})
        event = f"{fault}-2"
        client.rank({"actions": TWO, "eventId": event, "deferActivation": True})
        client.activate(event)
        client.reward(event, {"value": 0.25})
        count(ranks=2, rewards=(0.25, 0.25))

    def again(call: Callable[[], Any]) -> Any:
        try:
            call()
        except ServiceResponseError:
            return call()
        raise AssertionError("was not cut")

    event = "cut-3"
    first = again(lambda: client.rank({"actions": TWO, "eventId": event}))
    assert first == client.rank({"actions": TWO, "eventId": event}), first
    again(lambda: client.reward(event, {"value": 1.0}))
    count(ranks=1, rewards=(1.0,))
    return "503 before and after, and cut connections: each was counted once"


def storm() -> str:
    """Many events at once, of which most are sent again, to another replica: each counts once."""

    def event(number: int) -> None:
        name = f"{('plain', 'refuse', 'lose')[number % 3]}-of-{number}"
        client.rank({"actions": TWO, "contextFeatures": CONTEXT, "eventId": name})
        client.reward(name, {"value": 0.5})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(event, range(96)))
    count(ranks=96, rewards=(0.5,) * 96)
    return "96 events from 8 threads"


def slots() -> str:
    """Several slots: distinct actions, a reward for each."""
    asked = {
        "actions": [*TWO, {"id": "game", "features": [{"kind": "game"}]}],
        "slots": [
            {"id": "Main", "baselineAction": "news", "features": [{"size": "Large"}], "excludedActions": ["game"]},
            {"id": "Side", "baselineAction": "film"},
        ],
        "contextFeatures": CONTEXT,
        "eventId": "page 1/ü",
        "deferActivation": False,
    }
    answer = client.rank_multi_slot(asked)
    assert answer["eventId"] == "page 1/ü", answer
    shown = {one["id"]: one["rewardActionId"] for one in answer["slots"]}
    assert list(shown) == ["Main", "Side"], answer
    assert shown["Main"] in ("news", "film"), answer
    assert shown["Side"] in {"news", "film", "game"} - {shown["Main"]}, answer
    assert client.rank_multi_slot(asked) == answer
    client.reward_multi_slot("page 1/ü", {"reward": [{"slotId": "Main", "value": 1.0}, {"slotId": "Side", "value": 0}]})
    count(ranks=2, rewards=(1.0, 0.0))

    later = client.rank_multi_slot({**asked, "eventId": "lose-4", "deferActivation": True})
    client.activate_multi_slot(later["eventId"])
    client.reward_multi_slot("lose-4", {"reward": [{"slotId": "Side", "value": 0.5}]})
    count(ranks=2, rewards=(0.5,))
    few = {"actions": TWO[:1], "slots": asked["slots"]}
    refused(lambda: client.rank_multi_slot(few), 400)
    refused(lambda: client.reward_multi_slot("page 1/ü", {"reward": [{"slotId": "Main", "value": 7}]}), 400)
    return f"shown: {shown}"


def sums() -> str:
    """Rewards add up where the configuration says so, and what the SDK sends again is added once."""
    before = admin.get_service_configuration()
    assert before["rewardAggregation"] == "earliest", before
    changed = admin.update_service_configuration({**before, "rewardAggregation": "sum"})
    assert changed["rewardAggregation"] == "sum", changed
    event = "lose-5"
    client.rank({"actions": TWO, "eventId": event})
    client.reward(event, {"value": 1.0})
    client.reward(event, {"value": 1.0})
    count(ranks=1, rewards=(2.0,))
    assert admin.update_service_configuration(before)["rewardAggregation"] == "earliest"
    return "two rewards of one event, one of them sent twice: 2"


if __name__ == "__main__":
    for part in (single, errors, retries, storm, slots, sums):
        print(f"{part.__name__}: {part()}", flush=True)
    print(json.dumps(counted))
