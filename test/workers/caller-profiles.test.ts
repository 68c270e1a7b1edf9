import t from 'tap'
import { readRecording, recordings } from '../../bench/material.js'
import { usesLegRate } from '../../src/backends/registry.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { bytesOfSamples } from '../../src/media/pcm.js'
import { convertRate } from '../../src/carrier/line.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { CallerProfiles } from '../../src/workers/main/caller-profiles.js'
import { says } from '../support/agent-line.js'
import { hasMaterial } from '../support/material.js'
import { loadVads } from '../support/media-modules.js'

const DAY_MS = 24 * 3_600_000

/** Band that a caller's path finds on a line on which somebody says this over and over, at 16 kHz. */
async function bandOf(pcm: Int16Array): Promise<boolean | null> {
  const path = new CallerPath({ sampleRateHz: 16_000, track: 'inbound_track', vadBank: await loadVads() })
  for (let n = 0; n < 1000 && path.narrowBand === null; n++) {
    const at = (n * 320) % (pcm.length - 320)
    path.push(bytesOfSamples(pcm.slice(at, at + 320)), n * 20)
    while (path.pull(n * 20)) continue
  }
  const { narrowBand } = path
  path.release()
  return narrowBand
}

t.test('only calls on known narrow lines use 8 kHz', async (t) => {
  let nowMs = 1000
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const lines = new CallerProfiles(() => nowMs, metrics)
  const [narrow, wide] = ['254700000001', '254700000002']
  t.equal(lines.rateHz('auto', narrow, true), 16_000, 'nothing is known yet')
  lines.heard(narrow, true)
  lines.heard(wide, false)
  lines.heard('', true)
  t.equal(lines.rateHz('auto', narrow, true), 8000)
  t.equal(lines.rateHz('auto', narrow, false), 16_000, 'the backend works at another rate')
  t.equal(lines.rateHz('auto', wide, true), 16_000)
  t.equal(lines.rateHz('auto', '', true), 16_000, 'withheld numbers have nothing in common')
  t.equal(lines.rateHz(16_000, narrow, true), 16_000, 'the owner has set it')
  t.equal(lines.rateHz(8000, wide, false), 8000, 'the owner has set it')
  lines.heard('254700000003', true)
  lines.spoke('254700000003', 'sw')
  lines.spoke(wide, 'sw')
  lines.spoke('', 'sw')
  t.same(
    [lines.languageOf('254700000003'), lines.languageOf(narrow), lines.languageOf('')],
    ['sw', undefined, undefined],
  )
  lines.forget('254700000003')
  t.equal(lines.rateHz('auto', '254700000003', true), 16_000, 'its owner was erased')
  t.equal(lines.languageOf('254700000003'), undefined, 'with the language')
  t.equal(lines.languageOf(wide), 'sw')
  nowMs += 7 * DAY_MS + 1
  t.equal(lines.rateHz('auto', narrow, true), 16_000, 'after a week it is heard again')
  t.equal(lines.languageOf(wide), undefined, 'and may be spoken by another')
  for (let i = 0; i < 20_001; i++) lines.heard(`2547${i}`, true)
  const text = await metrics.render()
  t.match(text, /mkondo_legs_total\{rate="8000"\} 2\n/)
  t.match(text, /mkondo_legs_total\{rate="16000"\} 7\n/)
  t.notMatch(text, /mkondo_lines_forgotten_total 0\n/)
})

t.test('a look-up is remembered for an hour', async (t) => {
  let nowMs = 1000
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const callers = new CallerProfiles(() => nowMs, metrics)
  callers.found('254700000001', 'orders 1', { name: 'Amina' })
  callers.found('254700000001', 'support 1', { plan: 'Home 20' })
  callers.found('', 'orders 1', { name: 'Nobody' })
  t.same(callers.foundOf('254700000001', 'orders 1'), { name: 'Amina' })
  t.same(callers.foundOf('254700000001', 'support 1'), { plan: 'Home 20' })
  t.equal(callers.foundOf('254700000001', 'orders 2'), null, 'the agent was edited')
  t.equal(callers.foundOf('', 'orders 1'), null, 'withheld numbers have nothing in common')
  nowMs += 3_000_000
  callers.found('254700000001', 'support 1', { plan: 'Home 40' })
  nowMs += 600_001
  t.equal(callers.foundOf('254700000001', 'orders 1'), null, 'also where another look-up was made meanwhile')
  t.same(callers.foundOf('254700000001', 'support 1'), { plan: 'Home 40' })
  nowMs += 3_600_001
  t.equal(callers.foundOf('254700000001', 'support 1'), null)
  for (let i = 0; i < 2000; i++) callers.found('254700000001', `orders ${i}`, {})
  callers.found('2547000000012', 'orders 1', {})
  t.match(await metrics.render(), /mkondo_callers_forgotten_total 1\n/, 'one caller has no more than all')
  callers.forget('254700000001')
  t.equal(callers.foundOf('254700000001', 'orders 1999'), null, 'its owner was erased')
  t.same(callers.foundOf('2547000000012', 'orders 1'), {})
})

t.test('OpenAI and cascade backends use the rate of the leg', (t) => {
  t.equal(usesLegRate('openai', {}), true)
  t.equal(usesLegRate('openai', { openai: { audio: 'pcmu' } }), true)
  t.equal(usesLegRate('openai', { openai: { audio: 'pcm' } }), false)
  t.equal(usesLegRate('openai-live', {}), true)
  t.equal(usesLegRate('openai-live', { 'openai-live': { audio: 'pcm16k' } }), false)
  t.equal(usesLegRate('cascade', {}), true)
  for (const name of ['gemini', 'embedded', 'module:./own.js']) t.equal(usesLegRate(name, {}), false)
  t.end()
})

t.test('the first words show whether a line is narrowband', async (t) => {
  const words = says(
    'Hello, I would like to know where my order is, please. It should have been here on Sunday.',
    16_000,
  )
  t.equal(await bandOf(convertRate(convertRate(words, 16_000, 8000), 8000, 16_000)), true)
  if (!hasMaterial(t, 'allison')) return
  const name = recordings('allison').find((name) => name.includes('vm-intro')) as string
  const recorded = await readRecording('allison', name, 16_000)
  t.equal(await bandOf(recorded), false)
  t.equal(await bandOf(convertRate(convertRate(recorded, 16_000, 8000), 8000, 16_000)), true)
})
