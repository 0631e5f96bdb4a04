-- Makes one field of an answer the whole answer, for routes whose annotation has a `response_body`. No other route has this function,
-- since calling it would cost every answer.
--
-- The line above all is generated: UNWRAP is the name of that field.

-- The transcoder writes no white space, and the message has this one field only.
function envoy_on_response(handle)
  if handle:headers():get(":status") ~= "200" then return end
  local body = handle:body(true)
  local answer = body:getBytes(0, body:length())
  local prefix = '{"' .. UNWRAP .. '":'
  if answer:sub(1, #prefix) == prefix then
    handle:headers():replace("content-length", body:setBytes(answer:sub(#prefix + 1, -2)))
  end
end
