import t from 'tap'
import { EchoGate } from '../../src/media/echo/echo-gate.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { concatenate, framesOf, mix, pinkNoise, silence, speechLike } from '../support/tones.js'

const RATE = 8000
const F = 160

interface Scene {
  /** What we send, from time 0 on. */
  readonly agent: Int16Array
  readonly caller?: Int16Array
  readonly delayMs: number
  readonly gainDb: number
  /** Frames are handed over up to this long before they are played. */
  readonly leadMs?: number
}

/** Plays a scene through a gate; says of each caller frame whether it was taken for echo. */
function listen(
  gate: EchoGate,
  { agent, caller, delayMs, gainDb, leadMs = 100 }: Scene,
): { echo: boolean[]; frames: Int16Array[] } {
  const gain = 10 ** (gainDb / 20)
  const returned = concatenate(
    silence(RATE, delayMs),
    agent.map((v) => Math.round(v * gain)),
  )
  const noise = pinkNoise({ sampleRateHz: RATE, ms: (returned.length * 1000) / RATE, amplitude: 20 }, 4)
  const line = mix(mix(returned, noise), caller ?? silence(RATE, 20))
  const sent = framesOf(agent, F)
  const frames = framesOf(line, F)
  let next = 0
  const echo = frames.map((frame, i) => {
    // The first frames go at once, as the lead allows; afterwards one every 20 ms.
    for (; next < sent.length && next * 20 <= i * 20 + leadMs; next++) {
      gate.reference(sent[next] as Int16Array, Math.max(0, next * 20 - leadMs))
    }
    return gate.isEcho(levelDbfs(frame), (i + 1) * 20)
  })
  return { echo, frames }
}

const talk = (ms: number, seed: number) => speechLike({ sampleRateHz: RATE, ms, amplitude: 15_000 }, seed)

/** Of the frames that are loud, how many are taken for echo, from `fromMs` on. */
function share({ echo, frames }: { echo: boolean[]; frames: Int16Array[] }, fromMs: number, toMs = Infinity): number {
  let loud = 0
  let taken = 0
  frames.forEach((frame, i) => {
    if (i * 20 < fromMs || i * 20 >= toMs || levelDbfs(frame) < -45) return
    loud++
    if (echo[i] === true) taken++
  })
  return taken / loud
}

for (const delayMs of [60, 180, 250, 480]) {
  for (const gainDb of [0, -12]) {
    t.test(`our own speech ${delayMs} ms later at ${gainDb} dB does not pass for the caller`, (t) => {
      const gate = new EchoGate({ assumeEcho: false })
      const scene = listen(gate, { agent: talk(12_000, 3), delayMs, gainDb })
      const learnt = gate.delayMs ?? -1000
      t.ok(Math.abs(learnt - delayMs) <= 20, `learnt ${learnt} ms`)
      t.ok(Math.abs(gate.gainDb - gainDb) < 4, `learnt ${gate.gainDb.toFixed(1)} dB`)
      const taken = share(scene, 3000)
      t.ok(taken > 0.97, `${(100 * taken).toFixed(1)} % of its loud frames`)
      t.end()
    })
  }
}

t.test('on a mixed stream the echo is expected from the first word on', (t) => {
  const first = share(listen(new EchoGate({ assumeEcho: true }), { agent: talk(3000, 5), delayMs: 200, gainDb: 0 }), 0)
  t.ok(first > 0.97, `${(100 * first).toFixed(1)} %`)
  t.end()
})

t.test('a caller who talks over the echo, louder than it, is heard', (t) => {
  const caller = concatenate(silence(RATE, 8000), speechLike({ sampleRateHz: RATE, ms: 2000, amplitude: 20_000 }, 8))
  const gate = new EchoGate({ assumeEcho: true })
  const scene = listen(gate, { agent: talk(12_000, 3), caller, delayMs: 180, gainDb: -20 })
  t.ok(share(scene, 3000, 8000) > 0.95, 'echo before')
  const heard = 1 - share(scene, 8200, 9800)
  t.ok(heard > 0.6, `${(100 * heard).toFixed(0)} % of the caller's frames are heard`)
  t.ok(share(scene, 10_600, 12_000) > 0.9, 'and the echo is known again afterwards')
  t.end()
})

t.test('a caller who talks while the agent is silent is always heard', (t) => {
  const gate = new EchoGate({ assumeEcho: true })
  const caller = concatenate(silence(RATE, 7000), talk(3000, 6))
  const scene = listen(gate, {
    agent: concatenate(talk(5000, 3), silence(RATE, 6000)),
    caller,
    delayMs: 200,
    gainDb: 0,
  })
  t.equal(share(scene, 7000), 0)
  t.end()
})

t.test('where no echo comes back none is seen, and the caller may interrupt', (t) => {
  for (const assumeEcho of [false, true]) {
    const gate = new EchoGate({ assumeEcho })
    const caller = concatenate(silence(RATE, 6000), talk(3000, 6))
    const scene = listen(gate, { agent: talk(10_000, 3), caller, delayMs: 200, gainDb: -100 })
    const taken = share(scene, 6000, 9000)
    t.ok(
      taken < 0.2,
      `${(100 * taken).toFixed(0)} % taken for echo, ${assumeEcho ? 'expected' : 'not expected'} before`,
    )
  }
  t.end()
})

t.test('an exact reference beside the frame needs no learning of time', (t) => {
  const gate = new EchoGate({ assumeEcho: false })
  const agent = framesOf(talk(6000, 3), F)
  let taken = 0
  let loud = 0
  agent.forEach((frame, i) => {
    gate.referenceAt(frame, i * 20)
    const leak = frame.map((v) => v / 8)
    const echo = gate.isEcho(levelDbfs(leak), (i + 1) * 20)
    if (i > 150 && levelDbfs(leak) > -45) {
      loud++
      if (echo) taken++
    }
  })
  t.ok(taken / loud > 0.97, `${taken} of ${loud}`)
  t.ok((gate.delayMs ?? 99) <= 10)
  t.end()
})

t.test('frames that come in a burst after a stall are compared with what was sent when they were taken', (t) => {
  const gate = new EchoGate({ assumeEcho: false })
  const agent = talk(12_000, 3)
  listen(gate, { agent, delayMs: 200, gainDb: 0 })
  const frames = framesOf(concatenate(silence(RATE, 200), agent), F)
  // All of it once more, asked after everything was sent: only the last 2.5 s are still remembered.
  let taken = 0
  let loud = 0
  for (let i = 500; i < 600; i++) {
    if (levelDbfs(frames[i] as Int16Array) < -45) continue
    loud++
    if (gate.isEcho(levelDbfs(frames[i] as Int16Array), (i + 1) * 20)) taken++
  }
  t.ok(taken / loud > 0.9, `${taken} of ${loud}`)
  t.end()
})
