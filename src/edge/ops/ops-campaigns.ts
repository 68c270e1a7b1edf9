import { z } from 'zod'
import { jsonOrNull } from '../../core/json.js'
import type { CampaignCommand } from '../../campaigns/campaign.js'
import { GatewayError } from '../../core/errors.js'
import { errorReply, jsonReply, textReply } from '../http/reply.js'
import type { HttpStatus, Reply } from '../http/reply.js'
import type { Audit, Operator } from './ops-audit.js'
import type { EdgeOptions } from '../options.js'

/** Maximum size in bytes of a file of rows: 10,000 rows of 800 bytes. */
export const CAMPAIGN_BODY_BYTES_MAX = 8 * 1024 * 1024
/** Maximum number of do-not-call numbers in one answer. */
const DO_NOT_CALL_LISTED_MAX = 10_000

/** Body of `POST /api/do-not-call`. */
export const doNotCallSchema = z.object({
  number: z.string().describe('E.164.'),
  remove: z.boolean().default(false).describe('Take the number off the list.'),
})

const STATUS: Readonly<Record<string, HttpStatus>> = {
  CONFIG_INVALID: 400,
  CAMPAIGN_UNKNOWN: 404,
  CALL_REFUSED: 409,
  STORE_DOWN: 503,
}

type Desk = NonNullable<EdgeOptions['campaigns']>

/** The campaigns of the operator's API. */
export class CampaignsApi {
  readonly #campaigns: Desk | null
  readonly #audit: Audit

  constructor({ campaigns = null }: { readonly campaigns?: Desk | null }, audit: Audit) {
    this.#campaigns = campaigns
    this.#audit = audit
  }

  /** `GET /api/campaigns` */
  list(): Promise<Reply> {
    return this.#answer(async (desk) => jsonReply({ campaigns: await desk.list() }))
  }

  /**
   * Answers `POST /api/campaigns`: makes a draft of a whole file, or lists its faults. The campaign desk reads the body
   * by `campaignFileSchema`, and names each fault.
   */
  create(body: Uint8Array, operator: Operator): Promise<Reply> {
    return this.#audited('campaign-create', operator, async (desk) => {
      const made = await desk.create(jsonOrNull(body))
      return jsonReply(made, made.faults.length > 0 ? 400 : made.campaign === null ? 200 : 201)
    })
  }

  /** `GET /api/campaigns/{id}` */
  view(id: string): Promise<Reply> {
    return this.#answer(async (desk) => jsonReply(await desk.view(id)))
  }

  /** `GET /api/campaigns/{id}/report.csv` */
  report(id: string): Promise<Reply> {
    return this.#answer(async (desk) => textReply(await desk.report(id), 'text/csv; charset=utf-8'))
  }

  /** `POST /api/campaigns/{id}/start`, `/pause`, `/resume` and `/stop`. */
  command(id: string, command: CampaignCommand, operator: Operator): Promise<Reply> {
    return this.#audited(`campaign-${command}`, operator, async (desk) => jsonReply(await desk.command(id, command)))
  }

  /** `POST /api/campaigns/{id}/remove` */
  remove(id: string, operator: Operator): Promise<Reply> {
    return this.#audited('campaign-remove', operator, async (desk) => {
      await desk.remove(id)
      return jsonReply({ removed: true })
    })
  }

  /** `GET /api/do-not-call` */
  doNotCallList(): Promise<Reply> {
    return this.#answer(async (desk) => jsonReply({ numbers: await desk.doNotCallList(DO_NOT_CALL_LISTED_MAX) }))
  }

  /** `POST /api/do-not-call` */
  doNotCall(order: z.output<typeof doNotCallSchema> | undefined, operator: Operator): Promise<Reply> {
    return this.#audited('do-not-call', operator, async (desk) => {
      if (order === undefined)
        throw new GatewayError(
          'CONFIG_INVALID',
          'the body must be a JSON object with "number" (text) and optionally "remove"',
        )
      return jsonReply({ changed: await desk.doNotCall(order.number, !order.remove) })
    })
  }

  async #audited(command: string, operator: Operator, ask: (desk: Desk) => Promise<Reply>): Promise<Reply> {
    const reply = await this.#answer(ask)
    this.#audit({ command }, reply, operator)
    return reply
  }

  async #answer(ask: (desk: Desk) => Promise<Reply>): Promise<Reply> {
    const campaigns = this.#campaigns
    if (campaigns === null)
      return errorReply(409, 'CALL_REFUSED', 'this gateway places no calls: SAUTIKIT_API_KEY is not set')
    try {
      return await campaigns.reached(() => ask(campaigns))
    } catch (thrown) {
      const status = thrown instanceof GatewayError ? STATUS[thrown.code] : undefined
      if (!(thrown instanceof GatewayError) || status === undefined) throw thrown
      return errorReply(status, thrown.code, thrown.message)
    }
  }
}
