#!/usr/bin/env bash
# Versions: ioredis 6.0.0 with a Redis and a Sentinel of Debian (7.0), openssl 3.
# Expected: The option `tls` of a client with Sentinels applies to the Sentinels and to the master, at least with
#   `enableTLSForSentinelMode`.
# Actual: Requests to the Sentinels are in plain text with either option. Only `sentinelTLS` changes this. Requests to the
#   master are also in plain text if `tls` is given without `enableTLSForSentinelMode`.
# Source: lib/connectors/SentinelConnector of ioredis: connectToSentinel has `tls: this.options.sentinelTLS`, and connect uses
#   `tls` only if `enableTLSForSentinelMode` is true.
# Reason to know it: For a URL with TLS the program must set all three options. Otherwise a part of the fleet's traffic is not
#   encrypted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts ioredis@6.0.0 >/dev/null
for program in redis-server openssl; do command -v "$program" >/dev/null || { echo "needs $program"; exit 3; }; done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -keyout key.pem -out certificate.pem 2>/dev/null
cat >probe.mjs <<'EOF'
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'

/** A relay to a port that notes how each connection begins: 0x16 is the first byte of TLS. */
const relay = (port, seen) =>
  new Promise((resolve) => {
    const server = createServer((client) => {
      const target = connect(port, '127.0.0.1')
      client.once('data', (first) => seen.push(first[0] === 0x16 ? 'TLS' : 'plain text'))
      client.pipe(target).pipe(client)
      for (const socket of [client, target]) socket.on('error', () => {}).on('close', () => (client.destroy(), target.destroy()))
    }).listen(0, '127.0.0.1', () => resolve(server.address().port))
  })
const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
const [masterPort, sentinelPort] = [await freePort(), await freePort()]
const asked = { master: [], sentinel: [] }
const masterRelay = await relay(masterPort, asked.master)
const sentinelRelay = await relay(sentinelPort, asked.sentinel)
// Both have TLS alone: plain text is refused.
const tls = (port) =>
  `bind 127.0.0.1\nport 0\ntls-port ${port}\ntls-cert-file certificate.pem\ntls-key-file key.pem\ntls-ca-cert-file certificate.pem\ntls-auth-clients no\n`
writeFileSync('master.conf', `${tls(masterPort)}save ""\n`)
writeFileSync(
  'sentinel.conf',
  `${tls(sentinelPort)}tls-replication yes\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel monitor main localhost ${masterPort} 1\n`,
)
const servers = [['master.conf'], ['sentinel.conf', '--sentinel']].map((args) =>
  spawn('redis-server', args, { stdio: 'ignore' }),
)
const ca = readFileSync('certificate.pem')
const use = async (options) => {
  asked.master.length = asked.sentinel.length = 0
  const client = new Redis({
    sentinels: [{ host: 'localhost', port: sentinelRelay }],
    name: 'main',
    natMap: { [`localhost:${masterPort}`]: { host: 'localhost', port: masterRelay } },
    sentinelRetryStrategy: null,
    retryStrategy: null,
    connectTimeout: 3000,
    sentinelCommandTimeout: 3000,
    lazyConnect: true,
    ...options,
  })
  client.on('error', () => {})
  const answer = await client.connect().then(
    () => client.ping(),
    (error) => error.message,
  )
  client.disconnect()
  return `Sentinel ${[...new Set(asked.sentinel)]}, master ${[...new Set(asked.master)].join() || 'not asked'}, ${answer === 'PONG' ? 'works' : 'fails'}`
}
const cases = {
  'tls': { tls: { ca } },
  'tls, enableTLSForSentinelMode': { tls: { ca }, enableTLSForSentinelMode: true },
  'tls, sentinelTLS': { tls: { ca }, sentinelTLS: { ca } },
  'tls, enableTLSForSentinelMode, sentinelTLS': { tls: { ca }, enableTLSForSentinelMode: true, sentinelTLS: { ca } },
}
try {
  const last = cases['tls, enableTLSForSentinelMode, sentinelTLS']
  for (let i = 0; i < 100 && !(await use(last)).endsWith('works'); i++) await setTimeout(50)
  const found = []
  for (const [name, options] of Object.entries(cases)) {
    found.push(await use(options))
    console.log(`${name}: ${found.at(-1)}`)
  }
  const expected = [
    'Sentinel plain text, master not asked, fails',
    'Sentinel plain text, master not asked, fails',
    'Sentinel TLS, master plain text, fails',
    'Sentinel TLS, master TLS, works',
  ]
  process.exitCode = JSON.stringify(found) === JSON.stringify(expected) ? 0 : 1
} finally {
  for (const server of servers) server.kill()
}
process.exit()
EOF
node probe.mjs
