import { setTimeout as sleep } from 'node:timers/promises'
import type { CallRecord } from '../call/record.js'
import { loadConfig } from '../config/load-config.js'
import { HELP_OPTION, PROCESS_TERMINAL, commandOptions, json, wrongUse } from './command-line.js'
import type { Terminal } from './command-line.js'
import { OpsClient, opsUrlOf, refusalOf } from './ops-client.js'

const HELP = `mkondo call-out --agent NAME --to NUMBER [--from NUMBER] [options]
  Asks a running gateway to ring a number; whoever answers talks to the agent. The gateway needs SAUTIKIT_API_KEY and
  PUBLIC_URL. The agent's outbound.screening tells answering machines from people.
  --from NUMBER    a number of your workspace (default: outbound.from of the agent)
  --no-wait        only places the call; without it the command waits for the call's end
  --timeout S      longest wait (900)
  --json           JSON instead of words: the record of the call, or with --no-wait what was placed
  --ops-url URL    ops port of the gateway (http://127.0.0.1:9464; token in OPS_TOKEN)
  --config FILE    settings file (default mkondo.yaml, if it is there)
  Exit code: 0 placed and, unless --no-wait, taken by a person; 1 not; 2 wrong usage.
`

const POLL_MS = 500
const WAIT_S_DEFAULT = 900

/** `mkondo call-out`. */
export async function callOut(argv: readonly string[], terminal: Terminal = PROCESS_TERMINAL): Promise<number> {
  const values = commandOptions('call-out', argv, {
    agent: { type: 'string' },
    to: { type: 'string' },
    from: { type: 'string' },
    'no-wait': { type: 'boolean', default: false },
    timeout: { type: 'string' },
    json: { type: 'boolean', default: false },
    'ops-url': { type: 'string' },
    config: { type: 'string' },
    help: HELP_OPTION,
  })
  if (values.help) {
    terminal.out(HELP)
    return 0
  }
  const { agent, to, from } = values
  if (agent === undefined || to === undefined) throw wrongUse('call-out', 'takes --agent and --to')
  const waitS = values.timeout === undefined ? WAIT_S_DEFAULT : Number(values.timeout)
  if (!Number.isInteger(waitS) || waitS < 1 || waitS > 7200)
    throw wrongUse('call-out', '--timeout is a whole number of seconds from 1 to 7200')
  const config = loadConfig(terminal.env, values.config ?? null)
  const ops = new OpsClient(values['ops-url'] ?? opsUrlOf(config), config.opsToken)
  const { status, body } = await ops.post('/api/calls', { agent, to, ...(from === undefined ? {} : { from }) })
  if (status !== 201) throw refusalOf(body, status)
  const callSid = typeof body['callSid'] === 'string' ? body['callSid'] : null
  if (values['no-wait'] || callSid === null) {
    terminal.out(values.json ? json(body) : `placed: ${callSid ?? `label ${String(body['clientRequestId'])}`}\n`)
    return 0
  }
  if (!values.json) terminal.out(`${callSid}: it rings\n`)
  const record = await waitForEnd(
    ops,
    callSid,
    waitS,
    (state) => {
      if (!values.json) terminal.out(`${callSid}: ${state}\n`)
    },
    terminal.signal,
  )
  if (record === null) {
    terminal.out(values.json ? json({ callSid, ended: false }) : `${callSid}: not over after ${waitS} s\n`)
    return 1
  }
  const result = record.outbound?.result ?? 'answered'
  terminal.out(
    values.json
      ? json(record)
      : `${callSid}: ${result}, ${(record.durationMs / 1000).toFixed(1)} s, ${record.outcome} (${record.endReason})\n`,
  )
  return result === 'answered' ? 0 : 1
}

/** The record of a call when it is over; null when it takes too long. */
async function waitForEnd(
  ops: OpsClient,
  callSid: string,
  waitS: number,
  onState: (state: string) => void,
  signal: AbortSignal | undefined,
): Promise<CallRecord | null> {
  const untilMs = performance.now() + waitS * 1000
  let last = ''
  while (performance.now() < untilMs && signal?.aborted !== true) {
    const { status, body } = await ops.get(`/api/calls/${callSid}`)
    if (status === 200 && body['outcome'] !== undefined) return body as unknown as CallRecord
    const state = status === 200 ? String(body['state']) : last
    if (state !== last) onState(state)
    last = state
    await sleep(POLL_MS)
  }
  return null
}
