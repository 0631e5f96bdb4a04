-- A script for wrk: one author after the other posts something else each time, with a request id, as apps do.
-- Arguments: a file with a user token on each line, what all contents begin with, and a word that begins the request ids.

local heads, content, run = {}, nil, nil
local made = 0

function init(arguments)
  for token in io.lines(arguments[1]) do
    heads[#heads + 1] = "POST /v1/posts HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer " .. token
      .. "\r\ncontent-type: application/json\r\ncontent-length: "
  end
  content, run = arguments[2], arguments[3]
end

function request()
  made = made + 1
  local body = string.format('{"content":"%s %d","request_id":"%s-%d"}', content, made, run, made)
  return heads[made % #heads + 1] .. #body .. "\r\n\r\n" .. body
end

function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("answered %d failed %d microseconds %d\n", summary.requests, failed, summary.duration))
end
