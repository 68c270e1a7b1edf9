#!/usr/bin/env bash
# Versions: @modelcontextprotocol/client 2.4.0.
# Expected: After a restart of the server the client begins a new session. MCP's "Session Management" requires this from a
#   client whose session is answered with 404.
# Actual: Each later request is sent in the lost session and fails. The error for 404 has the code CLIENT_HTTP_NOT_IMPLEMENTED,
#   like the errors for other refusals. Only its `status` shows that the session is lost.
# Source: StreamableHTTPClientTransport.send; the result of this script.
# Reason to know it: After the restart of a tool server, all calls would lack its tools until the gateway restarts.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts @modelcontextprotocol/client@2.4.0 >/dev/null
cat >seen.mjs <<'EOF'
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'

let session = null
let sessions = 0
const server = createServer(async (request, response) => {
  let text = ''
  for await (const part of request) text += part
  if (request.method !== 'POST') return response.writeHead(405).end()
  const { id, method, params } = JSON.parse(text)
  const answer = (result) => {
    const headers = { 'content-type': 'application/json', 'mcp-session-id': session }
    response.writeHead(200, headers).end(JSON.stringify({ jsonrpc: '2.0', id, result }))
  }
  if (method === 'initialize') {
    session = randomUUID()
    sessions++
    const { protocolVersion } = params
    return answer({ protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'orders', version: '1' } })
  }
  if (request.headers['mcp-session-id'] !== session) return response.writeHead(404).end()
  if (id === undefined) return response.writeHead(202).end()
  answer({ tools: [] })
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const client = new Client({ name: 'asker', version: '1' })
await client.connect(new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${server.address().port}/`)))
await client.listTools()
session = null // the server restarts, and knows no session
const answers = []
for (let i = 0; i < 3; i++)
  answers.push(await client.listTools().then(() => 'tools', ({ code, status }) => `${code} (status ${status})`))
console.log(`after the restart: ${answers.join(', ')}; sessions: ${sessions}`)
process.exit(sessions === 1 && answers.every((each) => each === 'CLIENT_HTTP_NOT_IMPLEMENTED (status 404)') ? 0 : 1)
EOF
timeout 60 node seen.mjs
