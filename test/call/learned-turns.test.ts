import t from 'tap'
import type { CallerExpectation } from '../../src/call/backend-events.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { readLearnedTurns } from '../../src/call/documents/learned-turns.js'
import type { LearnedTurns } from '../../src/call/documents/learned-turns.js'
import { pausesOfCall } from '../../src/call/journal/journal-pauses.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { CallerSpeech } from '../../src/call/turns/caller-speech.js'
import { AdaptivePause, FixedPause } from '../../src/call/turns/end-of-turn.js'
import type { SpeechOptions } from '../../src/call/turns/end-of-turn.js'
import { PauseWatch } from '../../src/call/turns/pause-watch.js'
import { NOISY_DB, PAUSE_FIGURES, learnedWaitMs } from '../../src/call/turns/learned-pause.js'
import type { LearnedModel, PauseFigure } from '../../src/call/turns/learned-pause.js'
import { fittedModel, judgement } from '../../src/call/turns/turn-learning.js'
import type { LabelledPause } from '../../src/call/turns/turn-learning.js'
import { NOTHING_ASKED, askedIn } from '../../src/call/turns/turn-words.js'
import { FRAME_MS } from '../../src/core/units.js'
import { seededRandom } from '../../src/carrier/random.js'
import { Rig, callerFrame } from './rig.js'

const { speech } = DEFAULT_CALL_OPTIONS

/** A caller who has said more than a second has probably finished. */
const MODEL: LearnedModel = {
  steps: [{ figure: 'spokenMs', above: 1000, adds: -2 }],
  usual: { open: -1, digits: 0, openInNoise: 0, digitsInNoise: 0 },
  msPerPoint: 200,
  shortestMs: 300,
}

interface Said {
  readonly expects?: CallerExpectation
  readonly words?: string
  readonly asked?: string
  readonly options?: Partial<SpeechOptions>
}

/** How long the quiet after this much voice lasts until the turn ends. */
function waitAfter(spokenMs: number, learned: LearnedModel | null, said: Said = {}): number {
  const caller = new CallerSpeech({ ...speech, ...said.options, learned })
  let nowMs = 0
  const frame = (voiced: boolean): string => caller.frame(callerFrame(voiced), (nowMs += FRAME_MS))
  if (said.expects !== undefined) caller.expect(said.expects)
  for (let i = 0; i < spokenMs; i += FRAME_MS) frame(true)
  if (said.words !== undefined)
    caller.heardWords(said.words, said.asked === undefined ? NOTHING_ASKED : askedIn(said.asked))
  for (let quietMs = FRAME_MS; quietMs < 5000; quietMs += FRAME_MS) if (frame(false) === 'end') return quietMs
  return Infinity
}

t.test("a model's score shortens and lengthens the wait", async (t) => {
  t.equal(waitAfter(600, MODEL), 820, '620 and a point of 200 ms')
  t.equal(waitAfter(1200, MODEL), 420)
  t.equal(waitAfter(600, null), 620, 'without a model')
})

t.test('a learned wait has a lower and an upper limit', async (t) => {
  t.equal(waitAfter(1200, { ...MODEL, msPerPoint: 9000 }), 300)
  t.equal(waitAfter(1200, { ...MODEL, msPerPoint: 9000, shortestMs: 3000 }), 620, 'nothing is shortened')
  t.equal(waitAfter(600, { ...MODEL, msPerPoint: 9000 }), 1500)
})

t.test("the model's wait is relative to the configured wait", async (t) => {
  const usual = { ...MODEL, usual: { ...MODEL.usual, open: 0 } }
  t.equal(waitAfter(600, usual, { options: { endOfSpeechMs: 800 } }), 800)
})

t.test('digits have their own usual wait', async (t) => {
  t.equal(waitAfter(600, MODEL, { expects: 'digits' }), 660)
  t.equal(waitAfter(1200, MODEL, { expects: 'digits' }), 300, '660 less two points')
})

t.test('yes-no answers and partial numbers ignore the model', async (t) => {
  t.equal(waitAfter(1200, MODEL, { expects: 'yes-no' }), 400)
  t.equal(waitAfter(1200, MODEL, { expects: 'more-digits' }), 1400)
})

t.test('a fixed pause ignores the model', async (t) => {
  t.equal(waitAfter(1200, MODEL, { options: { adaptive: false } }), 620)
})

t.test('words limit a learned wait like the rules', async (t) => {
  t.equal(waitAfter(1200, MODEL, { words: 'I want a room, and' }), 1540)
  t.equal(waitAfter(600, MODEL, { words: 'Where is my order?' }), 240)
  t.equal(waitAfter(600, MODEL, { words: 'yes', asked: 'Is it blue?' }), 240)
})

t.test('the model may use words as a figure', async (t) => {
  const model: LearnedModel = {
    ...MODEL,
    usual: { ...MODEL.usual, open: 0 },
    steps: [{ figure: 'wordsGoOn', above: 0, adds: 5 }],
  }
  t.equal(waitAfter(600, model, { words: 'the blue one,' }), 1500)
  t.equal(waitAfter(600, model), 620, 'without words they add nothing')
})

/** Voice that neither falls nor is held at one pitch, and then perhaps falls. */
function phrase(rig: Rig, ms: number, falls = false): void {
  for (let at = 0; at < ms; at += FRAME_MS) rig.speak(FRAME_MS, { pitchHz: at % 40 === 0 ? 130 : 150 })
  for (let hz = 140; falls && hz > 90; hz -= 2) rig.speak(FRAME_MS, { pitchHz: hz })
}

/** A call of a caller who thinks in the middle of each sentence. */
function thoughtfulCall(pauseMs: number, learned: LearnedModel | null = null): Rig {
  const rig = Rig.talking({ speech: { ...speech, words: null, learned } })
  for (let turn = 0; turn < 8; turn++) {
    phrase(rig, 800)
    rig.run(pauseMs)
    phrase(rig, 500, true)
    rig.run(1000)
    rig.answer(turn + 2, `a${turn}`, 600)
    rig.run(2600)
  }
  rig.writer.flush()
  return rig
}

t.test('a call with a model replays to the same outputs', async (t) => {
  const rig = thoughtfulCall(700, MODEL)
  const { recorded, outputs } = replayJournal(rig.journal)
  t.ok(outputs.length > 50)
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [])
  const [header] = readJournal(rig.journal)
  t.match(header, { options: { speech: { learned: MODEL } } }, 'the journal has the model')
})

t.test('the timeline shows the learned score', async (t) => {
  const rig = thoughtfulCall(700, MODEL)
  const mark = rig.log.find(({ output }) => output.type === 'mark' && output.name === 'caller-speech-end')
  t.match(mark?.output, { detail: /learned score -?\d\.\d\d/ })
})

const pausesIn = (journal: readonly string[]) => pausesOfCall(journal, null).flatMap(({ pauses }) => pauses)

t.test('the acting decider does not affect the compared decider', async (t) => {
  const rules = new AdaptivePause({ ...speech, words: null }, true)
  const acting = new FixedPause({ ...speech, endOfSpeechMs: 400 })
  let nowMs = 0
  const watch = new PauseWatch({ acting, compared: [rules], nowMs: () => nowMs, counts: () => true })
  const caller = new CallerSpeech(speech, watch)
  const frames = (ms: number, voiced: boolean): void => {
    for (let at = 0; at < ms; at += FRAME_MS) caller.frame(callerFrame(voiced), (nowMs += FRAME_MS))
  }
  for (const [ms, voiced] of [
    [600, true],
    [340, false],
    [600, true],
    [360, false],
    [600, true],
    [700, false],
  ] as const)
    frames(ms, voiced)
  t.equal(watch.pauses.at(-1)?.waitsMs[0], 620, 'the longest pause stays')
})

t.test('a pause before more speech is labelled with its length', async (t) => {
  const pauses = pausesIn(thoughtfulCall(500).journal)
  const lengths = pauses.map(({ lengthMs }) => lengthMs)
  t.same(lengths, Array.from({ length: 8 }, () => [500, Infinity]).flat())
  t.same(
    pauses.map(({ waitsMs: [rules = NaN] }) => rules <= 1000),
    lengths.map((ms) => ms === Infinity),
    'the rules end the turn at its end',
  )
})

t.test("speech just after the agent's start labels an early end", async (t) => {
  const lengthsWhen = (laterMs: number, voiceMs = 600): readonly number[] => {
    const rig = Rig.talking({ speech })
    rig.speak(600)
    rig.run(900)
    rig.answer(2, 'early', 3000)
    rig.run(laterMs)
    rig.speak(voiceMs)
    rig.run(3000)
    rig.writer.flush()
    return pausesIn(rig.journal).map(({ lengthMs }) => lengthMs)
  }
  const [early] = lengthsWhen(600)
  t.ok(early !== undefined && early >= 1500 && early < 1600, String(early))
  t.equal(lengthsWhen(2000)[0], Infinity)
  t.equal(lengthsWhen(300, 60)[0], Infinity, 'a cough is no words')
})

/** Pauses of which this figure says something, and the others nothing. */
function pausesBy(figure: PauseFigure, difference: number, seed: number): LabelledPause[] {
  const random = seededRandom(seed)
  return Array.from({ length: 800 }, (_, i) => {
    const ends = i % 2 === 0
    const figures = Object.fromEntries(PAUSE_FIGURES.map((name) => [name, random()])) as Record<PauseFigure, number>
    figures[figure] += ends ? 0 : difference
    return { asked: 'open', baseMs: 620, floorMs: 0, figures, lengthMs: ends ? Infinity : 400 + 1100 * random() }
  })
}

/** What the rules and a model make of such pauses. */
function judged(pauses: readonly LabelledPause[], model: LearnedModel): ReturnType<typeof judgement> {
  const waitMs = ({ figures }: LabelledPause): number => {
    let score = -model.usual[figures.overNoiseDb < NOISY_DB ? 'openInNoise' : 'open']
    for (const { figure, above, adds } of model.steps) if (figures[figure] > above) score += adds
    return learnedWaitMs({ baseMs: 620, floorMs: 0 }, score, model)
  }
  return judgement(
    pauses.map((pause) => ({
      ...pause,
      waitsMs: [620, waitMs(pause)].map((ms) => (ms <= pause.lengthMs ? ms : Infinity)),
    })),
  )
}

t.test('the fit finds the informative figure', async (t) => {
  const model = fittedModel(pausesBy('pitchFall', 1, 1))
  const weights = new Map<string, number>()
  for (const { figure, adds } of model.steps) weights.set(figure, (weights.get(figure) ?? 0) + Math.abs(adds))
  const [first] = [...weights].toSorted(([, a], [, b]) => b - a)
  t.equal(first?.[0], 'pitchFall')
  const { heldOut, worse } = judged(pausesBy('pitchFall', 1, 2), model)
  t.equal(worse, null)
  t.ok(heldOut.after.cut < heldOut.before.cut / 4, `${heldOut.before.cut} to ${heldOut.after.cut}`)
  t.ok(heldOut.after.medianMs <= 620, String(heldOut.after.medianMs))
})

t.test('a model without improvement on other calls is refused', async (t) => {
  const taught = fittedModel(pausesBy('pitchFall', 1, 1))
  const { worse } = judged(pausesBy('pitchFall', -1, 2), taught)
  t.match(worse, /^it would (cut off|wait)/)
  const nothing = fittedModel(pausesBy('pitchFall', 0, 1))
  const same = judged(pausesBy('pitchFall', 0, 2), { ...nothing, msPerPoint: 0 })
  t.match(same.worse, /the rules have/, 'nor one that changes nothing')
})

t.test('a figure without values makes no step', async (t) => {
  const pauses = pausesBy('pitchFall', 1, 1).map((one) => ({ ...one, figures: { ...one.figures, wordsGoOn: NaN } }))
  t.notOk(fittedModel(pauses).steps.some(({ figure }) => figure === 'wordsGoOn'))
})

const result = { cut: 0.5, late: 0.1, lateMs: 10, medianMs: 620, p90Ms: 700 }
const FILE: LearnedTurns = {
  ...{ version: 1, build: '0.2.0', madeAt: '2026-11-29T18:00:00.000Z', agent: null, languages: ['en-KE', 'fr'] },
  made: { groups: 40, pauses: 300, ends: 400 },
  heldOut: { groups: 10, pauses: 80, ends: 100, before: result, after: result },
  model: MODEL,
}
const textOf = (changes: object): string => JSON.stringify({ ...FILE, ...changes })

t.test('a model file is refused for other languages', async (t) => {
  t.same(readLearnedTurns(textOf({ later: true }), ['en', 'fr-CA']).model, MODEL, 'keys of later builds are ignored')
  t.throws(
    () => readLearnedTurns(textOf({}), ['en', 'sw']),
    /was made from calls in en-KE, fr; the agent also speaks sw/,
  )
})

t.test('an invalid model file is refused with its fault', async (t) => {
  for (const [text, fault] of [
    ['{', /is not JSON; allowed: a file that `mkondo learn` has written/],
    ['null', /has no version; this build reads 1/],
    [textOf({ version: 2 }), /has the form 2; this build reads 1/],
    [textOf({ model: null }), /is broken or of a newer build: model /],
    [
      textOf({ model: { ...MODEL, steps: [{ figure: 'mood', above: 1, adds: 1 }] } }),
      /model\.steps\.0\.figure .*allowed: spokenMs, phraseMs/,
    ],
    [
      textOf({ model: { ...MODEL, steps: Array.from({ length: 201 }, () => MODEL.steps[0]) } }),
      /model\.steps .*at most 200 are allowed/,
    ],
  ] as const)
    t.throws(() => readLearnedTurns(text, ['en']), fault)
})
