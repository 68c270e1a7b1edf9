import { agentNames } from '../agents/file/loader.js'
import { loadConfig } from '../config/load-config.js'
import { CARRIER_API_PAGES_MAX } from '../core/limits.js'
import { GatewayError } from '../core/errors.js'
import type { AvailableNumber, CarrierNumber, CarrierNumbers } from '../sautikit-api/numbers.js'
import { allPages } from '../sautikit-api/http.js'
import { sameNumber, subscriberNumber, useCountry } from '../sautikit/phone.js'
import type { Config } from '../config/settings.js'
import { requiredCarrierApi } from '../gateway/carrier-side.js'
import { agentsDirOf } from '../gateway/agents/hosted-agents.js'
import { UsageError } from './exit-codes.js'
import { json, money, shown, table } from './terminal.js'
import type { Terminal } from './terminal.js'

interface NumbersOptions {
  readonly json?: true
  readonly config?: string
}

export interface ListNumbersOptions extends NumbersOptions {
  readonly available?: true
}

export interface ClaimOptions extends NumbersOptions {
  readonly key?: string
}

export interface RouteOptions extends NumbersOptions {
  readonly agent?: string
  readonly url?: string
  readonly eventsUrl?: string
}

const NUMBERS_MAX = 100 * CARRIER_API_PAGES_MAX

function numbersApi({ config }: NumbersOptions, { env }: Terminal): CarrierNumbers {
  const settings = loadConfig(env, config ?? null)
  useCountry(settings.country)
  return requiredCarrierApi(settings).numbers
}

/** `mkondo numbers list`. */
export async function listNumbers(options: ListNumbersOptions, terminal: Terminal): Promise<number> {
  const api = numbersApi(options, terminal)
  const asJson = options.json === true
  terminal.out(options.available === true ? await listAvailable(api, asJson) : await listOwned(api, asJson))
  return 0
}

/** Runs `mkondo numbers claim`. @param wanted  a number, or its id */
export async function claimNumber(wanted: string, options: ClaimOptions, terminal: Terminal): Promise<number> {
  const api = numbersApi(options, terminal)
  const claimed = await api.claim(await available(api, wanted), options.key)
  return shown(options, terminal, claimed, () => `claimed ${claimed.e164 ?? claimed.id}, id ${claimed.id}\n`)
}

/** `mkondo numbers route`. @param wanted  a number, or its id */
export async function routeNumber(wanted: string, options: RouteOptions, terminal: Terminal): Promise<number> {
  // A usage error is reported before the request to the carrier.
  const route = await routeOf(options, loadConfig(terminal.env, options.config ?? null))
  const api = numbersApi(options, terminal)
  const number = await owned(api, wanted)
  const routed = await api.route(number.id, route)
  const text = () => `${number.e164 ?? number.id} leads to ${route.voiceUrl}\n`
  return shown(options, terminal, routed ?? { ...number, ...route }, text)
}

interface Route {
  readonly voiceUrl: string
  readonly eventsUrl: string | undefined
}

/**
 * Target of a number's route.
 * @throws UsageError, GatewayError AGENT_UNKNOWN
 */
export async function routeOf({ agent, url, eventsUrl }: RouteOptions, config: Config): Promise<Route> {
  const { publicUrl } = config
  if (url !== undefined) return { voiceUrl: url, eventsUrl }
  if (agent === undefined) throw new UsageError('takes --agent or --url')
  if (publicUrl === null)
    throw new UsageError('--agent needs PUBLIC_URL, the address at which the carrier reaches this gateway')
  const dir = agentsDirOf(config)
  const agents = await agentNames(dir)
  if (!agents.includes(agent)) {
    throw new GatewayError(
      'AGENT_UNKNOWN',
      `numbers route: --agent is '${agent}'; allowed, from ${dir} (AGENTS_DIR of this machine): ${agents.join(', ')}; ` +
        `for an agent of another machine: --url ${publicUrl}/voice/${agent}`,
    )
  }
  return { voiceUrl: `${publicUrl}/voice/${agent}`, eventsUrl: eventsUrl ?? `${publicUrl}/events` }
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
      'no numbers yet; to see the available ones: mkondo numbers list --available',
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
  const found = items.find(isNumber(wanted))
  if (found === undefined) throw new Error('numbers: your workspace has no such number (mkondo numbers list)')
  return found
}

/** Inventory id of a number. Any text that is not a number is used as the id. */
async function available(api: CarrierNumbers, wanted: string): Promise<string> {
  if (!/^[+0]/.test(wanted) || subscriberNumber(wanted) === null) return wanted
  const { items } = await allPages<AvailableNumber>((cursor) => api.available(cursor), NUMBERS_MAX)
  const found = items.find(({ e164 }) => e164 !== null && sameNumber(e164, wanted))
  if (found === undefined) throw new Error('numbers: that number cannot be claimed (mkondo numbers list --available)')
  return found.inventoryId
}

/** Function that is true for the wanted number. `wanted` is an inventory id, or a number in any spelling. */
function isNumber(wanted: string): (number: CarrierNumber) => boolean {
  return ({ id, e164 }) => id === wanted || (e164 !== null && sameNumber(e164, wanted))
}

// --- the number of a first call ------------------------------------------------------------------------------

interface Wanted {
  readonly number?: string
  readonly claim?: string
}

/**
 * Number to call: the given number, a newly claimed number, or the workspace's only number. A number is claimed only on
 * request, because it costs money.
 * @throws UsageError if the number is not in the workspace, or it is not clear which of several numbers is meant
 */
export async function pickNumber(api: CarrierNumbers, wanted: Wanted, terminal: Terminal): Promise<CarrierNumber> {
  if (wanted.claim !== undefined) return api.claim(await available(api, wanted.claim))
  const { items } = await allPages((cursor) => api.list(cursor), NUMBERS_MAX)
  if (wanted.number !== undefined) {
    const named = items.find(isNumber(wanted.number))
    if (named === undefined) throw new UsageError('--number: the workspace has no such number (mkondo numbers list)')
    return named
  }
  const [only] = items
  if (only !== undefined && items.length === 1) return only
  if (only === undefined) return claimAnOffer(api, terminal)
  const { ask } = terminal
  if (ask === null)
    throw new UsageError(`the workspace has ${items.length} numbers; --number says which (mkondo numbers list)`)
  items.forEach(({ e164, id, voiceUrl }, index) => {
    terminal.out(`  ${index + 1}  ${e164 ?? id}${voiceUrl === null ? '' : `, leads to ${voiceUrl}`}\n`)
  })
  const chosen = items[Number((await ask('Which number is to be called? ')).trim()) - 1]
  if (chosen === undefined) throw new UsageError(`the answer is not one of the numbers; allowed: 1 to ${items.length}`)
  return chosen
}

async function claimAnOffer(api: CarrierNumbers, { ask }: Terminal): Promise<CarrierNumber> {
  const none = 'the workspace has no number yet; --claim NUMBER takes one (mkondo numbers list --available)'
  if (ask === null) throw new UsageError(none)
  const [offer] = (await api.available()).items
  if (offer === undefined) throw new Error('doctor: the workspace has no number, and none can be claimed now')
  const { e164, inventoryId, monthlyPriceMinor, currency } = offer
  const price = monthlyPriceMinor === null ? '' : ` for ${money(monthlyPriceMinor, currency)} a month`
  const answer = await ask(`The workspace has no number. Claim ${e164 ?? inventoryId}${price}? [y/N] `)
  if (!/^y(?:es)?$/i.test(answer.trim())) throw new UsageError(none)
  return api.claim(inventoryId)
}
