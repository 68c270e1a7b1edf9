import type { NoRoomReason } from '../../fleet/proven-webhook.js'
import type { DescriptorGuard } from '../descriptors.js'
import type { EdgeOptions } from '../options.js'

type AdmissionOptions = Pick<EdgeOptions, 'calls' | 'fleet'>

/** Decides if this node takes a new call; webhooks and `/readyz` use the same decision. */
export class Admission {
  readonly #options: AdmissionOptions
  readonly #descriptors: Pick<DescriptorGuard, 'low' | 'why'>

  constructor(options: AdmissionOptions, descriptors: Pick<DescriptorGuard, 'low' | 'why'>) {
    this.#options = options
    this.#descriptors = descriptors
  }

  /** Reason for refusing new calls; null if the node takes a new call. */
  get refusal(): NoRoomReason | null {
    const { calls, fleet } = this.#options
    if (calls.draining) return 'draining'
    if (fleet?.node.state === 'cordoned') return 'cordoned'
    if (calls.overload !== null) return calls.overload
    if (calls.free <= 0) return 'capacity'
    // If descriptors are scarce, the port for the call's audio socket is closed.
    return this.#descriptors.low ? 'file-descriptors' : null
  }

  /** Reason of a refusal as text, with the figures that decided it. */
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
