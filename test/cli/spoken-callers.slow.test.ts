import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { readRecording } from '../../bench/material.js'
import { writeWav } from '../../src/media/wav.js'
import { command } from '../support/command.js'
import { whole } from '../support/gateway.js'
import { hasMaterial } from '../support/material.js'
import { simulateOneCall } from '../support/simulated.js'

const RATE_HZ = 8000
const GAP_MS = 250

const { at, close } = await whole()
t.teardown(close)

t.test('`mkondo call --wav` plays a recording that the agent understands', async (t) => {
  if (!hasMaterial(t, 'allison')) return
  const gap = new Int16Array((RATE_HZ * GAP_MS) / 1000)
  const digits = await Promise.all([...'4127'].map((digit) => readRecording('allison', `digits/${digit}`, RATE_HZ)))
  const file = join(t.testdir(), 'digits.wav')
  const samples = Int16Array.from(digits.flatMap((digit) => [...digit, ...gap]))
  await writeFile(file, writeWav({ sampleRateHz: RATE_HZ, channels: 1, samples }))
  const { code, output } = await simulateOneCall({
    ...at,
    args: ['--wav', file, '--expect', 'Order 4127. Is that right'],
  })
  t.equal(code, 0, output)
})

t.test('early speech by callers does not interrupt the greeting', async (t) => {
  const json = join(t.testdir({}), 'calls.json')
  const { code, out, err } = await command(
    ['call', '--calls', '3', '--order', '4127', '--opening-burst', '1200', '--json', json],
    { env: { PORT: String(at.port), OPS_PORT: String(at.opsPort), SHOP_API_URL: at.shopUrl } },
  )
  t.equal(code, 0, out + err)
  const { calls } = JSON.parse(readFileSync(json, 'utf8')) as {
    calls: { bargeIns: { atMs: number }[]; transcript: { role: string; text: string; endMs: number }[] }[]
  }
  t.equal(calls.length, 3)
  for (const { bargeIns, transcript } of calls) {
    const greeting = transcript.find(({ role }) => role === 'agent')
    t.match(greeting?.text, /^Hello, .* your order number\.$/)
    t.same(
      bargeIns.filter(({ atMs }) => atMs < (greeting?.endMs ?? 0)),
      [],
    )
  }
})
