-- Puts one entry into many timelines. KEYS: the timelines. ARGV: the entry, the cap in entries.
-- A missing timeline stays missing; an entry that is there stays once; a late one is spliced in where it belongs.
-- Returns how many timelines hold the entry now, or know that it is below their floor.
local entry, cap = ARGV[1], tonumber(ARGV[2])
local delivered = 0

local function splice(key)
  local timeline = open(redis.call('GET', key))
  if compare(entry, 1, timeline.floor, 1) < 0 then
    return
  end
  local place, present = search(timeline.bytes, timeline.count, entry)
  if not present then
    local before = string.sub(timeline.bytes, 1, place * PART)
    local after = string.sub(timeline.bytes, place * PART + 1, timeline.count * PART)
    write(key, before .. entry .. after, timeline.state, timeline.generation, timeline.floor, cap)
  end
end

for _, key in ipairs(KEYS) do
  local tail = open(redis.call('GETRANGE', key, -(SLACK + 2) * PART, -1))
  if tail then
    local newest = #tail.bytes - (tail.slack + 2) * PART + 1
    local is_newest = tail.count == 0 or compare(entry, 1, tail.bytes, newest) > 0
    if is_newest and tail.slack > 0 and compare(entry, 1, tail.floor, 1) >= 0 then
      local high, low = id_at(tail.floor, 1)
      local trailer = struct.pack(TRAILER, FORMAT, tail.state, tail.slack - 1, tail.generation, tail.count + 1, high, low)
      redis.call('SETRANGE', key, tail.count * PART, entry .. string.rep(EMPTY, tail.slack - 1) .. trailer)
    else
      splice(key)
    end
    delivered = delivered + 1
  end
end
return delivered
