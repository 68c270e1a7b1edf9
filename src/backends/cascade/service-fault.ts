import { vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'

/** Error that a service throws. If a request is aborted, the signal's reason is thrown instead. */
export class ServiceFault extends Error {
  readonly fault: VendorFault
  /** True if the conversation is longer than the model's context. */
  readonly contextFull: boolean

  constructor(fault: VendorFault, contextFull = false) {
    super(fault.message)
    this.fault = fault
    this.contextFull = contextFull
  }
}

/** @returns the fault for an error that a service threw */
export function faultOf(error: unknown): VendorFault {
  if (error instanceof ServiceFault) return error.fault
  const name = error instanceof Error ? error.name : typeof error
  return vendorFault('internal', `a fault of the gateway's own: ${name}`, false)
}
