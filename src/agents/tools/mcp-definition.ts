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

/** Maximum number of MCP servers of one agent. */
const MCP_SERVERS_MAX = 8
/** Maximum number of tools of one server that an agent may use. */
const MCP_TOOLS_MAX = 40
/** Maximum length in characters of a tool's name that all services accept. */
const TOOL_NAME_CHARS_MAX = 64

const serverTool = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(128)
    .describe(
      'Name of the tool at the server. A character that services do not accept in names becomes _ for the model.',
    ),
  description: z
    .string()
    .min(1)
    .max(4000)
    .exactOptional()
    .describe('Text for the model that says when to call the tool. Default: the description of the server.'),
  bind: bindSchema,
  requires: requiresSchema,
  idempotent: z
    .boolean()
    .default(false)
    .describe(
      "Lets the gateway run the tool a second time for one call of the model. The server's own annotations are ignored.",
    ),
  timeoutMs: z
    .int()
    .min(100)
    .max(15_000)
    .default(TOOL_TIMEOUT_MS)
    .describe(
      'Deadline of one call. After the deadline the gateway cancels the call at the server, and the model gets an error.',
    ),
  blocking: blockingSchema,
  scheduling: schedulingSchema,
})

/** Schema of `mcp:`: servers whose tools an agent may use, over the Model Context Protocol. */
export const mcpSchema = z
  .array(
    z
      .strictObject({
        name: z
          .string()
          .regex(/^[a-z][a-z0-9]{0,19}$/, { error: 'must be 1 to 20 characters of a-z 0-9, beginning with a letter' })
          .describe(
            'Name of the server, 1 to 20 characters of a-z 0-9, beginning with a letter. The name is the prefix of the names of its tools: crm_find_customer.',
          ),
        url: template
          .refine((text) => ORIGIN.test(text), { error: 'must begin with http://HOST, https://HOST or {{env.NAME}}' })
          .exactOptional()
          .describe('Address of a server with streamable HTTP. Each server has either url or command.'),
        headers: z
          .record(z.string().regex(/^[A-Za-z0-9-]{1,60}$/), template)
          .default({})
          .describe('Headers of every request. Values may have {{env.NAME}}.'),
        allowPrivate: z
          .boolean()
          .default(false)
          .describe(
            'Lets a host name of url resolve to a private or loopback address (docs/AGENTS.md#where-a-tool-may-connect).',
          ),
        command: z
          .array(z.string().min(1).max(1000))
          .min(1)
          .max(50)
          .exactOptional()
          .describe('Program and arguments of a local server (stdio). They are not passed to a shell.'),
        env: z
          .record(z.string().regex(/^[A-Za-z_]\w{0,99}$/), template)
          .default({})
          .describe('Environment of the local server, besides HOME, LOGNAME, PATH, SHELL, TERM and USER.'),
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
          .describe(
            'Tools that the agent may use, by name or as a section. Other tools of the server are never offered.',
          ),
      })
      .superRefine((server, context) => {
        const fault = faultIn(context)
        const { url, command, headers, env, tools } = server
        if ((url === undefined) === (command === undefined)) fault(['url'], 'or command must be set, but not both')
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

/** Events of a server, for the log and the metrics (`McpStatus`). */
export const MCP_EVENTS = ['up', 'down', 'changed', 'session-lost', 'overrun', 'stray-line', 'incomplete'] as const
export type McpEvent = (typeof MCP_EVENTS)[number]

/** An MCP server as written in an agent's file. */
export type McpServerInput = z.input<typeof mcpSchema>[number]
export type McpServerDefinition = z.output<typeof mcpSchema>[number]
export type McpToolDefinition = McpServerDefinition['tools'][number]

/**
 * Returns the name by which a model calls a server's tool. Characters that services do not accept in names are replaced
 * by `_`.
 */
export function mcpToolName(server: string, tool: string): string {
  return `${server}_${tool.replace(/[^A-Za-z0-9_]/g, '_')}`
}

/** Returns the tool of an agent's MCP servers that models call by this name. */
export function mcpToolOf(servers: readonly McpServerDefinition[], name: string): McpToolDefinition | undefined {
  return servers.flatMap((server) => server.tools.filter((tool) => mcpToolName(server.name, tool.name) === name))[0]
}

/** Returns the names of all tools that servers may supply to an agent, even if a server is down. */
export function mcpToolNames(servers: readonly McpServerDefinition[]): readonly string[] {
  return servers.flatMap(({ name, tools }) => tools.map((tool) => mcpToolName(name, tool.name)))
}

/** Returns the templates in a server's address, headers and environment, each with its path in the definition. */
export function mcpTemplates({
  url,
  headers,
  env,
}: Pick<McpServerDefinition, 'headers' | 'env'> & { readonly url?: string }): ReturnType<typeof templatesIn> {
  return templatesIn({ url, headers, env })
}
