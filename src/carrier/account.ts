import { randomBytes, randomUUID } from 'node:crypto'
import { signBody } from './carrier-call.js'

/** Kinds of events of the workspace that a subscription may contain. */
export const ACCOUNT_EVENTS = ['wallet.low_balance', 'wallet.top_up', 'storage.tier_changed'] as const
export type AccountEventKind = (typeof ACCOUNT_EVENTS)[number]

interface Subscription {
  readonly id: string
  readonly url: string
  readonly events: readonly AccountEventKind[]
  readonly secret: string
}

const SUBSCRIPTIONS_MAX = 20
/** Maximum wait for a receiver in ms; the carrier's own limit is 10 s. */
const POST_TIMEOUT_MS = 10_000

/** Wallet and storage of the simulated carrier's customer, and the webhooks about them. Each event is posted once. */
export class Account {
  /** Balance in minor units. */
  balanceMinor = 125_000
  /** Balance below which the wallet is low, in minor units. */
  readonly thresholdMinor = 50_000
  #tierGb = 5
  readonly #subscriptions: Subscription[] = []

  /** @returns null if SUBSCRIPTIONS_MAX is reached */
  subscribe(url: string, events: readonly AccountEventKind[]): Subscription | null {
    if (this.#subscriptions.length >= SUBSCRIPTIONS_MAX) return null
    const made: Subscription = {
      id: `wh_${randomUUID().slice(0, 8)}`,
      url,
      events,
      secret: `whsec_${randomBytes(16).toString('hex')}`,
    }
    this.#subscriptions.push(made)
    return made
  }

  /**
   * Sets the balance. An increase is a top-up. A decrease sends `wallet.low_balance` only when it crosses the
   * threshold, as the carrier does.
   */
  setBalance(minor: number): void {
    const before = this.balanceMinor
    this.balanceMinor = minor
    const wallet = { balance_minor: minor, currency: 'KES' }
    if (minor > before) this.#send('wallet.top_up', wallet)
    else if (minor < this.thresholdMinor && before >= this.thresholdMinor)
      this.#send('wallet.low_balance', { ...wallet, threshold_minor: this.thresholdMinor })
  }

  setTier(gb: number): void {
    const before = this.#tierGb
    this.#tierGb = gb
    if (gb === before) return
    this.#send('storage.tier_changed', {
      previous_tier_gb: before,
      new_tier_gb: gb,
      direction: gb > before ? 'upgrade' : 'downgrade',
      effective_at: new Date().toISOString(),
    })
  }

  #send(kind: AccountEventKind, data: Readonly<Record<string, unknown>>): void {
    const event = {
      kind,
      event_id: randomUUID(),
      workspace_id: 'ws_simulated',
      occurred_at: new Date().toISOString(),
      data,
    }
    const body = JSON.stringify(event)
    for (const { url, events, secret } of this.#subscriptions) {
      if (!events.includes(kind)) continue
      const headers = {
        'content-type': 'application/json',
        'x-sautikit-signature': signBody(body, secret, 'timestamped', Date.now()),
        'x-sautikit-event': kind,
        'x-sautikit-idempotency-key': event.event_id,
      }
      // An unreachable receiver misses the event. The real carrier would repeat the event.
      fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(POST_TIMEOUT_MS) }).then(
        (answer) => answer.body?.cancel(),
        () => undefined,
      )
    }
  }
}
