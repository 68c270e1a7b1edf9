import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { phraseSchema } from '../call/spoken/localized-text.js'
import { WORDS } from '../call/words/languages.js'
import { parse } from 'yaml'
import { z } from 'zod'
import { NUMBER_TEXTS } from '../agents/offline/offline.js'
import { DEFAULT_CALL_OPTIONS } from '../call/call-options.js'

/**
 * Possible sentences of an agent, for a simulated caller's recogniser. Slots have one or two pairs of braces:
 * `{order}`, `{{order.status}}`, `{eta}`. Any other name counts as `{other}`.
 */
export interface AgentVocabulary {
  /** All possible sentences of the agent, as written. */
  readonly sentences: readonly string[]
  /** Order numbers that exist, if known. `recogniser.ts` uses them for digits that sound alike. */
  readonly orders: readonly string[]
  /** Spoken forms of each status, by its name in the shop's API. */
  readonly statuses: Readonly<Record<string, readonly string[]>>
  /** Times of arrival as the shop writes them. The grammar also has a few common forms. */
  readonly etas: readonly string[]
  /** Values of all other slots: couriers, reasons, items. */
  readonly others: readonly string[]
}

/** Common phrases for order statuses, for an agent whose definition has none. */
export const COMMON_STATUSES: Readonly<Record<string, readonly string[]>> = {
  out_for_delivery: ['out for delivery'],
  delivered: ['delivered', 'has been delivered', 'was delivered'],
  in_transit: ['in transit', 'on its way', 'on the way'],
  shipped: ['shipped', 'has been shipped'],
  processing: ['processing', 'being processed', 'being prepared', 'being packed', 'packed'],
  delayed: ['delayed', 'running late'],
  cancelled: ['cancelled', 'canceled', 'has been cancelled'],
  returned: ['returned', 'on its way back'],
  ready_for_pickup: ['ready for pick up', 'ready for collection', 'ready to collect'],
}

/** @returns the agent's file, from the first folder that contains it; null if no folder does */
export async function agentYaml(folders: readonly string[], agent: string): Promise<string | null> {
  const files = folders.flatMap((folder) => ['yaml', 'yml'].map((ending) => join(folder, `${agent}.${ending}`)))
  const file = files.find((one) => existsSync(one))
  return file === undefined ? null : readFile(file, 'utf8')
}

/** The part of a vocabulary that comes from the shop; empty lists if the shop was not asked. */
interface KnownOrders {
  readonly orders: readonly string[]
  readonly etas: readonly string[]
  readonly others: readonly string[]
}

/** Keys of an agent file, at any depth, whose strings the agent does not speak. */
const NOT_SPOKEN =
  /^(rules|verification|knowledge|modules|sample|words|missed|takeover|around|version|name|description|instructions|language|backend|tools?|args?|parameters|url|numbers|callerId|strategies|hear|heard|when|match|phrases?|typed|expect|slots?|intents?|keys?|goto|next|id|type|kind|grammar|voice|stream|set|call|start|pick|await|save|where|forget|widen|default)$/i
const STATUS_KEYS = /^(order_?)?status(es)?$/i
const SENTENCES_MAX = 300
const DEPTH_MAX = 12

/**
 * Collects an agent's possible sentences from its YAML file: all strings except under keys whose strings are clearly
 * not spoken. Adds a scripted dialogue's default texts about numbers. A text that is not YAML has no sentences.
 */
export function vocabularyOf(
  agentYaml: string | null,
  { orders, etas, others }: KnownOrders = { orders: [], etas: [], others: [] },
): AgentVocabulary {
  const sentences = new Set<string>()
  const statuses: Record<string, string[]> = {}
  const root = agentYaml === null ? null : parsedOrNull(agentYaml)
  if (typeof root === 'object' && root !== null) {
    const agent = root as Readonly<Record<string, unknown>>
    const fillers = agent['fillers'] as { phrases?: unknown } | null | undefined
    collect(fillers?.phrases, sentences, statuses, 0)
    if ('offline' in agent) collect(NUMBER_TEXTS, sentences, statuses, 0)
    collect(agent, sentences, statuses, 0)
    // This sentence is spoken without a pause before the agent's next words. Without it in the vocabulary, the next
    // words would not be recognised.
    sentences.add(DEFAULT_CALL_OPTIONS.cutOffText)
  }
  return {
    sentences: [...sentences].slice(0, SENTENCES_MAX),
    statuses: Object.keys(statuses).length > 0 ? statuses : COMMON_STATUSES,
    ...{ orders, etas, others },
  }
}

function parsedOrNull(text: string): unknown {
  try {
    return parse(text)
  } catch {
    // The gateway reports broken agent files. The recogniser then uses its common sentences.
    return null
  }
}

function collect(node: unknown, sentences: Set<string>, statuses: Record<string, string[]>, depth: number): void {
  if (depth > DEPTH_MAX) return
  if (typeof node === 'string') {
    if (node.includes(' ') || /[.!?]$/.test(node)) sentences.add(node)
  } else if (Array.isArray(node)) {
    for (const item of node) collect(item, sentences, statuses, depth + 1)
  } else if (typeof node === 'object' && node !== null) {
    // One text per language: the caller's recogniser uses the first text.
    if (isPhrase(node)) return collect(Object.values(node)[0], sentences, statuses, depth + 1)
    for (const [key, value] of Object.entries(node)) {
      if (STATUS_KEYS.test(key)) collectStatuses(value, statuses)
      else if (!NOT_SPOKEN.test(key)) collect(value, sentences, statuses, depth + 1)
    }
  }
}

function isPhrase(node: unknown): node is Readonly<Record<string, unknown>> {
  return (
    phraseSchema.safeParse(node).success &&
    typeof node === 'object' &&
    Object.keys(node ?? {}).every((key) => Object.hasOwn(WORDS, key))
  )
}

/** A map from the shop's name of a status to its spoken form: `out_for_delivery: out for delivery`. */
function collectStatuses(value: unknown, statuses: Record<string, string[]>): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return
  for (const [name, phrase] of Object.entries(value)) {
    const spoken: unknown = isPhrase(phrase) ? Object.values(phrase)[0] : phrase
    // A whole sentence with slots is not a phrase to search for. The grammar contains its words in any case.
    if (typeof spoken === 'string' && /^[a-z_]+$/.test(name) && !spoken.includes('{')) statuses[name] = [spoken]
  }
}

const textOrNull = z.string().nullable().catch(null)
/** An order as the shop's API gives it; see examples/shop-api. */
const shopOrder = z.object({
  orderNumber: z.string(),
  status: z.string(),
  eta: textOrNull,
  courier: textOrNull,
  reason: textOrNull,
})
type ShopOrder = z.output<typeof shopOrder>

const TIMEOUT_MS = 3000

/**
 * The shop's data about this caller's orders and the requested order. Empty if the shop cannot be reached; then no
 * particular words of the agent are expected.
 */
export async function ordersInShop(shopUrl: string, order: string | null, phone: string): Promise<ShopOrder[]> {
  const found: ShopOrder[] = []
  if (order !== null) found.push(...ordersOf(await ask(`${shopUrl}/api/orders?order_number=${order}`)))
  found.push(...ordersOf(await ask(`${shopUrl}/api/orders?phone=${encodeURIComponent(phone)}`)))
  return found.filter((one, index) => found.findIndex((other) => other.orderNumber === one.orderNumber) === index)
}

/** Data of these orders for the recogniser. */
export function knownOrders(orders: readonly ShopOrder[], order: string | null): KnownOrders {
  const numbers = orders.map((one) => one.orderNumber)
  return {
    orders: order === null || numbers.includes(order) ? numbers : [order, ...numbers],
    etas: orders.flatMap((one) => one.eta ?? []),
    others: orders.flatMap((one) => [one.courier, one.reason].filter((text) => text !== null)),
  }
}

async function ask(url: string): Promise<unknown> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })
    return response.ok ? await response.json() : null
  } catch {
    // Without the shop there is no expectation, because the agent says that the look-up failed.
    return null
  }
}

function ordersOf(body: unknown): ShopOrder[] {
  if (typeof body !== 'object' || body === null) return []
  const { orders } = body as { orders?: unknown }
  const list: unknown[] = Array.isArray(orders) ? orders : [body]
  return list.flatMap((item) => shopOrder.safeParse(item).data ?? [])
}
