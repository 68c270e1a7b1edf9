import t from 'tap'
import { loadFlite } from '../../src/backends/embedded/flite.js'
import { SpeechPool } from '../../src/backends/embedded/speech-pool.js'
import { embeddedHarness } from './embedded-harness.js'
import { passSuite } from './pass-suite.js'

const pool = new SpeechPool({ decodersPerThread: 1 })
t.teardown(() => pool.close())
const [flite] = await Promise.all([loadFlite(), pool.ready()])

await passSuite(t, embeddedHarness(pool, flite), 1)
