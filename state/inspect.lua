-- Shows what one user's model under one policy has learned, straight from Redis:
--
--   redis-cli --eval state/inspect.lua 'oo:{alice}:egreedy-v1'
--
-- It only reads, and takes about as long as one HGETALL. It needs a real Redis, since it decodes the binary fields with
-- the `struct` library of Redis. theta = A^-1 b is solved in float64, as in the service.

local key = KEYS[1]
if not key then
  return redis.error_reply("give one key, e.g. redis-cli --eval state/inspect.lua 'oo:{alice}:egreedy-v1'")
end

-- Of models that name no columns: a policy with d columns has the first d of these.
local FEATURES = {
  { "hour_sin", "hour of the day, around the clock" },
  { "hour_cos", "hour of the day: + at midnight, - at noon" },
  { "is_overdue", "0 or 1" },
  { "task_age", "0 for new, 1 for 30 days or more" },
  { "priority", "0 for priority 1, 1 for priority 4" },
  { "dow_sin", "day of the week, around the week" },
  { "dow_cos", "day of the week: + near day 0, - near days 3 and 4" },
  { "completion_rate_30d", "share of tips done, 0 to 1" },
  { "dismiss_rate_30d", "share of tips dismissed, 0 to 1" },
  { "mean_dwell_norm", "1 for ten minutes or more" },
  { "preferred_hour_alignment", "1 at the preferred hour, 0 twelve hours off" },
  { "tip_volume_norm", "1 for 100 tips or more" },
}
local KNOWN = { [5] = true, [7] = true, [12] = true }

local function broken(text)
  return redis.error_reply(key .. ": " .. text)
end

local kind = redis.call("TYPE", key).ok
if kind == "none" then
  local user = string.match(key, "^(oo:{.*})")
  return broken("no such key; see redis-cli --scan --pattern '" .. (user or "oo:{alice}") .. ":*'")
elseif kind == "list" then
  return broken("holds a list, not a model; a history is shown by redis-cli LRANGE '" .. key .. "' -3 -1")
elseif kind ~= "hash" then
  return broken("holds a " .. kind .. ", not a model (a hash)")
end

local fields = redis.call("HMGET", key, "A", "b", "meta", "columns")
for index, name in ipairs({ "A", "b", "meta" }) do
  if not fields[index] then
    return broken("no model: it has no field " .. name .. ", only " .. table.concat(redis.call("HKEYS", key), ", "))
  end
end
local A, b, meta, named = fields[1], fields[2], fields[3], fields[4]

if #b == 0 or #b % 8 ~= 0 then
  return broken("b has " .. #b .. " bytes, not a multiple of 8")
end
local d = #b / 8
if #A ~= 8 * d * d then
  return broken("A has " .. #A .. " bytes, not the " .. 8 * d * d .. " that d = " .. d .. " takes")
end
if #meta == 0 or (#meta < 40 and #meta % 8 ~= 0) then
  return broken("meta has " .. #meta .. " bytes, in which a field is cut off")
end

-- A model names its columns; they are kept once for all models, in a key that another node of a cluster may have.
local names = nil
if named then
  local known = redis.pcall("HGET", "oo:columns", named)
  if type(known) == "string" then
    names = {}
    for index, pair in ipairs(cjson.decode(known)) do
      names[index] = pair[1]
    end
  end
end

-- Rows of A with b as the last column, then Gauss-Jordan elimination with the largest pivot of each column.
local rows = {}
local row_format = "<" .. string.rep("d", d)
for i = 1, d do
  rows[i] = { struct.unpack(row_format, A, (i - 1) * d * 8 + 1) }
  rows[i][d + 1] = struct.unpack("<d", b, (i - 1) * 8 + 1)
end
for column = 1, d do
  local pivot = column
  for i = column + 1, d do
    if math.abs(rows[i][column]) > math.abs(rows[pivot][column]) then
      pivot = i
    end
  end
  rows[column], rows[pivot] = rows[pivot], rows[column]
  local head = rows[column][column]
  if not (math.abs(head) > 0 and math.abs(head) < math.huge) then
    return broken("A cannot be solved, so it was damaged: it should be the identity plus a sum of squares")
  end
  for i = 1, d do
    if i ~= column then
      local factor = rows[i][column] / head
      for j = column, d + 1 do
        rows[i][j] = rows[i][j] - factor * rows[column][j]
      end
    end
  end
end

-- meta grows at its end: fields that an older version did not write are not shown, those of a newer one are counted.
local function whole(number)
  return string.format("%.0f", number)
end

-- Days since 1970 to a date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
local function utc(seconds)
  if seconds == 0 then
    return "never"
  end
  local days = math.floor(seconds / 86400)
  local rest = seconds - days * 86400
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local date = string.format(
    "%04d-%02d-%02dT%02d:%02d:%02dZ",
    yoe + era * 400 + (month <= 2 and 1 or 0),
    month,
    doy - math.floor((153 * mp + 2) / 5) + 1,
    math.floor(rest / 3600),
    math.floor(rest / 60) % 60,
    rest % 60
  )
  return date .. " (" .. whole(seconds) .. ")"
end

local META = {
  { "pulls", "<I8", whole },
  { "explore_count", "<I8", whole },
  { "reward_count", "<I8", whole },
  { "cumulative_reward", "<d", function(number) return string.format("%.10g", number) end },
  { "last_updated", "<i8", utc },
  { "updates", "<I8", whole },
  { "weight", "<d", function(number) return string.format("%.10g", number) end },
  { "squares", "<d", function(number) return string.format("%.10g", number) end },
}

local lines = { "key " .. key, "d " .. d }
for index, field in ipairs(META) do
  if #meta >= 8 * index then
    lines[#lines + 1] = field[1] .. " " .. field[3](struct.unpack(field[2], meta, 8 * index - 7))
  end
end
if #meta > 8 * #META then
  lines[#lines + 1] = "later fields " .. (#meta - 8 * #META) .. " bytes"
end

local function label(i)
  if names and names[i] then
    return names[i], ""
  elseif not named and KNOWN[d] then
    return FEATURES[i][1], "   " .. FEATURES[i][2]
  end
  return "column " .. i, ""
end

if named then
  lines[#lines + 1] = "columns " .. named .. (names and "" or ": look them up with HGET oo:columns " .. named)
end
local width = 0
for i = 1, d do
  width = math.max(width, #label(i))
end
lines[#lines + 1] = "theta"
for i = 1, d do
  local name, means = label(i)
  lines[#lines + 1] = string.format("  %-" .. width .. "s %+.9f%s", name, rows[i][d + 1] / rows[i][i], means)
end
return lines
