import t from 'tap'
import type { CallerExpectation } from '../../src/call/backend-events.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { CallerSpeech } from '../../src/call/turns/caller-speech.js'
import type { SpeechOptions, TurnDecider } from '../../src/call/turns/end-of-turn.js'
import type { CallerFrame } from '../../src/call/turns/frame-figures.js'
import { askedIn, asksToRepeat, asksToWait, lastQuestion, NOTHING_ASKED } from '../../src/call/turns/turn-words.js'
import { FRAME_MS } from '../../src/core/units.js'
import { callerFrame, Rig } from './rig.js'

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

t.test('the pause is shorter for yes-no, longer for digits', async (t) => {
  t.equal(expecting('yes-no').says(300).endsAfterMs(), 400)
  t.equal(expecting('open').says(300).endsAfterMs(), 620)
  t.equal(expecting('digits').says(300).endsAfterMs(), 660)
})

t.test('a caller may say one digit per second', async (t) => {
  const talker = expecting('more-digits')
  for (let digit = 0; digit < 3; digit++) t.notOk(talker.says(300).quiet(1000))
  talker.says(300).speech.expect('digits')
  t.equal(talker.endsAfterMs(), 660, 'until the number is whole')
})

t.test("a caller's own pauses lengthen the wait", async (t) => {
  const talker = new Talker().says(600)
  t.notOk(talker.quiet(600))
  t.equal(talker.says(600).endsAfterMs(), 740, '600 and 140')
  talker.quiet(2000)
  t.equal(talker.says(400).endsAfterMs(), 620, 'a shorter one is no longer known')
})

t.test("speech just after the turn's end counts as a pause", async (t) => {
  const talker = new Talker().says(600)
  t.ok(talker.quiet(800))
  t.equal(talker.says(600).endsAfterMs(), 900, 'no longer than this')
  talker.quiet(5000)
  const late = new Talker().says(600)
  late.quiet(1500)
  t.equal(late.says(600).endsAfterMs(), 620, 'this was an answer, not a pause')
})

t.test("soft sound at a word's end is not quiet", async (t) => {
  const talker = new Talker().says(600)
  t.notOk(talker.quiet(200, -40), 'an s')
  t.equal(talker.endsAfterMs(), 620, 'from its end')
  const breath = new Talker().says(600)
  t.ok(breath.quiet(1240, -40), 'for at most 300 ms, and 300 more where it goes on')
  t.equal(new Talker(-55).says(600).endsAfterMs(), 620)
})

t.test('a soft beginning of the next word delays the end', async (t) => {
  const talker = new Talker().says(600)
  t.notOk(talker.quiet(560))
  t.notOk(talker.quiet(60, -44), 'louder than the line')
  t.notOk(talker.quiet(60))
  t.equal(talker.endsAfterMs(), 40, '100 ms after it')
})

t.test('noise lengthens the wait for the end of turn', async (t) => {
  t.equal(new Talker(-30).says(1200).endsAfterMs(), 780)
  t.equal(new Talker(-39).says(1200).endsAfterMs(), 720, 'a few dB less than a good line has')
})

t.test('a tone held at one pitch lengthens the wait', async (t) => {
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

t.test('the timeline shows the figures that ended a turn', async (t) => {
  const rig = Rig.talking({ speech: OPTIONS })
  rig.backend({ type: 'expects', what: 'yes-no' })
  rig.speak(400)
  rig.run(800)
  const mark = rig.log.find(({ output }) => output.type === 'mark' && output.name === 'caller-speech-end')
  t.match(mark?.output, { detail: /^400 ms of quiet; yes-no: 400 ms after 0 ms of soft sound; longest pause 0 ms/ })
})

t.test('a failover resets the expected kind of answer', async (t) => {
  const rig = Rig.talking({ speech: OPTIONS })
  rig.backend({ type: 'expects', what: 'yes-no' })
  rig.backend({ type: 'failover', from: 'embedded', to: 'cascade', gapMs: 100, reason: 'test' })
  rig.speak(400)
  rig.run(800)
  const mark = rig.log.find(({ output }) => output.type === 'mark' && output.name === 'caller-speech-end')
  t.match(mark?.output, { detail: /open: / })
})

t.test('a custom turn decider replaces the built-in decider', async (t) => {
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

const { speech, bargeIn } = DEFAULT_CALL_OPTIONS
const PHONE = askedIn('What is your phone number?')
const CONFIRM = askedIn('Is that the right address?')

/** How long the quiet after these words lasts until the turn ends; they came while the caller spoke. */
function waitAfter(words: string, asked = NOTHING_ASKED, options: Partial<SpeechOptions> = {}): number {
  const caller = new CallerSpeech({ ...speech, ...options })
  let nowMs = 0
  const frame = (voiced: boolean): string => caller.frame(callerFrame(voiced), (nowMs += FRAME_MS))
  for (let i = 0; i < 50; i++) frame(true)
  caller.heardWords(words, asked)
  for (let quietMs = FRAME_MS; quietMs < 5000; quietMs += FRAME_MS) if (frame(false) === 'end') return quietMs
  return Infinity
}

t.test('an unfinished sentence lengthens the wait in both languages', async (t) => {
  for (const words of [
    'I want a room, and.',
    'it was late but',
    'nataka viatu na',
    'nililipa lakini',
    'kwa sababu',
    'I need the',
  ])
    t.equal(waitAfter(words), 1540, words)
  for (const words of ['I would like um', 'nataka yaani', 'ngoja nione']) t.equal(waitAfter(words), 1240, words)
  for (const words of ['nilikuwa nauliza', 'Hello, I want', 'the blue one,']) t.equal(waitAfter(words), 920, words)
  t.equal(waitAfter('Nataka kubadilisha delivery.'), 620, 'a full stop of the recogniser says nothing')
})

t.test('a partial number waits longer, a whole number ends soon', async (t) => {
  t.same(PHONE, { what: 'number', digits: [10, 12], readBack: false })
  t.equal(waitAfter('it is zero seven one two', PHONE), 1860)
  t.equal(waitAfter('0712 345', PHONE), 1860)
  t.equal(waitAfter('sifuri saba moja mbili tatu nne five six seven eight', PHONE), 240)
  t.equal(waitAfter('0712 345 678', PHONE), 240)
  t.equal(waitAfter('254 712 345 6', PHONE), 1860, 'with the code of the country it is longer')
  t.equal(waitAfter('four one', askedIn('Tell me the last four digits.')), 1860)
  const order = askedIn('Naomba nambari ya oda yako?', [4])
  t.same(order, { what: 'number', digits: [4], readBack: false })
  t.equal(waitAfter('nne moja mbili saba', order), 240)
  t.equal(waitAfter('four one two', askedIn('What is your order number?')), 920, 'nobody knows how long it is')
})

t.test('a complete answer or question ends the turn at once', async (t) => {
  for (const words of ['Yes.', 'yeah that is right', 'ndiyo', 'sawa sawa', 'No thank you.', 'hapana'])
    t.equal(waitAfter(words, CONFIRM), 240, words)
  t.equal(waitAfter('yes'), 620, 'nobody asked')
  t.equal(waitAfter('yes', askedIn('What do you need?')), 620, 'something else was asked')
  t.equal(waitAfter('yes but', CONFIRM), 1540)
  t.equal(waitAfter('no', askedIn('Four one two seven, is that right?')), 620, 'the right number follows')
  t.equal(waitAfter('yes', askedIn('Four one two seven, is that right?')), 240)
  t.equal(waitAfter('Where is my order?'), 240)
  t.equal(waitAfter('viatu ni bei gani'), 240, 'a recogniser without marks')
})

t.test('words change nothing if disabled or the pause is fixed', async (t) => {
  for (const words of ['I want a room, and', 'Where is my order?']) {
    t.equal(waitAfter(words, NOTHING_ASKED, { words: null }), 620)
    t.equal(waitAfter(words, NOTHING_ASKED, { adaptive: false }), 620)
  }
})

t.test('a question mark must last before it ends the turn', async (t) => {
  const caller = new CallerSpeech(speech)
  let nowMs = 0
  const run = (ms: number, voiced: boolean): boolean => {
    let ended = false
    for (let i = 0; i < ms / FRAME_MS; i++) ended ||= caller.frame(callerFrame(voiced), (nowMs += FRAME_MS)) === 'end'
    return ended
  }
  run(1000, true)
  caller.heardWords('is it', NOTHING_ASKED)
  run(200, false)
  caller.heardWords('is it open?', NOTHING_ASKED)
  t.notOk(run(180, false))
  t.ok(run(40, false))
})

t.test("the agent's question is read from its last sentence", async (t) => {
  const what = (text: string): string => askedIn(text).what
  t.equal(what('Hello. Is it the blue one?'), 'yes-no')
  t.equal(what('Is it blue? Let me look.'), 'nothing')
  t.equal(what('Which day suits you?'), 'open')
  t.equal(what('Do you want it today or tomorrow?'), 'open')
  t.equal(what('Nitume ombi kwa simu hii?'), 'yes-no')
  t.equal(what('Iwe lini?'), 'open')
  t.equal(what('Please tell me your order number.'), 'number')
  t.equal(lastQuestion('Good. Which day suits you? We are open.'), 'Which day suits you?')
  t.equal(lastQuestion('We are open.'), null)
  t.equal(lastQuestion('Good.\nIs it the 3.5 kg one?'), 'Is it the 3.5 kg one?')
})

t.test('requests to wait or repeat are recognised', async (t) => {
  for (const words of ['Wait.', 'wait wait', 'Subiri kidogo', 'ngoja', 'okay, one moment please'])
    t.ok(asksToWait(words, false), words)
  for (const words of ['Stop, stop.', 'Wait. Stop.', 'acha kwanza']) {
    t.ok(asksToWait(words, true), words)
    if (!words.startsWith('Wait')) t.notOk(asksToWait(words, false), `${words}: not the agent is meant`)
  }
  for (const words of ['Stop the order', 'wait, I meant 5290', 'how long do I have to wait', 'yes'])
    t.notOk(asksToWait(words, true), words)
  for (const words of ['Um.', 'uh, um', 'Yaani', 'let me see', 'ah']) {
    t.equal(asksToWait(words, false), 'thought', words)
    t.notOk(asksToWait(words, true), `${words}: over the agent it is listening`)
  }
  for (const words of ['um, wait', 'um yes', 'ah 4127', 'oh']) t.not(asksToWait(words, false), 'thought', words)
  for (const words of ['Hello?', 'pardon', 'Sorry?', 'nini?', 'rudia']) t.ok(asksToRepeat(words), words)
  for (const words of ['sorry', 'hello I want shoes', 'what is it']) t.notOk(asksToRepeat(words), words)
})

/** The agent gives a long answer, and the caller speaks over it. */
function overTheAgent(words: string, options: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = Rig.talking({ bargeIn, weighsSpeech: true, ...options })
  rig.answer(
    2,
    'long',
    8000,
    'Your order left Nairobi on Tuesday, and the courier has it now in the van that comes to you.',
  )
  rig.run(1000)
  rig.log.length = 0
  rig.speak(500)
  rig.run(640)
  rig.heardWords(words, 'c2')
  return rig
}

t.test('"wait" over the agent stops it without an answer', async (t) => {
  const rig = overTheAgent('Wait. Stop, stop.')
  rig.run(80)
  t.match(rig.onlyLogged('barge-in'), { committed: true, why: 'asked to wait' })
  rig.backend({ type: 'turn-start', generation: 3 })
  t.notOk(rig.audio(3, 'listening', 500), '"I am listening" is not said')
  t.equal(rig.all('backend-interrupt').length, 2, 'the answer, and what the backend began to say to "wait"')
  rig.run(9000)
  t.same(rig.texts(), [], 'nor is the caller asked')
  t.same(rig.logged('turn'), [])
  t.ok(rig.log.some(({ output }) => output.type === 'mark' && output.name === 'asked-to-wait'))
  t.ok(rig.session.log.transcript.some(({ role, text }) => role === 'caller' && text === 'Wait. Stop, stop.'))
  rig.speak(800)
  rig.run(640)
  rig.heardWords('I meant the other order.', 'c3')
  rig.answer(4, 'other', 500)
  rig.run(700)
  t.equal(rig.logged('turn').length, 1)
})

t.test('a hesitation is not answered and leaves the question open', async (t) => {
  const alone = Rig.talking()
  alone.speak(300)
  alone.run(640)
  alone.heardWords('Uh.')
  alone.backend({ type: 'turn-start', generation: 2 })
  t.notOk(alone.audio(2, 'a2', 500))
  const after = Rig.talking()
  after.speak(900)
  after.run(640)
  after.heardWords('Where is my order?')
  after.speak(300)
  after.run(640)
  after.heardWords('Uh.', 'c2')
  after.backend({ type: 'turn-start', generation: 2 })
  t.ok(after.audio(2, 'a2', 500), 'the question still has its answer')
})

t.test('"stop" in silence is answered, "one moment" is not', async (t) => {
  for (const [words, answered] of [
    ['Stop it please.', true],
    ['Ngoja kidogo.', false],
  ] as const) {
    const rig = Rig.talking()
    rig.speak(600)
    rig.run(640)
    rig.heardWords(words)
    rig.backend({ type: 'turn-start', generation: 2 })
    t.equal(rig.audio(2, 'a2', 500), answered, words)
  }
})

t.test("a tool's result is spoken after a request to wait", async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.speak(500)
  rig.run(640)
  rig.heardWords('Wait.')
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  rig.backend({ type: 'turn-start', generation: 2 })
  t.ok(rig.audio(2, 'a2', 500))
})

t.test('"mm, sawa" is a backchannel unless a question was asked', async (t) => {
  const listens = Rig.talking({ bargeIn, weighsSpeech: true })
  listens.answer(2, 'long', 8000, 'Your order left Nairobi on Tuesday.')
  listens.run(1000)
  listens.log.length = 0
  listens.speak(500)
  listens.backend({ type: 'transcript', role: 'caller', text: 'mm sawa', final: false, itemId: 'c2', generation: 3 })
  listens.speak(400)
  listens.run(1500)
  t.same([listens.all('playout-clear').length, listens.all('playout-resume').length], [0, 1])

  const asked = Rig.talking({ bargeIn, weighsSpeech: true })
  asked.answer(2, 'long', 8000, 'Is it Kilimani? You can change it to any place in Nairobi until noon tomorrow.')
  asked.run(1800)
  asked.log.length = 0
  asked.speak(300)
  t.equal(asked.all('playout-clear').length, 1)
})

t.test("partial words affect the turn's end, the timeline hides them", async (t) => {
  const rig = Rig.talking({ speech })
  rig.answer(2, 'q', 500, 'Shall I send it?')
  rig.run(600)
  rig.speak(400)
  rig.backend({ type: 'transcript', role: 'caller', text: 'ndiyo', final: false, itemId: 'c2', generation: 3 })
  rig.run(300)
  const detail = rig.log.flatMap(({ output }) =>
    output.type === 'mark' && output.name === 'caller-speech-end' ? [output.detail ?? ''] : [],
  )
  t.match(detail, [/^240 ms of quiet; .*; words: yes-no$/])
})
