// A local MCP server with one tool, without a package: JSON-RPC, one message a line. With @modelcontextprotocol/sdk it is shorter
// (McpServer, StdioServerTransport).
import { createInterface } from 'node:readline'

/** Shelves by the title of a book. */
const SHELVES = { 'things fall apart': 'A4', 'the river between': 'N2' }

const TOOL = {
  name: 'find-book',
  description: 'The shelf on which a book stands. It fails where the library has no such book.',
  inputSchema: {
    type: 'object',
    properties: { title: { type: 'string', description: 'As the caller said it.' } },
    required: ['title'],
  },
}

function findBook({ title }) {
  const shelf = SHELVES[String(title).toLowerCase()]
  if (shelf === undefined) return { isError: true, content: [{ type: 'text', text: 'There is no such book.' }] }
  return { content: [{ type: 'text', text: JSON.stringify({ shelf }) }], structuredContent: { shelf } }
}

const METHODS = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: 'library', version: '1' },
  }),
  ping: () => ({}),
  'tools/list': () => ({ tools: [TOOL] }),
  'tools/call': ({ arguments: args = {} }) => findBook(args),
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params = {} } = JSON.parse(line)
  // A notification does not get an answer.
  if (id === undefined) continue
  const answer = METHODS[method]
  const outcome = answer ? { result: answer(params) } : { error: { code: -32601, message: `no method ${method}` } }
  console.log(JSON.stringify({ jsonrpc: '2.0', id, ...outcome }))
}
