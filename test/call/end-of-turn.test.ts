import t from 'tap'
import { CallerSpeech } from '../../src/call/caller-speech.js'
import type { CallerFrame } from '../../src/call/frame-figures.js'
import { DEFAULT_CALL_OPTIONS, type SpeechOptions } from '../../src/call/call-options.js'
import type { CallerExpectation } from '../../src/call/backend-events.js'
import type { TurnDecider } from '../../src/call/end-of-turn.js'
import { Rig } from './rig.js'

const OPTIONS = DEFAULT_CALL_OPTIONS.speech
const NOISE_DBFS = -60
const VOICE_DBFS = -20

/** A caller on a clock of frames. */
class Talker {
  nowMs = 0
  readonly speech: CallerSpeech
  readonly noiseDbfs: number

  constructor(noiseDbfs = NOISE_DBFS, options: Partial<SpeechOptions> = {}, decider?: TurnDecider) {
    this.noiseDbfs = noiseDbfs
    this.speech = new CallerSpeech({ ...OPTIONS, ...options }, decider)
    this.quiet(1000)
  }

  says(ms: number, pitchHz = 0): this {
    for (let at = 0; at < ms; at += 20) this.#frame(true, VOICE_DBFS, at % 60 === 0 && pitchHz === 0 ? 0 : pitchHz)
    return this
  }

  /** @returns whether the turn ended */
  quiet(ms: number, levelDbfs = this.noiseDbfs): boolean {
    let ended = false
    for (let at = 0; at < ms; at += 20) if (this.#frame(false, levelDbfs, 0) === 'end') ended = true
    return ended
  }

  /** How long the quiet lasts that ends the turn. */
  endsAfterMs(): number {
    for (let ms = 20; ms <= 3000; ms += 20) if (this.#frame(false, this.noiseDbfs, 0) === 'end') return ms
    return NaN
  }

  #frame(voiced: boolean, levelDbfs: number, pitchHz: number): string {
    const frame: CallerFrame = { voiced, doubtful: false, levelDbfs, pitchHz, early: false }
    return this.speech.frame(frame, (this.nowMs += 20))
  }
}

const expecting = (what: CallerExpectation): Talker => {
  const talker = new Talker()
  talker.speech.expect(what)
  return talker
}

t.test('a yes is answered sooner than a sentence, and a number later', async (t) => {
  t.equal(expecting('yes-no').says(300).endsAfterMs(), 400)
  t.equal(expecting('open').says(300).endsAfterMs(), 620)
  t.equal(expecting('digits').says(300).endsAfterMs(), 660)
})

t.test('who reads a number from a card may say a digit a second', async (t) => {
  const talker = expecting('more-digits')
  for (let digit = 0; digit < 3; digit++) t.notOk(talker.says(300).quiet(1000))
  talker.says(300).speech.expect('digits')
  t.equal(talker.endsAfterMs(), 660, 'until the number is whole')
})

t.test('a caller who pauses is waited for longer than his pauses, in this turn and partly in the next', async (t) => {
  const talker = new Talker().says(600)
  t.notOk(talker.quiet(600))
  t.equal(talker.says(600).endsAfterMs(), 740, '600 and 140')
  talker.quiet(2000)
  t.equal(talker.says(400).endsAfterMs(), 620, 'a shorter one is no longer known')
})

t.test('a caller who goes on just after the end of the turn had paused', async (t) => {
  const talker = new Talker().says(600)
  t.ok(talker.quiet(800))
  t.equal(talker.says(600).endsAfterMs(), 900, 'no longer than this')
  talker.quiet(5000)
  const late = new Talker().says(600)
  late.quiet(1500)
  t.equal(late.says(600).endsAfterMs(), 620, 'this was an answer, not a pause')
})

t.test('the soft end of a word is not quiet, and noise is', async (t) => {
  const talker = new Talker().says(600)
  t.notOk(talker.quiet(200, -40), 'an s')
  t.equal(talker.endsAfterMs(), 620, 'from its end')
  const breath = new Talker().says(600)
  t.ok(breath.quiet(1240, -40), 'for at most 300 ms, and 300 more where it goes on')
  t.equal(new Talker(-55).says(600).endsAfterMs(), 620)
})

t.test('a turn does not end while the next word begins softly', async (t) => {
  const talker = new Talker().says(600)
  t.notOk(talker.quiet(560))
  t.notOk(talker.quiet(60, -44), 'louder than the line')
  t.notOk(talker.quiet(60))
  t.equal(talker.endsAfterMs(), 40, '100 ms after it')
})

t.test('in noise it is waited longer, as the ends of words are lost', async (t) => {
  t.equal(new Talker(-30).says(1200).endsAfterMs(), 780)
  t.equal(new Talker(-39).says(1200).endsAfterMs(), 720, 'a few dB less than a good line has')
})

t.test('a tone that is held at one pitch is going on', async (t) => {
  t.equal(new Talker().says(400, 120).endsAfterMs(), 900)
  const falls = new Talker()
  for (let hz = 160; hz > 80; hz -= 4) falls.says(20, hz)
  t.equal(falls.endsAfterMs(), 620, 'a fall is not')
})

t.test('an agent may have a fixed pause', async (t) => {
  const talker = new Talker(-30, { adaptive: false, endOfSpeechMs: 500 })
  talker.speech.expect('yes-no')
  t.equal(talker.says(400, 120).endsAfterMs(), 500)
})

t.test('the figures that ended a turn stand in the timeline', async (t) => {
  const rig = Rig.talking({ speech: OPTIONS })
  rig.backend({ type: 'expects', what: 'yes-no' })
  rig.speak(400)
  rig.run(800)
  const mark = rig.log.find(({ output }) => output.type === 'mark' && output.name === 'caller-speech-end')
  t.match(mark?.output, { detail: /^400 ms of quiet; yes-no: 400 ms after 0 ms of soft sound; longest pause 0 ms/ })
})

t.test('after a failover the new backend has not said what it expects', async (t) => {
  const rig = Rig.talking({ speech: OPTIONS })
  rig.backend({ type: 'expects', what: 'yes-no' })
  rig.backend({ type: 'failover', from: 'embedded', to: 'cascade', gapMs: 100, reason: 'test' })
  rig.speak(400)
  rig.run(800)
  const mark = rig.log.find(({ output }) => output.type === 'mark' && output.name === 'caller-speech-end')
  t.match(mark?.output, { detail: /open: / })
})

t.test('another decider takes the place of the own one', async (t) => {
  const asked: string[] = []
  const decider: TurnDecider = {
    waitMs: 260,
    why: 'it says so',
    expect: (what) => void asked.push(what),
    frame: ({ voiced, pauseMs }) => void (voiced && pauseMs > 0 && asked.push(`pause ${pauseMs}`)),
    ended: () => void asked.push('ended'),
  }
  const talker = new Talker(NOISE_DBFS, {}, decider)
  talker.speech.expect('digits')
  talker.says(200)
  talker.quiet(200)
  t.equal(talker.says(200).endsAfterMs(), 260)
  t.same(asked, ['digits', 'pause 200', 'ended'])
  t.match(talker.speech.endedBecause(talker.nowMs), /^260 ms of quiet; it says so$/)
})
