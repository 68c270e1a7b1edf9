import { randomUUID } from 'node:crypto'
import { type DialRule, parseDialRule } from '../../exchange/dial-rules.js'
import { asteriskFiles } from '../../exchange/dialplan.js'
import { parseHeaderNames } from '../../exchange/invite-headers.js'
import { isAgentName } from '../../core/ids.js'
import { messageOf } from '../../core/errors.js'
import { UsageError, withExitCodes } from '../exit-codes.js'
import { firstSecret, origin, repeated, valued, whole } from '../options.js'
import { type Terminal, untilSignal } from '../terminal.js'
import type { Define } from './define.js'

/** Options in commander's form. */
interface ExchangeCommandOptions {
  readonly gateway: string
  readonly number?: readonly (readonly [number: string, agent: string])[]
  readonly host: string
  readonly port: number
  readonly apiPort: number
  readonly asterisk: string
  readonly asteriskUser: string
  readonly dial?: readonly DialRule[]
  readonly header?: readonly string[]
  readonly trunkHeaders?: true
  readonly calls: number
  readonly print?: true
}

/** Maximum number of calls of one exchange, because one thread of Node cannot serve more calls. */
const CALLS_MAX = 500

export const defineExchange: Define = (program, terminal, ends) => {
  const command = program
    .command('exchange')
    .description("run the carrier's side in front of an Asterisk of your own: real SIP phones and trunks")
    .addOption(
      repeated(
        '--number <number=agent>',
        'a called number and the agent that answers it; may be repeated',
        numberAgent,
      ),
    )
    .addOption(valued('--gateway <url>', 'public address of the gateway', origin).default('http://127.0.0.1:8080'))
    .option('--host <address>', 'address for the media sockets of Asterisk', '127.0.0.1')
    .addOption(valued('--port <n>', 'port for the media sockets of Asterisk', whole(0, 65_535)).default(4020))
    .addOption(valued('--api-port <n>', "port of the carrier's REST API on loopback", whole(0, 65_535)).default(4010))
    .addOption(
      repeated(
        '--header <name>',
        "copy this header of the caller's INVITE to the webhooks; may be repeated; --print needs it too",
        (value) => value,
      ),
    )
    .addOption(
      valued(
        '--calls <n>',
        'maximum number of calls at once; further calls go to the fallback',
        whole(1, CALLS_MAX),
      ).default(50),
    )
    .optionsGroup('Phones that are rung (placed calls, humans):')
    .addOption(
      repeated(
        '--dial <prefix=endpoint>',
        'numbers that may be rung, such as +2547=PJSIP/{number}@trunk; may be repeated (default: none)',
        dialRule,
      ),
    )
    .option(
      '--trunk-headers',
      "send the call's SID and the human's note to trunks (endpoints with @) too (default: phones only)",
    )
    .addOption(valued('--asterisk <url>', "Asterisk's HTTP server (ARI)", origin).default('http://127.0.0.1:8088'))
    .option('--asterisk-user <name>', 'user of ari.conf', 'mkondo')
    .optionsGroup('Setting up:')
    .option('--print', 'print the configuration for Asterisk, and end')
    .addHelpText(
      'after',
      `
Secrets come from the environment:
  EXCHANGE_SECRET            password of Asterisk's media sockets; required
  EXCHANGE_ARI_PASSWORD      password of the user of ari.conf; without it no phone is rung
  SAUTIKIT_WEBHOOK_SECRETS   the gateway's; the first one signs the webhooks
  SAUTIKIT_API_KEY           the gateway's; without it there is no REST API
  HANDOFF_SECRET             the gateway's; its HANDOFF_URL is then http://127.0.0.1:4020/handoff

Change only one setting of the gateway: SAUTIKIT_API_URL=http://127.0.0.1:4010 (docs/ASTERISK.md).`,
    )
  withExitCodes(command, 'stopped', 'failed').action(async (options: ExchangeCommandOptions) => {
    if (options.print === true) print(options, terminal)
    else await untilSignal(terminal, (signal) => runHere(options, terminal, signal))
    ends(0)
  })
}

function print({ port, host, header }: ExchangeCommandOptions, terminal: Terminal): void {
  const files = asteriskFiles({ address: addressOf(host, port), secret: null, headers: headerNames(header) })
  for (const [name, text] of Object.entries(files)) terminal.out(`; ${name}\n${text}\n`)
}

async function runHere(options: ExchangeCommandOptions, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const { env } = terminal
  const numbers = options.number ?? []
  if (numbers.length === 0)
    throw new UsageError('--number is missing; allowed: a number and an agent, such as 100=order-status')
  const mediaSecret = env['EXCHANGE_SECRET'] ?? ''
  if (!/^[\w-]{16,200}$/.test(mediaSecret))
    throw new UsageError('EXCHANGE_SECRET is missing or too weak; allowed: 16 to 200 characters of A-Z a-z 0-9 _ -')
  const password = env['EXCHANGE_ARI_PASSWORD'] ?? ''
  const key = env['SAUTIKIT_API_KEY'] ?? ''
  const [{ runExchange }, { createLog }] = await Promise.all([
    import('../../exchange/exchange.js'),
    import('../../telemetry/log.js'),
  ])
  const settings = {
    ...{ host: options.host, port: options.port, mediaSecret, callsMax: options.calls },
    numbers: numbers.map(([e164, agent]) => ({
      ...{ id: `num_${randomUUID().slice(0, 8)}`, e164, status: 'active' },
      ...{ voiceUrl: `${options.gateway}/voice/${agent}`, eventsUrl: `${options.gateway}/events` },
    })),
    webhookSecret: firstSecret(env),
    rest: key === '' ? null : { port: options.apiPort, key },
    ari: password === '' ? null : { url: options.asterisk, user: options.asteriskUser, password },
    headers: headerNames(options.header),
    handoffSecret: env['HANDOFF_SECRET'] || null,
    dialRules: options.dial ?? [],
    trunkHeaders: options.trunkHeaders === true,
    log: createLog({ level: 'info' }),
  }
  await runExchange(settings, signal, (exchange) => {
    terminal.out(`media sockets of Asterisk: ${addressOf(options.host, exchange.port)}\n`)
    terminal.out(`the carrier's REST API: ${exchange.restOrigin ?? 'none, because SAUTIKIT_API_KEY is not set'}\n`)
    if (settings.ari === null) terminal.out('phones are not rung, because EXCHANGE_ARI_PASSWORD is not set\n')
    else if (settings.dialRules.length === 0) terminal.out('phones are not rung, because there is no --dial\n')
    if (settings.webhookSecret === null)
      terminal.out('webhooks are not signed, because SAUTIKIT_WEBHOOK_SECRETS is not set\n')
  })
}

function addressOf(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

function numberAgent(value: string, name: string): readonly [string, string] {
  const [number = '', agent = ''] = value.split('=')
  if (/^\+?\d{2,15}$/.test(number) && isAgentName(agent)) return [number, agent]
  throw new UsageError(
    `${name} is not NUMBER=AGENT; allowed: 2 to 15 digits and the name of an agent, such as 100=order-status`,
  )
}

function headerNames(names: readonly string[] = []): readonly string[] {
  try {
    return parseHeaderNames(names)
  } catch (thrown) {
    throw new UsageError(`--header: ${messageOf(thrown)}`)
  }
}

function dialRule(value: string, name: string): DialRule {
  try {
    return parseDialRule(value)
  } catch (thrown) {
    throw new UsageError(`${name}: ${messageOf(thrown)}`)
  }
}
