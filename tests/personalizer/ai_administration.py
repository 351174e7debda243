"""The administration client of azure-ai-personalizer 1.0.0b1, and whether an application learns.

Prints what each part did, and last that nothing was counted.
"""

import io
import random
from typing import Any
from unittest.mock import ANY

from ai_python import CONTEXT, TWO, admin, client, probabilities, refused
from azure.core.exceptions import ResourceNotFoundError

BETTER = {"morning": "news", "evening": "film"}


def administration() -> str:
    """Configuration, policy, properties, and honest errors for what is not served."""
    before = admin.get_service_configuration()
    assert before["learningMode"] == "Online", before
    changed = admin.update_service_configuration({**before, "rewardWaitTime": "PT20M", "defaultReward": 0.1})
    assert (changed["rewardWaitTime"], changed["defaultReward"]) == ("PT20M", 0.1), changed
    refused(lambda: admin.update_service_configuration({**before, "rewardWaitTime": "PT1S"}), 400)
    refused(lambda: admin.update_service_configuration({**before, "learningMode": "Apprentice"}), 400)
    assert admin.update_service_configuration(before)["rewardWaitTime"] == before["rewardWaitTime"]

    policy = admin.get_policy()
    assert policy["name"], policy
    assert policy["arguments"], policy
    refused(lambda: admin.update_policy({"name": "p", "arguments": "x" * 1025}), 400, "InvalidPolicyConfiguration")
    assert admin.reset_policy() == policy
    assert "lastModifiedTime" not in admin.get_model_properties()
    client.rank({"actions": TWO})
    assert admin.get_model_properties()["lastModifiedTime"]
    assert admin.get_log_properties() == {}  # the log is kept elsewhere, with dates of its own

    day = {"startTime": "2026-11-01T00:00:00Z", "endTime": "2026-11-02T00:00:00Z"}
    asked = {"name": "e", **day, "policies": [], "enablePolicyOptimization": True}
    said = [
        refused(lambda: admin.create_evaluation("ev1", asked), 400),
        refused(lambda: admin.create_feature_importance("fi1", {"name": "f", **day}), 400),
        refused(lambda: admin.apply_from_evaluation({"evaluationId": "ev1", "policyName": "p"}), 404),
    ]
    for call in (
        lambda: admin.get_evaluation("ev1", start_time="2026-11-01T00:00:00Z", end_time="2026-11-02T00:00:00Z"),
        lambda: admin.delete_evaluation("ev1"),
        lambda: admin.get_feature_importance("fi1"),
        lambda: admin.delete_feature_importance("fi1"),
    ):
        assert isinstance(refused(call, 404), ResourceNotFoundError)
    assert list(admin.list_evaluations()) == []
    assert list(admin.list_feature_importances()) == []
    refused(admin.delete_logs, 400)
    return str(said[0]).partition("\n")[0]


def modes() -> str:
    """Apprentice serves the first action, as the application did before; Online explores as much as it is told to."""
    online = admin.get_service_configuration()
    assert admin.update_service_configuration({**online, "learningMode": "Apprentice"})["learningMode"] == "Apprentice"
    for number in range(20):
        answer = client.rank({"actions": TWO, "contextFeatures": CONTEXT, "eventId": f"apprentice-{number}"})
        assert answer["rewardActionId"] == "news", answer
        client.reward(answer["eventId"], {"value": 1.0})
    for share, least in ((1.0, 0.5), (0.0, 0.0)):
        admin.update_service_configuration({**online, "explorationPercentage": share})
        found = probabilities(client.rank({"actions": TWO, "contextFeatures": CONTEXT}))
        assert min(found.values()) == least, found
    assert admin.update_service_configuration(online) == {**online, "lastConfigurationEditDate": ANY}
    return "the baseline was served while an apprentice learned, and exploration is what it is set to"


def asked_at(when: str, number: int | str) -> dict[str, Any]:
    actions = [{"id": name, "features": [{"kind": name}]} for name in ("news", "film")]
    return {"actions": actions, "contextFeatures": [{"when": when}], "eventId": f"replay-{number}"}


def chosen(name: str) -> dict[str, float]:
    """The probability of the better action in each context."""
    return {
        when: probabilities(client.rank(asked_at(when, f"{name}-{when}")))[better] for when, better in BETTER.items()
    }


def learning() -> str:
    """A few hundred contexts teach the better action of each, and a model leaves, is reset and comes back.

    A wrong action goes on being the best only where the better one was never shown: at 0.1 a time and 220 times in each
    context that has a probability of 2e-10. Event ids seed the draws, so it is the same at every run.
    """
    admin.reset_model()
    before = chosen("before")
    moments = list(BETTER) * 220
    random.Random(20).shuffle(moments)
    for number, when in enumerate(moments):
        shown = client.rank(asked_at(when, number))["rewardActionId"]
        client.reward(f"replay-{number}", {"value": float(shown == BETTER[when])})
    after = chosen("after")
    assert min(after.values()) > 0.8, after
    model = b"".join(admin.export_model())
    assert b"".join(admin.export_model(signed=True))
    admin.reset_model()
    assert chosen("reset") == before, chosen("reset")
    admin.import_model(io.BytesIO(model))
    assert chosen("imported") == after, chosen("imported")
    refused(lambda: admin.import_model(io.BytesIO(b"abc")), 400, "InvalidModelImportFormat")
    return f"{len(moments)} contexts: {before} became {after}"


if __name__ == "__main__":
    for part in (administration, modes, learning):
        print(f"{part.__name__}: {part()}", flush=True)
    print("{}")
