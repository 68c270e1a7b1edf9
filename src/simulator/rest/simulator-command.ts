import { randomUUID } from 'node:crypto'
import { messageOf } from '../../core/errors.js'
import { firstSecret, flag, help, parsed, text, texts, UsageError, whole } from '../arguments.js'
import { CallerSpeech } from '../caller-speech.js'
import { COMMON_STATUSES } from '../vocabulary.js'
import { CALLEE_KINDS, callee, type CalleeKind, ringCallees } from './callees.js'
import { RestServer } from './rest-server.js'
import { type OwnedNumber, Workspace } from './workspace.js'

const SIMULATOR_USAGE = `mkondo simulator: runs a carrier to test against, until stopped

  mkondo simulator [--port N] [--key KEY[=SCOPES]] [--number NUMBER] [--callee NUMBER=KIND] [options]

  --port N               port of its REST API on loopback (4010)
  --key KEY[=SCOPES]     an accepted API key, with all scopes or with these, by commas; may be repeated
                         (sim_key_for_tests; scopes: numbers.read, numbers.claim, calls.read, calls.create, calls.supervise)
  --number NUMBER        a number of the workspace; may be repeated (+254700000000)
  --events-url URL       events webhook of these numbers
  --callee NUMBER=KIND   who answers at a number: ${CALLEE_KINDS.join(', ')} (person at any other)
  --secret SECRET        signs the webhooks (first of SAUTIKIT_WEBHOOK_SECRETS)
  --record               records calls, so that the recording can be fetched
  --ring MS              how long a phone rings (1500)

  Point a gateway at it with SAUTIKIT_API_URL=http://127.0.0.1:4010 SAUTIKIT_API_KEY=sim_key_for_tests, then mkondo call-out,
  mkondo numbers, mkondo calls. Faults on demand: POST /simulator/faults (docs/SIMULATOR.md).
  Exit code: 0 stopped, 1 failed, 2 wrong usage.
`

interface SimulatorIo {
  readonly out: (text: string) => unknown
  readonly err: (text: string) => unknown
  readonly env: Readonly<Record<string, string | undefined>>
  /** Aborting stops the simulator. */
  readonly signal: AbortSignal
}

const CALL_MS_MAX = 600_000

/** `mkondo simulator`. */
export async function runSimulatorCommand(argv: readonly string[], io: SimulatorIo): Promise<number> {
  try {
    const settings = readArguments(argv, io.env)
    if (settings === null) {
      io.out(SIMULATOR_USAGE)
      return 0
    }
    await serve(settings, io)
    return 0
  } catch (thrown) {
    io.err(
      `mkondo simulator: ${messageOf(thrown)}${thrown instanceof UsageError ? ' (see mkondo simulator --help)' : ''}\n`,
    )
    return thrown instanceof UsageError ? 2 : 1
  }
}

interface Settings {
  readonly port: number
  readonly keys: Readonly<Record<string, 'all' | readonly string[]>>
  readonly numbers: readonly OwnedNumber[]
  readonly callees: ReadonlyMap<string, CalleeKind>
  readonly secret: string | null
  readonly record: boolean
  readonly ringMs: number
}

async function serve(settings: Settings, io: SimulatorIo): Promise<void> {
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
        vocabulary: { sentences: [], orders: [], etas: [], others: [], statuses: COMMON_STATUSES },
      },
    }),
  })
  io.out(`the carrier's REST API is at ${server.origin}\n`)
  await new Promise<void>((resolve) => {
    if (io.signal.aborted) resolve()
    else
      io.signal.addEventListener(
        'abort',
        () => {
          resolve()
        },
        { once: true },
      )
  })
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

function readArguments(argv: readonly string[], env: SimulatorIo['env']): Settings | null {
  const { values } = parsed({
    args: [...argv],
    allowPositionals: false,
    options: {
      port: text,
      key: texts,
      number: texts,
      'events-url': text,
      callee: texts,
      secret: text,
      record: flag,
      ring: text,
      help: help,
    },
  })
  if (values.help === true) return null
  const events = values['events-url'] ?? null
  if (events !== null && !URL.canParse(events)) throw new UsageError('--events-url is no URL')
  return {
    port: whole('--port', values.port ?? '4010', 0, 65_535),
    ringMs: whole('--ring', values.ring ?? '1500', 0, 60_000),
    record: values.record === true,
    keys: Object.fromEntries(
      (values.key ?? ['sim_key_for_tests']).map((entry) => {
        const [key = '', scopes] = entry.split('=')
        return [key, scopes === undefined ? ('all' as const) : scopes.split(',')]
      }),
    ),
    numbers: (values.number ?? ['+254700000000']).map((e164) => {
      if (!/^\+\d{7,15}$/.test(e164)) throw new UsageError('--number has to be a phone number such as +254700000000')
      return { id: `num_${randomUUID().slice(0, 8)}`, e164, status: 'active', voiceUrl: null, eventsUrl: events }
    }),
    callees: new Map(
      (values.callee ?? []).map((entry) => {
        const [number = '', kind] = entry.split('=')
        const found = CALLEE_KINDS.find((one) => one === kind)
        if (found === undefined || !/^\+\d{7,15}$/.test(number))
          throw new UsageError(`--callee is NUMBER=KIND; kinds are ${CALLEE_KINDS.join(', ')}`)
        return [number, found]
      }),
    ),
    secret: values.secret ?? firstSecret(env),
  }
}
