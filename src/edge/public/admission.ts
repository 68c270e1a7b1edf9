import type { NoRoomReason } from '../../fleet/proven-webhook.js'
import type { DescriptorGuard } from '../descriptors.js'
import type { EdgeOptions } from '../options.js'

type AdmissionOptions = Pick<EdgeOptions, 'calls' | 'fleet'>

/** Decides whether this node takes a new call; the webhooks and `/readyz` ask the same. */
export class Admission {
  readonly #options: AdmissionOptions
  readonly #descriptors: Pick<DescriptorGuard, 'low' | 'why'>

  constructor(options: AdmissionOptions, descriptors: Pick<DescriptorGuard, 'low' | 'why'>) {
    this.#options = options
    this.#descriptors = descriptors
  }

  /** Why it takes none; null when it takes one. */
  get refusal(): NoRoomReason | null {
    const { calls, fleet } = this.#options
    if (calls.draining) return 'draining'
    if (fleet?.node.state === 'cordoned') return 'cordoned'
    if (calls.overload !== null) return calls.overload
    if (calls.free <= 0) return 'capacity'
    // The port of its audio socket is closed.
    return this.#descriptors.low ? 'file-descriptors' : null
  }

  /** A refusal with the figures that decided it. */
  why(refusal: NoRoomReason): string {
    const { capacity, free } = this.#options.calls
    switch (refusal) {
      case 'draining':
        return 'this process is draining'
      case 'cordoned':
        return 'an operator has cordoned this node'
      case 'capacity':
        return `${capacity - free} of ${capacity} slots are taken`
      case 'file-descriptors':
        return this.#descriptors.why
      case 'tick-slack':
        return 'its threads have no time for more calls'
      case 'memory':
        return 'its memory is nearly at the limit'
      case 'cpu-throttling':
        return 'it is at its CPU limit'
      case 'disk-full':
        return 'its disk takes no more records'
    }
  }
}
