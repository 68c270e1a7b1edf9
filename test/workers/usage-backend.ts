import type { Backend, BackendSink } from '../../src/backends/backend.js'
import { TestBackend } from '../support/test-backend.js'

/** A backend of a service that says only while it is being closed what a call has used: 70 tokens. */
export function createBackend(sink: BackendSink): Backend {
  return new UsageBackend(sink, 'usage')
}

class UsageBackend extends TestBackend {
  override async close(reason: string): Promise<void> {
    if (!this.open) return
    await Promise.resolve()
    this.event({ type: 'usage', usage: { inputTokens: 60, outputTokens: 10, audioInMs: 0, audioOutMs: 0 } })
    return super.close(reason)
  }
}
