import type { Backend, BackendSession } from '../backend.js'
import { conformanceSession } from './harness.js'
import type { ConformanceHarness, ConformanceVendor } from './harness.js'
import { Recorder } from './recorder.js'

/** Everything a check works with. */
export interface Rig {
  readonly backend: Backend
  readonly recorder: Recorder
  readonly vendor: ConformanceVendor
  readonly secret: string | null
  readonly hangup: AbortController
  readonly connect: (changes?: Partial<BackendSession>) => Promise<void>
}

/** @throws Error that says what was expected */
export function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`expected ${what}`)
}

export function expectEqual<T>(actual: T, wanted: T, what: string): void {
  if (actual !== wanted) throw new Error(`${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(actual)}`)
}

/** Runs `check` on a backend that is not connected yet, and cleans up after it. */
export async function rigged(harness: ConformanceHarness, check: (rig: Rig) => Promise<void>): Promise<void> {
  const setup = await harness.setup()
  const recorder = new Recorder()
  const backend = setup.backend(recorder)
  const hangup = new AbortController()
  try {
    await check({
      backend, recorder, vendor: setup.vendor, secret: setup.secret, hangup,
      connect: (changes) => backend.connect(conformanceSession(changes), hangup.signal),
    })
  } catch (error) {
    // What came instead is what one wants to know.
    if (error instanceof Error) error.message += `\n  seen: ${recorder.summary()}`
    throw error
  } finally {
    await backend.close('the check is over')
    await setup.close()
  }
}

/** The same on a connected one; everything the suite promises about endings is checked for every check. */
export async function connected(
  harness: ConformanceHarness, changes: Partial<BackendSession>, check: (rig: Rig) => Promise<void>,
): Promise<void> {
  await rigged(harness, async (rig) => {
    await rig.connect(changes)
    await check(rig)
    const snapshot = rig.backend.snapshot()
    expect(snapshot === null || JSON.stringify(snapshot) !== undefined, 'a snapshot that is JSON')
    await rig.backend.close('the check is over')
    expectEqual(rig.recorder.all('closed').length, 1, 'closed events')
    expectEqual(rig.recorder.events.at(-1)?.type, 'closed', 'the last event')
  })
}
