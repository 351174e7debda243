"""A client of openapi-python-client: decide, reward, look, and meet two errors."""

import os
from datetime import UTC, datetime

from client import AuthenticatedClient
from client.api.decisions import decide, decide_all, get_decision, get_loops, get_user, reward_decision
from client.models import (
    DecisionAnswer,
    DecisionCandidate,
    DecisionCandidateFeatures,
    DecisionRequest,
    DecisionRequestContext,
    DecisionsAnswer,
    DecisionsRequest,
    DecisionState,
    ErrorAnswer,
    Failed,
    LoopsAnswer,
    OutcomeAnswer,
    OutcomeRequest,
    RefusedAnswer,
    UserAnswer,
)

USER = "ann/3"
url = os.environ["URL"]
client = AuthenticatedClient(base_url=url, token=os.environ["CLIENT_KEY"])
reader = AuthenticatedClient(base_url=url, token=os.environ["READER_KEY"])

urgent = DecisionCandidateFeatures.from_dict({"priority": 4})
asked = DecisionRequest(
    user_id=USER,
    context=DecisionRequestContext.from_dict({"hour_of_day": 9}),
    candidates=[DecisionCandidate(id="rent", features=urgent), DecisionCandidate(id="walk")],
)
assert asked.candidates[1].to_dict() == {"id": "walk"}
decision = decide.sync(client=client, body=asked)
assert isinstance(decision, DecisionAnswer)
assert decision.candidates[decision.index].propensity == decision.propensity
assert decision.deadline > datetime.now(UTC)

told = reward_decision.sync(decision.decision_id, client=client, body=OutcomeRequest(reward=1))
assert isinstance(told, OutcomeAnswer)
assert told.outcome == "applied"

again = reward_decision.sync_detailed(decision.decision_id, client=client, body=OutcomeRequest(reward=0.5))
assert again.status_code == 409
assert isinstance(again.parsed, RefusedAnswer)
assert again.parsed.recorded == 1

refused = decide.sync(client=client, body=DecisionRequest(user_id=USER, candidates=[]))
assert isinstance(refused, ErrorAnswer)
assert "candidates" in refused.detail

user = get_user.sync(USER, client=reader)
assert isinstance(user, UserAnswer)
assert user.policies[decision.policy].reward_count == 1

state = get_decision.sync(decision.decision_id, client=reader)
assert isinstance(state, DecisionState)
assert state.rewarded_at is not None
assert state.rewarded_at <= state.deadline

elsewhere = DecisionRequest(user_id=USER, loop="none", candidates=[DecisionCandidate(id="rent")])
batch = decide_all.sync(client=client, body=DecisionsRequest(decisions=[asked, elsewhere]))
assert isinstance(batch, DecisionsAnswer)
good, bad = batch.results
assert isinstance(good, DecisionAnswer)
assert isinstance(bad, Failed)
assert "none" in bad.error.detail

loops = get_loops.sync(client=reader)
assert isinstance(loops, LoopsAnswer)
assert loops.loops[0].loop == decision.loop
print(
    f"openapi-python-client: {decision.candidate_id} was decided and rewarded, "
    f"409: {again.parsed.detail}, 422: {refused.detail}"
)
