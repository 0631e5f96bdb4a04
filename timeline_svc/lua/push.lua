-- Puts one entry into many timelines. KEYS: the timelines. ARGV: the entry, the cap in entries (2 or more).
-- A missing timeline stays missing; an entry that is there stays once; a late one is spliced in where it belongs.
-- Returns how many timelines hold the entry now, or know that it is below their floor.
--
-- Every string that Lua sees is hashed whole, so the usual way makes two short ones and no tables, and the next usual way two long ones.
local entry, cap = ARGV[1], tonumber(ARGV[2])
local call, pack, unpack = redis.call, struct.pack, struct.unpack
local entry_high, entry_low = id_at(entry, 1)
-- The trailer without its generation as a string.
local FIELDS = '>BBBBBBI2I4I4'
local TAIL = tostring(-(SLACK + 2) * PART)
local delivered = 0

-- The entry with so much slack after it.
local entry_and = {}
for slack = 0, SLACK do
  entry_and[slack] = entry .. string.rep(EMPTY, slack)
end

local function is_above(high, low)
  return entry_high > high or (entry_high == high and entry_low > low)
end

local function splice(key)
  local timeline = open(call('GET', key))
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

-- Appends where slack is used up, so that there are entries: writes all anew with fresh slack, as `write` does. A full timeline loses
-- as much as slack takes: it stays as long as it is, and is shifted where it is.
local function renew(key, state, g1, g2, g3, count, high, low)
  local gone = math.max(0, count + 1 - cap)
  local kept = call('GETRANGE', key, gone * PART, count * PART - 1)
  if gone > 0 then
    high, low = unpack('>I4I4', kept, 1)
  end
  local trailer = pack(FIELDS, FORMAT, state, SLACK, g1, g2, g3, count + 1 - gone, high, low)
  if gone == SLACK + 1 then
    call('SETRANGE', key, '0', kept)
    call('SETRANGE', key, (count - gone) * PART, entry_and[SLACK] .. trailer)
  else
    call('SET', key, kept .. entry_and[SLACK] .. trailer, 'KEEPTTL')
  end
end

for index = 1, #KEYS do
  local key = KEYS[index]
  local tail = call('GETRANGE', key, TAIL, '-1')
  local size = #tail
  if size >= PART and size % PART == 0 then
    local format, state, slack, g1, g2, g3, count, high, low = unpack(FIELDS, tail, size - PART + 1)
    if format == FORMAT then
      if not is_above(high, low) or (count > 0 and not is_above(unpack('>I4I4', tail, size - (slack + 2) * PART + 1))) then
        splice(key)
      elseif slack > 0 then
        local trailer = pack(FIELDS, FORMAT, state, slack - 1, g1, g2, g3, count + 1, high, low)
        call('SETRANGE', key, count * PART, entry_and[slack - 1] .. trailer)
      else
        renew(key, state, g1, g2, g3, count, high, low)
      end
      delivered = delivered + 1
    end
  end
end
return delivered
