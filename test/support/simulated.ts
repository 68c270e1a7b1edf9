import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CallingPerson } from '../../src/carrier/caller-end.js'
import { type CallerOptions, simulatedPerson } from '../../src/simulator/caller.js'
import type { CallReport } from '../../src/simulator/call-report.js'
import { vocabularyOf } from '../../src/simulator/vocabulary.js'
import { MKONDO } from '../cli/mkondo-process.js'
import { spawnOwn } from './spawn-own.js'

interface SimulatedRun {
  readonly code: number
  readonly calls: readonly CallReport[]
  /** Output of the command. */
  readonly output: string
}

interface SimulatedRunOptions {
  readonly port: number
  readonly opsPort: number
  readonly shopUrl?: string
  readonly agent?: string
  readonly args: readonly string[]
}

/** Complaints of the carrier, without complaints about webhooks that timed out on a busy machine. */
export function carrierComplaints(call: CallReport | undefined): readonly string[] | undefined {
  return call?.complaints.filter((complaint) => !complaint.includes('aborted due to timeout'))
}

/** Caller who is on the line and says nothing. */
export function silentCaller(speech: CallerOptions['speech']): CallingPerson {
  return simulatedPerson({
    script: { name: 'silent', rules: [], steps: [], reactionMs: 0, patienceMs: 25_000, order: null },
    voice: 'rms',
    line: { sampleRateHz: 8000 },
    speech,
    files: new Map(),
    record: false,
    timeoutMs: 30_000,
    vocabulary: vocabularyOf(null),
  })
}

/**
 * Runs `mkondo call` against a gateway on loopback, and reads its JSON. It is a separate process, like a carrier: if
 * the test and its gateway pause, the caller's sound and the line's echo keep their time.
 */
export async function simulateOneCall(options: SimulatedRunOptions): Promise<SimulatedRun> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-test-'))
  const file = join(folder, 'calls.json')
  try {
    const child = spawnOwn(
      process.execPath,
      [
        ...MKONDO,
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
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: {} },
    )
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    const [code] = (await once(child, 'close')) as [number | null]
    const { calls } = JSON.parse(await readFile(file, 'utf8')) as { calls: CallReport[] }
    return { code: code ?? -1, calls, output }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
