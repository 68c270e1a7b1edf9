import type { VendorFault } from '../transport/vendor-fault.js'

/** The error of a stage. An aborted request throws the reason of its signal instead. */
export class StageFault extends Error {
  readonly fault: VendorFault

  constructor(fault: VendorFault) {
    super(fault.message)
    this.fault = fault
  }
}
