import { parentPort, workerData } from 'node:worker_threads'
import { agentSchema } from '../../src/agents/file/definition.js'
import { ToolRunner } from '../../src/agents/tools/tool-runner.js'
import { HttpClient } from '../../src/http/http-client.js'

/** A thread, or a process of its own, that uses a local MCP server; its tools are its news, then it waits. */
const [, , given] = process.argv
const command = (given === undefined ? workerData : JSON.parse(given)) as string[]
const agent = agentSchema.parse({
  version: 1,
  name: 'a',
  instructions: 'x',
  mcp: [{ name: 'x', command, tools: ['echo'] }],
})
const runner = new ToolRunner(agent, {}, new HttpClient())
await runner.useServers(60_000)
const names = runner.serverTools().map(({ name }) => name)
if (parentPort === null) console.log(names.join())
else parentPort.postMessage(names)
setInterval(() => undefined, 60_000)
