-- Act as browsers for wrk. Each thread is one browser: it has one connection and keeps
-- one cookie. So wrk needs as many threads as connections.
--
-- The arguments after "--" are the case (untouched, read, write or mix), and a cookie
-- for each browser.

local U, R, W = "/untouched", "/read", "/write"
local PATHS = {
   untouched = { U },
   read = { R },
   write = { W },
   -- 60 %, 30 % and 10 %.
   mix = { U, R, U, U, W, U, R, U, R, U },
}
local READ_BODY = "IjhmMWMwMmQ5NGJlNzVhNjNjMGQ4MWUyZjdhOTQ2YjM1Ig.x1"

local threads = {}

function setup(thread)
   thread:set("number", #threads)
   table.insert(threads, thread)
end

function init(args)
   paths = PATHS[args[1]]
   -- Browsers begin at different paths, so that they do not all write at once.
   step = number
   wrong = 0
   wrk.headers["Cookie"] = args[2 + number]
   wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)"
   wrk.headers["Accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"
   wrk.headers["Accept-Language"] = "en-GB,en;q=0.5"
end

function request()
   step = step % #paths + 1
   path = paths[step]
   return wrk.format("GET", path)
end

function response(status, headers, body)
   if status ~= 200 or (path == R and body ~= READ_BODY) then
      wrong = wrong + 1
   end
   local set = headers["Set-Cookie"]
   if set then
      wrk.headers["Cookie"] = set:match("^[^;]+")
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.timeout
   for _, thread in ipairs(threads) do
      failed = failed + thread:get("wrong")
   end
   io.write(string.format(
      '{"requests": %d, "microseconds": %d, "p99": %d, "failed": %d}\n',
      summary.requests, summary.duration, latency:percentile(99), failed
   ))
end
