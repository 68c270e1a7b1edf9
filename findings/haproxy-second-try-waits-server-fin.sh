#!/usr/bin/env bash
# Versions: HAProxy 2.6.12 (Debian's package haproxy 2.6.12-1+deb12u4), Node 20 or newer.
# Expected: With `retry-on response-timeout` the limit of each try is `timeout server`.
# Actual: This is true only for the first try. If `timeout server-fin` is set, it is the limit of each later try. The first
#   timeout has closed the server's side of the stream, and this side keeps the timeout of a closing side.
# Reason to know it: Suppose that `timeout server-fin` is 5 s, and that a webhook meets two gateways that hang. It reaches a
#   third gateway after 7 s instead of 4 s. After three such gateways it does not arrive within the 10 s for which the carrier
#   waits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >probe.mjs <<'EOP'
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
let tries = []
const server = createServer((request, response) => {
  tries.push(performance.now())
  if (tries.length > 3 || request.url === '/up') response.end()
}).listen(0, '127.0.0.1')
await sleep(100)
const gaps = []
for (const fin of ['', 'timeout server-fin 2s']) {
  const port = 20_000 + Math.floor(Math.random() * 10_000)
  writeFileSync('haproxy.cfg', `
defaults
  mode http
  timeout connect 1s
  timeout client 20s
  timeout server 200ms
  ${fin}
  retries 9
  retry-on response-timeout
frontend front
  maxconn 100
  bind 127.0.0.1:${port}
  default_backend back
backend back
  server one 127.0.0.1:${server.address().port}
`)
  const haproxy = spawn('haproxy', ['-db', '-f', 'haproxy.cfg'], { stdio: 'ignore', env: { PATH: `${process.env.PATH}:/usr/sbin` } })
  for (;;) if (await fetch(`http://127.0.0.1:${port}/up`).catch(() => null)) break; else await sleep(100)
  tries = []
  await fetch(`http://127.0.0.1:${port}/`)
  gaps.push(...tries.slice(1).map((at, i) => at - tries[i] > 1000))
  console.log(`${fin || 'as it is'}: ${tries.slice(1).map((at, i) => `try ${i + 1} waits ${Math.round(at - tries[i])} ms`).join(', ')}`)
  haproxy.kill('SIGKILL')
}
process.exit(gaps.join() === 'false,false,false,false,true,true' ? 0 : 1)
EOP
node probe.mjs
