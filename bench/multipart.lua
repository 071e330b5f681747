-- wrk's script: posts the photos of a list as multipart forms in turn, and prints one JSON line at the end.
-- Arguments after `--`: field name, photos per request, files.
local requests, turn = {}, 0

function init(args)
  local boundary = "photo-7c1f6f0e"
  local head = '--%s\r\nContent-Disposition: form-data; name="%s"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
  local headers = { ["Content-Type"] = "multipart/form-data; boundary=" .. boundary }
  local field, together = args[1], tonumber(args[2])
  for first = 3, #args, together do
    local parts = {}
    for index = first, math.min(first + together - 1, #args) do
      local file = assert(io.open(args[index], "rb"))
      table.insert(parts, head:format(boundary, field) .. file:read("*a") .. "\r\n")
      file:close()
    end
    table.insert(requests, wrk.format("POST", nil, headers, table.concat(parts) .. "--" .. boundary .. "--\r\n"))
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    '{"seconds": %f, "answers": %d, "refused": %d, "lost": %d, "p50_ms": %f, "p99_ms": %f}\n',
    summary.duration / 1e6, summary.requests, summary.errors.status, lost,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
