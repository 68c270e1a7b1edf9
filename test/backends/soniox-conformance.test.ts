import t from 'tap'
import { passSuite } from './pass-suite.js'
import { sonioxHarness } from './soniox-harness.js'

await passSuite(t, sonioxHarness())
