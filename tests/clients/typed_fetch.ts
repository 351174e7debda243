// A client of openapi-typescript's types and openapi-fetch: decide, reward, look, and meet two errors.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./fetched/service.js";

const { URL: baseUrl = "", CLIENT_KEY, READER_KEY } = process.env;
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${CLIENT_KEY}` } });
const reader = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${READER_KEY}` } });

const { data: decision } = await client.POST("/decisions", {
  body: {
    user_id: "ann/1",
    context: { hour_of_day: 9 },
    candidates: [{ id: "rent", features: { priority: 4 } }, { id: "walk" }],
  },
});
assert(decision);
const chosen: number | undefined = decision.candidates[decision.index]?.propensity;
assert.equal(chosen, decision.propensity);

const path = { decision_id: decision.decision_id };
const { data: told } = await client.POST("/decisions/{decision_id}/reward", { params: { path }, body: { reward: 1 } });
assert.equal(told?.outcome, "applied");

const again = await client.POST("/decisions/{decision_id}/reward", { params: { path }, body: { reward: 0.5 } });
assert(again.error);
assert.equal(again.response.status, 409);
assert("recorded" in again.error);
const recorded: number | null = again.error.recorded;
assert.equal(recorded, 1);

const refused = await client.POST("/decisions", { body: { user_id: "ann/1", candidates: [] } });
assert(refused.error);
assert.equal(refused.response.status, 422);
const why: string = refused.error.detail;
assert.match(why, /candidates/);

const { data: user } = await reader.GET("/users/{user_id}", { params: { path: { user_id: "ann/1" } } });
const rewards: number | undefined = user?.policies[decision.policy]?.reward_count;
assert.equal(rewards, 1);

const { data: state } = await reader.GET("/decisions/{decision_id}", { params: { path } });
const bonus: number | undefined = state?.explanation?.candidates[0]?.bonus;
assert(bonus === undefined || bonus >= 0);

const { data: batch } = await client.POST("/decisions/batch", {
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

const { data: found } = await reader.GET("/loops");
const loop: string | undefined = found?.loops[0]?.loop;
assert.equal(loop, decision.loop);
console.log(`openapi-fetch: ${decision.candidate_id} was decided and rewarded, 409: ${again.error.detail}, 422: ${why}`);
