import { Session } from 'node:inspector/promises'

/**
 * Frees memory that only this thread's start needed; takes 0.1 s. After the start, V8's young generation has 32 MB.
 * Only the inspector's collection shrinks it; `gc()` does not.
 */
export async function releaseStartMemory(): Promise<void> {
  const session = new Session()
  session.connect()
  try {
    await session.post('HeapProfiler.collectGarbage')
  } finally {
    session.disconnect()
  }
}
