// A client of @hey-api/openapi-ts: decide, reward, look, and meet two errors.
import assert from "node:assert/strict";
import { createClient } from "./generated/client/index.js";
import { decide, decideAll, getDecision, getLoops, getUser, rewardDecision } from "./generated/index.js";
import type { DecisionAnswer } from "./generated/index.js";

const { URL: baseUrl = "", CLIENT_KEY, READER_KEY } = process.env;
const client = createClient({ baseUrl, auth: CLIENT_KEY });
const reader = createClient({ baseUrl, auth: READER_KEY });

const made = await decide({
  client,
  body: {
    user_id: "ann/2",
    context: { hour_of_day: 9 },
    candidates: [{ id: "rent", features: { priority: 4 } }, { id: "walk" }],
  },
});
assert(made.data);
const decision: DecisionAnswer = made.data;
assert.equal(decision.candidates[decision.index]?.propensity, decision.propensity);

const path = { decision_id: decision.decision_id };
const { data: told } = await rewardDecision({ client, path, body: { reward: 1 } });
assert.equal(told?.outcome, "applied");

const again = await rewardDecision({ client, path, body: { reward: 0.5 } });
assert(again.error);
assert.equal(again.response?.status, 409);
assert("recorded" in again.error);
const recorded: number | null = again.error.recorded;
assert.equal(recorded, 1);

const refused = await decide({ client, body: { user_id: "ann/2", candidates: [] } });
assert(refused.error);
assert.equal(refused.response?.status, 422);
const why: string = refused.error.detail;
assert.match(why, /candidates/);

const { data: user } = await getUser({ client: reader, path: { user_id: "ann/2" } });
const rewards: number | undefined = user?.policies[decision.policy]?.reward_count;
assert.equal(rewards, 1);

const { data: state } = await getDecision({ client: reader, path });
const status: string | undefined = state?.status;
assert.equal(status, "rewarded");

const { data: batch } = await decideAll({
  client,
  body: {
    decisions: [
      { user_id: "bea", candidates: [{ id: "rent" }] },
      { user_id: "bea", candidates: [{ id: "rent" }], loop: "none" },
    ],
  },
});
const results = batch?.results.map((one) => ("error" in one ? one.error.detail : one.candidate_id)) ?? [];
assert.equal(results[0], "rent");
assert.match(results[1] ?? "", /none/);

const { data: found } = await getLoops({ client: reader });
const loop: string | undefined = found?.loops[0]?.loop;
assert.equal(loop, decision.loop);
console.log(`hey-api: ${decision.candidate_id} was decided and rewarded, 409: ${again.error.detail}, 422: ${why}`);
