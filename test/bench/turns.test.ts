import t from 'tap'
import { measureShare } from '../../bench/turns/share.js'
import { measureTakeovers } from '../../bench/turns/takeovers.js'

// These tests check that the bench measures what it says. They do not check speed: the machine is busy with other
// tests.

t.test(
  'every takeover is made, and the second backend gets each sample of the question once and in order',
  async (t) => {
    const lines: string[] = []
    const result = await measureTakeovers({ takeovers: 4, calls: 4 }, (line) => lines.push(line))
    t.equal(result.done, 4)
    t.equal(result.samplesWrong, 0)
    t.equal(result.audioLostMs, 0)
    t.ok(result.samplesChecked >= 4 * 16 * 800, `${result.samplesChecked} samples were looked at`)
    t.ok((result.gap?.p50 ?? 0) >= 100, 'a service that needs 150 ms for a session cannot take over in less')
    t.equal(lines.length, 1)
  },
)

t.test("a caller's turns are matched with the answers of their own session", async (t) => {
  const result = await measureShare(
    { turns: 'gateway', messageMs: null, streamSilence: false, calls: 2, seconds: 10 },
    () => undefined,
  )
  t.ok(result.answered >= 1, `${result.answered} turns were answered`)
  t.equal(result.unanswered, 0)
  const { inbound, outbound, share } = result
  t.ok(inbound !== null && outbound !== null && share !== null)
  t.ok((share?.max ?? 0) >= Math.max(inbound?.p50 ?? 0, outbound?.p50 ?? 0), 'the share has both ways in it')
})
