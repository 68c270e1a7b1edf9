import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CallerOptions } from '../../src/simulator/caller.js'
import type { CallReport } from '../../src/simulator/call-report.js'
import { COMMON_STATUSES } from '../../src/simulator/vocabulary.js'
import { command } from './command.js'

export interface SimulatedRun {
  readonly code: number
  readonly calls: readonly CallReport[]
  /** What the command printed. */
  readonly output: string
}

export interface SimulatedRunOptions {
  readonly port: number
  readonly opsPort: number
  readonly shopUrl?: string
  readonly agent?: string
  readonly args: readonly string[]
}

/** The carrier's complaints, without those about webhooks that timed out on a busy machine. */
export function carrierComplaints(call: CallReport | undefined): readonly string[] | undefined {
  return call?.complaints.filter((complaint) => !complaint.includes('aborted due to timeout'))
}

/** A caller who is on the line and says nothing. */
export function silentCaller(speech: CallerOptions['speech']): CallerOptions {
  return {
    script: { name: 'silent', rules: [], steps: [], reactionMs: 0, patienceMs: 25_000, order: null },
    voice: 'rms',
    line: { sampleRateHz: 8000 },
    speech,
    files: new Map(),
    record: false,
    timeoutMs: 30_000,
    vocabulary: { sentences: [], orders: [], etas: [], others: [], statuses: COMMON_STATUSES },
  }
}

/** `mkondo call` against a gateway on loopback, with its JSON read back. */
export async function simulateOneCall(options: SimulatedRunOptions): Promise<SimulatedRun> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-test-'))
  const file = join(folder, 'calls.json')
  try {
    const { code, out, err } = await command([
      'call',
      '--url',
      `http://127.0.0.1:${options.port}`,
      '--ops-url',
      `http://127.0.0.1:${options.opsPort}`,
      '--agent',
      options.agent ?? 'order-status',
      '--json',
      file,
      ...(options.shopUrl === undefined ? [] : ['--shop-url', options.shopUrl]),
      ...options.args,
    ])
    const { calls } = JSON.parse(await readFile(file, 'utf8')) as { calls: CallReport[] }
    return { code, calls, output: out + err }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
