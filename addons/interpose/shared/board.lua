-- One look at the board, and what is put up there meanwhile, by the server's clock. board.py says what it is for.
--
-- KEYS: the epoch (an id of this server's memory), the version, lanes (name -> until when, in ms), the version of the
--   lanes, keys (hash -> JSON), and the versions of keys. A version is given to each change once.
-- ARGV: a fresh epoch, the epoch and the version that are known, how many keys are told at most, the number of lanes,
--   name and ms for which each is left alone, then hash and JSON of keys.
-- Reply: {epoch, version, whether there is more, {name, ms left …}, {JSON of a key …}}. Of a key, the first revocation
--   counts and is never taken back; nothing else of it ever changes.

local HOUR = 3600000
redis.call('SET', KEYS[1], ARGV[1], 'NX')
local epoch = redis.call('GET', KEYS[1])
local known, most, lanes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- A server that a failover has put back to an earlier version of itself is as good as another one.
if ARGV[2] ~= epoch or known > tonumber(redis.call('GET', KEYS[2]) or 0) then known = 0 end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for at = 6, 5 + 2 * lanes, 2 do
  local name, till = ARGV[at], now + math.min(tonumber(ARGV[at + 1]), HOUR)
  if till > tonumber(redis.call('HGET', KEYS[3], name) or 0) then
    redis.call('HSET', KEYS[3], name, string.format('%.0f', till))
    redis.call('SET', KEYS[4], redis.call('INCR', KEYS[2]))
  end
end
redis.call('PEXPIRE', KEYS[3], 2 * HOUR)

-- What is known of a key; nothing where somebody else has written what is none.
local function known_row(hash)
  local sound, row = pcall(cjson.decode, redis.call('HGET', KEYS[5], hash) or '')
  return sound and type(row) == 'table' and row or nil
end

for at = 6 + 2 * lanes, #ARGV, 2 do
  local hash, row = ARGV[at], ARGV[at + 1]
  local before = known_row(hash)
  local revoked = cjson.decode(row).revoked_at
  if not before or (revoked ~= cjson.null and type(before.revoked_at) ~= 'string') then
    redis.call('HSET', KEYS[5], hash, row)
    redis.call('ZADD', KEYS[6], redis.call('INCR', KEYS[2]), hash)
  end
end

local version, more = tonumber(redis.call('GET', KEYS[2]) or 0), 0
local told_lanes, told_keys = {}, {}
if tonumber(redis.call('GET', KEYS[4]) or 0) > known then
  local flat = redis.call('HGETALL', KEYS[3])
  for at = 1, #flat, 2 do
    local left = tonumber(flat[at + 1]) - now
    if left > 0 then
      told_lanes[#told_lanes + 1] = flat[at]
      told_lanes[#told_lanes + 1] = left
    else
      redis.call('HDEL', KEYS[3], flat[at])
    end
  end
end
if version > known then
  local changed = redis.call('ZRANGEBYSCORE', KEYS[6], '(' .. known, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
  for at = 1, #changed, 2 do told_keys[#told_keys + 1] = redis.call('HGET', KEYS[5], changed[at]) end
  if #changed == 2 * most then version, more = tonumber(changed[#changed]), 1 end
end
return {epoch, version, more, told_lanes, told_keys}
