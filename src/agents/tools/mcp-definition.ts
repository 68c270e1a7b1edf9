import { z } from 'zod'
import { TOOL_TIMEOUT_MS } from '../../core/limits.js'
import { sourcesOf } from '../file/template.js'
import {
  bindSchema,
  blockingSchema,
  ORIGIN,
  requiresSchema,
  schedulingSchema,
  template,
  templatesIn,
} from './tool-definition.js'
import { faultIn } from '../file/faults.js'

/** MCP servers of one agent, and tools of one server that it may use. */
const MCP_SERVERS_MAX = 8
const MCP_TOOLS_MAX = 40
/** Characters of a tool's name that services take. */
const TOOL_NAME_CHARS_MAX = 64

const serverTool = z.strictObject({
  name: z.string().min(1).max(128).describe('As the server names it.'),
  description: z.string().min(1).max(4000).exactOptional().describe("In place of the server's own."),
  bind: bindSchema,
  requires: requiresSchema,
  idempotent: z
    .boolean()
    .default(false)
    .describe('Lets it run again for one call of the model. What the server says of itself is not believed.'),
  timeoutMs: z.int().min(100).max(15_000).default(TOOL_TIMEOUT_MS).describe('Deadline of one call.'),
  blocking: blockingSchema,
  scheduling: schedulingSchema,
})

/** Servers whose tools an agent may use, over the Model Context Protocol. */
export const mcpSchema = z
  .array(
    z
      .strictObject({
        name: z
          .string()
          .regex(/^[a-z][a-z0-9]{0,19}$/, { error: 'must be 1 to 20 of a-z 0-9, beginning with a letter' })
          .describe('Begins the names of its tools: crm_find_customer.'),
        url: template
          .refine((text) => ORIGIN.test(text), { error: 'must begin with http://HOST, https://HOST or {{env.NAME}}' })
          .exactOptional()
          .describe('Address of a server with streamable HTTP.'),
        headers: z
          .record(z.string().regex(/^[A-Za-z0-9-]{1,60}$/), template)
          .default({})
          .describe('Headers of every request.'),
        allowPrivate: z
          .boolean()
          .default(false)
          .describe('Lets a host name of url resolve to a private or loopback address.'),
        command: z
          .array(z.string().min(1).max(1000))
          .min(1)
          .max(50)
          .exactOptional()
          .describe('Command of a local server (stdio): program and arguments, without a shell.'),
        env: z
          .record(z.string().regex(/^[A-Za-z_]\w{0,99}$/), template)
          .default({})
          .describe('Its environment, besides HOME, LOGNAME, PATH, SHELL, TERM and USER.'),
        tools: z
          .array(
            z.union([
              z
                .string()
                .min(1)
                .max(128)
                .transform((name) => serverTool.parse({ name })),
              serverTool,
            ]),
          )
          .min(1)
          .max(MCP_TOOLS_MAX)
          .describe('The tools that the agent may use; no others.'),
      })
      .superRefine((server, context) => {
        const fault = faultIn(context)
        const { url, command, headers, env, tools } = server
        if ((url === undefined) === (command === undefined)) fault(['url'], 'or command: one of the two')
        if (url === undefined && Object.keys(headers).length > 0) fault(['headers'], 'are for a server with a url')
        if (command === undefined && Object.keys(env).length > 0) fault(['env'], 'is for a server with a command')
        for (const { path, template: parsed } of mcpTemplates(server))
          for (const { scope } of sourcesOf(parsed))
            if (scope !== 'env') fault(path, 'may read {{env.NAME}} only: one connection serves all calls')
        tools.forEach((tool, index) => {
          const name = mcpToolName(server.name, tool.name)
          if (tools.findIndex((other) => mcpToolName(server.name, other.name) === name) < index)
            fault(['tools', index], `makes the name ${name} a second time`)
          if (name.length > TOOL_NAME_CHARS_MAX)
            fault(['tools', index], `makes the name ${name}, which has more than ${TOOL_NAME_CHARS_MAX} characters`)
          for (const { path, template: parsed } of templatesIn(tool.bind, ['tools', index, 'bind']))
            for (const { scope } of sourcesOf(parsed))
              if (scope === 'args' || scope === 'env' || (scope === 'identity' && tool.requires !== 'verified'))
                fault(path, 'may read {{call.…}}, {{business.…}} and, with requires: verified, {{identity.…}} only')
        })
      }),
  )
  .max(MCP_SERVERS_MAX)
  .superRefine((servers, context) => {
    servers.forEach(({ name }, index) => {
      if (servers.findIndex((other) => other.name === name) < index)
        context.addIssue({ code: 'custom', path: [index, 'name'], message: `${name} is the name of an earlier server` })
    })
  })

/** A server as an author writes it. */
export type McpServerInput = z.input<typeof mcpSchema>[number]
export type McpServerDefinition = z.output<typeof mcpSchema>[number]
export type McpToolDefinition = McpServerDefinition['tools'][number]

/** The name under which a model calls a server's tool: `_` stands for what services do not take in names. */
export function mcpToolName(server: string, tool: string): string {
  return `${server}_${tool.replace(/[^A-Za-z0-9_]/g, '_')}`
}

/** The tool of an agent's MCP servers that models know by that name. */
export function mcpToolOf(servers: readonly McpServerDefinition[], name: string): McpToolDefinition | undefined {
  return servers.flatMap((server) => server.tools.filter((tool) => mcpToolName(server.name, tool.name) === name))[0]
}

/** All names of tools that servers may give an agent, whether they are up or not. */
export function mcpToolNames(servers: readonly McpServerDefinition[]): readonly string[] {
  return servers.flatMap(({ name, tools }) => tools.map((tool) => mcpToolName(name, tool.name)))
}

/** The templates of a server's connection, each with its place. */
export function mcpTemplates({
  url,
  headers,
  env,
}: Pick<McpServerDefinition, 'headers' | 'env'> & { readonly url?: string }): ReturnType<typeof templatesIn> {
  return templatesIn({ url, headers, env })
}
