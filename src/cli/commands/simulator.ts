import { randomUUID } from 'node:crypto'
import { CALLEE_KINDS, SIMULATOR_KEY as KEY, type CalleeKind } from '../../simulator/choices.js'
import type { SimulatorSettings } from '../../simulator/rest/simulator-command.js'
import { UsageError, withExitCodes } from '../exit-codes.js'
import { firstSecret, repeated, text, valued, webAddress, whole } from '../options.js'
import { untilSignal } from '../terminal.js'
import type { Define } from './define.js'

/** Options in commander's form. */
interface SimulatorOptions {
  readonly port: number
  readonly key?: readonly string[]
  readonly number?: readonly string[]
  readonly eventsUrl?: string
  readonly callee?: readonly (readonly [string, CalleeKind])[]
  readonly secret?: string
  readonly record?: true
  readonly ring: number
}

const NUMBER = '+254700000000'

export const defineSimulator: Define = (program, terminal, ends) => {
  const command = program
    .command('simulator')
    .description('run a simulated carrier for tests: its REST API, and people to call')
    .addOption(valued('--port <n>', 'port of its REST API on loopback', whole(0, 65_535)).default(4010))
    .addOption(
      repeated(
        '--key <key[=scopes]>',
        'an accepted API key, with all scopes or with these, separated by commas; may be repeated (scopes: numbers.read, numbers.claim, calls.read, calls.create, calls.supervise; default: sim_key_for_tests)',
        text,
      ),
    )
    .addOption(
      repeated('--number <number>', `a number of the workspace; may be repeated (default: ${NUMBER})`, fullNumber),
    )
    .addOption(valued('--events-url <url>', 'events webhook of these numbers', webAddress))
    .addOption(
      repeated(
        '--callee <number=kind>',
        `who answers at a number: ${CALLEE_KINDS.join(', ')} (person at any other)`,
        callee,
      ),
    )
    .option('--secret <secret>', 'signs the webhooks (default: the first of SAUTIKIT_WEBHOOK_SECRETS)')
    .option('--record', 'records calls, so that the recording can be fetched')
    .addOption(valued('--ring <ms>', 'how long a phone rings', whole(0, 60_000)).default(1500))
    .addHelpText(
      'after',
      `
To connect a gateway, set SAUTIKIT_API_URL=http://127.0.0.1:4010 SAUTIKIT_API_KEY=${KEY}; then use mkondo call-out,
mkondo numbers, mkondo calls. Faults on demand: POST /simulator/faults (docs/SIMULATOR.md).`,
    )
  withExitCodes(command, 'stopped', 'failed').action(async (options: SimulatorOptions) => {
    const settings = settingsOf(options, firstSecret(terminal.env))
    const { runSimulator } = await import('../../simulator/rest/simulator-command.js')
    await untilSignal(terminal, (signal) => runSimulator(settings, { out: terminal.out, signal }))
    ends(0)
  })
}

function settingsOf(options: SimulatorOptions, secret: string | null): SimulatorSettings {
  const keys = options.key ?? [KEY]
  const numbers = options.number ?? [NUMBER]
  return {
    port: options.port,
    ringMs: options.ring,
    record: options.record === true,
    keys: Object.fromEntries(
      keys.map((entry) => {
        const [key = '', scopes] = entry.split('=')
        return [key, scopes === undefined ? ('all' as const) : scopes.split(',')]
      }),
    ),
    numbers: numbers.map((e164) => ({
      id: `num_${randomUUID().slice(0, 8)}`,
      e164,
      status: 'active',
      voiceUrl: null,
      eventsUrl: options.eventsUrl ?? null,
    })),
    callees: new Map(options.callee ?? []),
    secret: options.secret ?? secret,
  }
}

function fullNumber(value: string, name: string): string {
  if (/^\+\d{7,15}$/.test(value)) return value
  throw new UsageError(`${name} is not a phone number; allowed: + and 7 to 15 digits, such as ${NUMBER}`)
}

function callee(value: string, name: string): readonly [string, CalleeKind] {
  const [number = '', kind] = value.split('=')
  const found = CALLEE_KINDS.find((one) => one === kind)
  if (found === undefined) throw new UsageError(`${name} is not NUMBER=KIND; allowed kinds: ${CALLEE_KINDS.join(', ')}`)
  return [fullNumber(number, name), found]
}
