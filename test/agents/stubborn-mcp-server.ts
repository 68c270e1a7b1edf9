import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'

/**
 * A local MCP server with a child. Both ignore SIGTERM and the end of their input, and write their process ids to the file that is
 * the first argument.
 */
const [file = '', isChild] = process.argv.slice(2)
process.on('SIGTERM', () => undefined)
setInterval(() => undefined, 60_000)
appendFileSync(file, `${process.pid}\n`)
if (isChild === undefined) {
  spawn(process.execPath, [process.argv[1] ?? '', file, 'child'], { stdio: ['ignore', 'inherit', 'ignore'] })
  process.stdin.on('data', (chunk: Buffer) => {
    for (const line of chunk.toString().split('\n').filter(Boolean)) {
      const { id, method } = JSON.parse(line) as { readonly id?: number; readonly method: string }
      const result =
        method === 'initialize'
          ? { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'x', version: '1' } }
          : { tools: [{ name: 'echo', inputSchema: { type: 'object' } }] }
      if (id !== undefined) process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`)
    }
  })
}
