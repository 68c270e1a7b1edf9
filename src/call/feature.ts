import type { CallKernel } from './call-kernel.js'

/** A feature of one call, whose kernel it acts on. */
export abstract class Feature {
  protected readonly call: CallKernel

  constructor(call: CallKernel) {
    this.call = call
  }
}
