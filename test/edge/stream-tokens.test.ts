import t from 'tap'
import { StreamTokens } from '../../src/edge/public/stream-tokens.js'
import { parseCallSid } from '../../src/core/ids.js'

const SID = parseCallSid('HD_tokens000001')
const DAY_MS = 86_400_000

t.test('a jump of the calendar clock refuses no token of this process', (t) => {
  const time = { wallMs: Date.UTC(2026, 11, 1), steadyMs: 1000 }
  const options = { tokenSecrets: ['secret'], wallClock: () => time.wallMs }
  const tokens = new StreamTokens({ ...options, clock: () => time.steadyMs })
  for (const jumpMs of [DAY_MS, -DAY_MS, 9000 * DAY_MS]) {
    const audio = tokens.mint(SID, 'audio', 1)
    const afterStream = tokens.mint(SID, 'after-stream')
    time.wallMs += jumpMs
    t.match(tokens.check(audio, 'audio'), { result: 'ok', callSid: SID, epoch: 1 }, `${jumpMs} ms`)
    t.match(tokens.check(afterStream, 'after-stream'), { result: 'ok' })
    t.match(tokens.check(audio, 'after-stream'), { result: 'wrong-purpose' })
    if (jumpMs < 0) continue
    const elsewhere = new StreamTokens({ ...options, clock: () => time.steadyMs })
    t.match(elsewhere.check(audio, 'audio'), { result: 'expired' }, 'another process knows only the calendar')
    time.steadyMs += 61_000
    t.match(tokens.check(audio, 'audio'), { result: 'expired' }, 'its minute is over')
    t.match(tokens.check(afterStream, 'after-stream'), { result: 'ok' })
  }
  t.end()
})
