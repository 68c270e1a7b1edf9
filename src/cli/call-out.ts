import { setTimeout as sleep } from 'node:timers/promises'
import type { CallRecord } from '../call/documents/record.js'
import { opsClientOf } from './ops-client.js'
import type { OpsClient, OpsOptions } from './ops-client.js'
import { shown } from './terminal.js'
import type { Terminal } from './terminal.js'

/** The options of `mkondo call-out`. */
export interface CallOutOptions extends OpsOptions {
  readonly agent: string
  readonly to: string
  readonly from?: string
  readonly ignoreDoNotCall?: true
  /** False with `--no-wait`. */
  readonly wait: boolean
  /** Time limit in s. */
  readonly timeout: number
}

const POLL_MS = 500

/** `mkondo call-out`. */
export async function callOut(options: CallOutOptions, terminal: Terminal): Promise<number> {
  const { agent, to, from, ignoreDoNotCall, timeout: waitS, json: asJson = false } = options
  const ops = opsClientOf(options, terminal)
  const body = await ops.ask('/api/calls', { agent, to, from, ignoreDoNotCall })
  const callSid = typeof body['callSid'] === 'string' ? body['callSid'] : null
  if (!options.wait || callSid === null) {
    const label = (): string => callSid ?? `label ${String(body['clientRequestId'])}`
    return shown(options, terminal, body, () => `placed: ${label()}\n`)
  }
  if (!asJson) terminal.out(`${callSid}: it rings\n`)
  const record = await waitForEnd(
    ops,
    callSid,
    waitS,
    (state) => {
      if (!asJson) terminal.out(`${callSid}: ${state}\n`)
    },
    terminal.signal,
  )
  if (record === null) {
    const late = `${callSid}: still live after ${waitS} s; allowed: a longer --timeout\n`
    shown(options, terminal, { callSid, ended: false }, () => late)
    return 1
  }
  const result = record.outbound?.result ?? 'person'
  const took = (): string => `${(record.durationMs / 1000).toFixed(1)} s, ${record.outcome} (${record.endReason})`
  shown(options, terminal, record, () => `${callSid}: ${result}, ${took()}\n`)
  return result === 'person' ? 0 : 1
}

/** Record of the call, read after the call's end; null if the call does not end in time. */
async function waitForEnd(
  ops: OpsClient,
  callSid: string,
  waitS: number,
  onState: (state: string) => void,
  signal: AbortSignal | null,
): Promise<CallRecord | null> {
  const untilMs = performance.now() + waitS * 1000
  let last = ''
  while (performance.now() < untilMs && signal?.aborted !== true) {
    const { status, body } = await ops.answer(`/api/calls/${callSid}`)
    if (status === 200 && body['outcome'] !== undefined) return body as unknown as CallRecord
    const state = status === 200 ? String(body['state']) : last
    if (state !== last) onState(state)
    last = state
    await sleep(POLL_MS)
  }
  return null
}
