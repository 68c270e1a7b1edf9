import type { CallKernel } from './call-kernel.js'

/** Base class for a feature of one call; the feature acts on the call's kernel. */
export abstract class Feature {
  protected readonly call: CallKernel

  constructor(call: CallKernel) {
    this.call = call
  }
}
