import { once } from 'node:events'
import { CallerSpeech } from '../caller-speech.js'
import { vocabularyOf } from '../vocabulary.js'
import type { CalleeKind } from '../choices.js'
import { callee, ringCallees } from './callees.js'
import { RestServer } from '../../carrier/rest-server.js'
import { type OwnedNumber, Workspace } from '../../carrier/workspace.js'

interface SimulatorIo {
  readonly out: (text: string) => unknown
  /** Aborting stops the simulator. */
  readonly signal: AbortSignal
}

const CALL_MS_MAX = 600_000

/** The options of `mkondo simulator`. */
export interface SimulatorSettings {
  readonly port: number
  readonly keys: Readonly<Record<string, 'all' | readonly string[]>>
  readonly numbers: readonly OwnedNumber[]
  readonly callees: ReadonlyMap<string, CalleeKind>
  readonly secret: string | null
  readonly record: boolean
  readonly ringMs: number
}

/** Runs a simulated carrier for tests until `io.signal` aborts. */
export async function runSimulator(settings: SimulatorSettings, io: SimulatorIo): Promise<void> {
  const speech = await CallerSpeech.start(null)
  const workspace = new Workspace({
    owned: settings.numbers,
    inventory: ['+254700000090', '+254700000091', '+254700000092'].map((e164, index) => ({
      inventoryId: `inv_${index + 1}`,
      e164,
      monthlyPriceMinor: 100_000,
    })),
  })
  const server = await RestServer.start({
    workspace,
    keys: settings.keys,
    port: settings.port,
    place: ringCallees({
      workspace,
      callee: (number) => callee(settings.callees.get(number) ?? 'person', { ringMs: settings.ringMs }),
      carrier: {
        secret: settings.secret,
        onEvent: ({ callSid, type, ...more }) => io.out(`${callSid} ${type} ${eventText(more)}\n`),
      },
      person: {
        voice: 'rms',
        line: { sampleRateHz: 8000 },
        speech,
        record: settings.record,
        timeoutMs: CALL_MS_MAX,
        vocabulary: vocabularyOf(null),
      },
    }),
  })
  io.out(`the carrier's REST API is at ${server.origin}\n`)
  if (!io.signal.aborted) await once(io.signal, 'abort')
  for (const entry of workspace.calls()) entry.leg.hangUp()
  await server.close()
  await speech.close()
}

function eventText(more: Readonly<Record<string, unknown>>): string {
  return Object.entries(more)
    .filter(([name]) => name !== 'atMs')
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ')
}
