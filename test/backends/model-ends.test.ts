import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { endOf, endText, namingEnds } from '../../src/backends/model-ends.js'
import { pricedModel } from '../../src/backends/prices.js'
import { UNWATCHED } from '../../src/backends/watch.js'
import type { BackendFaultNews } from '../../src/backends/watch.js'
import { endFindings } from '../../src/cli/check.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { VENDORS } from '../../src/vendors/list.js'
import { seenModels } from '../../src/vendors/vendor.js'

const day = (text: string): number => Date.parse(`${text}T12:00:00Z`)

t.test("the warning of a model's end comes 60 days before", async (t) => {
  const at = (text: string) => endOf('gpt-realtime', day(text))
  t.match(at('2026-11-20'), { daysLeft: 61, successor: 'gpt-realtime-2.1' })
  t.equal(at('2026-11-20')?.state, 'later')
  t.equal(at('2026-11-21')?.state, 'soon')
  t.match(at('2027-01-20'), { daysLeft: 0, state: 'over' }, 'it is over on that day')
})

t.test('the warning names day, successor and source', async (t) => {
  const text = (on: string) => endText(endOf('gpt-realtime-mini', day(on)) as never)
  t.match(text('2027-01-01'), 'gpt-realtime-mini ends on 2027-01-20; use gpt-realtime-2.1-mini (https://')
  t.match(text('2027-02-01'), 'gpt-realtime-mini ended on 2027-01-20')
  t.match(endText(endOf('tts-1', day('2027-02-01')) as never), 'its vendor names no successor')
})

t.test('every known model has its first-seen day', async (t) => {
  for (const vendor of VENDORS) {
    const seen = seenModels(vendor)
    for (const model of [...Object.keys(vendor.prices ?? {}), ...Object.keys(vendor.ends ?? {})]) {
      const { on = '', source = '' } = seen.get(model) ?? {}
      t.match(on, /^20\d\d-\d\d-\d\d$/, model)
      t.match(source, /^https:\/\//, model)
    }
  }
  t.match(endOf('gpt-realtime', day('2026-11-29')), { firstSeen: { on: '2025-08-28' } }, 'its release')
  t.match(endOf('whisper-1', day('2026-11-29')), { firstSeen: { on: '2026-11-21' } }, 'the reading of its price')
})

t.test('a dated snapshot ends with its model', async (t) => {
  t.match(endOf('gpt-realtime-2025-08-28', day('2027-02-01')), { model: 'gpt-realtime-2025-08-28', daysLeft: -12 })
  t.match(endOf('models/gemini-3.1-flash-live-preview', day('2026-11-29')), { successor: 'gemini-3.8-live' })
})

t.test('an unknown or self-hosted model has no end date', async (t) => {
  for (const model of [null, 'gpt-realtime-9', pricedModel('tts-1', 'http://127.0.0.1:8000/v1')])
    t.equal(endOf(model, day('2030-01-01')), null)
  t.match(endOf(pricedModel('tts-1', 'https://api.openai.com/v1'), day('2030-01-01')), { endsOn: '2027-01-06' })
})

t.test('a release refuses default models that end within 90 days', async (t) => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [join(packageRoot(), 'scripts/default-models.mjs'), ...args], { encoding: 'utf8' })
  t.match(run('--on', '2026-11-29'), { status: 0, stdout: /default models last 90 days and more/ })
  t.match(run('--on', '2026-10-21', 'gpt-realtime'), { status: 0 })
  t.match(run('--on', '2026-10-22', 'gpt-realtime'), { status: 1, stderr: /gpt-realtime ends on 2027-01-20/ })
})

t.test("a backend's error names its ended model", async (t) => {
  const news: BackendFaultNews = { backend: 'gemini', code: 'bad_request', message: 'closed (1008)', sessionLost: true }
  const heard = (on: string): string => {
    let message = ''
    const watch = { ...UNWATCHED, fault: (fault: BackendFaultNews) => void ({ message } = fault) }
    namingEnds(
      watch,
      () => ['gemini-3.1-flash-live-preview', null],
      () => day(on),
    ).fault(news)
    return message
  }
  t.equal(heard('2026-11-16'), 'closed (1008)')
  t.match(
    heard('2026-11-17'),
    /^closed \(1008\); gemini-3\.1-flash-live-preview ended on 2026-11-17; use gemini-3\.8-live/,
  )
})

t.test('mkondo check warns of ending models and refuses ended models', async (t) => {
  const config = loadConfig(
    {
      GEMINI_API_KEY: 'key-of-the-test-0123456789',
      GEMINI_MODEL: 'gemini-3.1-flash-live-preview',
      OPENAI_API_KEY: 'another-key-of-the-test',
    },
    null,
  )
  const agent = {
    definition: { name: 'shop', backends: { openai: { model: 'gpt-realtime' } } },
    shares: [{ percent: 100, names: ['gemini', 'openai', 'embedded'], auto: false }],
  } as unknown as Parameters<typeof endFindings>[1]
  const found = (on: string) => endFindings(config, agent, day(on)).map(({ ok, what }) => [ok, what.split(';')[0]])
  t.same(found('2026-11-01'), [[null, 'shop: gemini-3.1-flash-live-preview ends on 2026-11-17']])
  t.same(found('2026-12-01'), [
    [false, 'shop: gemini-3.1-flash-live-preview ended on 2026-11-17'],
    [null, 'shop: gpt-realtime ends on 2027-01-20'],
  ])
})
