#!/usr/bin/env bash
# Versions: HAProxy 2.6.12 (Debian's package haproxy 2.6.12-1+deb12u4), Node 20 or newer.
# Expected: `retry-on empty-response` repeats a request whenever a server reads it and closes the connection without an answer.
#   configuration.txt names only one limit: "Requests not fitting in a single buffer will never be retried".
# Actual: HAProxy keeps a request for another try only if it had the whole request when it sent the first part. A POST whose
#   body comes in a later packet than its head gets 502. With `option http-buffer-request` the request is repeated.
# Source: si_cs_send in src/stream_interface.c (2.6: sc_conn_send in src/stconn.c): without a message at HTTP_MSG_DONE there is
#   no retry.
# Reason to know it: A webhook is lost when a gateway dies, although another gateway, or the next start, could answer it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >probe.mjs <<'EOP'
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
let asked = 0
const server = createServer((socket) => {
  let read = ''
  socket.on('error', () => undefined)
  socket.on('data', (part) => {
    read += part
    if (!read.endsWith('body')) return
    if (asked++ === 0) socket.resetAndDestroy()
    else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  })
}).listen(0, '127.0.0.1')
await sleep(100)
async function status(port, split) {
  asked = 0
  const socket = connect(port, '127.0.0.1').setNoDelay(true)
  const head = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n'
  socket.write(split ? head : `${head}body`)
  if (split) await sleep(300).then(() => socket.write('body'))
  let answer = ''
  for await (const part of socket) answer += part
  return answer.slice(9, 12)
}
const seen = []
for (const option of ['', 'option http-buffer-request']) {
  const port = 20_000 + Math.floor(Math.random() * 10_000)
  writeFileSync('haproxy.cfg', `
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
  retries 3
  retry-on conn-failure empty-response
frontend front
  maxconn 100
  bind 127.0.0.1:${port}
  default_backend back
backend back
  ${option}
  server one 127.0.0.1:${server.address().port}
`)
  const haproxy = spawn('haproxy', ['-db', '-f', 'haproxy.cfg'], { stdio: 'ignore', env: { PATH: `${process.env.PATH}:/usr/sbin` } })
  for (;;) if (await status(port, false).catch(() => '') !== '') break; else await sleep(100)
  for (const split of [false, true]) seen.push(await status(port, split))
  console.log(`${option || 'as it is'}: in one piece ${seen.at(-2)}, head and body apart ${seen.at(-1)}`)
  haproxy.kill('SIGKILL')
}
process.exit(seen.join(' ') === '200 502 200 200' ? 0 : 1)
EOP
node probe.mjs
