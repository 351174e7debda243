// The SDK @azure/cognitiveservices-personalizer 2.0.1 as an application uses it: rank, reward and activate.
// Prints what each part did, and last as JSON what the service must have counted.
import assert from "node:assert/strict";
import { PersonalizerClient } from "@azure/cognitiveservices-personalizer";
import { ApiKeyCredentials, exponentialRetryPolicy, systemErrorRetryPolicy } from "@azure/ms-rest-js";

const { ENDPOINT, KEY } = process.env;
// The SDK sends again what failed, after half a minute; here it waits less, and is the same otherwise.
const requestPolicyFactories = (its) => [...its, exponentialRetryPolicy(3, 10, 10, 50), systemErrorRetryPolicy(3, 10, 10, 50)];
const connect = (key) =>
  new PersonalizerClient(new ApiKeyCredentials({ inHeader: { "Ocp-Apim-Subscription-Key": key } }), ENDPOINT, {
    requestPolicyFactories,
  });
const client = connect(KEY);
const two = [
  { id: "news", features: [{ kind: "article", minutes: 3 }, { about: { topic: "politics", tags: ["a", "b"] } }] },
  { id: "film", features: [{ kind: "movie", minutes: 90.5, new: true }] },
];
const counted = { pulls: 0, reward_count: 0, cumulative_reward: 0 };

function count(ranks, ...rewards) {
  counted.pulls += ranks;
  counted.reward_count += rewards.length;
  for (const reward of rewards) counted.cumulative_reward += reward;
}

async function refused(status, code, call) {
  const error = await call.then(
    (answer) => assert.fail(`not refused: ${JSON.stringify(answer)}`),
    (raised) => raised,
  );
  assert.equal(error.statusCode, status, error);
  assert.equal(error.code, code ?? error.code);
  assert(error.code && error.message);
  return `${error.code}: ${error.message}`;
}

const parts = {
  async single() {
    const eventId = "ev 1/ü";
    const contextFeatures = [{ now: { day: "tuesday" } }, { cart: 2 }];
    const full = { actions: two, contextFeatures, excludedActions: ["film"], eventId, deferActivation: true };
    const answer = await client.rank(full);
    const ranking = [{ id: "news", probability: 1 }, { id: "film", probability: 0 }];
    assert.deepEqual({ ...answer }, { ranking, eventId, rewardActionId: "news" });
    assert.deepEqual({ ...(await client.rank(full)) }, { ...answer });
    await client.events.activate(eventId);
    await client.events.reward(eventId, { value: 0.5 });
    await client.events.reward(eventId, { value: 1 }); // the first one counts, and no later one fails
    count(1, 0.5);
    const least = await client.rank({ actions: [{ id: "only", features: [] }] });
    await client.events.reward(least.eventId, { value: -1 });
    count(1, -1);
    const own = { customHeaders: { "x-oo-user": "ann-4" } }; // is counted for another user
    await client.rank({ actions: two, eventId: "own" }, own);
    await client.events.reward("own", { value: 1 }, own);
    return "ranked, rewarded, activated";
  },

  async errors() {
    const many = Array.from({ length: 51 }, (_, number) => ({ id: `a${number}`, features: [] }));
    await refused(400, "InvalidRankRequest", client.rank({ actions: many }));
    await refused(400, "InvalidRewardRequest", client.events.reward("ev 1/ü", { value: 5 }));
    await refused(401, undefined, connect("a-wrong-key").rank({ actions: two }));
    return await refused(400, "InvalidRankRequest", client.rank({ actions: [] }));
  },

  // This SDK sends all of them again by itself and says not that it does, so that only an event id makes it once.
  async retries() {
    for (const fault of ["refuse", "lose", "cut"]) {
      const eventId = `${fault}-1`;
      await client.rank({ actions: two, eventId, deferActivation: true });
      await client.events.activate(eventId);
      await client.events.reward(eventId, { value: 0.25 });
      count(1, 0.25);
    }
    return "503 before and after, and cut connections: each was counted once";
  },
};

for (const [name, part] of Object.entries(parts)) console.log(`${name}: ${await part()}`);
console.log(JSON.stringify(counted));
