/** A local MCP server that answers nothing and never stops sending notifications. */
const line = `${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x' } })}\n`
function send(): void {
  while (process.stdout.write(line.repeat(100)));
  process.stdout.once('drain', send)
}
send()
