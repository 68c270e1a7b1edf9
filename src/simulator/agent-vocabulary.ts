import { parse } from 'yaml'
import { COMMON_STATUSES, type EarVocabulary } from './ear-vocabulary.js'

/** What the shop knows, for the ear; empty lists where nobody has told. */
export interface KnownOrders {
  readonly orders: readonly string[]
  readonly etas: readonly string[]
  readonly others: readonly string[]
}

/** Keys of an agent file whose strings are not spoken by the agent, wherever they stand. */
const NOT_SPOKEN = /^(rules|verification|knowledge|modules|sample|words|missed|takeover|around|version|name|description|instructions|language|backend|tools?|args?|parameters|url|numbers|callerId|strategies|hear|heard|when|match|phrases?|expect|slots?|intents?|keys?|goto|next|id|type|kind|grammar|voice|stream|set|call|start|pick|await|save|where|forget|widen|default)$/i
const STATUS_KEYS = /^(order_?)?status(es)?$/i
const SENTENCES_MAX = 300
const DEPTH_MAX = 12

/**
 * Collects what an agent may say from its YAML file. Read loosely, as someone would who has never seen the format: all
 * strings but those under keys that clearly hold something else. Text that is no YAML gives the common sentences.
 */
export function vocabularyOf(agentYaml: string | null, known: KnownOrders): EarVocabulary {
  const sentences = new Set<string>()
  const statuses: Record<string, string[]> = {}
  const root = agentYaml === null ? null : parsedOrNull(agentYaml)
  if (typeof root === 'object' && root !== null) {
    const agent = root as Readonly<Record<string, unknown>>
    const fillers = agent['fillers'] as { phrases?: unknown } | null | undefined
    collect(fillers?.phrases, sentences, statuses, 0)
    collect(agent, sentences, statuses, 0)
  }
  return {
    sentences: [...sentences].slice(0, SENTENCES_MAX), statuses: Object.keys(statuses).length > 0 ? statuses : COMMON_STATUSES,
    orders: [...known.orders], etas: [...known.etas], others: [...known.others],
  }
}

function parsedOrNull(text: string): unknown {
  try {
    return parse(text)
  } catch {
    // Someone else reports broken agent files; the ear then listens for the common sentences.
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
    for (const [key, value] of Object.entries(node)) {
      if (STATUS_KEYS.test(key)) collectStatuses(value, statuses)
      else if (!NOT_SPOKEN.test(key)) collect(value, sentences, statuses, depth + 1)
    }
  }
}

/** A map from the shop's name of a status to how it is said: `out_for_delivery: out for delivery`. */
function collectStatuses(value: unknown, statuses: Record<string, string[]>): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return
  for (const [name, spoken] of Object.entries(value)) {
    // A whole sentence with slots is no phrase to look for; its words are in the grammar anyway.
    if (typeof spoken === 'string' && /^[a-z_]+$/.test(name) && !spoken.includes('{')) statuses[name] = [spoken]
  }
}
