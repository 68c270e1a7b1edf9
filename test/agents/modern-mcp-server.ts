import { McpServer } from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'

/** A local MCP server with one tool, which speaks no version before 2026-07-28. */
serveStdio(
  () => {
    const server = new McpServer({ name: 'modern', version: '1' })
    server.registerTool('say', { description: 'Says it.' }, () => ({ content: [{ type: 'text', text: 'said' }] }))
    return server
  },
  { legacy: 'reject' },
)
