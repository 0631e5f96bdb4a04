-- Merges pulled entries into a timeline that exists. KEYS: the timeline, and for a home timeline its sources.
-- ARGV: the entries (packed, ascending), the id from which on they are complete (8 bytes), the cap, and the generation of the timeline
-- that they make ready; the empty string when they are only some more, which fit any. For a home timeline that is made ready also the
-- marks of its pulled authors, and the authors who left the feed lately or are back in it, each with the version of that change and '1' or
-- '0' (8, 8 and 1 bytes).
-- Entries of authors who left are dropped. Returns 0 when the timeline is missing, or another one than was begun.
local timeline = open(redis.call('GET', KEYS[1]) or '')
local pulled, floor, cap, generation = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local ready = generation ~= ''
if not timeline or (ready and generation ~= timeline.generation) then
  return 0
end
local record = ready and KEYS[2] and record_of(KEYS[2], timeline)
if ready and KEYS[2] and not record then
  return 0
end
if record then
  record = all_marked(record, ARGV[5])
  for position = 1, #ARGV[6], 17 do
    local author, version = string.sub(ARGV[6], position, position + 7), string.sub(ARGV[6], position + 8, position + 15)
    note(KEYS[2], author, version, string.sub(ARGV[6], position + 16, position + 16))
  end
end
local live = string.sub(timeline.bytes, 1, timeline.count * PART)
if compare(timeline.floor, 1, floor, 1) > 0 then
  floor = timeline.floor
end

-- All entries of both, in order, each once. The places of the fewer are searched among the more, which are copied in runs.
local function merged(few, many)
  if #few > #many then
    few, many = many, few
  end
  local runs, count, from = {}, #many / PART, 0
  for position = 1, #few, PART do
    local entry = string.sub(few, position, position + PART - 1)
    local place, present = search(many, count, entry)
    runs[#runs + 1] = string.sub(many, from * PART + 1, place * PART)
    runs[#runs + 1] = present and '' or entry
    from = place
  end
  runs[#runs + 1] = string.sub(many, from * PART + 1)
  return table.concat(runs)
end

-- While a timeline is made nothing is taken out of it: an author who is hidden now may turn out to be back.
local hidden = KEYS[2] and (ready or timeline.state == READY) and source_changes(KEYS[2]) or {}
if record then
  redis.call('HSET', KEYS[2], RECORD, record)
end
write(KEYS[1], filter(merged(live, pulled), hidden, floor), ready and READY or timeline.state, timeline.generation, floor, cap)
return 1
