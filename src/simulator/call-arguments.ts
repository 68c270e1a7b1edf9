import { parseArgs } from 'node:util'
import { messageOf } from '../core/errors.js'
import { isAgentName } from '../core/ids.js'
import type { LegRateHz } from '../core/units.js'
import type { TrackLayout } from './audio-fork.js'
import type { CallOutcome } from '../call/record.js'
import type { AfterStream, HumanOutcome } from './call-options.js'
import { OUTCOMES } from './scenarios/scenario-schema.js'
import { textPattern, type TextPattern } from './scenarios/text-pattern.js'
import { SIMULATED_CALLS_MAX } from './simulate.js'
import { CALLER_VOICES, isCallerVoice, type CallerVoice } from './voices.js'

export const CALL_USAGE = `mkondo call: places a simulated call, spoken, into a running gateway

  mkondo call [--url URL] [--agent NAME] [what the caller does] [options]

  What the caller does (order-status: asks where the order is; support: a question, the balance, a fault, then a human)
    --order N            knows the order number and says it
    --interrupt          speaks over the greeting
    --human              asks for a person
    --wav FILE           plays a WAV file (16-bit PCM, 8 or 16 kHz)
    --script FILE        follows a script (docs/SIMULATOR.md)
    --voice ${CALLER_VOICES.join('|')}    voice of the caller (rms)

  Where to
    --url URL            public address of the gateway (http://127.0.0.1:PORT, 8080)
    --agent NAME         posts to /voice/NAME; without it to /voice
    --from, --to NUMBER  caller and called number (+254700000001, +254700000000)
    --secret SECRET      signs the webhooks (first of SAUTIKIT_WEBHOOK_SECRETS)
    --json-webhooks      posts JSON instead of a form
    --ops-url URL        ops address, for transcript, tools and latencies (http://127.0.0.1:OPS_PORT, 9464; token in OPS_TOKEN)
    --shop-url URL       orders API to learn the right answer from (SHOP_API_URL)
    --agent-file FILE    what the agent may say (AGENTS_DIR or agents/, NAME.yaml)

  The line and the carrier
    --rate 8000|16000    phone line, or softphone without one (8000)
    --noise DB           noise, that many dB below the voice
    --jitter MS          network hold-ups of up to MS milliseconds
    --echo DB            the agent's voice comes back on the caller's side, that many dB softer
    --echo-delay MS      and so much later, 20 to 1000 (80)
    --seed N             for noise and jitter (1)
    --track-layout mono|mixed|stereo               how both_tracks looks (mixed)
    --after-stream continues|reposts|holds         what follows the stream's end (continues)
    --human-outcome answered|busy|no-answer|declined   what becomes of a Dial (answered)
    --ignore-kill        the carrier does not honour killAudio
  --api-port N         runs the carrier's REST API on loopback, for a gateway with SAUTIKIT_API_URL=http://127.0.0.1:N
  --api-key KEY        the key that it knows (SAUTIKIT_API_KEY, or sim_key_for_tests)

  What has to come of it, besides what the caller calls for
    --expect TEXT        the agent says TEXT, or /an expression/; may be repeated: each of them
    --expect-tool NAME   the tool runs and succeeds; may be repeated: each of them
    --expect-outcome OUTCOME   ${OUTCOMES.join('|')}; may be repeated: one of them (else anything but failed)
                         Tools and outcomes are judged by the gateway's record, so the ops port has to be reachable.

  Results
    --calls N            so many calls at once (1, at most ${SIMULATED_CALLS_MAX})
    --record FILE        stereo WAV: the caller left, what the caller heard right
    --json FILE|-        the calls as JSON
    --timeout S          longest call in seconds (120)

  Environment: PORT, OPS_PORT, OPS_TOKEN, SAUTIKIT_WEBHOOK_SECRETS, SHOP_API_URL and AGENTS_DIR, as the gateway has them.
  Exit code: 0 each call did what was asked; 1 one did not (also: it failed, no agent took it, no gateway is there); 2 wrong usage.
`

export interface CallArguments {
  readonly url: string
  readonly agent: string | null
  readonly from: string
  readonly to: string
  readonly order: string | null
  readonly interrupt: boolean
  readonly human: boolean
  readonly wav: string | null
  readonly script: string | null
  readonly voice: CallerVoice
  readonly secret: string | null
  readonly jsonWebhooks: boolean
  readonly opsUrl: string
  readonly shopUrl: string | null
  readonly agentFile: string | null
  readonly rateHz: LegRateHz
  readonly noiseDb: number | null
  readonly jitterMs: number | null
  /** As the line takes it; null for none. */
  readonly echo: { readonly levelDb: number; readonly delayMs: number } | null
  readonly seed: number
  readonly trackLayout: TrackLayout
  readonly afterStream: AfterStream
  readonly humanOutcome: HumanOutcome
  readonly ignoreKill: boolean
  /** Null: no REST API. */
  readonly api: { readonly port: number; readonly key: string } | null
  readonly calls: number
  readonly record: string | null
  readonly json: string | null
  readonly timeoutS: number
  readonly expect: {
    readonly texts: readonly TextPattern[]
    readonly tools: readonly string[]
    readonly outcomes: readonly CallOutcome[]
  }
}

/** Wrong usage; the message is one line for the person at the terminal. */
export class UsageError extends Error {}

const text = { type: 'string' } as const
const texts = { type: 'string', multiple: true } as const
const flag = { type: 'boolean' } as const

/**
 * Reads the command line of `mkondo call`.
 * @returns null when help is wanted
 * @throws UsageError
 */
export function parseCallArguments(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): CallArguments | null {
  const values = rawValues(argv)
  if (values.help === true) return null
  const behaviours = [values.wav, values.script, values.order ?? (values.interrupt === true ? 'interrupt' : undefined), values.human === true ? 'human' : undefined]
  if (values['echo-delay'] !== undefined && values.echo === undefined) throw new UsageError('--echo-delay needs --echo')
  if (behaviours.filter((one) => one !== undefined).length > 1) throw new UsageError('--order/--interrupt, --human, --wav and --script exclude each other')
  return {
    url: origin('--url', values.url ?? onLoopback(env, 'PORT', '8080')),
    agent: values.agent === undefined ? null : checked('--agent', values.agent, isAgentName, 'a name of a-z 0-9 -'),
    from: number('--from', values.from ?? '+254700000001'),
    to: number('--to', values.to ?? '+254700000000'),
    order: values.order === undefined ? null : checked('--order', values.order, (order) => /^\d{3,12}$/.test(order), '3 to 12 digits'),
    interrupt: values.interrupt === true, human: values.human === true,
    wav: values.wav ?? null, script: values.script ?? null,
    voice: oneOf('--voice', values.voice ?? 'rms', CALLER_VOICES.filter(isCallerVoice)),
    secret: values.secret ?? env['SAUTIKIT_WEBHOOK_SECRETS']?.split(',')[0]?.trim() ?? null,
    jsonWebhooks: values['json-webhooks'] === true,
    opsUrl: origin('--ops-url', values['ops-url'] ?? onLoopback(env, 'OPS_PORT', '9464')),
    shopUrl: values['shop-url'] ?? env['SHOP_API_URL'] ?? null,
    agentFile: values['agent-file'] ?? null,
    rateHz: oneOf('--rate', values.rate ?? '8000', ['8000', '16000']) === '8000' ? 8000 : 16000,
    noiseDb: values.noise === undefined ? null : whole('--noise', values.noise, 0, 60),
    jitterMs: values.jitter === undefined ? null : whole('--jitter', values.jitter, 1, 5000),
    echo: values.echo === undefined ? null : {
      levelDb: -whole('--echo', values.echo, 0, 60), delayMs: whole('--echo-delay', values['echo-delay'] ?? '80', 20, 1000),
    },
    seed: whole('--seed', values.seed ?? '1', 0, 0xffff_ffff),
    trackLayout: oneOf('--track-layout', values['track-layout'] ?? 'mixed', ['mono', 'mixed', 'stereo']),
    afterStream: oneOf('--after-stream', values['after-stream'] ?? 'continues', ['continues', 'reposts', 'holds']),
    humanOutcome: oneOf('--human-outcome', values['human-outcome'] ?? 'answered', ['answered', 'busy', 'no-answer', 'declined']),
    ignoreKill: values['ignore-kill'] === true,
    api: values['api-port'] === undefined ? null : {
      port: whole('--api-port', values['api-port'], 0, 65_535), key: values['api-key'] ?? env['SAUTIKIT_API_KEY'] ?? 'sim_key_for_tests',
    },
    calls: whole('--calls', values.calls ?? '1', 1, SIMULATED_CALLS_MAX),
    record: values.record ?? null, json: values.json ?? null,
    timeoutS: whole('--timeout', values.timeout ?? '120', 5, 3600),
    expect: {
      texts: (values.expect ?? []).map(pattern),
      tools: values['expect-tool'] ?? [],
      outcomes: (values['expect-outcome'] ?? []).map((outcome) => oneOf('--expect-outcome', outcome, OUTCOMES)),
    },
  }
}

/** The gateway of the same environment, on this machine. */
function onLoopback(env: Readonly<Record<string, string | undefined>>, name: 'PORT' | 'OPS_PORT', otherwise: string): string {
  return `http://127.0.0.1:${whole(name, env[name] || otherwise, 1, 65_535)}`
}

function pattern(source: string): TextPattern {
  checked('--expect', source, (given) => /[\p{L}\p{N}]/u.test(given), 'words, or an expression such as /packed|on its way/')
  try {
    return textPattern(source)
  } catch (thrown) {
    throw new UsageError(`--expect is ${JSON.stringify(source)}: ${messageOf(thrown)}`)
  }
}

function rawValues(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv], allowPositionals: false, options: {
        'url': text, 'agent': text, 'from': text, 'to': text, 'order': text, 'interrupt': flag, 'human': flag, 'wav': text, 'script': text, 'voice': text,
        'secret': text, 'json-webhooks': flag, 'ops-url': text, 'shop-url': text, 'agent-file': text, 'rate': text, 'noise': text, 'jitter': text, 'echo': text, 'echo-delay': text,
        'seed': text, 'track-layout': text, 'after-stream': text, 'human-outcome': text, 'ignore-kill': flag, 'api-port': text, 'api-key': text, 'calls': text, 'record': text,
        'json': text, 'timeout': text, 'expect': texts, 'expect-tool': texts, 'expect-outcome': texts, 'help': { type: 'boolean', short: 'h' },
      },
    }).values
  } catch (thrown) {
    throw new UsageError(messageOf(thrown).split('\n')[0] ?? 'wrong usage')
  }
}

function checked(name: string, value: string, isRight: (value: string) => boolean, allowed: string): string {
  if (isRight(value)) return value
  throw new UsageError(`${name} is ${JSON.stringify(value)}; it has to be ${allowed}`)
}

function oneOf<const T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value)
  if (found !== undefined) return found
  throw new UsageError(`${name} is ${JSON.stringify(value)}; it has to be one of ${allowed.join(', ')}`)
}

function whole(name: string, value: string, least: number, most: number): number {
  checked(name, value, (digits) => /^\d+$/.test(digits) && Number(digits) >= least && Number(digits) <= most, `a whole number from ${least} to ${most}`)
  return Number(value)
}

function origin(name: string, value: string): string {
  const isOrigin = (url: string): boolean => URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)
  return checked(name, value, isOrigin, 'an http or https address').replace(/\/+$/, '')
}

/** The message never repeats the number: it may be someone's. */
function number(name: string, value: string): string {
  if (/^\+?[0-9]{3,15}$/.test(value)) return value
  throw new UsageError(`${name} has to be a phone number such as +254700000001`)
}
