import { GatewayError } from '../../core/errors.js'
import type { SampleRateHz } from '../../core/units.js'
import { vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { faultOf, ServiceFault } from './service-fault.js'
import type { ServiceContext, ServiceFactory, ServiceLife } from './service.js'

/** How long a service that failed is left alone while there is another one. */
const REST_MS = 15_000

const RATES: readonly SampleRateHz[] = [8000, 16_000, 24_000]

/** The lowest rate, from the leg's on, that all recognisers of a list take. @throws GatewayError AGENT_INVALID */
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
  /** Until then others go first; Infinity: its fault stays for the whole call. */
  restsUntilMs: number
  /** Open, also while another one is in use; null before, and once it was lost. */
  service: Service | null
  /** How it has refused its work since it last did some; null: it has not. */
  refusal: string | null
}

/**
 * The services of one part of the cascade, in the order of the agent's file, and the one that is in use:
 *
 *     (none) --open()--> the first that does not rest and can be opened
 *     in use --failed()--> (none), and the service rests
 *
 * What failed once is not returned to by itself: a voice that changes twice in a call is worse than one that changed.
 */
export class ServiceList<Service extends ServiceLife> {
  /** Times that another service took the place of the one in use. */
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
   * @param signal  aborted when the call ends
   * @param failed  called with each fault that another service may make good
   * @param made  called with each service before it is opened
   */
  constructor(
    factories: readonly ServiceFactory<Service>[],
    context: ServiceContext,
    signal: AbortSignal,
    failed: (fault: VendorFault) => void = () => undefined,
    made: (service: Service) => void = () => undefined,
  ) {
    this.#candidates = factories.map((factory) => ({ factory, restsUntilMs: -Infinity, service: null, refusal: null }))
    this.#context = context
    this.#signal = signal
    this.#failed = failed
    this.#made = made
  }

  /** The model of the service that is in use, or was last, as it is priced. */
  get model(): string {
    return (this.#last ?? this.#candidates[0])?.factory.model ?? ''
  }

  /** Services of the list. */
  get count(): number {
    return this.#candidates.length
  }

  /** The open one; null while there is none. */
  get current(): Service | null {
    return this.#current?.service ?? null
  }

  /** No service of the list will do its work again in this call. */
  get exhausted(): boolean {
    return this.#candidates.every(({ restsUntilMs }) => restsUntilMs === Infinity)
  }

  /** @throws ServiceFault of the last service that was tried, or the reason of the call's end */
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
   * The service does not do its work any more, or not for now.
   * @param lost  its connection is gone: a new one may be what helps
   * @returns true if another service, or another connection, may do the work
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

  /** The service has done its work. */
  worked(service: Service): void {
    const candidate = this.#candidates.find((one) => one.service === service)
    if (candidate !== undefined) candidate.refusal = null
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
      const service = candidate.factory.make(this.#context)
      candidate.service = service
      this.#made(service)
      try {
        await service.open(this.#signal, probe)
        this.#signal.throwIfAborted()
        // Lost as soon as it was open.
        if (candidate.service !== service) continue
        return this.#use(candidate, service)
      } catch (error) {
        this.#drop(candidate)
        this.#signal.throwIfAborted()
        last = error
        const fault = faultOf(error)
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
    // A wrong key, an empty account or a wrong address does not change within the call.
    let stays = !fault.retryable && (fault.fatal || fault.code === 'auth' || fault.code === 'quota')
    if (fault.code === 'bad_request') {
      // A refusal that comes a second time comes every time. Ids and counts of requests differ.
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
