#!/usr/bin/env bash
# Versions: ioredis 6.0.0.
# Expected: The client writes a Uint8Array as its bytes, because Buffer is a kind of Uint8Array.
# Actual: Only a Buffer is written as its bytes. Any other array of bytes is written as the text of its numbers, without an
#   error.
# Source: lib/Command of ioredis: arguments that are not a Buffer become strings.
# Reason to know it: Data that is encrypted for another node (WebCrypto, msgpack) is a Uint8Array.
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

const redis = new Redis(socket)
await redis.set('array', new Uint8Array([1, 2, 255]))
await redis.set('buffer', Buffer.from([1, 2, 255]))
const [array, buffer] = [await redis.getBuffer('array'), await redis.getBuffer('buffer')]
console.log(`a Uint8Array of 3 bytes is stored as ${array.length} bytes: ${array.toString()}`)
console.log(`a Buffer of 3 bytes as ${buffer.length}`)
redis.disconnect()
server.kill()
process.exit(array.toString() === '1,2,255' && buffer.length === 3 ? 0 : 1)
EOF
node probe.mjs
