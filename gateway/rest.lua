-- What Envoy's transcoder lets pass and the contract does not: unknown, repeated and mistyped fields, query parameters or bodies that
-- overrule the path, text that is not JSON or not UTF-8.
--
-- The lines above this one are generated for each route:
--   MESSAGES  by full name: JSON name -> {name = proto name, list = true if repeated, message = full name if it is one, any = anything goes}
--   ROOT      full name of the message that the body is, nil when the route takes none
--   QUERY     name of each query parameter -> {name = proto name, list = true if it may be repeated}
--   PATH      Lua pattern whose captures are the path's variables
--   VARIABLES names of those variables inside the body

local MAX_DEPTH = 32
local ESCAPES = '^["\\/bfnrt]'
local HINT = "The body must be a JSON object in UTF-8"

local text, position, bound

local function fail(message)
  error({message = message}, 0)
end

local function quoted(name)
  return '"' .. name:sub(1, 80):gsub("[\128-\191]*$", "") .. '"'
end

local function syntax(expected)
  fail("Expected " .. expected .. " at byte " .. position .. " of the body. " .. HINT)
end

-- UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing above U+10FFFF.
local function is_utf8(value)
  local at = value:find("[\128-\255]")
  while at do
    local lead, second = value:byte(at, at + 1)
    local length = lead >= 0xF0 and 4 or lead >= 0xE0 and 3 or 2
    if lead < 0xC2 or lead > 0xF4 then return false end
    if not value:find("^" .. ("[\128-\191]"):rep(length - 1), at + 1) then return false end
    if lead == 0xE0 and second < 0xA0 or lead == 0xED and second > 0x9F then return false end
    if lead == 0xF0 and second < 0x90 or lead == 0xF4 and second > 0x8F then return false end
    at = value:find("[\128-\255]", at + length)
  end
  return true
end

local function skip_space()
  position = text:find("[^ \t\r\n]", position) or #text + 1
end

local function take(character)
  skip_space()
  if text:sub(position, position) ~= character then return false end
  position = position + 1
  return true
end

local function unicode_escape()
  local digits = text:match("^u(%x%x%x%x)", position)
  if not digits then syntax("four hexadecimal digits") end
  local code = tonumber(digits, 16)
  position = position + 5
  if code < 0xD800 or code > 0xDFFF then return end
  if code > 0xDBFF or not text:find("^\\u[dD][c-fC-F]%x%x", position) then syntax("a whole surrogate pair") end
  position = position + 6
end

-- Returns the text between the quotes, escapes as they are.
local function string_token()
  local start = position + 1
  position = start
  while true do
    local at = text:find('["\\%z\1-\31]', position)
    if not at then position = #text + 1; syntax("the end of a string") end
    position = at + 1
    local found = text:sub(at, at)
    if found == '"' then return text:sub(start, at - 1) end
    if found ~= "\\" then position = at; syntax("an escape for a control character") end
    if text:find("^u", position) then
      unicode_escape()
    elseif text:find(ESCAPES, position) then
      position = position + 1
    else
      syntax("an escape that JSON knows")
    end
  end
end

local function number_token()
  local digits = text:match("^-?%d+", position)
  if not digits or digits:find("^-?0%d") then syntax("a value") end
  local rest = position + #digits
  rest = select(2, text:find("^%.%d+", rest)) and select(2, text:find("^%.%d+", rest)) + 1 or rest
  rest = select(2, text:find("^[eE][+-]?%d+", rest)) and select(2, text:find("^[eE][+-]?%d+", rest)) + 1 or rest
  local token = text:sub(position, rest - 1)
  position = rest
  return token
end

-- Returns what a scalar says, and whether it is null.
local function scalar()
  if text:find('^"', position) then return string_token(), false end
  for _, word in ipairs({"true", "false", "null"}) do
    if text:sub(position, position + #word - 1) == word then
      position = position + #word
      return word, word == "null"
    end
  end
  return number_token(), false
end

local value

local function members(each)
  if take("}") then return end
  repeat
    skip_space()
    if not text:find('^"', position) then syntax("a field name in double quotes") end
    local name = string_token()
    if not take(":") then syntax("a colon") end
    each(name)
  until not take(",")
  if not take("}") then syntax("a comma or }") end
end

local function elements(each)
  if take("]") then return end
  repeat each() until not take(",")
  if not take("]") then syntax("a comma or ]") end
end

local function anything(depth)
  if depth > MAX_DEPTH then fail("The body is nested too deeply") end
  if take("{") then
    members(function() anything(depth + 1) end)
  elseif take("[") then
    elements(function() anything(depth + 1) end)
  else
    skip_space()
    scalar()
  end
end

local function object(message, path)
  local known, seen = MESSAGES[message], {}
  members(function(name)
    local field = known[name]
    if not field then fail("There is no field " .. quoted(path .. name)) end
    if seen[field.name] then fail("The field " .. quoted(path .. name) .. " is given twice") end
    seen[field.name] = true
    value(field, path .. field.name)
  end)
end

local function single(field, path)
  skip_space()
  if field.message then
    if not take("{") then fail("The field " .. quoted(path) .. " must be an object") end
    object(field.message, path .. ".")
    return
  end
  if text:find("^[%[{]", position) then fail("The field " .. quoted(path) .. " must be a single value") end
  local said, is_null = scalar()
  if is_null then fail("The field " .. quoted(path) .. " must not hold null") end
  if bound[path] and bound[path] ~= said then fail("The field " .. quoted(path) .. " is not what the path says") end
end

value = function(field, path)
  skip_space()
  if text:find("^null", position) then
    position = position + 4
  elseif field.any then
    anything(1)
  elseif not field.list then
    single(field, path)
  elseif take("[") then
    elements(function() single(field, path) end)
  else
    fail("The field " .. quoted(path) .. " must be a list")
  end
end

local function check_body(body)
  if not is_utf8(body) then fail(HINT .. "; this is not UTF-8") end
  text, position = body, 1
  if not take("{") then syntax("{") end
  object(ROOT, "")
  skip_space()
  if position <= #text then syntax("the end") end
end

local function decoded(part)
  if part:gsub("%%%x%x", ""):find("%%") then fail("The path or query has a % that is not followed by two hexadecimal digits") end
  local plain = part:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  if not is_utf8(plain) then fail("The path or query is not UTF-8") end
  return plain
end

local function check_query(query)
  local seen = {}
  for pair in query:gmatch("[^&]+") do
    local name = decoded(pair:match("^[^=]*"))
    local field = QUERY[name]
    decoded(pair)
    if not field then fail("There is no query parameter " .. quoted(name)) end
    if seen[field.name] and not field.list then fail("The query parameter " .. quoted(name) .. " is given twice") end
    seen[field.name] = true
  end
end

local function check_path(path)
  bound = {}
  local found = {path:match(PATH)}
  for index, name in ipairs(VARIABLES) do
    bound[name] = decoded(found[index] or "")
  end
end

local function check(path, body)
  local query = path:find("?", 1, true)
  check_path(query and path:sub(1, query - 1) or path)
  if query then check_query(path:sub(query + 1)) end
  if body == nil then return end
  if not ROOT then fail("The route takes no body") end
  check_body(body)
end

local function is_json(content_type)
  local kind, parameters = (content_type or ""):lower():match("^%s*([^;%s]*)%s*(.*)$")
  local charset = parameters:match('charset%s*=%s*"?([^";%s]*)')
  return kind == "application/json" and (charset == nil or charset == "utf-8")
end

-- Envoy lets a request pass whose script fails, so every failure is answered here. Headers cannot be read any more once the body was.
function envoy_on_request(handle)
  local path, content_type = handle:headers():get(":path"), handle:headers():get("content-type")
  local buffer = handle:body()
  local body = buffer and buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or nil
  if body and ROOT and not is_json(content_type) then
    handle:respond({[":status"] = "415"}, "")
    return
  end
  local fine, problem = pcall(check, path, body)
  text = nil
  if fine then return end
  if type(problem) == "table" then
    handle:respond({[":status"] = "400"}, problem.message)
  else
    handle:logErr(problem)
    handle:respond({[":status"] = "500"}, "")
  end
end
