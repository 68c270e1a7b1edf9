import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { readRecording } from '../../bench/material.js'
import { dtmfTones } from '../../src/simulator/line.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { TestLine, sid, startHost, type TestHost } from '../support/host.js'
import { hasMaterial } from '../support/material.js'

// Calls are in real time.
t.setTimeout(120_000)

const RATE_HZ = 16_000
/** Has the orders 3056, 8214 and 6403. */
const MANY_ORDERS = '+254700000002'
const NO_ORDERS = '+254700000009'
const DIGIT_GAP_MS = 60

const silence = (ms: number): Int16Array => new Int16Array((RATE_HZ * ms) / 1000)

function joined(parts: readonly Int16Array[]): Int16Array {
  const out = new Int16Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** A person's digits, who was recorded one by one: a space is a pause of 0.9 s, `<56>` are keys. */
async function spoken(number: string): Promise<Int16Array> {
  const parts: Int16Array[] = []
  for (const [part] of number.matchAll(/<\d+>| |\d/g)) {
    if (part === ' ') parts.push(silence(900))
    else if (part.startsWith('<')) parts.push(dtmfTones(part.slice(1, -1), RATE_HZ))
    else {
      const digit = await readRecording('allison', `digits/${part}`, RATE_HZ)
      const from = digit.findIndex((sample) => Math.abs(sample) > 300)
      const to = digit.findLastIndex((sample) => Math.abs(sample) > 300)
      parts.push(digit.subarray(from, to), silence(DIGIT_GAP_MS))
    }
  }
  return joined(parts)
}

/** Calls the shipped order line and says the number after the greeting. @returns what the agent answered */
async function answerTo(test: TestHost, from: string, number: string): Promise<string> {
  const callSid = sid(`HD_parts${number.replaceAll(/\D/g, '').padStart(6, '0')}`)
  const call = test.host.prepare({ callSid, agent: 'order-status', from, to: '+254709000000', direction: 'inbound' })
  const line = new TestLine(call)
  line.start()
  await line.agentQuiet(800)
  const samples = await spoken(number)
  line.say(samples)
  await sleep((samples.length * 1000) / RATE_HZ)
  await line.agentQuiet(1000)
  call.hangup('operator-hangup', 'the test is over', false)
  line.stop()
  const { transcript } = await test.recordOf(callSid)
  const lines = transcript.map(({ role, text }) => `${role}: ${text}`)
  return lines.slice(lines.findIndex((one) => one.startsWith('caller'))).join('\n')
}

t.test('a person who pauses within an order number is understood as one who does not', async (t) => {
  if (!hasMaterial(t, 'allison')) return
  const speech = new SpeechPool({ decodersPerThread: 4 })
  t.teardown(() => speech.close())
  await speech.ready()
  const test = await startHost({ speech })
  t.teardown(() => test.close())
  const [two, three, keyed, long] = await Promise.all([
    answerTo(test, MANY_ORDERS, '82 14'),
    answerTo(test, MANY_ORDERS, '64 0 3'),
    answerTo(test, MANY_ORDERS, '30 <56>'),
    answerTo(test, NO_ORDERS, '27314'),
  ])
  t.equal(two, 'caller: 82\ncaller: 14\nagent: Order 8214. Is that right?')
  t.equal(three, 'caller: 64\ncaller: 0\ncaller: 3\nagent: Order 6403. Is that right?')
  t.equal(keyed, 'caller: 30\ncaller: 56\nagent: Order 3056. Is that right?')
  // One of five digits may be misheard, or heard twice; none is left out to make four of them.
  t.match(long, /^caller: \d{5,8}\nagent: (\d ){5,8}is too many digits\./, 'too many digits are said, not cut')
})
