import { conversationChecks } from './conformance/conversation-checks.js'
import type { ConformanceCheck } from './conformance/harness.js'
import { interruptionChecks } from './conformance/interruption-checks.js'
import { lifecycleChecks } from './conformance/lifecycle-checks.js'

/**
 * Checks that every backend must pass. Any test runner can run these checks:
 *
 *     for (const check of CONFORMANCE_CHECKS) test(check.name, async () => show(await check.run(harness)))
 *
 * Each check makes its own service and takes at most a second.
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

/**
 * Checks for a single service of a cascade: `STT_CHECKS` for recognisers, `LLM_CHECKS` for language models,
 * `TTS_CHECKS` for voices.
 */
export { LLM_CHECKS, STT_CHECKS, TTS_CHECKS } from './conformance/service-checks.js'
export type { ServiceSetup } from './conformance/service-checks.js'
