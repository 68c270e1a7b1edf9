import type { Backend, BackendSink } from '../../src/backends/backend.js'
import { TestBackend } from '../support/test-backend.js'

/**
 * A backend that says nothing and passes keyed digits to `verify_caller`: four digits and `#` as the answer to the
 * question `id-number`, four digits and `*` as that to `customer-number`.
 */
export function createBackend(sink: BackendSink): Backend {
  return new KeyedProofBackend(sink, 'keyed-proof')
}

class KeyedProofBackend extends TestBackend {
  #keyed = ''

  override dtmf(digit: string): void {
    if (/\d/.test(digit)) {
      this.#keyed += digit
      return
    }
    this.call('verify_caller', { question: digit === '#' ? 'id-number' : 'customer-number', answer: this.#keyed })
    this.#keyed = ''
  }
}
