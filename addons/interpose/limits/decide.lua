-- One decision about limits, on the server, by the server's clock. valkey.py says what the operations are for;
-- window.py has the law and the promise of windows, and what the clock may do.
--
-- KEYS: the clock, the writers, then two per bucket: its counts, and its leases ("id|cost", scored by their end).
-- ARGV: operation, reservation id, lease in µs, then FIELDS per bucket:
--   kind (window | slots | budget), limit, cost, a, b, actual
--   window: a = width of a step in µs, b = the step that was charged; budget: a, b = start and end of the period in s
-- Reply: {verdict, refused bucket (from 1), wait in µs (-1: never), server's time in µs, writers, then used, reset in µs
--   and place of each bucket}. Verdicts: 1 granted, 0 refused, 2 the period of a budget is not this one.

local STEPS, TOLERANCE, FIELDS = 12, 5000000, 6
local GRACE = 3600000       -- ms that counts are kept beyond their time
local DONE = 600000         -- ms that a settled reservation is remembered, for those who could not hear that it was
local operation, id, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function whole(number)
  if number == 0 then return '0' end -- -0 would be written with its sign, which no command takes
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function progress(write)
  local last, passed = now, 0
  local kept = redis.call('GET', KEYS[1])
  if kept then
    local a, b = string.match(kept, '(%d+):(%d+)')
    last, passed = tonumber(a), tonumber(b)
  end
  if now > last then
    passed, last = passed + now - last, now
  elseif last - now > TOLERANCE then
    last = now
  end
  if write then redis.call('SET', KEYS[1], whole(last) .. ':' .. whole(passed)) end
  return passed
end

local passed = progress(operation ~= 'peek')

local function bucket(at)
  local from = 3 + (at - 1) * FIELDS
  return {
    counts = KEYS[1 + 2 * at], leases = KEYS[2 + 2 * at],
    kind = ARGV[from + 1], limit = tonumber(ARGV[from + 2]), cost = tonumber(ARGV[from + 3]),
    a = tonumber(ARGV[from + 4]), b = tonumber(ARGV[from + 5]), actual = tonumber(ARGV[from + 6]),
  }
end

local window = {}

local function step_of(it) return (passed - passed % it.a) / it.a end

function window.read(it, write)
  local flat = redis.call('HGETALL', it.counts)
  local oldest = step_of(it) - STEPS + 1
  it.used, it.last, it.steps = 0, nil, {}
  for at = 1, #flat, 2 do
    local step, cost = tonumber(flat[at]), tonumber(flat[at + 1])
    if step < oldest then
      if write then redis.call('HDEL', it.counts, flat[at]) end
    else
      it.used = it.used + cost
      it.steps[#it.steps + 1] = {step, cost}
      if not it.last or step > it.last then it.last = step end
    end
  end
end

function window.add(it, step, cost)
  redis.call('HINCRBY', it.counts, whole(step), whole(cost))
  redis.call('PEXPIRE', it.counts, whole(STEPS * it.a / 1000 + GRACE / 60))
end

function window.charge(it)
  it.place = step_of(it)
  window.add(it, it.place, it.cost)
  it.used, it.last = it.used + it.cost, it.place
end

function window.wait(it)
  table.sort(it.steps, function(x, y) return x[1] < y[1] end)
  local over, free = it.used + it.cost - it.limit, it.last
  for _, step in ipairs(it.steps) do
    over, free = over - step[2], step[1]
    if over <= 0 then break end
  end
  return (free + STEPS) * it.a - passed
end

function window.reset(it)
  if it.used == 0 then return 0 end
  return (it.last + STEPS) * it.a - passed
end

function window.settle(it)
  local more = it.actual - it.cost
  if more > 0 then
    window.add(it, step_of(it), more)
  elseif more < 0 and redis.call('HEXISTS', it.counts, whole(it.b)) == 1 then
    redis.call('HINCRBY', it.counts, whole(it.b), whole(more))
  end
end

function window.renew() end

-- Slots and budgets: what is spent, and what reservations hold until their lease ends.
local function held_kind(wait)
  local kind = {wait = wait, reset = wait}

  function kind.member(it) return id .. '|' .. whole(it.cost) end

  function kind.expire(it)
    local ttl = lease / 1000 * 2
    if it.kind == 'budget' then ttl = math.max(ttl, it.b * 1000 - now / 1000) + GRACE end
    redis.call('PEXPIRE', it.counts, whole(ttl))
    redis.call('PEXPIRE', it.leases, whole(ttl))
  end

  function kind.read(it, write)
    local counts = redis.call('HMGET', it.counts, 'spent', 'held')
    it.used = (tonumber(counts[1]) or 0) + (tonumber(counts[2]) or 0)
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', it.leases, '-inf', whole(passed))) do
      local cost = tonumber(string.match(member, '|(%d+)$'))
      it.used = it.used - cost
      if write then
        redis.call('ZREM', it.leases, member)
        redis.call('HINCRBY', it.counts, 'held', whole(-cost))
      end
    end
  end

  function kind.hold(it)
    if redis.call('ZADD', it.leases, whole(passed + lease), kind.member(it)) == 1 then
      redis.call('HINCRBY', it.counts, 'held', whole(it.cost))
    end
    kind.expire(it)
  end

  function kind.charge(it)
    kind.hold(it)
    it.place = it.kind == 'budget' and it.a or 0
    it.used = it.used + it.cost
  end

  function kind.settle(it)
    if redis.call('ZREM', it.leases, kind.member(it)) == 1 then
      redis.call('HINCRBY', it.counts, 'held', whole(-it.cost))
    end
    if it.kind == 'budget' and it.actual > 0 then
      redis.call('HINCRBY', it.counts, 'spent', whole(it.actual))
      kind.expire(it)
    end
  end

  kind.renew = kind.hold
  return kind
end

local kinds = {
  window = window,
  slots = held_kind(function() return 0 end),
  budget = held_kind(function(it) return it.b * 1000000 - now end),
}

local count = (#KEYS - 2) / 2
local buckets = {}
for at = 1, count do buckets[at] = bucket(at) end

if operation == 'settle' then
  if redis.call('SET', KEYS[1] .. ':done:' .. id, 1, 'NX', 'PX', DONE) then
    for _, it in ipairs(buckets) do kinds[it.kind].settle(it) end
  end
  return {1}
end

if operation == 'renew' then
  if redis.call('EXISTS', KEYS[1] .. ':done:' .. id) == 0 then
    for _, it in ipairs(buckets) do kinds[it.kind].renew(it) end
  end
  return {1}
end

if operation == 'enrol' then
  redis.call('ZADD', KEYS[2], whole(passed + lease), id)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(passed))
  return {1, redis.call('ZCARD', KEYS[2])}
end

for _, it in ipairs(buckets) do
  if it.kind == 'budget' and (now < it.a * 1000000 or now >= it.b * 1000000) and operation ~= 'charge' then
    return {2, 0, 0, whole(now)}
  end
end

if operation == 'seed' then
  for _, it in ipairs(buckets) do
    local spent = tonumber(redis.call('HGET', it.counts, 'spent')) or 0
    redis.call('HSET', it.counts, 'spent', whole(math.max(spent, it.cost)))
    kinds.budget.expire(it)
  end
  return {1, 0, 0, whole(now)}
end

local refused, longest = 0, 0
for at, it in ipairs(buckets) do
  kinds[it.kind].read(it, operation ~= 'peek')
  if operation ~= 'charge' and longest ~= -1 and it.used + it.cost > it.limit then
    local wait = it.cost > it.limit and -1 or kinds[it.kind].wait(it)
    if refused == 0 or wait == -1 or wait > longest then refused, longest = at, wait end
  end
end

local reply = {refused == 0 and 1 or 0, refused, whole(longest), whole(now), redis.call('ZCARD', KEYS[2])}
for _, it in ipairs(buckets) do
  if refused == 0 and operation ~= 'peek' then kinds[it.kind].charge(it) end
  reply[#reply + 1] = whole(it.used)
  reply[#reply + 1] = whole(kinds[it.kind].reset(it))
  reply[#reply + 1] = whole(it.place or 0)
end
return reply
