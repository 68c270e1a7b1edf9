import t from 'tap'
import { cascadeHarness } from './cascade-harness.js'
import { passSuite } from './pass-suite.js'

await passSuite(t, cascadeHarness())
