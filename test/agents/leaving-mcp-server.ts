import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'

/**
 * A local MCP server with children that ignore SIGTERM and have sessions of their own, so they are in no group of the
 * server. The first argument is a file for their process ids. If there is a second argument, a child drops the
 * environment.
 */
const [file = '', drops] = process.argv.slice(2)
const sleeps = (env: NodeJS.ProcessEnv): void => {
  const program = `process.on('SIGTERM', () => undefined); setInterval(() => undefined, 60_000); console.log('up')`
  const child = spawn(process.execPath, ['-e', program], { detached: true, env, stdio: ['ignore', 'pipe', 'ignore'] })
  child.stdout.once('data', () => appendFileSync(file, `${child.pid}\n`))
}
sleeps(process.env)
sleeps(drops === undefined ? process.env : {})
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
