import t from 'tap'
import { loadFlite } from '../../src/speech/flite.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { embeddedHarness } from './embedded-harness.js'
import { passSuite } from './pass-suite.js'

const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
const [flite] = await Promise.all([loadFlite(), pool.ready()])

await passSuite(t, embeddedHarness(pool, flite), 1)
