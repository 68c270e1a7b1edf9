import type { CarrierNumber, CarrierNumbers } from '../../sautikit-api/numbers.js'
import { allPages } from '../../sautikit-api/http.js'
import { UsageError } from '../exit-codes.js'
import { NUMBERS_MAX, available, isNumber } from '../numbers.js'
import { money } from '../terminal.js'
import type { Terminal } from '../terminal.js'

interface Wanted {
  readonly number?: string
  readonly claim?: string
}

/**
 * The number that is called: the one that was named, one that is claimed now, or the workspace's only one. Nothing is
 * claimed, and so nothing is paid, unless somebody said so.
 * @throws UsageError where it is not clear which number is meant
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
