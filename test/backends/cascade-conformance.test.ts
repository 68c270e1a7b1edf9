import t from 'tap'
import { CONFORMANCE_CHECKS } from '../../src/backends/conformance.js'
import { cascadeHarness } from './cascade-harness.js'

const harness = cascadeHarness()
for (const check of CONFORMANCE_CHECKS) t.test(check.name, () => check.run(harness))
