import { GatewayError } from '../../core/errors.js'
import type { SampleRateHz } from '../../core/units.js'
import { vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { faultOf, StageFault } from './stage-fault.js'
import type { StageContext, StageFactory, StageLife } from './stage.js'

/** How long a service that failed is left alone while there is another one. */
const REST_MS = 15_000

const RATES: readonly SampleRateHz[] = [8000, 16_000, 24_000]

/** The lowest rate, from the leg's on, that all recognisers of a list take. @throws GatewayError AGENT_INVALID */
export function commonRateHz(
  factories: readonly Pick<StageFactory<unknown>, 'service' | 'rates'>[],
  legRateHz: SampleRateHz,
): SampleRateHz {
  const all = RATES.filter((rate) => factories.every(({ rates }) => rates === undefined || rates.includes(rate)))
  const rate = all.find((one) => one >= legRateHz) ?? all.at(-1)
  if (rate !== undefined) return rate
  const takes = factories.map(({ service, rates = RATES }) => `${service} ${rates.join(' or ')}`).join(', ')
  throw new GatewayError('AGENT_INVALID', `stt: no sample rate suits all services of the list: ${takes} Hz`)
}

interface Candidate<Stage> {
  readonly factory: StageFactory<Stage>
  /** Until then others go first; Infinity: its fault stays for the whole call. */
  restsUntilMs: number
  /** Open, also while another one is in use; null before, and once it was lost. */
  stage: Stage | null
  /** How it has refused its work since it last did some; null: it has not. */
  refusal: string | null
}

/**
 * The services of one stage, in the order of the agent's file, and the one that is in use:
 *
 *     (none) --open()--> the first that does not rest and can be opened
 *     in use --failed()--> (none), and the service rests
 *
 * What failed once is not returned to by itself: a voice that changes twice in a call is worse than one that changed.
 */
export class ServiceList<Stage extends StageLife> {
  /** Times that another service took the place of the one in use. */
  failovers = 0
  readonly #candidates: readonly Candidate<Stage>[]
  readonly #context: StageContext
  readonly #signal: AbortSignal
  readonly #failed: (fault: VendorFault) => void
  readonly #made: (stage: Stage) => void
  #current: Candidate<Stage> | null = null
  #last: Candidate<Stage> | null = null
  #opening: Promise<Stage> | null = null

  /**
   * @param signal  aborted when the call ends
   * @param failed  called with each fault that another service may make good
   * @param made  called with each stage before it is opened
   */
  constructor(
    factories: readonly StageFactory<Stage>[],
    context: StageContext,
    signal: AbortSignal,
    failed: (fault: VendorFault) => void = () => undefined,
    made: (stage: Stage) => void = () => undefined,
  ) {
    this.#candidates = factories.map((factory) => ({ factory, restsUntilMs: -Infinity, stage: null, refusal: null }))
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

  /** The open stage; null while there is none. */
  get current(): Stage | null {
    return this.#current?.stage ?? null
  }

  /** No service of the list will do its work again in this call. */
  get exhausted(): boolean {
    return this.#candidates.every(({ restsUntilMs }) => restsUntilMs === Infinity)
  }

  /** @throws StageFault of the last service that was tried, or the reason of the call's end */
  open(probe: boolean): Promise<Stage> {
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
   * The stage does not do its work any more, or not for now.
   * @param lost  its connection is gone: a new one may be what helps
   * @returns true if another service, or another connection, may do the work
   */
  failed(stage: Stage, fault: VendorFault, lost: boolean): boolean {
    const candidate = this.#candidates.find((one) => one.stage === stage)
    if (candidate === undefined) return this.#candidates.some(({ restsUntilMs }) => restsUntilMs !== Infinity)
    if (lost) this.#drop(candidate)
    this.#rest(candidate, fault)
    const more = this.#candidates.some((one) => one.restsUntilMs !== Infinity && (lost || one !== candidate))
    if (more || candidate.restsUntilMs === Infinity) this.#current = null
    if (more) this.#failed(fault)
    return more
  }

  /** The stage has done its work. */
  worked(stage: Stage): void {
    const candidate = this.#candidates.find((one) => one.stage === stage)
    if (candidate !== undefined) candidate.refusal = null
  }

  close(): void {
    this.#current = null
    for (const candidate of this.#candidates) this.#drop(candidate)
  }

  async #open(probe: boolean): Promise<Stage> {
    const nowMs = this.#context.nowMs()
    const order = [...this.#candidates]
      .filter(({ restsUntilMs }) => restsUntilMs !== Infinity)
      .toSorted((a, b) => Number(a.restsUntilMs > nowMs) - Number(b.restsUntilMs > nowMs))
    let last: unknown = new StageFault(
      vendorFault('internal', `${this.#context.name}: no service of the stage is left`, true),
    )
    for (const [i, candidate] of order.entries()) {
      if (candidate.stage !== null) return this.#use(candidate, candidate.stage)
      const stage = candidate.factory.make(this.#context)
      candidate.stage = stage
      this.#made(stage)
      try {
        await stage.open(this.#signal, probe)
        this.#signal.throwIfAborted()
        // Lost as soon as it was open.
        if (candidate.stage !== stage) continue
        return this.#use(candidate, stage)
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

  #use(candidate: Candidate<Stage>, stage: Stage): Stage {
    this.#current = candidate
    if (this.#last !== null && this.#last !== candidate) this.failovers++
    this.#last = candidate
    return stage
  }

  #rest(candidate: Candidate<Stage>, fault: VendorFault): void {
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

  #drop(candidate: Candidate<Stage>): void {
    const { stage } = candidate
    candidate.stage = null
    stage?.close()
  }
}
