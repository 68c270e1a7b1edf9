import fc from 'fast-check'
import t from 'tap'
import { AnsweringMachineDetector, type AnswerVerdict } from '../../src/call/turns/answering-machine-detector.js'
import { Rig, escalation } from './rig.js'

const WITH_AMD = { amd: { message: 'We will call again.', onSilence: 'speak' } } as const

/** A placed call half a second into what the agent says to whoever it takes for a person. */
function inItsPitch(options: ConstructorParameters<typeof Rig>[0], pitchMs: number): Rig {
  const rig = new Rig(options)
  rig.open()
  rig.ready()
  rig.in({ type: 'amd-result', who: 'human', why: 'a short hello' })
  rig.answer(1, 'pitch', pitchMs)
  rig.run(500)
  return rig
}

t.test('the agent waits for the verdict before greeting or listening', async (t) => {
  const rig = new Rig(WITH_AMD)
  rig.open()
  rig.ready()
  rig.speak(1000)
  rig.run(3000)
  t.same(rig.all('backend-text'), [])
  t.same(rig.all('backend-speech-start'), [])
  rig.in({ type: 'amd-result', who: 'human', why: 'a short hello' })
  t.equal(rig.only('backend-text').text, 'greet')
  t.equal(rig.session.state, 'live')
  t.match(
    rig.all('mark').find(({ name }) => name === 'answered-by'),
    { detail: 'human: a short hello' },
  )
})

t.test('an answering machine gets the message before the end [1]', async (t) => {
  const rig = new Rig(WITH_AMD)
  rig.open()
  rig.ready()
  rig.in({ type: 'amd-result', who: 'machine', why: 'a beep' })
  t.equal(rig.only('announce').text, 'We will call again.')
  t.same(rig.all('backend-text'), [], 'and the model says nothing')
  rig.run(3000)
  t.match(rig.only('end-stream'), { reason: 'answering-machine', hangup: true })
})

t.test("without a message, an answering machine's call ends at once", async (t) => {
  const rig = new Rig({ amd: { message: null, onSilence: 'speak' } })
  rig.open()
  rig.in({ type: 'amd-result', who: 'machine', why: 'a beep' })
  t.match(rig.only('end-stream'), { reason: 'answering-machine', hangup: true })
})

t.test('`onSilence` decides if a silent line is greeted [7]', async (t) => {
  const brave = new Rig(WITH_AMD)
  brave.open()
  brave.ready()
  brave.in({ type: 'amd-result', who: 'silence', why: 'no voice' })
  t.equal(brave.only('backend-text').text, 'greet')
  const shy = new Rig({ amd: { message: null, onSilence: 'hang-up' } })
  shy.open()
  shy.ready()
  shy.in({ type: 'amd-result', who: 'silence', why: 'no voice' })
  t.match(shy.only('end-stream'), { reason: 'nobody-there', hangup: true })
})

t.test('only a person hears the apology for a backend [8]', async (t) => {
  const rig = new Rig(WITH_AMD)
  rig.open()
  rig.ready()
  rig.backend({ type: 'error', code: 'internal', message: 'gone', fatal: true, retryable: false })
  rig.run(1000)
  t.same(rig.all('announce'), [])
  rig.in({ type: 'amd-result', who: 'human', why: 'hello' })
  t.equal(rig.only('announce').kind, 'apology')
})

t.test('an operator can end a call before the verdict', async (t) => {
  const rig = new Rig(WITH_AMD)
  rig.open()
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: false })
  t.match(rig.only('end-stream'), { reason: 'operator-hangup' })
  rig.in({ type: 'amd-result', who: 'human', why: 'hello' })
  t.same(rig.all('backend-text'), [])
})

const OPTIONS = { machineSpeechMs: 3000, pauseMs: 600, silenceMs: 5000 }
/** `drone`: as loud as a voice, but not detected as one. */
type Sound = 'voice' | 'drone' | 'quiet' | 'tone'
const LEVELS = { voice: -18, drone: -20, quiet: -60, tone: -15 }

interface Fallen {
  readonly verdict: AnswerVerdict
  readonly atMs: number
}

/** Plays a line's sounds, in order: [sound, milliseconds]. @returns the verdicts, and when they came */
function verdictsOn(line: readonly (readonly [Sound, number])[], options = OPTIONS): readonly Fallen[] {
  const guard = new AnsweringMachineDetector(options)
  const fallen: Fallen[] = []
  let atMs = 0
  for (const [sound, ms] of line) {
    for (let passed = 0; passed < ms && !guard.over; passed += 20) {
      atMs += 20
      const verdict = guard.frame(sound === 'voice', sound === 'tone', LEVELS[sound])
      if (verdict !== null) fallen.push({ verdict, atMs })
    }
  }
  return fallen
}

/** The first of them. */
function listen(line: readonly (readonly [Sound, number])[]): { verdict: AnswerVerdict | null; atMs: number } {
  return verdictsOn(line)[0] ?? { verdict: null, atMs: line.reduce((sum, [, ms]) => sum + ms, 0) }
}

t.test('"hello?" and a pause are judged as a person', async (t) => {
  const { verdict, atMs } = listen([
    ['quiet', 400],
    ['voice', 500],
    ['quiet', 2000],
  ])
  t.equal(verdict?.who, 'human')
  t.equal(atMs, 1500)
})

t.test('a short pause inside a greeting does not end it', async (t) => {
  t.equal(
    listen([
      ['voice', 300],
      ['quiet', 300],
      ['voice', 800],
      ['quiet', 700],
    ]).verdict?.why,
    '1400 ms of speech, then a pause',
  )
})

t.test('long speech is a machine, and its beep is awaited', async (t) => {
  const { verdict, atMs } = listen([
    ['quiet', 300],
    ['voice', 8000],
    ['quiet', 500],
    ['tone', 400],
    ['quiet', 1000],
  ])
  t.match(verdict, { who: 'machine' })
  t.equal(atMs, 300 + 8000 + 500 + 400 + 100, 'just after the beep')
})

t.test('words that the voice detector misses are not a pause', async (t) => {
  t.match(
    listen([
      ['voice', 1300],
      ['drone', 900],
      ['voice', 200],
      ['drone', 900],
      ['quiet', 500],
      ['tone', 400],
      ['quiet', 500],
    ]).verdict,
    { who: 'machine' },
  )
})

t.test('a machine without a beep gets the message after silence', async (t) => {
  const { verdict, atMs } = listen([
    ['voice', 6000],
    ['quiet', 5000],
  ])
  t.match(verdict, { who: 'machine', why: /no beep/ })
  t.equal(atMs, 7800)
})

t.test('a pause between two sentences does not end a recording', async (t) => {
  t.equal(
    listen([
      ['voice', 4000],
      ['quiet', 1200],
      ['voice', 2000],
      ['quiet', 1000],
    ]).verdict,
    null,
  )
})

t.test('a beep after a short greeting is a machine', async (t) => {
  t.match(
    listen([
      ['voice', 1500],
      ['quiet', 300],
      ['tone', 500],
      ['quiet', 1000],
    ]).verdict,
    { who: 'machine', why: 'a beep' },
  )
})

t.test('ringing and dial tones are not judged as a beep', async (t) => {
  t.equal(
    listen([
      ['quiet', 200],
      ['tone', 1000],
      ['quiet', 3500],
    ]).verdict,
    null,
  )
  t.match(listen([['tone', 60_000]]).verdict, { who: 'silence' })
  t.match(
    listen([
      ['voice', 500],
      ['tone', 60_000],
    ]).verdict,
    { who: 'human' },
  )
})

t.test('a line without voice, or with a click, is silence', async (t) => {
  t.match(listen([['quiet', 6000]]), { verdict: { who: 'silence' }, atMs: 5000 })
  t.match(
    listen([
      ['quiet', 1000],
      ['voice', 60],
      ['quiet', 8000],
    ]).verdict,
    { who: 'silence' },
  )
})

t.test('every line gets a verdict within a minute', async () => {
  const sounds = fc.array(
    fc.tuple(fc.constantFrom<Sound>('voice', 'drone', 'quiet', 'tone'), fc.integer({ min: 20, max: 9000 })),
    { minLength: 1, maxLength: 30 },
  )
  fc.assert(
    fc.property(sounds, (line) => {
      // A line that ends falls silent.
      const fallen = verdictsOn([...line, ['quiet', 60_000]])
      const [first] = fallen
      const last = fallen.at(-1)
      if (first === undefined || last === undefined || first.atMs > 47_000) return false
      // Only a machine comes after a recording, and nothing after a machine but that its beep stayed alone.
      return fallen.length <= 4 && last.verdict.who !== 'recording' && last.atMs <= 64_000
    }),
    { numRuns: 300 },
  )
})

const NAME = [
  ['quiet', 400],
  ['voice', 900],
  ['quiet', 700],
] as const

t.test('a long greeting corrects a person to a machine [3]', async (t) => {
  const fallen = verdictsOn([...NAME, ['voice', 6000], ['quiet', 300], ['tone', 500], ['quiet', 1000]])
  t.same(
    fallen.map(({ verdict }) => verdict.who),
    ['human', 'recording', 'machine'],
  )
  t.equal(fallen[1]?.atMs, 2000 + 3020, 'the agent is silent as soon as the speech is too long for a person')
  t.equal(fallen[2]?.atMs, 2000 + 6300 + 500 + 100, 'and the message comes after the beep')
})

t.test('a late beep corrects a person to a machine [4]', async (t) => {
  const short = [...NAME, ['voice', 2000], ['quiet', 800], ['voice', 2500], ['quiet', 700]] as const
  t.same(
    verdictsOn([...short, ['tone', 400], ['quiet', 1000]]).map(({ verdict }) => verdict),
    [
      { who: 'human', why: '900 ms of speech, then a pause' },
      { who: 'machine', why: 'a beep' },
    ],
  )
  t.same(
    verdictsOn([...short, ['quiet', 12_000], ['tone', 400], ['quiet', 1000]]).map(({ verdict }) => verdict.who),
    ['human'],
    'later it is a key, or the line',
  )
})

t.test('a busy tone after a hang-up is not a beep', async (t) => {
  const bursts = Array.from({ length: 6 }, () => [['tone', 500] as const, ['quiet', 500] as const]).flat()
  const beeps = (line: Parameters<typeof verdictsOn>[0]): boolean =>
    verdictsOn(line).some(({ verdict }) => verdict.beep === true)
  t.notOk(beeps([...NAME, ['voice', 1400], ['quiet', 400], ...bursts]), "hello? -- don't call me again")
  t.notOk(beeps([['voice', 400], ...bursts]))
  t.notOk(beeps([...NAME, ['voice', 6000], ['quiet', 300], ...bursts]), 'nor is it after a long complaint')
  t.ok(beeps([...NAME, ['voice', 6000], ['quiet', 300], ['tone', 500], ['quiet', 2500]]), 'a whole greeting, one beep')
  const blip = [['quiet', 500] as const, ['tone', 40] as const, ['quiet', 2500] as const]
  t.ok(
    beeps([...NAME, ['voice', 6000], ['quiet', 300], ['tone', 500], ...blip]),
    'the echo of a message may pass for a tone',
  )
})

t.test('a mailbox that speaks late is corrected from silence [5]', async (t) => {
  t.same(
    verdictsOn([
      ['quiet', 6000],
      ['voice', 5000],
      ['quiet', 300],
      ['tone', 500],
      ['quiet', 500],
    ]).map(({ verdict }) => verdict.who),
    ['silence', 'recording', 'machine'],
  )
})

t.test('a person who speaks at length is not a recording', async (t) => {
  t.same(
    verdictsOn([...NAME, ['quiet', 3000], ['voice', 7000], ['quiet', 9000]]).map(({ verdict }) => verdict.who),
    ['human'],
  )
  t.same(
    verdictsOn([...NAME, ['voice', 1500], ['quiet', 2500], ['voice', 4000], ['quiet', 9000]]).map(
      ({ verdict }) => verdict.who,
    ),
    ['human'],
  )
})

t.test('the agent stops for a recording and leaves the message', async (t) => {
  const rig = inItsPitch(WITH_AMD, 4000)
  rig.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
  t.ok(rig.all('playout-clear').length > 0, 'what it says is cut')
  rig.speak(2000)
  rig.run(15_000)
  t.same(rig.all('backend-speech-start'), [], 'and the recording is not listened to')
  t.same(rig.all('announce'), [], 'nor asked whether it is still there')
  rig.in({ type: 'amd-result', who: 'machine', why: 'a beep' })
  t.equal(rig.only('announce').text, 'We will call again.')
  rig.run(3000)
  t.match(rig.only('end-stream'), { reason: 'answering-machine', hangup: true })
})

t.test("a mailbox's words get neither answer nor filler [6]", async (t) => {
  const rig = inItsPitch(WITH_AMD, 4000)
  rig.speak(3000)
  rig.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
  rig.heardWords('after the tone')
  rig.run(8000)
  t.same(rig.all('backend-speech-end'), [], 'no model is asked')
  t.same(rig.all('announce'), [])
  rig.in({ type: 'amd-result', who: 'machine', why: 'a beep' })
  t.equal(rig.only('announce').text, 'We will call again.')
  t.same(rig.mirror.turns, [])
})

t.test('after a recording a person hears the consent text again', async (t) => {
  const consentText = 'This call is recorded.'
  for (const ms of [200, 2500]) {
    const rig = new Rig({ ...WITH_AMD, consentText, refusal: { waitMs: 3000, text: 'Nothing is kept.' } })
    rig.open()
    rig.ready()
    rig.in({ type: 'amd-result', who: 'human', why: 'a short hello' })
    rig.run(ms)
    t.same(rig.texts(), [consentText])
    rig.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
    rig.heardWords('No one can take your call.')
    rig.run(10_000)
    const asked = () => rig.all('backend-text').filter(({ respond }) => respond)
    t.same(asked(), [], `after ${ms} ms`)
    t.same([rig.texts().length, rig.all('recording-refused').length], [1, 0], 'its words are no answer')
    rig.in({ type: 'amd-result', who: 'human', why: 'a DTMF digit' })
    t.same(rig.texts(), [consentText, consentText])
    rig.run(6000)
    t.match(asked(), [{ text: 'greet' }])
  }
})

t.test('a person is heard after a recording and failed escalation', async (t) => {
  const rig = inItsPitch({ ...WITH_AMD, escalation }, 4000)
  rig.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
  rig.in({ type: 'escalate-requested', reason: 'vip' })
  rig.run(500)
  rig.in({ type: 'amd-result', who: 'human', why: 'a short hello' })
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: '', closed: false } })
  rig.run(4000)
  rig.answer(2, 'a2', 600, 'What can I do for you?')
  rig.run(1000)
  t.ok(rig.session.log.transcript.some(({ text }) => text === 'What can I do for you?'))
})

t.test('a person mistaken for a recording can refuse recording', async (t) => {
  const consentText = 'This call is recorded.'
  const asked = (): Rig => {
    const rig = new Rig({ ...WITH_AMD, consentText, refusal: { waitMs: 3000, text: 'Nothing is kept.' } })
    rig.open()
    rig.ready()
    rig.in({ type: 'amd-result', who: 'human', why: 'a short hello' })
    rig.run(2500)
    rig.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
    rig.heardWords("No, I don't want this recorded, and I have said so before.")
    return rig
  }
  const alone = asked()
  t.equal(alone.all('recording-refused').length, 1)
  alone.heardWords('No, no.')
  alone.run(3000)
  t.equal(alone.all('recording-refused').length, 1, 'once')
  t.same(alone.texts(), [consentText], 'nothing is said into what may be a recording')

  const rig = asked()
  rig.in({ type: 'amd-result', who: 'human', why: 'a DTMF digit' })
  t.same(rig.texts(), [consentText, 'Nothing is kept.'], 'a person hears that, and is not asked again')
  rig.run(3000)
  t.same(rig.all('recording-announced'), [])
  const told = rig.all('backend-text').filter(({ role }) => role === 'system')
  t.match(told, [{ text: /do not want to be recorded/, respond: false }, { text: 'greet' }])
})

t.test('digits are not asked of a recording', async (t) => {
  const order = {
    ...{ name: 'order', say: 'Your order number, please.', again: 'Once more, please.', confirm: null, min: 4, max: 4 },
    ...{
      terminator: '#' as const,
      firstMs: 5000,
      betweenMs: 4000,
      retries: 2,
      speech: true,
      maskAllBut: null,
      secretFor: null,
    },
  }
  const rig = inItsPitch({ ...WITH_AMD, collections: [order] }, 4000)
  rig.toolCall('d1', 'collect_digits', { name: 'order' })
  rig.run(300)
  const said = rig.texts().length
  rig.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
  rig.run(30_000)
  t.equal(rig.texts().length, said)
  t.match(rig.toolCalls.at(-1), { name: 'collect_digits', ok: false })
})

t.test("a beep takes a mailbox's number off do-not-call [2]", async (t) => {
  const asked = (): Rig => {
    const rig = inItsPitch(WITH_AMD, 4000)
    rig.toolCall('n1', 'do_not_call', {})
    t.match(rig.only('do-not-call'), { callId: 'n1' }, 'at once')
    return rig
  }
  const mailbox = asked()
  mailbox.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
  t.same(mailbox.all('do-not-call-undone'), [], 'it may be a person who talks for long')
  mailbox.in({ type: 'amd-result', who: 'machine', why: '3000 ms of speech without a pause' })
  t.same(mailbox.all('do-not-call-undone'), [], 'and the beep may be the first of a busy tone')
  mailbox.in({ type: 'amd-result', who: 'machine', why: 'its beep stayed alone', beep: true })
  t.equal(mailbox.all('announce').length, 1, 'one message')
  t.equal(mailbox.all('do-not-call-undone').length, 1)

  const leaving = asked()
  leaving.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  leaving.in({ type: 'amd-result', who: 'machine', why: 'a beep', beep: true })
  t.equal(leaving.all('do-not-call-undone').length, 1, 'also while the agent says goodbye')

  const annoyed = asked()
  annoyed.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
  annoyed.in({ type: 'amd-result', who: 'machine', why: '3000 ms of speech without a pause, then no beep' })
  t.same(annoyed.all('do-not-call-undone'), [], 'without a beep it may be somebody who is annoyed')
})

t.test('a person mistaken for a recording reaches the agent by key', async (t) => {
  const rig = inItsPitch(WITH_AMD, 1000)
  rig.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
  rig.run(1000)
  rig.in({ type: 'amd-result', who: 'human', why: 'a DTMF digit' })
  rig.speak(500)
  rig.run(1000)
  t.equal(rig.all('backend-speech-end').length, 1, 'the model is asked')
  t.ok(rig.audio(2, 'reply', 1000), 'and its answer is heard')
})

t.test('a mailbox is not handed over, a person is', (t) => {
  const heardOut = (): Rig => {
    const rig = inItsPitch({ ...WITH_AMD, handoverTo: { sales: 'they want to buy' } }, 4000)
    rig.toolCall('h1', 'hand_over', { agent: 'sales' }, 1)
    rig.run(200)
    rig.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
    rig.run(20_000)
    return rig
  }
  const mailbox = heardOut()
  mailbox.in({ type: 'amd-result', who: 'machine', why: 'a beep' })
  mailbox.run(6000)
  t.match(mailbox.only('end-stream'), { reason: 'answering-machine' })
  t.same(mailbox.all('handover'), [])
  t.same(mailbox.session.log.handovers, [], 'nor does its record say so')

  const person = heardOut()
  person.in({ type: 'amd-result', who: 'human', why: 'a DTMF digit' })
  person.run(200)
  t.match(person.only('handover').record, { to: 'sales' })
  t.end()
})

t.test('a moved call keeps waiting for the recording to end', async (t) => {
  for (const newStream of [null, { streamMs: 1500, consented: true }])
    for (const amd of ['recording', 'undecided'] as const) {
      const before = amd === 'recording' ? inItsPitch(WITH_AMD, 4000) : new Rig(WITH_AMD)
      if (amd === 'undecided') before.open()
      else before.in({ type: 'amd-result', who: 'recording', why: '3000 ms of speech without a pause' })
      t.equal(before.resume.checkpoint.amd, amd)
      const rig = new Rig(WITH_AMD, { ...before.resume, ...(newStream === null ? {} : { newStream }) })
      rig.open()
      rig.ready()
      rig.speak(2000)
      rig.run(5000)
      const said = ['announce', 'backend-text', 'backend-speech-start'] as const
      t.same(
        said.flatMap((type) => rig.all(type)),
        [],
        'the agent is silent, and listens to nobody',
      )
      rig.in({ type: 'amd-result', who: 'machine', why: 'a beep' })
      t.equal(rig.only('announce').text, 'We will call again.')
    }
  t.equal(inItsPitch(WITH_AMD, 1000).resume.checkpoint.amd, undefined, 'a person who talks is not looked for again')
})

t.test('a closing call without a verdict ends after a move', async (t) => {
  const before = new Rig(WITH_AMD)
  before.open()
  before.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  t.match(before.resume.checkpoint, { state: 'closing', amd: 'undecided' })
  const rig = new Rig(WITH_AMD, before.resume)
  rig.open()
  rig.ready()
  t.match(rig.only('end-stream'), { reason: 'operator-hangup' })
  rig.in({ type: 'amd-result', who: 'human', why: 'hello' })
  t.same(rig.all('backend-text'), [])
})

t.test('a resumed detector waits for the beep or the end', (t) => {
  const limits = { machineSpeechMs: 3000, pauseMs: 600, silenceMs: 4000 }
  for (const tone of [true, false]) {
    const detector = new AnsweringMachineDetector(limits, true)
    const verdicts: AnswerVerdict[] = []
    for (let ms = 0; ms < 4000 && !detector.over; ms += 20) {
      const verdict = detector.frame(ms < 1000, tone && ms >= 1000 && ms < 1400, ms < 1400 ? -20 : -70)
      if (verdict !== null) verdicts.push(verdict)
    }
    t.match(verdicts, [{ who: 'machine', why: tone ? 'a recording' : /no beep/ }])
  }
  t.end()
})

t.test('a beep corrects a verdict with and without a message', async (t) => {
  for (const message of ['We will call again.', null]) {
    const rig = inItsPitch({ amd: { message, onSilence: 'speak' } }, 4000)
    rig.in({ type: 'amd-result', who: 'machine', why: 'a beep' })
    rig.run(4000)
    t.match(rig.only('end-stream'), { reason: 'answering-machine' })
  }
})
