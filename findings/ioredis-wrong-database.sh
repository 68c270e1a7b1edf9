#!/usr/bin/env bash
# Versions: ioredis 6.0.0 with a Redis of Debian (7.0).
# Expected: If the server does not have the database of a connection, the connection is not ready, and its commands fail.
# Actual: The error is only an event. The connection becomes ready, and its commands read and write database 0.
# Source: lib/redis/event_handler of ioredis: the answer to SELECT is only emitted.
# Reason to know it: Two fleets that share a Redis by database number would share their calls.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts ioredis@6.0.0 >/dev/null
command -v redis-server >/dev/null || { echo 'needs redis-server'; exit 3; }
cat >probe.mjs <<'EOF'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'

const socket = `${process.cwd()}/redis.sock`
const server = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', '', '--databases', '4'], {
  stdio: 'ignore',
})
while (!existsSync(socket)) await setTimeout(20)

const [first, ninth] = [new Redis(socket), new Redis({ path: socket, db: 9 })]
const errors = []
ninth.on('error', (error) => errors.push(error.message))
await first.set('key', 'of database 0')
const read = await ninth.get('key')
console.log(`asked for database 9 of 4: status ${ninth.status}, event error: ${errors.join(', ')}`)
console.log(`its value of key: ${read}`)
first.disconnect()
ninth.disconnect()
server.kill()
process.exit(ninth.status !== 'reconnecting' && read === 'of database 0' && errors.length > 0 ? 0 : 1)
EOF
node probe.mjs
