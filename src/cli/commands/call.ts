import { SIMULATED_CALLS_MAX } from '../../core/limits.js'
import type { CallOptions } from '../../simulator/call-command.js'
import { AFTER_STREAM, CALLER_VOICES, HUMAN_OUTCOMES } from '../../carrier/choices.js'
import { CALL_DEFAULTS, INBOUND_OUTCOMES } from '../../simulator/choices.js'
import { contradictionIn, TELEPHONE_DIFFERENCES } from '../../simulator/telephones.js'
import { UsageError, withExitCodes } from '../exit-codes.js'
import {
  agentName,
  checked,
  chosen,
  firstSecret,
  jsonFileOption,
  jsonTarget,
  oneOf,
  origin,
  phoneNumber,
  repeated,
  text,
  valued,
  whole,
} from '../options.js'
import type { Terminal } from '../terminal.js'
import type { Define } from './define.js'

/** Options as commander parses them. */
interface Given extends Omit<CallOptions, 'url' | 'opsUrl' | 'json'> {
  readonly url?: string
  readonly opsUrl?: string
  readonly json?: string | true
}

export const defineCall: Define = (program, terminal, ends) => {
  const command = program
    .command('call')
    .description('place a simulated, spoken call to a running gateway')
    .optionsGroup(
      'Steps of the caller. By default the caller asks where the order is. A caller of the agent support asks a question, asks for the balance, reports a fault, and asks for a human. A caller of your own agent follows the first scenario beside its folder that every line can run, or asks for help if there is none:',
    )
    .addOption(
      valued('--order <n>', 'knows the order number and says it', (value, name) =>
        checked(name, value, (order) => /^\d{3,12}$/.test(order), '3 to 12 digits'),
      ),
    )
    .option('--interrupt', 'speaks over the greeting')
    .option('--human', 'asks for a person')
    .option('--wav <file>', 'plays a WAV file after the first words of the agent')
    .option('--script <file>', 'follows a script (docs/SIMULATOR.md)')
    .addOption(chosen('--voice <name>', 'voice of the caller', CALLER_VOICES).default(CALL_DEFAULTS.voice))
    .optionsGroup('The gateway:')
    .addOption(valued('--url <url>', 'public address of the gateway (default: http://127.0.0.1:PORT, 8080)', origin))
    .addOption(valued('--agent <name>', 'posts to /voice/NAME; without it to /voice', agentName))
    .addOption(valued('--from <number>', 'number of the caller', phoneNumber).default(CALL_DEFAULTS.from))
    .addOption(valued('--to <number>', 'called number', phoneNumber).default(CALL_DEFAULTS.to))
    .option('--secret <secret>', 'signs the webhooks (default: the first of SAUTIKIT_WEBHOOK_SECRETS)')
    .option('--json-webhooks', 'posts JSON instead of a form')
    .addOption(
      valued(
        '--ops-url <url>',
        'ops address, for transcript, tools and latencies (default: http://127.0.0.1:OPS_PORT, 9464; token in OPS_TOKEN)',
        origin,
      ),
    )
    .option('--shop-url <url>', "orders API that has the right answer (default: SHOP_API_URL, or the gateway's)")
    .option(
      '--agent-file <file>',
      'file of the agent, for the words to recognise (default: NAME.yaml in AGENTS_DIR or agents/)',
    )
    .optionsGroup('The line and the carrier:')
    .addOption(
      chosen('--rate <hz>', 'sample rate: 8000 for a phone line, 16000 for a softphone', ['8000', '16000']).default(
        CALL_DEFAULTS.rate,
      ),
    )
    .addOption(valued('--noise <db>', 'noise, this many dB below the voice', whole(0, 60)))
    .addOption(valued('--jitter <ms>', 'network delays of up to this many milliseconds', whole(1, 5000)))
    .addOption(
      valued(
        '--opening-burst <ms>',
        "length of the audio from before the stream in the carrier's first message; in it the caller says hello (default: 1220, without hello)",
        whole(0, 1900),
      ),
    )
    .addOption(
      repeated(
        '--telephone <difference>',
        'behave like a real telephone behind an Asterisk (docs/SIMULATOR.md); may be repeated',
        oneOf(TELEPHONE_DIFFERENCES),
        TELEPHONE_DIFFERENCES,
      ),
    )
    .addOption(valued('--echo <db>', "the agent's voice comes back as echo, this many dB softer", whole(0, 60)))
    .addOption(valued('--echo-delay <ms>', 'delay of the echo, 20 to 1000 (default: 80)', whole(20, 1000)))
    .addOption(valued('--seed <n>', 'seed of noise and jitter', whole(0, 0xffff_ffff)).default(CALL_DEFAULTS.seed))
    .addOption(
      chosen('--track-layout <layout>', 'layout of both_tracks', ['mono', 'mixed', 'stereo']).default(
        CALL_DEFAULTS.trackLayout,
      ),
    )
    .addOption(
      chosen('--after-stream <what>', 'what the carrier does after the stream', AFTER_STREAM).default(
        CALL_DEFAULTS.afterStream,
      ),
    )
    .addOption(chosen('--human-outcome <what>', 'result of a Dial', HUMAN_OUTCOMES).default(CALL_DEFAULTS.humanOutcome))
    .option('--ignore-kill', 'the carrier does not honour killAudio')
    .addOption(
      valued(
        '--api-port <n>',
        "runs the carrier's REST API on loopback, for a gateway with SAUTIKIT_API_URL=http://127.0.0.1:N",
        whole(0, 65_535),
      ),
    )
    .option('--api-key <key>', 'the key of that API (default: SAUTIKIT_API_KEY, or sim_key_for_tests)')
    .optionsGroup('Expectations, besides the goal of the caller:')
    .addOption(
      repeated(
        '--expect <text>',
        'the agent says TEXT, or words that match /EXPRESSION/; if repeated, the agent says all of them',
        words,
      ),
    )
    .addOption(
      repeated('--expect-tool <name>', 'the tool runs and succeeds; if repeated, all these tools succeed', text),
    )
    .addOption(
      repeated(
        '--expect-outcome <outcome>',
        'outcome of the call (default: any but failed); if repeated, one of these outcomes',
        oneOf(INBOUND_OUTCOMES),
        INBOUND_OUTCOMES,
      ),
    )
    .optionsGroup('Results:')
    .addOption(
      valued('--calls <n>', 'number of calls at once', whole(1, SIMULATED_CALLS_MAX)).default(CALL_DEFAULTS.calls),
    )
    .option('--record <file>', 'stereo WAV: the caller left, what the caller heard right')
    .addOption(jsonFileOption())
    .addOption(
      valued('--timeout <seconds>', 'maximum duration of the call', whole(5, 3600)).default(CALL_DEFAULTS.timeout),
    )
    .addHelpText(
      'after',
      `
Tools and outcomes are read from the gateway's record, so --expect-tool and --expect-outcome need the ops port.

Environment: PORT, OPS_PORT, OPS_TOKEN, SAUTIKIT_WEBHOOK_SECRETS, SHOP_API_URL and AGENTS_DIR, as the gateway has them.

Examples:
  mkondo call --agent order-status --order 4127
  mkondo call --agent order-status --order 4127 --interrupt --json -
  mkondo call --agent support --expect-outcome escalated`,
    )
  withExitCodes(
    command,
    'every call met the expectations',
    'a call did not meet them or failed, or there is no gateway or agent',
  ).action(async (options: Given) => {
    const { order, interrupt, human, wav, script, echo, echoDelay, openingBurst, telephone = [] } = options
    if (echoDelay !== undefined && echo === undefined) throw new UsageError('--echo-delay needs --echo')
    const contradiction = contradictionIn(telephone)
    if (contradiction !== null) throw new UsageError(`--telephone: ${contradiction}`)
    if (openingBurst !== undefined && telephone.some((name) => name === 'late-media' || name === 'ring-back'))
      throw new UsageError(
        '--opening-burst excludes --telephone late-media and ring-back: each of them decides what comes first',
      )
    const behaviours = [wav, script, order ?? interrupt, human].filter((one) => one !== undefined)
    if (behaviours.length > 1)
      throw new UsageError('--order/--interrupt, --human, --wav and --script exclude each other')
    const { env } = terminal
    const args: CallOptions = {
      ...options,
      url: options.url ?? onLoopback(env, 'PORT', '8080'),
      opsUrl: options.opsUrl ?? onLoopback(env, 'OPS_PORT', '9464'),
      secret: options.secret ?? firstSecret(env),
      json: jsonTarget(options.json),
    }
    const reports = await (await import('../../simulator/call-command.js')).placeCalls(args, terminal)
    ends(reports.every((report) => report.goal.reached) ? 0 : 1)
  })
}

/** Address of the gateway on this machine, with the port from the environment. */
function onLoopback(env: Terminal['env'], name: 'PORT' | 'OPS_PORT', otherwise: string): string {
  return `http://127.0.0.1:${whole(1, 65_535)(env[name] || otherwise, name)}`
}

function words(value: string, name: string): string {
  return checked(
    name,
    value,
    (given) => /[\p{L}\p{N}]/u.test(given),
    'words, or an expression such as /packed|on its way/',
  )
}
