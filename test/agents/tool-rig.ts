import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import type { AgentInput } from '../../src/agents/file/definition.js'
import { CallerIdentity } from '../../src/agents/tools/tool.js'
import { HttpClient } from '../../src/http/http-client.js'
import type { ToolContext } from '../../src/agents/tools/tool.js'
import { ToolRunner } from '../../src/agents/tools/tool-runner.js'
import { portOf } from '../support/port-of.js'

export type ToolInput = NonNullable<AgentInput['tools']>[number]

const CALLER = '+254700000001'

export function context(more: Partial<ToolContext> = {}): ToolContext {
  return {
    callSid: 'HD_000000000001',
    from: CALLER,
    to: '+254720000001',
    agent: 'a',
    language: 'en',
    idempotencyKey: 'HD_000000000001:1',
    caller: new CallerIdentity(),
    signal: new AbortController().signal,
    ...more,
  }
}

/** A real API on loopback that remembers what it was asked. */
export async function api(
  t: Test,
  handler: RequestListener,
): Promise<{ url: string; port: number; requests: IncomingMessage[]; bodies: string[] }> {
  const requests: IncomingMessage[] = []
  const bodies: string[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    let body = ''
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString()
    })
    request.on('end', () => {
      bodies.push(body)
      handler(request, response)
    })
  })
  const port = await portOf(t, server)
  return { url: `http://127.0.0.1:${port}`, port, requests, bodies }
}

/** Runs the tools of an agent. */
export function runnerOf(t: Test, agent: Partial<AgentInput>, env: Record<string, string> = {}): ToolRunner {
  const client = new HttpClient()
  t.teardown(() => client.close())
  return new ToolRunner(agentSchema.parse({ version: 1, name: 'a', instructions: 'x', ...agent }), env, client)
}

export function runner(
  t: Test,
  tool: Partial<ToolInput> & Pick<ToolInput, 'http'>,
  env: Record<string, string> = {},
): ToolRunner {
  return runnerOf(t, { tools: [{ name: 'look_up', description: 'x', ...tool }] }, env)
}

export const json = (response: ServerResponse, value: unknown, status = 200): void => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}
