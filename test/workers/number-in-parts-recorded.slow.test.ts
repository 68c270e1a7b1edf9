import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { readVoice } from '../../bench/material.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { callerSays } from '../support/caller-says.js'
import { TestLine, inbound } from '../support/host.js'
import { REAL_TIME, startThreads } from '../support/threads.js'
import { hasMaterial } from '../support/material.js'
import { concatenate } from '../support/tones.js'

const RATE_HZ = 16_000
/** The first has the orders 3056, 8214 and 6403, the second others: any four digits are listened for. */
const READ = [
  { from: '+254700000002', number: '8214', gapMs: 800, status: 'is packed' },
  { from: '+254700000009', number: '4127', gapMs: 1000, status: 'is out for delivery' },
]

/** A person's digits, who was recorded one by one. */
async function spoken(number: string, gapMs: number): Promise<Int16Array> {
  const digits = await Promise.all([...number].map((digit) => readVoice('allison', `digits/${digit}`, RATE_HZ)))
  return concatenate(...digits.flatMap((digit) => [digit, new Int16Array((RATE_HZ * gapMs) / 1000)]))
}

t.test('an order number read digit by digit is understood', async (t) => {
  if (!hasMaterial(t, 'allison')) return
  // Two for each call: a lone digit has its own decoder.
  const speech = new SpeechPool({ decodersPerThread: 4 })
  t.teardown(() => speech.close())
  await speech.ready()
  const test = await startThreads({ speech })
  t.teardown(() => test.close())
  const yes = await callerSays('yes')
  await Promise.all(
    READ.map(async ({ from, number, gapMs, status }) => {
      const call = test.host.prepare(inbound(`HD_parts00${number}`, { from }))
      const line = new TestLine(call, REAL_TIME)
      line.start()
      await line.agentQuiet(800)
      const samples = await spoken(number, gapMs)
      line.say(samples)
      await sleep((samples.length * 1000) / RATE_HZ)
      await line.agentQuiet(1000)
      line.say(yes)
      await line.agentQuiet(1500)
      call.hangup('operator-hangup', 'the test is over', false)
      line.stop()
      const { transcript } = await test.recordOf(call.callSid)
      const lines = transcript.map(({ role, text }) => `${role}: ${text}`)
      const said = lines
        .slice(lines.findIndex((one) => one.startsWith('caller')))
        // A busy machine recognises late, and the caller hears that it takes a moment.
        .filter((one) => !one.includes('One moment'))
        .join('\n')
        // A lone digit may be known too late: then it is a part of its own, of the same number.
        .replace(/^(?:caller: \d+\n)+/, (parts) => `caller: ${parts.replace(/\D/g, '')}\n`)
      const begins = `caller: ${number}\nagent: Order ${number}. Is that right?\ncaller: yes\nagent: Order ${number} ${status}`
      t.equal(said.slice(0, begins.length), begins, `${number}, ${gapMs} ms apart`)
    }),
  )
})
