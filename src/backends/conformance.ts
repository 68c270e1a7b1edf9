import { conversationChecks } from './conformance/conversation-checks.js'
import type { ConformanceCheck } from './conformance/harness.js'
import { interruptionChecks } from './conformance/interruption-checks.js'
import { lifecycleChecks } from './conformance/lifecycle-checks.js'

/**
 * Checks that every backend must pass, whichever service it uses. They need no particular test runner:
 *
 *     for (const check of CONFORMANCE_CHECKS) test(check.name, async () => show(await check.run(harness)))
 *
 * Each check sets up its own service. Most take well under a second, a few take up to one.
 */
export const CONFORMANCE_CHECKS: readonly ConformanceCheck[] = [
  ...conversationChecks,
  ...interruptionChecks,
  ...lifecycleChecks,
]

export { conformanceSession, speakTo } from './conformance/harness.js'
export { Recorder } from './conformance/recorder.js'
export type {
  ConformanceCheck,
  ConformanceFacet,
  ConformanceHarness,
  ConformanceScript,
  ConformanceSetup,
  ConformanceVendor,
  ScriptedReply,
} from './conformance/harness.js'

/** Checks for the services of a cascade, each by itself: `STT_CHECKS` for recognisers, and so on. */
export { LLM_CHECKS, STT_CHECKS, TTS_CHECKS } from './conformance/service-checks.js'
export type { ServiceSetup } from './conformance/service-checks.js'
