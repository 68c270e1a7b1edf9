import t from 'tap'
import { wasTold, type HeardSound } from '../../src/cli/failover-demo.js'
import { concatenate, silence, tone } from '../support/tones.js'

const RATE = 8000
const TAKEN_OVER_MS = 6000
const STATUS = 'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?'

/** What the caller's end played: silence, and a sound between two times. */
function sound(fromMs: number, toMs: number): HeardSound {
  const shape = { sampleRateHz: RATE, ms: toMs - fromMs, amplitude: 5000 }
  return { samples: concatenate(silence(RATE, fromMs), tone([300], shape), silence(RATE, 2000)), sampleRateHz: RATE }
}

const before = { role: 'agent' as const, text: 'Order 4127 is out', startMs: 4500, endMs: 5900 }
const told = { role: 'agent' as const, text: STATUS, startMs: 6100, endMs: 12_000 }

t.test('the demo of a takeover goes by what was sent and played, not by what a busy listener made of it', (t) => {
  t.ok(wasTold([before, told], TAKEN_OVER_MS, sound(6100, 12_000)))
  t.ok(wasTold([{ ...told, startMs: 5500 }], TAKEN_OVER_MS, sound(6100, 12_000)), 'one entry for both models')
  t.end()
})

t.test('it fails where the answer was not told', (t) => {
  t.notOk(wasTold([before, told], TAKEN_OVER_MS, sound(0, 5000)), 'nothing was played')
  t.notOk(wasTold([before], TAKEN_OVER_MS, sound(0, 12_000)), 'only the first model spoke')
  t.notOk(wasTold([before, { ...told, text: 'Order 4127 is out' }], TAKEN_OVER_MS, sound(0, 12_000)), 'the second was cut off')
  t.notOk(wasTold([before, { ...told, role: 'caller' }], TAKEN_OVER_MS, sound(0, 12_000)), 'the caller said it')
  t.notOk(wasTold([{ ...told, startMs: 2000, endMs: 5900 }], TAKEN_OVER_MS, sound(0, 12_000)), 'the first model told it')
  t.notOk(wasTold([told], Infinity, sound(0, 12_000)), 'no model took over')
  t.notOk(wasTold([], TAKEN_OVER_MS, sound(0, 12_000)), 'there was no call')
  t.end()
})
