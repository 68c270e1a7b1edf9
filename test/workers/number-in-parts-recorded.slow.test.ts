import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { readVoice } from '../../bench/material.js'
import { dtmfTones } from '../../src/simulator/line.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { callerSays } from '../support/caller-says.js'
import { TestLine, sid, type TestHost } from '../support/host.js'
import { REAL_TIME, startThreads } from '../support/threads.js'
import { hasMaterial } from '../support/material.js'
import { concatenate } from '../support/tones.js'

// Calls are in real time.
t.setTimeout(300_000)
t.jobs = 2

const RATE_HZ = 16_000
/** Has the orders 3056, 8214 and 6403. */
const MANY_ORDERS = '+254700000002'
const NO_ORDERS = '+254700000009'
const DIGIT_GAP_MS = 60
const PART_GAP_MS = 1900

const silence = (ms: number): Int16Array => new Int16Array((RATE_HZ * ms) / 1000)

/**
 * A person's digits, who was recorded one by one: a space is a pause after which a part has ended, `<56>` are keys.
 * @param gapMs between two digits
 */
async function spoken(number: string, gapMs = DIGIT_GAP_MS): Promise<Int16Array> {
  const parts: Int16Array[] = []
  for (const [part] of number.matchAll(/<\d+>| |\d/g)) {
    if (part === ' ') parts.push(silence(PART_GAP_MS))
    else if (part.startsWith('<')) parts.push(dtmfTones(part.slice(1, -1), RATE_HZ))
    else {
      parts.push(await readVoice('allison', `digits/${part}`, RATE_HZ), silence(gapMs))
    }
  }
  return concatenate(...parts)
}

interface Asked {
  readonly test: TestHost
  readonly from: string
  readonly number: string
  readonly gapMs?: number
  /** What answers the question whether the number is right. */
  readonly then?: Int16Array
}

let calls = 0

/** Calls the shipped order line and says the number after the greeting. @returns what was said from there on */
async function callWith({ test, from, number, gapMs, then }: Asked): Promise<string> {
  const callSid = sid(`HD_parts${String(++calls).padStart(6, '0')}`)
  const call = test.host.prepare({ callSid, agent: 'order-status', from, to: '+254709000000', direction: 'inbound' })
  const line = new TestLine(call, REAL_TIME)
  line.start()
  await line.agentQuiet(800)
  const samples = await spoken(number, gapMs)
  line.say(samples)
  await sleep((samples.length * 1000) / RATE_HZ)
  await line.agentQuiet(1000)
  if (then !== undefined) {
    line.say(then)
    await line.agentQuiet(1500)
  }
  call.hangup('operator-hangup', 'the test is over', false)
  line.stop()
  const { transcript } = await test.recordOf(callSid)
  // A busy machine recognises late, and the caller is told that it takes a moment.
  const lines = transcript.map(({ role, text }) => `${role}: ${text}`).filter((one) => !one.includes('One moment'))
  return lines.slice(lines.findIndex((one) => one.startsWith('caller'))).join('\n')
}

async function orderLine(t: Test): Promise<TestHost> {
  // Two for each call: a lone digit has its own decoder.
  const speech = new SpeechPool({ decodersPerThread: 8 })
  t.teardown(() => speech.close())
  await speech.ready()
  const test = await startThreads({ speech })
  t.teardown(() => test.close())
  return test
}

t.test(
  'a person who pauses within an order number is understood as one who does not',
  { buffered: true },
  async (t) => {
    if (!hasMaterial(t, 'allison')) return
    const test = await orderLine(t)
    const [two, three] = await Promise.all([
      callWith({ test, from: MANY_ORDERS, number: '82 14' }),
      callWith({ test, from: MANY_ORDERS, number: '64 0 3' }),
    ])
    const [keyed, long] = await Promise.all([
      callWith({ test, from: MANY_ORDERS, number: '30 <56>' }),
      callWith({ test, from: NO_ORDERS, number: '27314' }),
    ])
    t.equal(two, 'caller: 82\ncaller: 14\nagent: Order 8214. Is that right?')
    t.equal(three, 'caller: 64\ncaller: 0\ncaller: 3\nagent: Order 6403. Is that right?')
    t.equal(keyed, 'caller: 30\ncaller: 56\nagent: Order 3056. Is that right?')
    // One of five digits may be misheard, or heard twice; none is left out to make four of them.
    t.match(long, /^caller: \d{5,8}\nagent: (\d ){5,8}is too many digits\./, 'too many digits are said, not cut')
  },
)

t.test(
  'who reads an order number from a card, one digit after the other, gets its status',
  { buffered: true },
  async (t) => {
    if (!hasMaterial(t, 'allison')) return
    const test = await orderLine(t)
    const then = await callerSays('yes')
    // The last caller has other orders: any four digits are listened for.
    const read = [
      { from: MANY_ORDERS, number: '8214', gapMs: 800, status: 'is packed' },
      { from: NO_ORDERS, number: '4127', gapMs: 1000, status: 'is out for delivery' },
    ]
    const calls = await Promise.all(read.map((asked) => callWith({ test, ...asked, then })))
    for (const [i, { number, gapMs, status }] of read.entries()) {
      const said = calls[i] ?? ''
      // On a busy machine a lone digit may be known too late: then it is a part of its own, of the same number.
      const whole = said.replace(/^(?:caller: \d+\n)+/, (lines) => `caller: ${lines.replace(/\D/g, '')}\n`)
      const begins = `caller: ${number}\nagent: Order ${number}. Is that right?\ncaller: yes\nagent: Order ${number} ${status}`
      t.equal(whole.slice(0, begins.length), begins, `${number}, ${gapMs} ms apart`)
    }
  },
)
