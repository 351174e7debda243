"""The SDK azure-cognitiveservices-personalizer 0.1.1 as an application uses it: rank, reward and activate.

Prints what each part did, and last as JSON what the service must have counted.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from azure.cognitiveservices.personalizer import PersonalizerClient
from azure.cognitiveservices.personalizer.models import ErrorResponseException, RankableAction, RankRequest
from msrest.authentication import CognitiveServicesCredentials
from msrest.exceptions import ClientRequestError, HttpOperationError

ENDPOINT = os.environ["ENDPOINT"]
client = PersonalizerClient(ENDPOINT, CognitiveServicesCredentials(os.environ["KEY"]))
TWO = [
    RankableAction(id="news", features=[{"kind": "article", "minutes": 3}, {"about": {"topic": "politics"}}]),
    RankableAction(id="film", features=[{"kind": "movie", "minutes": 90.5}]),
]
counted = {"pulls": 0, "reward_count": 0, "cumulative_reward": 0.0}


def count(*, ranks: int = 0, rewards: tuple[float, ...] = ()) -> None:
    """Note what the service must have counted once, however often it was sent."""
    counted["pulls"] += ranks
    counted["reward_count"] += len(rewards)
    counted["cumulative_reward"] += sum(rewards)


def single() -> str:
    """Rank, reward and activate: what an application calls."""
    event = "ev 1/ü"
    full = RankRequest(
        context_features=[{"now": {"day": "tuesday"}}, {"cart": 2}],
        actions=TWO,
        excluded_actions=["film"],
        event_id=event,
        defer_activation=True,
    )
    answer = client.rank(full)
    assert (answer.event_id, answer.reward_action_id) == (event, "news"), answer.as_dict()
    assert [(one.id, one.probability) for one in answer.ranking] == [("news", 1.0), ("film", 0.0)], answer.as_dict()
    assert client.rank(full).as_dict() == answer.as_dict()
    client.events.activate(event)
    client.events.reward(event, 0.5)
    client.events.reward(event, 1.0)  # the first one counts, and no later one fails
    count(ranks=1, rewards=(0.5,))
    least = client.rank(RankRequest(actions=[RankableAction(id="only", features=[])]))
    assert least.event_id, least.as_dict()
    client.events.reward(least.event_id, value=-1.0)
    count(ranks=1, rewards=(-1.0,))
    own = {"x-oo-user": "ann-2"}  # is counted for another user
    client.rank(RankRequest(actions=TWO, event_id="own"), custom_headers=own)
    client.events.reward("own", 1.0, custom_headers=own)
    return "ranked, rewarded, activated"


def errors() -> str:
    """Mistakes come as the SDK's exceptions: of rank with Personalizer's code, of others with the status alone."""
    many = [RankableAction(id=f"a{number}", features=[]) for number in range(51)]
    stranger = PersonalizerClient(ENDPOINT, CognitiveServicesCredentials("a-wrong-key"))
    said = [refused(lambda asked=asked: client.rank(RankRequest(actions=asked)), 400) for asked in (many, [])]
    assert [error.error.error.code for error in said] == ["InvalidRankRequest"] * 2, said
    refused(lambda: stranger.rank(RankRequest(actions=TWO)), 401)
    refused(lambda: client.events.reward("ev 1/ü", 5), 400)
    return str(said[1])


def refused(call: Callable[[], Any], status: int) -> HttpOperationError:
    """The exception of a call that must fail with this status."""
    try:
        said = call()
    except HttpOperationError as error:
        raised = error
    else:
        raise AssertionError(f"not refused: {said!r}")
    assert raised.response.status_code == status, raised
    assert not isinstance(raised, ErrorResponseException) or raised.error.error.message, raised
    return raised


def retries() -> str:
    """This SDK sends nothing again, so the application does: with an event id it counts once."""

    def again(call: Callable[[], Any]) -> Any:
        try:
            call()
        except (HttpOperationError, ClientRequestError):
            return call()
        raise AssertionError("did not fail")

    for fault in ("refuse", "lose", "cut"):
        event = f"{fault}-1"
        asked = RankRequest(actions=TWO, event_id=event, defer_activation=True)
        answer = again(lambda asked=asked: client.rank(asked))
        assert answer.event_id == event, answer.as_dict()
        again(lambda event=event: client.events.activate(event))
        again(lambda event=event: client.events.reward(event, 0.25))
        count(ranks=1, rewards=(0.25,))
    return "503 before and after, and cut connections: each was counted once"


if __name__ == "__main__":
    for part in (single, errors, retries):
        print(f"{part.__name__}: {part()}", flush=True)
    print(json.dumps(counted))
