import { agentNames } from '../agents/loader.js'
import { loadConfig } from '../config/load-config.js'
import { CARRIER_API_PAGES_MAX } from '../core/limits.js'
import { GatewayError } from '../core/errors.js'
import { isAgentName } from '../core/ids.js'
import type { AvailableNumber, CarrierNumber, CarrierNumbers } from '../sautikit-api/numbers.js'
import { allPages } from '../sautikit-api/http.js'
import { sameNumber } from '../sautikit/phone.js'
import type { Config } from '../config/settings.js'
import { requiredCarrierApi } from '../gateway/carrier-side.js'
import { agentsDirOf } from '../gateway/hosted-agents.js'
import {
  HELP_OPTION,
  PROCESS_TERMINAL,
  exactly,
  json,
  money,
  table,
  wordsAndOptions,
  wrongUse,
} from './command-line.js'
import type { Terminal } from './command-line.js'

const HELP = `mkondo numbers: the phone numbers of your workspace, through the carrier's API (SAUTIKIT_API_KEY)

  mkondo numbers list [--available]       your numbers and where they lead; --available: those that can be claimed
  mkondo numbers claim ID|NUMBER          claims one of the available
  mkondo numbers route ID|NUMBER --agent NAME | --url URL [--events-url URL]
                                          leads its calls to an agent of this gateway (PUBLIC_URL), or to a URL; the
                                          agent must be one of AGENTS_DIR on this machine, so for another's: --url

  --key TEXT     with claim: idempotency key; the same key never claims twice (a new one each time)
  --json         JSON instead of a table
  --config FILE  settings file (default mkondo.yaml, if it is there)

  Exit code: 0 done, 1 refused by the carrier or not there, 2 wrong usage.
`

const NUMBERS_MAX = 100 * CARRIER_API_PAGES_MAX

/** `mkondo numbers`. */
export async function numbers(argv: readonly string[], terminal: Terminal = PROCESS_TERMINAL): Promise<number> {
  const { values, words } = wordsAndOptions('numbers', argv, {
    available: { type: 'boolean', default: false },
    agent: { type: 'string' },
    url: { type: 'string' },
    'events-url': { type: 'string' },
    key: { type: 'string' },
    json: { type: 'boolean', default: false },
    config: { type: 'string' },
    help: HELP_OPTION,
  })
  if (values.help) {
    terminal.out(HELP)
    return 0
  }
  const [verb, ...rest] = words
  if (verb !== 'list' && verb !== 'claim' && verb !== 'route') throw wrongUse('numbers', 'takes list, claim or route')
  const config = loadConfig(terminal.env, values.config ?? null)
  // Wrong usage is reported before the carrier is asked.
  const names = exactly(`numbers ${verb}`, rest, ...(verb === 'list' ? [] : ['one number or its id']))
  const route = verb === 'route' ? await routeOf(values, config) : null
  const api = requiredCarrierApi(config).numbers
  if (verb === 'list') {
    const text = values.available ? await listAvailable(api, values.json) : await listOwned(api, values.json)
    terminal.out(text)
  } else if (verb === 'claim') {
    const wanted = await available(api, names[0] ?? '')
    const claimed = await api.claim(wanted, values.key === undefined ? {} : { idempotencyKey: values.key })
    terminal.out(values.json ? json(claimed) : `claimed ${claimed.e164 ?? claimed.id}, id ${claimed.id}\n`)
  } else if (route !== null) {
    const number = await owned(api, names[0] ?? '')
    const routed = await api.route(number.id, route)
    terminal.out(
      values.json
        ? json(routed ?? { ...number, ...route })
        : `${number.e164 ?? number.id} leads to ${route.voiceUrl}\n`,
    )
  }
  return 0
}

interface RouteValues {
  readonly agent?: string | undefined
  readonly url?: string | undefined
  readonly 'events-url'?: string | undefined
}

interface Route {
  readonly voiceUrl: string
  readonly eventsUrl: string | undefined
}

async function routeOf(values: RouteValues, config: Config): Promise<Route> {
  const { publicUrl } = config
  const { agent, url, 'events-url': events } = values
  if ((agent === undefined) === (url === undefined)) throw wrongUse('numbers route', 'takes --agent or --url')
  for (const address of [url, events])
    if (address !== undefined && !isWebAddress(address))
      throw wrongUse('numbers route', `${address} is no http or https address`)
  if (url !== undefined) return { voiceUrl: url, eventsUrl: events }
  if (agent === undefined || !isAgentName(agent)) throw wrongUse('numbers route', '--agent is a name of a-z 0-9 -')
  if (publicUrl === null)
    throw wrongUse('numbers route', '--agent needs PUBLIC_URL, the address at which the carrier reaches this gateway')
  const dir = agentsDirOf(config)
  const agents = await agentNames(dir)
  if (!agents.includes(agent)) {
    throw new GatewayError(
      'AGENT_UNKNOWN',
      `numbers route: --agent is '${agent}'; agents of ${dir} (AGENTS_DIR of this machine) are: ${agents.join(', ')}; ` +
        `if the gateway has others: --url ${publicUrl}/voice/${agent}`,
    )
  }
  return { voiceUrl: `${publicUrl}/voice/${agent}`, eventsUrl: events ?? `${publicUrl}/events` }
}

function isWebAddress(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}

async function listOwned(api: CarrierNumbers, asJson: boolean): Promise<string> {
  const { items, complete } = await allPages((cursor) => api.list(cursor), NUMBERS_MAX)
  if (asJson) return json({ numbers: items, complete })
  return (
    table(
      ['NUMBER', 'ID', 'STATUS', 'VOICE WEBHOOK', 'EVENTS'],
      items.map(({ e164, id, status, voiceUrl, eventsUrl }) => [
        e164 ?? '-',
        id,
        status ?? '-',
        voiceUrl ?? '-',
        eventsUrl ?? '-',
      ]),
      'no numbers yet: mkondo numbers list --available',
    ) + (complete ? '' : 'there are more\n')
  )
}

async function listAvailable(api: CarrierNumbers, asJson: boolean): Promise<string> {
  const { items, complete } = await allPages((cursor) => api.available(cursor), NUMBERS_MAX)
  if (asJson) return json({ available: items, complete })
  return (
    table(
      ['NUMBER', 'ID', 'A MONTH', 'CAN'],
      items.map(({ e164, inventoryId, monthlyPriceMinor, currency, capabilities }) => [
        e164 ?? '-',
        inventoryId,
        money(monthlyPriceMinor, currency),
        capabilities.join(' '),
      ]),
      'no number can be claimed now',
    ) + (complete ? '' : 'there are more\n')
  )
}

async function owned(api: CarrierNumbers, wanted: string): Promise<CarrierNumber> {
  const { items } = await allPages((cursor) => api.list(cursor), NUMBERS_MAX)
  const found = items.find(({ id, e164 }) => id === wanted || (e164 !== null && sameNumber(e164, wanted)))
  if (found === undefined) throw new Error('numbers: your workspace has no such number (mkondo numbers list)')
  return found
}

/** The inventory id of a number; any other text is taken as an id. */
async function available(api: CarrierNumbers, wanted: string): Promise<string> {
  if (!/^\+\d{7,15}$/.test(wanted)) return wanted
  const { items } = await allPages<AvailableNumber>((cursor) => api.available(cursor), NUMBERS_MAX)
  const found = items.find(({ e164 }) => e164 !== null && sameNumber(e164, wanted))
  if (found === undefined) throw new Error('numbers: that number cannot be claimed (mkondo numbers list --available)')
  return found.inventoryId
}
