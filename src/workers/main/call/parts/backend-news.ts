import type { McpEvent } from '../../../../agents/tools/mcp-definition.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import type { MainPart, MainThings } from '../main-part.js'

/** Backend faults that an operator must repair. */
const FINAL_FAULTS: ReadonlySet<string> = new Set(['auth', 'quota', 'bad_request', 'overrun'])
const BACKEND_FAULT_WORDS: Readonly<Record<string, string>> = {
  auth: 'a backend refuses its key',
  quota: 'the account of a backend is empty',
  bad_request: 'a backend refuses its settings',
  rate_limit: 'a backend limits our requests',
  session_expired: 'a backend ended a session at its time limit',
  overrun: 'a backend sends without an end, and was cut off',
}

const MCP_CHANGED = 'an MCP server has changed'
/** Level and message in the log for each event of an MCP server. */
const MCP_LINES: Readonly<Record<McpEvent, readonly [level: 'info' | 'warn', message: string]>> = {
  up: ['info', MCP_CHANGED],
  changed: ['info', MCP_CHANGED],
  down: ['warn', MCP_CHANGED],
  overrun: ['warn', MCP_CHANGED],
  'session-lost': ['info', 'a session with an MCP server was lost: the gateway opens a new one'],
  incomplete: ['warn', 'an MCP server lacks tools that its agent names, or they cannot be used: they are not offered'],
  'stray-line': [
    'warn',
    'a local MCP server prints lines that are not messages of the protocol: the gateway skips them',
  ],
}

/** Reports of a call's worker about its backends and MCP servers, for the operator. */
export class BackendNews implements MainPart {
  readonly #of: Pick<MainThings, 'log' | 'context'>

  constructor(of: Pick<MainThings, 'log' | 'context'>) {
    this.#of = of
  }

  readonly messages = {
    'backend-error': ({ fault }) => {
      const { log, context } = this.#of
      const { backend, code, message: detail, sessionLost } = fault
      const level = FINAL_FAULTS.has(code) ? 'error' : 'warn'
      log[level]({ backend, code, detail, session_lost: sessionLost }, BACKEND_FAULT_WORDS[code] ?? 'a backend failed')
      context.backendStatus.fault(fault, context.wallClock())
    },
    'backend-session': ({ opened }) => this.#of.context.backendStatus.session(opened),
    circuit: ({ worker, circuit }) => {
      const { backendStatus, clock } = this.#of.context
      backendStatus.circuit(worker, circuit, clock())
    },
    'backend-limits': ({ backend, limits }) => {
      for (const { name, limit, remaining } of limits)
        this.#of.context.metrics.backendRateLimit(backend, name, remaining / limit)
    },
    failover: ({ from, to, gapMs, reason }) => {
      const { log, context } = this.#of
      log.warn({ from_backend: from, to_backend: to, gap_ms: Math.round(gapMs), reason }, 'another backend took over')
      context.backendStatus.takeover(from, to, gapMs)
    },
    mcp: ({ news: { server, event, failures, missing, reason } }) => {
      const [level, message] = MCP_LINES[event]
      this.#of.log[level](
        { server, event, failures, missing: event === 'incomplete' ? missing : [], detail: reason },
        message,
      )
    },
  } satisfies Handlers<FromCall>
}
