// The SDK @azure-rest/ai-personalizer 1.0.0-beta.1 as an application uses it: rank, reward, activate, slots, administration.
// Prints what each part did, and last as JSON what the service must have counted.
import assert from "node:assert/strict";
import { AzureKeyCredential } from "@azure/core-auth";
import personalizer from "@azure-rest/ai-personalizer";

const { ENDPOINT, KEY } = process.env;
const connect = (key) => personalizer.default(ENDPOINT, new AzureKeyCredential(key), { allowInsecureConnection: true });
const client = connect(KEY);
const two = [
  { id: "news", features: [{ kind: "article", minutes: 3 }, { about: { topic: "politics", tags: ["a", "b"] } }] },
  { id: "film", features: [{ kind: "movie", minutes: 90.5, new: true }] },
];
const ann = { "x-oo-user": "ann-3" }; // with it, what is done is another user's
const counted = { pulls: 0, reward_count: 0, cumulative_reward: 0 };

function count(ranks, ...rewards) {
  counted.pulls += ranks;
  counted.reward_count += rewards.length;
  for (const reward of rewards) counted.cumulative_reward += reward;
}

// The SDK's isUnexpected() takes no path with an event id in it, so statuses are looked at.
async function expect(status, call) {
  const answer = await call;
  assert.equal(answer.status, String(status), JSON.stringify(answer.body));
  return answer.body;
}

async function refused(status, code, call) {
  const { error } = await expect(status, call);
  assert(error.message);
  assert.equal(error.code, code ?? error.code);
  assert(error.code);
  return error;
}

const rank = (body, by = client) => by.path("/rank").post({ body });
const reward = (event, value) => client.path("/events/{eventId}/reward", event).post({ body: { value } });
const activate = (event) => client.path("/events/{eventId}/activate", event).post();
const rankSlots = (body) => client.path("/multislot/rank").post({ body });
const rewardSlots = (event, ...rewards) =>
  client.path("/multislot/events/{eventId}/reward", event).post({ body: { reward: rewards } });
const activateSlots = (event) => client.path("/multislot/events/{eventId}/activate", event).post();

const parts = {
  async single() {
    const eventId = "ev 1/ü";
    const contextFeatures = [{ now: { day: "tuesday" } }, { cart: 2 }];
    const full = { actions: two, contextFeatures, excludedActions: ["film"], eventId, deferActivation: true };
    const answer = await expect(201, rank(full));
    const ranking = [{ id: "news", probability: 1 }, { id: "film", probability: 0 }];
    assert.deepEqual(answer, { ranking, eventId, rewardActionId: "news" });
    assert.deepEqual(await expect(201, rank(full)), answer);
    await expect(204, activate(eventId));
    await expect(204, reward(eventId, 0.5));
    await expect(204, reward(eventId, 1)); // the first one counts, and no later one fails
    count(1, 0.5);
    const least = await expect(201, rank({ actions: [{ id: "only", features: [] }] }));
    await expect(204, reward(least.eventId, -1));
    count(1, -1);
    await expect(201, client.path("/rank").post({ body: { actions: two, eventId: "own" }, headers: ann }));
    await expect(204, client.path("/events/{eventId}/reward", "own").post({ body: { value: 1 }, headers: ann }));
    return "ranked, rewarded, activated";
  },

  async errors() {
    const many = Array.from({ length: 51 }, (_, number) => ({ id: `a${number}`, features: [] }));
    await refused(400, "InvalidRankRequest", rank({ actions: many }));
    await refused(400, "InvalidRewardRequest", reward("ev 1/ü", 5));
    await refused(401, undefined, rank({ actions: two }, connect("a-wrong-key")));
    const { code, message } = await refused(400, "InvalidRankRequest", rank({ actions: [] }));
    return `${code}: ${message}`;
  },

  // This SDK sends all of them again by itself, with the same x-ms-client-request-id.
  async retries() {
    for (const fault of ["refuse", "lose", "cut"]) {
      const answer = await expect(201, rank({ actions: two, contextFeatures: [{ fault: `${fault}-1` }] }));
      await expect(204, reward(answer.eventId, 0.25));
      const eventId = `${fault}-2`;
      await expect(201, rank({ actions: two, eventId, deferActivation: true }));
      await expect(204, activate(eventId));
      await expect(204, reward(eventId, 0.25));
      count(2, 0.25, 0.25);
    }
    return "503 before and after, and cut connections: each was counted once";
  },

  async slots() {
    const actions = [...two, { id: "game", features: [{ kind: "game" }] }];
    const slots = [
      { id: "Main", baselineAction: "news", features: [{ size: "Large" }], excludedActions: ["game"] },
      { id: "Side", baselineAction: "film" },
    ];
    const eventId = "page 1/ü";
    const answer = await expect(201, rankSlots({ actions, slots, eventId }));
    const [main, side] = answer.slots;
    assert.deepEqual([answer.eventId, main.id, side.id], [eventId, "Main", "Side"]);
    assert(["news", "film"].includes(main.rewardActionId));
    assert.notEqual(side.rewardActionId, main.rewardActionId);
    await expect(204, rewardSlots(eventId, { slotId: "Main", value: 1 }, { slotId: "Side", value: 0 }));
    count(2, 1, 0);
    const later = await expect(201, rankSlots({ actions, slots, eventId: "lose-3", deferActivation: true }));
    await expect(204, activateSlots(later.eventId));
    await expect(204, rewardSlots("lose-3", { slotId: "Side", value: 0.5 }));
    count(2, 0.5);
    await refused(400, undefined, rankSlots({ actions: two.slice(0, 1), slots }));
    return `shown: ${main.rewardActionId}, ${side.rewardActionId}`;
  },

  async administration() {
    const path = client.path("/configurations/service");
    const before = await expect(200, path.get());
    const changed = await expect(200, path.put({ body: { ...before, rewardWaitTime: "PT20M" } }));
    assert.equal(changed.rewardWaitTime, "PT20M");
    await refused(400, undefined, path.put({ body: { ...before, rewardWaitTime: "PT1S" } }));
    await expect(200, path.put({ body: before }));
    const policy = await expect(200, client.path("/configurations/policy").get());
    assert(policy.name && policy.arguments);
    assert.deepEqual(await expect(200, client.path("/configurations/policy").delete()), policy);
    assert((await expect(200, client.path("/model/properties").get())).lastModifiedTime);
    assert.deepEqual(await expect(200, client.path("/logs/properties").get()), {});
    // The models of ann-3, so that the log goes on telling what the application itself has learned.
    const model = await expect(200, client.path("/model").get({ headers: ann }));
    const contentType = "application/octet-stream";
    await expect(204, client.path("/model").delete({ headers: ann }));
    assert.notDeepEqual(await expect(200, client.path("/model").get({ headers: ann })), model);
    await expect(204, client.path("/model").put({ body: model, contentType, headers: ann }));
    assert.deepEqual(await expect(200, client.path("/model").get({ headers: ann })), model);
    await expect(201, client.path("/rank").post({ body: { actions: two }, headers: ann })); // the log begins anew
    await refused(400, "InvalidModelImportFormat", client.path("/model").put({ body: "abc", contentType }));
    const evaluation = { name: "e", startTime: "2026-11-01T00:00:00Z", endTime: "2026-11-02T00:00:00Z", policies: [] };
    await refused(400, undefined, client.path("/evaluations").post({ body: evaluation }));
    await refused(404, undefined, client.path("/evaluations/{evaluationId}", "ev1").delete());
    await refused(400, undefined, client.path("/logs").delete());
    const body = { evaluationId: "ev1", policyName: "p" };
    const { code } = await refused(404, undefined, client.path("/configurations/applyFromEvaluation").post({ body }));
    await refused(400, "InvalidApiAccess", client.path("/logs/observations").post({ body: [] }));
    return code;
  },
};

for (const [name, part] of Object.entries(parts)) console.log(`${name}: ${await part()}`);
console.log(JSON.stringify(counted));
