import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { startShopApi } from '../../examples/shop-api/server.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { packageRoot } from '../../src/config/package-root.js'
import type { CallerScript } from '../../src/simulator/caller-script.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { asked, startLine } from '../support/broken-line.js'
import { until } from '../support/until.js'

/**
 * A caller of the shipped order line, on the embedded backend, is cut off and rung back. They speak, and their words are
 * really recognised.
 */

t.setTimeout(300_000)
t.jobs = 2

const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())
const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
t.teardown(() => shop.close())

const ORDER_LINE = parse(readFileSync(join(packageRoot(), 'agents/order-status.yaml'), 'utf8')) as Record<
  string,
  unknown
>
const AMINA = '+254700000001'

/**
 * @param answer  what the person who is rung says to the question
 * @param hears  what they wait to have heard before they hang up; null: they do not hang up
 */
async function calledBack(t: Test, answer: string, hears: RegExp | null): Promise<CallRecord> {
  const callee: CallerScript = {
    name: 'called-back',
    rules: [],
    order: null,
    reactionMs: 700,
    patienceMs: 15_000,
    steps: [
      { act: { type: 'say', text: 'Hello?' }, heard: [], interruptAfterMs: null },
      { act: { type: 'say', text: answer }, heard: [], interruptAfterMs: null },
      // The test hangs up.
      { act: { type: 'wait', ms: 90_000 }, heard: [], interruptAfterMs: null },
      { act: { type: 'hangup' }, heard: [], interruptAfterMs: null },
    ],
  }
  const agent = { ...ORDER_LINE, name: 'fleet', backend: 'embedded', recovery: 'callback' }
  const line = await startLine(t, speech, { SAUTIKIT_AFTER_STREAM: 'holds', SHOP_API_URL: shop.url }, { agent, callee })
  const call = line.call('holds', AMINA)
  await until(() => call.streams() === 1, 10_000, 'the stream')
  await until(() => false, 3000, '').catch(() => undefined)
  line.breaks()
  await until(() => asked(line, /calls$/).length > 0, 15_000, 'the caller to be rung')
  const again = (): CallRecord | undefined => line.records.find(({ direction }) => direction === 'outbound')
  const heard = (): boolean =>
    hears !== null &&
    [...line.gateway.calls.live()].some((live) =>
      live.view().transcript.some(({ role, text }) => role === 'agent' && hears.test(text)),
    )
  await until(() => heard() || again() !== undefined, 90_000, 'the end of the conversation')
  for (const { leg } of line.carrier.rest.workspace.calls()) leg.hangUp()
  await until(() => again() !== undefined, 15_000, 'the record of the call back')
  return again() as CallRecord
}

void t.test(
  'who says yes is asked for their order again, as somebody who is not verified',
  { buffered: true },
  async (t) => {
    const record = await calledBack(t, 'Yes please.', /Please ask again where your order is/)
    const said = record.transcript.map(({ role, text }) => `${role}: ${text}`)
    t.ok(
      said.some((text) => /^caller: yes/i.test(text)),
      said.join(' / '),
    )
    // Not next to each other for certain: a sound of the line may make the agent pause between its two sentences.
    t.match(said.join('\n'), /\ncaller: yes[^]*\nagent: [^\n]*Please ask again where your order is/, said.join(' / '))
    t.ok(record.timeline.some(({ name, detail }) => name === 'call-back-confirmed' && detail === 'words'))
  },
)

void t.test('who says no hears a goodbye, and nothing of the call', { buffered: true }, async (t) => {
  const record = await calledBack(t, 'No, thank you.', null)
  const said = record.transcript.map(({ role, text }) => `${role}: ${text}`)
  t.match(said.at(-1), /Goodbye/, said.join(' / '))
  t.equal(record.endReason, 'agent-goodbye')
  t.notOk(record.timeline.some(({ name }) => name === 'call-back-confirmed'))
})
