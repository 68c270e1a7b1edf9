import type { Config } from '../config/settings.js'
import { messageOf } from '../core/errors.js'
import { CarrierApiError } from '../sautikit-api/http.js'
import { carrierApi } from '../gateway/carrier-side.js'

/** One thing that was found; `ok` null is worth a look and no reason not to start. */
export interface CarrierFinding {
  readonly ok: boolean | null
  readonly what: string
}

/** Whether the carrier's API is there, what its key may read, and which numbers lead here. Nothing is changed by it. */
export async function carrierFindings(config: Config): Promise<CarrierFinding[]> {
  const api = carrierApi(config)
  if (api === null) return [{ ok: true, what: 'SAUTIKIT_API_KEY is not set: calls are not hung up, and no human is added, through the carrier\'s API' }]
  const numbers = await asked(async () => {
    const { items } = await api.numbers.list()
    if (items.length === 0) return 'reads numbers; the workspace has none yet'
    const here = config.publicUrl === null ? [] : items.filter(({ voiceUrl }) => voiceUrl?.startsWith(`${config.publicUrl ?? ''}/`))
    return `reads numbers; ${here.length} of ${items.length} lead to this gateway`
  })
  if (numbers.ok === false) return [numbers]
  const calls = await asked(async () => {
    await api.calls.listCalls({ limit: 1 })
    return 'reads calls: their duration, cost and hang-up cause come into the records'
  })
  return [numbers, calls]
}

async function asked(ask: () => Promise<string>): Promise<CarrierFinding> {
  try {
    return { ok: true, what: `SAUTIKIT_API_KEY ${await ask()}` }
  } catch (thrown) {
    // A scope that is not needed may be missing; a key that is not known, or no API at all, is wrong.
    const denied = thrown instanceof CarrierApiError && thrown.status === 403
    return { ok: denied ? null : false, what: `SAUTIKIT_API_KEY: ${messageOf(thrown)}` }
  }
}
