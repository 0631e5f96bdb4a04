-- What the scripts share: reading and writing packed timelines (the format stands in packed.py), and what stands beside them.
-- Ids are compared as two 32-bit halves: Lua's numbers hold 53 bits, and its string comparison depends on the server's locale.
local PART, SLACK, FORMAT, REBUILDING, READY = 16, 16, 1, 0, 1
local RECORD, BEGAN, HEAD, MARK = 'record', 8, 15, 12
local EMPTY = string.rep('\0', PART)
local TRAILER = '>BBBc3I2I4I4'

local function id_at(bytes, position)
  local high, low = struct.unpack('>I4I4', bytes, position)
  return high, low
end

-- Negative, zero or positive, as the id at one place is smaller than, equal to or larger than the id at another.
local function compare(left, left_position, right, right_position)
  local left_high, left_low = id_at(left, left_position)
  local right_high, right_low = id_at(right, right_position)
  if left_high ~= right_high then
    return left_high - right_high
  end
  return left_low - right_low
end

-- The end of a packed timeline, or all of it, as a table; nil where there is none, or none of this format: it will be rebuilt.
local function open(bytes)
  if #bytes < PART or #bytes % PART ~= 0 then
    return nil
  end
  local format, state, slack, generation, count, high, low = struct.unpack(TRAILER, bytes, #bytes - PART + 1)
  if format ~= FORMAT then
    return nil
  end
  return {
    bytes = bytes,
    state = state,
    slack = slack,
    generation = generation,
    count = count,
    floor = struct.pack('>I4I4', high, low),
  }
end

-- Writes entries (packed, ascending) as a whole timeline with fresh slack. More than `cap` entries are cut to the newest, and the floor
-- rises to the first that stays. The time to live stays.
local function write(key, entries, state, generation, floor, cap)
  local count = #entries / PART
  if count > cap then
    entries = string.sub(entries, -cap * PART)
    floor = string.sub(entries, 1, 8)
    count = cap
  end
  local high, low = id_at(floor, 1)
  local trailer = struct.pack(TRAILER, FORMAT, state, SLACK, generation, count, high, low)
  redis.call('SET', key, entries .. string.rep(EMPTY, SLACK) .. trailer, 'KEEPTTL')
end

-- How many entries have a smaller id than the one at the start of `wanted`; and whether the next one has the same id.
local function search(bytes, count, wanted)
  local first, last = 0, count
  while first < last do
    local middle = math.floor((first + last) / 2)
    if compare(bytes, middle * PART + 1, wanted, 1) < 0 then
      first = middle + 1
    else
      last = middle
    end
  end
  return first, first < count and compare(bytes, first * PART + 1, wanted, 1) == 0
end

-- Entries without those of the given authors (a set of 8-byte ids) and without those below the floor.
local function filter(entries, authors, floor)
  if not next(authors) then
    return string.sub(entries, search(entries, #entries / PART, floor) * PART + 1)
  end
  local kept = {}
  for position = 1, #entries, PART do
    if not authors[string.sub(entries, position + 8, position + 15)] and compare(entries, position, floor, 1) >= 0 then
      kept[#kept + 1] = string.sub(entries, position, position + PART - 1)
    end
  end
  return table.concat(kept)
end

-- The authors who left the viewer's feed lately (a set), and all recent changes of its sources as { author, version, hidden }.
local function source_changes(key)
  local hidden, changes = {}, {}
  local pairs_of = redis.call('HGETALL', key)
  for index = 1, #pairs_of, 2 do
    local author, value = pairs_of[index], pairs_of[index + 1]
    if author ~= RECORD then
      local gone = string.sub(value, 9, 9) == '1'
      hidden[author] = gone or nil
      changes[#changes + 1] = { author = author, version = string.sub(value, 1, 8), hidden = gone }
    end
  end
  return hidden, changes
end

-- Notes a change of a source, unless a newer one is noted. Tells whether it did.
local function note(key, author, version, gone)
  local noted = redis.call('HGET', key, author)
  if noted and compare(noted, 1, version, 1) > 0 then
    return false
  end
  redis.call('HSET', key, author, version .. gone)
  return true
end

-- The record beside a timeline (its format stands in sources.py); nil when it is missing, or of another generation.
local function record_of(key, timeline)
  local record = redis.call('HGET', key, RECORD)
  if record and string.sub(record, 1, 3) == timeline.generation then
    return record
  end
  return nil
end

-- Where an author's mark begins in a record; nil when there is none.
local function mark_of(record, author)
  local position = string.find(record, author, HEAD + 1, true)
  while position and (position - HEAD - 1) % MARK ~= 0 do
    position = string.find(record, author, position + 1, true)
  end
  return position
end

-- A record without an author's mark, and the turn (4 bytes) of that mark; nil when there was none.
local function unmarked(record, author)
  local position = mark_of(record, author)
  if not position then
    return record, nil
  end
  local turn = string.sub(record, position + 8, position + MARK - 1)
  return string.sub(record, 1, position - 1) .. string.sub(record, position + MARK), turn
end

-- A record in which an author is marked, at this turn or a later one.
local function marked(record, author, turn)
  local others, earlier = unmarked(record, author)
  if earlier and struct.unpack('>I4', earlier) > struct.unpack('>I4', turn) then
    turn = earlier
  end
  return others .. author .. turn
end

-- A record in which all of many marks are: a search for each would take seconds.
local function all_marked(record, marks)
  local turns = {}
  for _, all in ipairs({ string.sub(record, HEAD + 1), marks }) do
    for position = 1, #all, MARK do
      local author, turn = string.sub(all, position, position + 7), string.sub(all, position + 8, position + MARK - 1)
      local earlier = turns[author]
      if not earlier or struct.unpack('>I4', earlier) < struct.unpack('>I4', turn) then
        turns[author] = turn
      end
    end
  end
  local parts = { string.sub(record, 1, HEAD) }
  for author, turn in pairs(turns) do
    parts[#parts + 1] = author .. turn
  end
  return table.concat(parts)
end
