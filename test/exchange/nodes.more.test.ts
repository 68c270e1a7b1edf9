import t from 'tap'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CallRecord } from '../../src/call/documents/record.js'
import { CallerVoices } from '../../src/carrier/caller-voices.js'
import { KEEP_EVERY_MS } from '../../src/fleet/call-keeper.js'
import { CUSTOMER, ownExchange, testAsterisk } from '../support/own-exchange.js'
import { silence, talking, voicedMs } from '../support/phone-calls.js'
import { until } from '../support/until.js'

const found = await testAsterisk()
const skip = found === null ? 'there is no Asterisk of 22.8 or later here' : false

/** The silence of a caller whose gateway died. */
const BACK_MS_MAX = 3000

t.test('another process continues a call of a killed gateway [1]', { skip }, async (t) => {
  const own = await ownExchange(t, found as NonNullable<typeof found>, 'order-status', { processes: 2 })
  const voices = await CallerVoices.load()
  t.teardown(() => voices.close())
  const question = await voices.speak('Where is my order?', 'rms', 8000)
  const call = await talking(await own.phone(CUSTOMER))
  await silence(call)
  // Of the newest moment nothing is kept yet.
  await sleep(2 * KEEP_EVERY_MS)

  const { live } = (await (await fetch(`${own.opsUrl}/api/fleet/calls`)).json()) as {
    live: { callSid: string; node: string }[]
  }
  const [{ callSid, node } = { callSid: '', node: '' }] = live
  const owner = Number(node.slice(node.lastIndexOf('-') + 1))
  const start = own.gateway.lines
    .filter((line) => line.includes('"msg":"process takes calls"'))
    .map((line) => JSON.parse(line) as { process: number; pid: number })
    .find((line) => line.process === owner)
  if (start === undefined) throw new Error(`no process ${owner} has the call: ${JSON.stringify(live)}`)
  process.kill(start.pid, 'SIGKILL')
  const killedMs = performance.now()
  const heardAfter = (fromMs: number): number | undefined => voicedMs(call).find((atMs) => atMs > fromMs)
  await until(() => heardAfter(killedMs) !== undefined, 20_000, 'the agent')
  const backMs = (heardAfter(killedMs) ?? Infinity) - killedMs
  t.comment(`the phone hears the agent after ${Math.round(backMs)} ms`)
  t.ok(backMs < BACK_MS_MAX, `after ${Math.round(backMs)} ms`)
  await silence(call)

  call.say(question)
  await until(() => !call.isSpeaking, 5000, 'the end of the question')
  const saidMs = performance.now()
  await until(() => heardAfter(saidMs + 300) !== undefined, 15_000, 'an answer')
  t.equal(call.ended, null, 'the phone was on the line all the time')
  call.hangUp()

  const port = Number(new URL(own.opsUrl).port) + 1 - owner
  let record: CallRecord | null = null
  const isOver = async (): Promise<boolean> => {
    const answer = await fetch(`http://127.0.0.1:${port}/api/calls/${callSid}`)
    record = (await answer.json()) as CallRecord
    return record.outcome !== undefined
  }
  await until(isOver, 20_000, 'the record')
  const { resumed, transcript } = record as unknown as CallRecord
  t.equal(resumed.length, 1, 'one record, of both streams')
  const said = transcript.filter(({ role }) => role === 'caller').map(({ text }) => text)
  t.match(said.join(' '), /order/, 'and the caller was understood after it')
  await until(async () => (await own.status())['liveCalls'] === 0, 10_000, 'a call that is over')
  t.equal((await own.status())['legsLost'], 0)
})
