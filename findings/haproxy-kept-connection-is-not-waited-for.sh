#!/usr/bin/env bash
# Versions: HAProxy 2.6.12 (Debian's package haproxy 2.6.12-1+deb12u4), Node 20 or newer.
# Expected: With `retries 9` and `retry-on empty-response`, a request whose server has just died is tried once a second, like a
#   request whose connection was refused.
# Actual: This is true only if the connection to the server was new. If HAProxy reuses a connection of an earlier request, it
#   makes all tries at once, although each try is refused. Then it closes the client's connection without an answer. `http-reuse
#   never` does not change this.
# Reason to know it: A carrier that keeps its connection may send a request at the moment at which the gateway is killed. It
#   gets no answer, although another gateway or the next start could answer within 2 s. The remedy is `option
#   http-server-close`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >probe.mjs <<'EOP'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
const seen = []
for (const option of ['', 'http-reuse never', 'option http-server-close']) {
  const sockets = new Set()
  let dies = false
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('data', () => {
      if (!dies) return socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      dies = false
      server.close()
      for (const one of sockets) one.resetAndDestroy()
      setTimeout(() => server.listen(port, '127.0.0.1'), 500)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  const front = 20_000 + Math.floor(Math.random() * 10_000)
  writeFileSync('haproxy.cfg', `
defaults
  mode http
  timeout connect 1s
  timeout client 20s
  timeout server 5s
  retries 9
  retry-on conn-failure empty-response
  ${option}
frontend front
  maxconn 100
  bind 127.0.0.1:${front}
  option http-buffer-request
  default_backend back
backend back
  server one 127.0.0.1:${port}
`)
  const haproxy = spawn('haproxy', ['-db', '-f', 'haproxy.cfg'], { stdio: 'ignore', env: { PATH: `${process.env.PATH}:/usr/sbin` } })
  const ask = () => fetch(`http://127.0.0.1:${front}/`, { method: 'POST', body: 'a' }).then(async (answer) => (await answer.text(), answer.status))
  for (;;) if (await ask().catch(() => null)) break; else await sleep(100)
  await sleep(200) // the client keeps its connection
  dies = true
  const atMs = performance.now()
  const answer = await ask().catch(({ cause }) => cause.message)
  seen.push(answer)
  console.log(`${option || 'as it is'}: ${answer} after ${Math.round(performance.now() - atMs)} ms`)
  haproxy.kill('SIGKILL')
}
process.exit(seen.join() === 'other side closed,other side closed,200' ? 0 : 1)
EOP
node probe.mjs
