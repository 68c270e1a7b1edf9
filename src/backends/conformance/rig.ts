import type { Backend, BackendErrorCode } from '../backend.js'
import { conformanceSession } from './harness.js'
import type { ConformanceFacet, ConformanceHarness, ConformanceScript, ConformanceVendor, ScriptedReply } from './harness.js'
import { Recorder, speakTo } from './recorder.js'

/** Everything a check works with. */
export interface Rig {
  readonly backend: Backend
  readonly recorder: Recorder
  readonly vendor: ConformanceVendor
  readonly secret: string | null
  readonly hangup: AbortController
  readonly connect: () => Promise<void>
  /** The caller says the next text of the script. */
  readonly speak: (voicedMs: number, silenceMs?: number) => Promise<void>
  /** How long a reply sounds when nothing of it is lost. */
  readonly soundMs: (reply: ScriptedReply) => Promise<number>
  /** False when the service lacks this; then it is noted that the check leaves something out. */
  readonly has: (facet: ConformanceFacet) => boolean
  readonly canFailWith: (code: BackendErrorCode) => boolean
}

/** @throws Error that says what was expected */
export function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`expected ${what}`)
}

export function expectEqual<T>(actual: T, wanted: T, what: string): void {
  if (actual !== wanted) throw new Error(`${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(actual)}`)
}

/** Runs `check` on a backend that is not connected yet, and cleans up after it. @returns what was left out */
export async function rigged(
  harness: ConformanceHarness, script: ConformanceScript, check: (rig: Rig) => Promise<void>,
): Promise<readonly string[]> {
  const setup = await harness.setup()
  const { vendor } = setup
  const leftOut = new Set<string>()
  const has = (facet: ConformanceFacet): boolean => {
    const why = harness.lacks?.[facet]
    if (why !== undefined) leftOut.add(`${facet}: ${why}`)
    return why === undefined
  }
  const canFailWith = (code: BackendErrorCode): boolean => {
    const can = harness.connectFaults.includes(code)
    if (!can) leftOut.add(`connecting cannot fail with ${code} here`)
    return can
  }
  vendor.reply(...script.replies ?? [])
  vendor.callerSays(...script.callerSays ?? [])
  vendor.callerWrites?.(...script.callerWrites ?? [])
  if (script.readyDelayMs !== undefined) vendor.delayReady(script.readyDelayMs)
  if (script.connectFault !== undefined && canFailWith(script.connectFault)) vendor.failConnect(script.connectFault)
  const greeting = script.agentBegins === true ? {} : { greeting: null }
  const session = conformanceSession({ ...greeting, ...script.session })
  const recorder = new Recorder()
  const backend = setup.backend(recorder)
  const hangup = new AbortController()
  const says = [...script.callerSays ?? []]
  try {
    await check({
      backend, recorder, vendor, secret: setup.secret, hangup, has, canFailWith,
      connect: () => backend.connect(setup.session?.(session) ?? session, hangup.signal),
      speak: async (voicedMs, silenceMs) => {
        const text = says.shift() ?? 'hello'
        await speakTo(backend, voicedMs, silenceMs, await setup.voice?.(text, backend.capabilities.inputRateHz) ?? null)
      },
      soundMs: async (reply) => await setup.soundMs?.(reply) ?? reply.audioMs ?? 0,
    })
  } catch (error) {
    // What came instead is what one wants to know.
    if (error instanceof Error) error.message += `\n  seen: ${recorder.summary()}`
    throw error
  } finally {
    await backend.close('the check is over')
    await setup.close()
  }
  return [...leftOut]
}

/** The same on a connected one; everything the suite promises about endings is checked for every check. */
export function connected(
  harness: ConformanceHarness, script: ConformanceScript, check: (rig: Rig) => Promise<void>,
): Promise<readonly string[]> {
  return rigged(harness, script, async (rig) => {
    await rig.connect()
    await check(rig)
    const snapshot = rig.backend.snapshot()
    expect(snapshot === null || JSON.stringify(snapshot) !== undefined, 'a snapshot that is JSON')
    await rig.backend.close('the check is over')
    expectEqual(rig.recorder.all('closed').length, 1, 'closed events')
    expectEqual(rig.recorder.events.at(-1)?.type, 'closed', 'the last event')
  })
}
