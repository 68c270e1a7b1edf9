import fc from 'fast-check'
import t from 'tap'
import { CallerUplink } from '../../src/backends/transport/caller-uplink.js'
import { samplesOf } from '../../src/media/pcm.js'

interface Far {
  readonly uplink: CallerUplink
  readonly got: number[]
  takes: boolean
}

function far(
  changes: { readonly messageMs?: number; readonly waitingMsMax?: number; readonly preRollMs?: number } = {},
): Far {
  const line: Far = {
    got: [],
    takes: true,
    uplink: new CallerUplink({
      sampleRateHz: 16_000,
      messageMs: 60,
      waitingMsMax: 600,
      preRollMs: 120,
      ...changes,
      send: (pcm, length) => {
        if (!line.takes) return false
        line.got.push(...samplesOf(pcm.subarray(0, length)))
        return true
      },
    }),
  }
  return line
}

const count = (from: number, samples: number): Int16Array =>
  Int16Array.from({ length: samples }, (_, i) => (from + i) % 30_000)

t.test('all samples are sent in order, for any frame lengths and any refusals', async (t) => {
  const steps = fc.array(fc.oneof(fc.integer({ min: 1, max: 900 }), fc.constantFrom('flush', 'stop', 'go')), {
    maxLength: 40,
  })
  fc.assert(
    fc.property(steps, (todo) => {
      const line = far({ waitingMsMax: 60_000 })
      line.uplink.open()
      let sent = 0
      for (const step of todo) {
        if (step === 'flush') line.uplink.flush()
        else if (step === 'stop' || step === 'go') line.takes = step === 'go'
        else {
          line.uplink.push(count(sent, step))
          sent += step
        }
      }
      line.takes = true
      line.uplink.retry()
      line.uplink.flush()
      if (line.got.length !== sent) throw new Error(`${line.got.length} of ${sent}`)
      if (line.got.some((sample, i) => sample !== i % 30_000)) throw new Error('out of order')
    }),
    { numRuns: 200 },
  )
  t.pass()
})

t.test('audio that waits too long is dropped, oldest first, and counted', async (t) => {
  const line = far({ waitingMsMax: 120 })
  line.takes = false
  line.uplink.open()
  line.uplink.push(count(0, 960 * 5))
  t.equal(line.uplink.droppedMs, 180)
  line.takes = true
  line.uplink.retry()
  t.equal(line.got.length, 960 * 2)
  t.equal(line.got[0], 960 * 3)
  t.equal(line.uplink.takeSentMs(), 120)
  t.equal(line.uplink.takeSentMs(), 0)
})

t.test('while closed only the newest audio is kept, and the rest is not counted as dropped', async (t) => {
  const line = far()
  line.uplink.push(count(0, 960 * 10))
  t.same(line.got, [])
  t.equal(line.uplink.droppedMs, 0)
  line.uplink.open()
  t.equal(line.got.length, 960 * 2)
  t.equal(line.got[0], 960 * 8)
  line.uplink.close()
  line.uplink.push(count(0, 960))
  t.equal(line.got.length, 960 * 2)
})

t.test('of the kept audio no more is sent than speech began ago', async (t) => {
  const line = far()
  line.uplink.push(count(0, 960 * 10))
  line.uplink.open(50)
  t.equal(line.got.length, 960)
  t.equal(line.got[0], 960 * 9)
  line.takes = false
  line.uplink.push(count(0, 960 * 3))
  line.uplink.open(50)
  line.takes = true
  line.uplink.retry()
  t.equal(line.got.length, 960 * 4, 'what already waits to be sent is no pre-roll')
})
