import t from 'tap'
import { wasAnswered, type HeardSound } from '../../src/cli/demo/demo-failover.js'
import { notAsSpoken } from '../../src/cli/demo/demo-languages.js'
import { concatenate, silence, tone } from '../support/tones.js'

const RATE = 8000
const FAILED_OVER_MS = 6000
const STATUS =
  'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?'

/** Sound that the caller heard: silence, and a sound between two times. */
function sound(fromMs: number, toMs: number): HeardSound {
  const shape = { sampleRateHz: RATE, ms: toMs - fromMs, amplitude: 5000 }
  return { samples: concatenate(silence(RATE, fromMs), tone([300], shape), silence(RATE, 2000)), sampleRateHz: RATE }
}

const before = { role: 'agent' as const, text: 'Order 4127 is out', startMs: 4500, endMs: 5900 }
const answer = { role: 'agent' as const, text: STATUS, startMs: 6100, endMs: 12_000 }

t.test('the failover demo passes if the answer was played', (t) => {
  t.ok(wasAnswered([before, answer], FAILED_OVER_MS, sound(6100, 12_000)))
  t.ok(wasAnswered([{ ...answer, startMs: 5500 }], FAILED_OVER_MS, sound(6100, 12_000)), 'one entry for both models')
  t.end()
})

t.test('the failover demo fails if the answer was not played', (t) => {
  t.notOk(wasAnswered([before, answer], FAILED_OVER_MS, sound(0, 5000)), 'nothing was played')
  t.notOk(wasAnswered([before], FAILED_OVER_MS, sound(0, 12_000)), 'only the first model spoke')
  t.notOk(
    wasAnswered([before, { ...answer, text: 'Order 4127 is out' }], FAILED_OVER_MS, sound(0, 12_000)),
    'the second was cut off',
  )
  t.notOk(wasAnswered([before, { ...answer, role: 'caller' }], FAILED_OVER_MS, sound(0, 12_000)), 'the caller said it')
  t.notOk(
    wasAnswered([{ ...answer, startMs: 2000, endMs: 5900 }], FAILED_OVER_MS, sound(0, 12_000)),
    'the first model gave it',
  )
  t.notOk(wasAnswered([answer], Infinity, sound(0, 12_000)), 'no model took over')
  t.notOk(wasAnswered([], FAILED_OVER_MS, sound(0, 12_000)), 'there was no call')
  t.end()
})

t.test('the language demo reports wrong languages, voices and figures', (t) => {
  const transcript = [
    { role: 'caller' as const, text: 'Na delivery ni pesa ngapi?', language: 'sw' },
    { role: 'agent' as const, text: 'That is KES 350.', language: 'en' },
  ]
  const spoken = [{ language: 'sw', voice: 'Adrian', text: 'Ni KES 350.' }]
  const toolCalls = [
    { name: 'reschedule_order', args: { orderNumber: '4127', date: '2026-11-28', time: '10:00' }, ok: true },
  ]
  const missing = notAsSpoken({ transcript, toolCalls }, spoken, ['2026-11-27'])
  for (const one of [
    'an answer to "Na delivery ni pesa ngapi?" in sw (it was in en)',
    'the voice of sw for "Ni KES 350."',
    '"Ni shilingi mia tatu na hamsini."',
    'order 4127 asked for tomorrow at 10:00',
  ])
    t.ok(missing.includes(one), one)
  t.notOk(
    notAsSpoken({ transcript, toolCalls }, spoken, ['2026-11-28']).includes('order 4127 asked for tomorrow at 10:00'),
  )
  t.end()
})
