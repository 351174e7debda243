-- The load, for wrk. The environment chooses it:
--   MODE    score | egreedy | egreedy2 (with a profile) | big (200 candidates) | reward | hot (rewards of one user) | mixed
--           | large (decisions with ids of clients in the loop "large", every fifth request the reward of an earlier one)
--           | decide (decisions with ids) | outcome (rewards by id: of each user's decision k1, then of each one's k2, ...)
--   USERS   number of users, 5000 unless told
--   PREFIX  start of their names, "u" unless told
--   SEED    the request to begin with, so that runs do not all begin with the same users
--   LOOP    of decisions, "tips" unless told
--   PACE    mean pause in ms of each connection before a request, exponentially distributed; none unless told
-- At the end one line "RESULT {...}" as JSON: latencies in microseconds, without the pauses.

local mode = os.getenv("MODE") or "score"
local users = tonumber(os.getenv("USERS") or "5000")
local prefix = os.getenv("PREFIX") or "u"
local n = tonumber(os.getenv("SEED") or "0")
local loop = os.getenv("LOOP") or "tips"
local pace = tonumber(os.getenv("PACE") or "0")

local paths = { egreedy = "/score/egreedy", egreedy2 = "/score/egreedy/v2", reward = "/reward", hot = "/reward",
  decide = "/decisions", large = "/decisions", decides = "/decisions/batch", outcomes = "/rewards/batch" }
local headers = { ["content-type"] = "application/json" }
local candidate = '{"id":"t%d","content":"do thing %d","source":"todoist","features":'
  .. '{"hour_of_day":9,"is_overdue":%s,"task_age_days":%d,"priority":%d}}'
local profile = ',"profile_features":{"completion_rate_30d":0.4,"dismiss_rate_30d":0.2,"mean_dwell_ms_30d":42000,'
  .. '"preferred_hour":9,"tip_volume_30d":31}'
local period = 31 * 4 -- ages and priorities of the candidates repeat after so many requests

-- Candidates are written once, beforehand: the load must not take the processor from what it measures.
local lists = {}
for step = 0, period - 1 do
  local list = {}
  for i = 1, mode == "big" and 200 or 10 do
    list[i] = candidate:format(i, i, tostring(i % 3 == 0), (i * 7 + step) % 31, (i + step) % 4 + 1)
    if mode == "decide" or mode == "decides" or mode == "large" then
      list[i] = list[i]:gsub('"content".-"features":{"hour_of_day":9,', '"features":{')
    end
  end
  lists[step] = table.concat(list, ",")
end

local function score(user)
  return '{"user_id":"' .. user .. '","candidates":[' .. lists[n % period] .. '],"context":{"hour_of_day":' .. n % 24
    .. ',"day_of_week":' .. n % 7 .. "}" .. (mode == "egreedy2" and profile or "") .. "}"
end

local function reward(user)
  return '{"user_id":"' .. user .. '","tip_id":"t1","reward":0.5,"features":{"hour_of_day":' .. n % 24
    .. ',"is_overdue":true,"task_age_days":3,"priority":2},"day_of_week":' .. n % 7 .. "}"
end

-- A decision's id ends with the user id in base64url.
local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local function base64(text)
  local bits = text:gsub(".", function(c)
    local byte, found = c:byte(), ""
    for place = 7, 0, -1 do found = found .. math.floor(byte / 2 ^ place) % 2 end
    return found
  end)
  bits = bits .. ("0"):rep(-#bits % 6)
  return (bits:gsub("......", function(six) local at = tonumber(six, 2) + 1; return digits:sub(at, at) end))
end
local names = {}
if mode == "outcome" or mode == "outcomes" or mode == "large" then
  for user = 0, users - 1 do names[user] = base64(prefix .. user) end
end

local first, lag = n, 200
local function decide(user)
  local id = mode == "large" and '"id":"k' .. n .. '",' or ""
  return '{"loop":"' .. loop .. '",' .. id .. '"user_id":"' .. user .. '","candidates":[' .. lists[n % period] .. '],"context":{"hour_of_day":' .. n % 24
    .. ',"day_of_week":' .. n % 7 .. "}" .. profile:gsub("profile_features", "user") .. "}"
end

-- Each batch of decisions is written once.
local at_once, batches = 100, {}
local function decides(number)
  local now, each = n, {}
  for place = 1, at_once do
    n = number * at_once + place
    each[place] = decide(prefix .. n % users)
  end
  n = now
  return wrk.format("POST", paths[mode], headers, '{"decisions":[' .. table.concat(each, ",") .. "]}")
end

local function outcomes()
  local each = {}
  for place = 1, at_once do
    local at = n * at_once + place
    each[place] = '{"decision_id":"k' .. math.floor(at / users) + 1 .. "." .. names[at % users] .. '","reward":0.5}'
  end
  return wrk.format("POST", paths[mode], headers, '{"rewards":[' .. table.concat(each, ",") .. "]}")
end

function request()
  n = n + 1
  if mode == "decides" then
    local number = n % math.floor(users / at_once)
    batches[number] = batches[number] or decides(number)
    return batches[number]
  end
  if mode == "outcomes" then
    return outcomes()
  end
  if mode == "outcome" then
    local path = "/decisions/k" .. math.floor(n / users) + 1 .. "." .. names[n % users] .. "/reward"
    return wrk.format("POST", path, headers, '{"reward":0.5}')
  end
  if mode == "large" and n % 5 == 0 and n > first + lag then
    local path = "/decisions/k" .. n - lag + 1 .. "." .. names[0] .. "/reward"
    return wrk.format("POST", path, headers, '{"reward":0.5}')
  end
  local user = prefix .. (mode == "hot" and "hot" or (n * 7919) % users)
  local path = paths[mode] or "/score"
  if mode == "mixed" and n % 3 == 0 then
    path = "/reward"
  end
  local body = path == "/reward" and reward(user) or (mode == "decide" or mode == "large") and decide(user) or score(user)
  return wrk.format("POST", path, headers, body)
end

if pace > 0 then
  math.randomseed(n)
  function delay()
    return math.floor(-math.log(1 - math.random()) * pace + math.random()) -- whole ms, right on average
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.6f,"bad_status":%d,"broken":%d,"p50":%d,"p99":%d,"max":%d}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max
  ))
end
