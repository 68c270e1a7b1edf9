/**
 * A local MCP server that also logs to its standard output: a line before each answer. Each line is JSON, or looks like it, and none is
 * a message of the protocol.
 */
const STRAY = [
  '{"level":"info","msg":"started"}',
  '42',
  'null',
  '[]',
  '"x"',
  '{"jsonrpc":"2.0"}',
  '{',
  'listening …',
  '',
]
let answers = 0
process.stdout.write(`${STRAY.join('\n')}\n`)
process.stdin.on('data', (chunk: Buffer) => {
  for (const line of chunk.toString().split('\n').filter(Boolean)) {
    const { id, method } = JSON.parse(line) as { readonly id?: number; readonly method: string }
    if (id === undefined) continue
    const result =
      method === 'initialize'
        ? { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'x', version: '1' } }
        : method === 'tools/list'
          ? { tools: [{ name: 'echo', inputSchema: { type: 'object' } }] }
          : method === 'tools/call'
            ? { content: [{ type: 'text', text: `answer ${++answers}` }] }
            : null
    // The client first asks for methods of a later protocol.
    const answer = result === null ? { error: { code: -32601, message: 'Method not found' } } : { result }
    process.stdout.write(`${STRAY.join('\n')}\n${JSON.stringify({ jsonrpc: '2.0', id, ...answer })}\n`)
  }
})
// With an argument the server logs without an end.
if (process.argv[2] !== undefined) {
  const log = `${process.argv[2]}\n`.repeat(100)
  const send = (): void => {
    while (process.stdout.write(log));
    process.stdout.once('drain', send)
  }
  send()
}
