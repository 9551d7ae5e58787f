-- Requests of wrk in pipelines of 16.
init = function()
  local requests = {}
  for number = 1, 16 do
    requests[number] = wrk.format("GET", "/health?number=" .. number)
  end
  pipeline = table.concat(requests)
end

request = function()
  return pipeline
end
