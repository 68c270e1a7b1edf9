import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'

/** A local MCP server with one tool, which adds another: the server says that its list has changed. */
const server = new McpServer({ name: 'changing', version: '1' })
const said = (text: string) => ({ content: [{ type: 'text' as const, text }] })
const later = server.registerTool('later', { description: 'Is there later.' }, () => said('later'))
later.disable()
server.registerTool('show', { description: 'Adds the other.' }, () => {
  later.enable()
  return said('shown')
})
await server.connect(new StdioServerTransport())
