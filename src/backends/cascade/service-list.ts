import { GatewayError } from '../../core/errors.js'
import type { SampleRateHz } from '../../core/units.js'
import { vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { Wishes } from '../wishes.js'
import { faultOf, ServiceFault } from './service-fault.js'
import type { ServiceContext, ServiceFactory, ServiceLife } from './service.js'

/** Time in ms for which a failed service is not used if another service is left. */
const REST_MS = 15_000

const RATES: readonly SampleRateHz[] = [8000, 16_000, 24_000]

/**
 * @returns the lowest sample rate that all recognisers of a list accept and that is not below the rate of the carrier's
 * audio.
 * @throws GatewayError AGENT_INVALID
 */
export function commonRateHz(
  factories: readonly Pick<ServiceFactory<unknown>, 'service' | 'rates'>[],
  legRateHz: SampleRateHz,
): SampleRateHz {
  const all = RATES.filter((rate) => factories.every(({ rates }) => rates === undefined || rates.includes(rate)))
  const rate = all.find((one) => one >= legRateHz) ?? all.at(-1)
  if (rate !== undefined) return rate
  const takes = factories.map(({ service, rates = RATES }) => `${service} ${rates.join(' or ')}`).join(', ')
  throw new GatewayError('AGENT_INVALID', `stt: no sample rate suits all services of the list: ${takes} Hz`)
}

interface Candidate<Service> {
  readonly factory: ServiceFactory<Service>
  /** Optional fields of the service's requests. A new connection uses this object again. */
  readonly wishes: Wishes
  /** Time until which other services are tried first; Infinity if the fault lasts for the whole call. */
  restsUntilMs: number
  /** The open service, even if another service is in use; null before the service is open, and after it was lost. */
  service: Service | null
  /** True if the connection was lost because of optional fields. A new connection omits these fields. */
  asksForLess: boolean
  /** The service's last refusal after its last success; null if there was no refusal. */
  refusal: string | null
}

/**
 * The services of one part of the cascade, in the order of the agent's file. One service is in use:
 *
 *     (none) --open()--> in use: the first service that can be opened and has not just failed
 *     in use --failed()--> (none): if another service is left, the failed service is not used for a time
 *
 * The list does not return to a failed service by itself: two changes of the voice in a call are worse than one change.
 */
export class ServiceList<Service extends ServiceLife> {
  /** Number of times that another service replaced the service in use. */
  failovers = 0
  readonly #candidates: readonly Candidate<Service>[]
  readonly #context: ServiceContext
  readonly #signal: AbortSignal
  readonly #failed: (fault: VendorFault) => void
  readonly #made: (service: Service) => void
  #current: Candidate<Service> | null = null
  #last: Candidate<Service> | null = null
  #opening: Promise<Service> | null = null

  /**
   * @param signal aborted when the call ends
   * @param failed called with each fault after which another service may still work
   * @param made called with each service before it is opened
   */
  constructor(
    factories: readonly ServiceFactory<Service>[],
    context: ServiceContext,
    signal: AbortSignal,
    failed: (fault: VendorFault) => void = () => undefined,
    made: (service: Service) => void = () => undefined,
  ) {
    this.#candidates = factories.map((factory) => ({
      factory,
      wishes: new Wishes(context.wishRefused),
      restsUntilMs: -Infinity,
      service: null,
      asksForLess: false,
      refusal: null,
    }))
    this.#context = context
    this.#signal = signal
    this.#failed = failed
    this.#made = made
  }

  /** Model of the current or last service, as named in price lists. */
  get model(): string {
    return (this.#last ?? this.#candidates[0])?.factory.model ?? ''
  }

  /** True if it is certain that the current or last service refuses this optional field. */
  lacks(field: string): boolean {
    return (this.#last ?? this.#candidates[0])?.wishes.lacks(field) ?? false
  }

  /** Value of `Wishes.asked` of the open service, which a later `worked` needs. */
  get asked(): number {
    return this.#current?.wishes.asked ?? 0
  }

  /** Number of services in the list. */
  get count(): number {
    return this.#candidates.length
  }

  /** The open service; null if no service is open. */
  get current(): Service | null {
    return this.#current?.service ?? null
  }

  /** True if no service of the list can work again in this call. */
  get exhausted(): boolean {
    return this.#candidates.every(({ restsUntilMs }) => restsUntilMs === Infinity)
  }

  /**
   * Opens a service of the list.
   * @throws ServiceFault of the service that was tried last, or the reason why the call ended
   */
  open(probe: boolean): Promise<Service> {
    const { current } = this
    if (current !== null) return Promise.resolve(current)
    this.#opening ??= this.#open(probe).finally(() => {
      this.#opening = null
    })
    return this.#opening
  }

  warm(): void {
    const { current } = this
    if (current === null) this.open(false).catch(() => undefined)
    else current.warm?.()
  }

  /**
   * Checks if the service has refused optional fields; called before `failed`.
   * @returns true if the fault is about optional fields. The service then gets the work once more, without these fields
   * @param lost  true if the connection is lost, so that a new connection must be opened
   */
  refused(service: Service, fault: VendorFault, lost: boolean): boolean {
    const candidate = this.#candidates.find((one) => one.service === service)
    if (candidate?.wishes.refuses(fault) !== true) return false
    if (lost) {
      candidate.asksForLess = true
      this.#drop(candidate)
      if (this.#current === candidate) this.#current = null
      this.warm()
    }
    return true
  }

  /**
   * Handles the failure of a service, which is permanent or temporary.
   * @param lost  true if the connection is lost
   * @returns true if another service or a new connection may continue
   */
  failed(service: Service, fault: VendorFault, lost: boolean): boolean {
    const candidate = this.#candidates.find((one) => one.service === service)
    if (candidate === undefined) return this.#candidates.some(({ restsUntilMs }) => restsUntilMs !== Infinity)
    if (lost) this.#drop(candidate)
    this.#rest(candidate, fault)
    const more = this.#candidates.some((one) => one.restsUntilMs !== Infinity && (lost || one !== candidate))
    if (more || candidate.restsUntilMs === Infinity) this.#current = null
    if (more) this.#failed(fault)
    return more
  }

  /**
   * Records a success of the service.
   * @param asked  value of `Wishes.asked` at the time when the service got the work. Not needed if the service itself
   * reports to its `Wishes`
   */
  worked(service: Service, asked = 0): void {
    const candidate = this.#candidates.find((one) => one.service === service)
    if (candidate === undefined) return
    candidate.refusal = null
    candidate.wishes.worked(asked)
  }

  close(): void {
    this.#current = null
    for (const candidate of this.#candidates) this.#drop(candidate)
  }

  async #open(probe: boolean): Promise<Service> {
    const nowMs = this.#context.nowMs()
    const order = [...this.#candidates]
      .filter(({ restsUntilMs }) => restsUntilMs !== Infinity)
      .toSorted((a, b) => Number(a.restsUntilMs > nowMs) - Number(b.restsUntilMs > nowMs))
    let last: unknown = new ServiceFault(
      vendorFault('internal', `${this.#context.name}: no service of the list is left`, true),
    )
    for (const [i, candidate] of order.entries()) {
      if (candidate.service !== null) return this.#use(candidate, candidate.service)
      const { wishes } = candidate
      candidate.asksForLess = false
      const service = candidate.factory.make({ ...this.#context, wishes })
      candidate.service = service
      this.#made(service)
      try {
        await service.open(this.#signal, probe)
        this.#signal.throwIfAborted()
        if (candidate.service === service) return this.#use(candidate, service)
        // The service closed the new connection at once, because it refused an optional field.
        if (candidate.asksForLess) order.splice(i + 1, 0, candidate)
      } catch (error) {
        this.#drop(candidate)
        this.#signal.throwIfAborted()
        last = error
        const fault = faultOf(error)
        if (candidate.asksForLess || wishes.refuses(fault)) {
          // The number of attempts is limited, because each further attempt has fewer optional fields.
          order.splice(i + 1, 0, candidate)
          continue
        }
        this.#rest(candidate, fault)
        if (i + 1 < order.length) this.#failed(fault)
      }
    }
    throw last
  }

  #use(candidate: Candidate<Service>, service: Service): Service {
    this.#current = candidate
    if (this.#last !== null && this.#last !== candidate) this.failovers++
    this.#last = candidate
    return service
  }

  #rest(candidate: Candidate<Service>, fault: VendorFault): void {
    // A wrong key, an empty account or a wrong address stays wrong during the call.
    let stays = !fault.retryable && (fault.fatal || fault.code === 'auth' || fault.code === 'quota')
    if (fault.code === 'bad_request') {
      // If a service has refused twice for one reason, it will always refuse. The texts are compared without their ids
      // and counts, which differ.
      const refusal = fault.message.replace(/[\da-f-]{8,}|\d{4,}/gi, '')
      stays ||= candidate.refusal === refusal
      candidate.refusal = refusal
    }
    candidate.restsUntilMs = stays ? Infinity : this.#context.nowMs() + REST_MS
  }

  #drop(candidate: Candidate<Service>): void {
    const { service } = candidate
    candidate.service = null
    service?.close()
  }
}
