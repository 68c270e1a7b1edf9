import t from 'tap'
import type { CallSessionOptions } from '../../src/call/call-options.js'
import { Rig, escalation } from './rig.js'

/** A call whose caller has spoken and was answered. */
function spoken(): Rig {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(700)
  rig.heardWords('Where is my order?')
  rig.answer(2, 'a2', 500)
  rig.run(600)
  return rig
}

t.test('a caller who has not spoken gets a later prompt', async (t) => {
  const rig = Rig.talking()
  rig.run(11_000)
  t.same(rig.texts(), [])
  rig.run(1000)
  t.same(rig.texts(), ['How can I help you?'])
  rig.run(9200)
  t.same(rig.texts(), ['How can I help you?', 'I cannot hear you. Are you still there?'])

  const plain = Rig.talking({ silence: { afterMs: 8000, prompts: ['Hm?'] } })
  plain.run(8100)
  t.same(plain.texts(), ['Hm?'], 'with nothing set for it')
})

t.test('a silent caller gets two prompts and a goodbye [1]', async (t) => {
  const rig = spoken()
  rig.run(7500)
  t.same(rig.texts(), [])
  rig.run(700)
  t.same(rig.texts(), ['Are you still there?'])
  rig.run(8400)
  t.equal(rig.texts().length, 1, 'eight seconds from the end of the prompt')
  rig.run(700)
  t.equal(rig.texts().length, 2)
  rig.run(9300)
  t.equal(rig.all('announce').at(-1)?.kind, 'goodbye')
  rig.run(1500)
  t.match(rig.only('end-stream'), { reason: 'silence-limit', detail: /after 2 prompts/ })
  t.equal(rig.session.counters.silencePrompts, 2)
})

t.test('comfort noise does not keep a muted line open', async (t) => {
  const rig = Rig.talking()
  for (let i = 0; i < 50 && rig.all('end-stream').length === 0; i++) {
    rig.speak(80)
    rig.run(720)
  }
  t.equal(rig.only('end-stream').reason, 'silence-limit')
})

t.test('speech, words and digits restart the silence timer', async (t) => {
  for (const act of [
    (rig: Rig) => rig.speak(240),
    (rig: Rig) => rig.heardWords('hm'),
    (rig: Rig) => rig.in({ type: 'dtmf', digit: '1' }),
  ]) {
    const rig = Rig.talking({ answerTimeoutMs: 600_000 })
    rig.run(7000)
    act(rig)
    rig.run(7000)
    t.same(rig.texts(), [])
  }
})

t.test('used prompts are not repeated before the goodbye', async (t) => {
  const rig = Rig.talking({ serverVad: true })
  for (let prompt = 0; prompt < 2; prompt++) {
    rig.speak(400)
    rig.run(10_500)
  }
  t.same(rig.texts(), ['Are you still there?', 'I cannot hear you. Are you still there?'])
  rig.speak(400)
  rig.run(23_500)
  t.equal(rig.texts().length, 2)
  t.same(rig.all('end-stream'), [])
  rig.run(3000)
  t.match(rig.only('end-stream'), { reason: 'silence-limit', detail: /after 2 prompts/ })
})

t.test('a prompt that cannot be synthesised is asked again', async (t) => {
  const rig = spoken()
  rig.announceMs = null
  for (let failed = 0; failed < 2; failed++) {
    while (rig.all('announce').length === failed) rig.run(100)
    rig.in({ type: 'announce-failed', itemId: rig.all('announce').at(-1)?.itemId ?? '' })
  }
  t.same(rig.texts(), ['Are you still there?', 'Are you still there?'])
  while (rig.all('end-stream').length === 0) {
    rig.run(1000)
    for (const { itemId } of rig.all('announce').slice(-1)) rig.in({ type: 'announce-failed', itemId })
  }
  t.match(rig.only('end-stream'), { reason: 'silence-limit' })
})

t.test('silence is not counted during speech, tools or pending answers', async (t) => {
  const speaking = Rig.talking()
  speaking.answer(2, 'long', 20_000)
  speaking.run(20_500)
  t.same(speaking.texts(), [])

  const working = Rig.talking({ filler: { texts: [], afterMs: 700, everyMs: 6000 } })
  working.toolCall('t1', 'find_order')
  working.run(20_000)
  t.same(working.texts(), [])

  const waiting = Rig.talking({ filler: { texts: [], afterMs: 700, everyMs: 6000 } })
  waiting.speak(500)
  waiting.run(700)
  waiting.heardWords('Where is my order?')
  waiting.run(11_000)
  t.same(waiting.texts(), [])
})

t.test('an unfinished response does not stop the silence timer forever', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.audio(2, 'a2', 500)
  rig.ledger.finished('a2')
  rig.run(26_000)
  t.same(rig.texts(), ['How can I help you?'])
})

t.test('a question or request to wait delays the prompt', async (t) => {
  const asked = spoken()
  asked.answer(3, 'a3', 500, 'What is your order number?')
  asked.run(10_400)
  t.same(asked.texts(), [])
  asked.run(300)
  t.same(asked.texts(), ['Are you still there?'])

  const waits = spoken()
  waits.speak(500)
  waits.run(700)
  waits.heardWords('Subiri kidogo.', 'c2')
  waits.run(18_000)
  t.same(waits.texts(), [])
  waits.run(2500)
  t.same(waits.texts(), ['Are you still there?'])
})

t.test('partial words delay the prompt, however quiet the voice', async (t) => {
  const rig = spoken()
  rig.run(6000)
  rig.backend({ type: 'transcript', role: 'caller', text: 'it is', final: false, itemId: 'c9', generation: 3 })
  rig.run(11_000)
  t.same(rig.texts(), [])
  rig.run(8000)
  t.same(rig.texts(), ['Are you still there?'], 'a recogniser that never ends its words does not keep the line open')
})

/** Sound for 20 s without words, answered as a backend answers speech that it does not understand. */
function onHold(overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = Rig.talking(overrides)
  rig.speak(20_000)
  return rig
}

const marks = (rig: Rig, name: string): (string | undefined)[] =>
  rig.all('mark').flatMap((mark) => (mark.name === name ? [mark.detail] : []))

t.test('sound without words gets one question, then ends the call', async (t) => {
  const rig = onHold()
  t.same(rig.texts(), [
    'Sorry, could you say that again?',
    'I hear somebody else on the line. If you are there, please speak up, or press any key.',
  ])
  t.match(marks(rig, 'put-on-hold'), [/\d{4,5} ms of voice without words, 8000 needed/])
  t.same(rig.all('playout-pause'), [], 'the question is not interrupted')
  rig.speak(55_000)
  t.match(rig.only('end-stream'), { reason: 'silence-limit', detail: /put on hold for 60000 ms/ })
})

t.test('a partial result after the question does not end suspicion', async (t) => {
  const rig = Rig.talking()
  rig.speak(7500)
  t.equal(rig.texts().length, 1)
  rig.backend({ type: 'understood' })
  rig.speak(4500)
  t.match(marks(rig, 'put-on-hold'), [/8000 needed/])
  t.same(marks(rig, 'put-on-hold-over'), [])
})

t.test('a callback is offered before a held call ends', async (t) => {
  const calledBack = {
    offerText: 'Shall we call you back? Press one.',
    confirmedText: 'We will.',
    refusedText: 'We cannot.',
    numberKnown: true,
  }
  const rig = onHold({ escalation: { ...escalation, callback: calledBack } })
  rig.speak(50_000)
  t.equal(rig.texts().at(-1), 'Shall we call you back? Press one.')
  const pressed = rig.session.checkpoint()
  t.equal(pressed.state, 'live')
  rig.in({ type: 'dtmf', digit: '1' })
  t.match(rig.only('callback'), { wish: { asked: 'key', packet: { reason: 'put on hold' } } })
  t.same(rig.all('end-stream'), [], 'somebody is there again')

  const nobody = onHold({ escalation: { ...escalation, callback: calledBack } })
  nobody.speak(80_000)
  t.match(nobody.only('end-stream'), { reason: 'silence-limit', detail: /after the offer of a call back/ })
})

t.test('words end the hold and reset its timer', async (t) => {
  const rig = onHold({ weighsSpeech: true })
  rig.speak(40_000)
  rig.run(700)
  rig.heardWords('I am back.')
  t.same(marks(rig, 'put-on-hold-over'), ['words, or a digit'])
  rig.answer(2, 'answer', 1000)
  rig.run(1500)
  rig.speak(50_000)
  t.equal(rig.session.counters.putOnHold, 2)
  t.same(rig.all('end-stream'), [])
})

t.test('a backend that answers only words hears the hold', async (t) => {
  const rig = onHold({ weighsSpeech: true })
  rig.run(700)
  rig.log.length = 0
  rig.speak(1000)
  rig.run(700)
  t.equal(rig.all('backend-speech-start').length, 1)
  t.match(rig.only('backend-speech-end'), { unless: [] })
  t.notOk(rig.all('announce').length, 'and it is not asked about')
})

t.test('after a pause a returning caller is heard in full', async (t) => {
  for (let beforeMs = 500; beforeMs <= 6000; beforeMs += 500) {
    const rig = onHold({ weighsSpeech: true })
    rig.run(700)
    rig.speak(beforeMs)
    rig.run(1500)
    rig.log.length = 0
    rig.speak(4000)
    rig.run(700)
    t.equal(rig.all('backend-speech-start').length, 1, `after ${beforeMs} ms`)
    t.equal(rig.all('backend-speech-end').length, 1)
  }
})

t.test('a pause ends the hold if the backend answers everything', async (t) => {
  const rig = onHold()
  rig.log.length = 0
  rig.run(700)
  rig.speak(1000)
  rig.run(700)
  t.same(rig.all('backend-speech-start'), [], 'the sound goes on')
  rig.run(1500)
  rig.speak(1000)
  rig.run(700)
  t.same(
    [rig.all('backend-speech-start').length, rig.only('backend-speech-end')],
    [1, { type: 'backend-speech-end', atMs: rig.only('backend-speech-end').atMs }],
  )

  const radio = onHold()
  for (let minute = 0; minute < 10 && radio.all('end-stream').length === 0; minute++) {
    radio.run(2500)
    radio.speak(57_500)
  }
  t.match(radio.only('end-stream'), { reason: 'silence-limit' })
})

t.test('without `putOnHold` the agent asks, then says goodbye', async (t) => {
  const rig = Rig.talking({ putOnHold: null })
  rig.speak(60_000)
  t.match(rig.only('end-stream'), { detail: 'asked 3 times, and nothing was understood' })
})

t.test('a partial result does not end the hold', async (t) => {
  const rig = onHold({ weighsSpeech: true })
  rig.backend({ type: 'understood' })
  t.same(marks(rig, 'put-on-hold-over'), [])
})

const LIMIT_MS = 8000

/** A call that sound without words never puts on hold. */
const unheld = (overrides: Partial<CallSessionOptions> = {}): Rig => Rig.talking({ putOnHold: null, ...overrides })

/** Longest time without agent sound within `ms`, for a caller whose sound goes on. */
function longestWait(rig: Rig, ms: number, voiced: (passedMs: number) => boolean = () => true): number {
  let heardAtMs = rig.nowMs
  let longest = 0
  for (let passed = 0; passed < ms; passed += 20) {
    rig.run(20, voiced(passed))
    if (rig.ledger.audible(rig.nowMs)) heardAtMs = rig.nowMs
    longest = Math.max(longest, rig.nowMs - heardAtMs)
  }
  return longest
}

t.test('music does not silence the agent beyond eight seconds [2]', async (t) => {
  for (const serverVad of [false, true]) {
    const rig = unheld({ serverVad })
    const longest = longestWait(rig, 20_000)
    t.ok(longest <= LIMIT_MS, `${longest} ms, ${serverVad ? 'the service has a VAD and says nothing' : 'our VAD'}`)
    t.same(rig.texts().slice(0, 2), ['Sorry, could you say that again?', 'Are you still there?'])
    t.same(rig.all('playout-clear'), [], 'and the music does not cut us off')
  }
})

t.test('the backend may answer unrecognised sound before the gateway', async (t) => {
  const rig = unheld()
  rig.speak(5400)
  t.same(rig.all('backend-speech-end'), [])
  rig.speak(200)
  t.equal(rig.all('backend-speech-end').length, 1)
  rig.answer(2, 'retry', 3000, 'Sorry, I did not catch that.')
  rig.speak(2900)
  t.same(rig.texts(), [], 'the gateway has nothing to ask')
  t.same([rig.all('playout-pause'), rig.all('playout-clear')], [[], []], 'the sound that goes on does not interrupt it')
  rig.speak(600)
  t.equal(rig.all('backend-speech-start').length, 2, 'what sounds when it has been heard is listened to anew')
  t.equal(rig.session.log.turns.length, 1)
  rig.speak(5600)
  t.equal(rig.all('backend-speech-end').length, 2)
  t.equal(rig.session.counters.notUnderstood, 2)
})

t.test('a sentence after unrecognised sound is heard in full', async (t) => {
  for (let beforeMs = 500; beforeMs <= 2000; beforeMs += 500) {
    const rig = unheld()
    rig.speak(beforeMs)
    rig.run(1000)
    rig.log.length = 0
    rig.speak(2500)
    rig.run(700)
    t.equal(rig.all('backend-speech-start').length, 1, `after ${beforeMs} ms`)
    t.equal(rig.all('backend-speech-end').length, 1)
    t.equal(rig.session.counters.notUnderstood, 0)
  }
})

t.test('intermittent sound is treated like continuous sound', async (t) => {
  const rig = unheld()
  const longest = longestWait(rig, 25_000, (passedMs) => passedMs % 2500 < 1700)
  t.ok(longest <= LIMIT_MS, `${longest} ms`)
})

t.test('endless music ends the call [3]', async (t) => {
  const rig = unheld()
  rig.speak(60_000)
  t.same(rig.texts().slice(0, 3), [
    'Sorry, could you say that again?',
    'Are you still there?',
    'I cannot hear you. Are you still there?',
  ])
  t.match(rig.only('end-stream'), { reason: 'silence-limit', detail: 'asked 3 times, and nothing was understood' })
})

t.test('a recognised caller may speak for ninety seconds', async (t) => {
  const ways: [string, boolean, (rig: Rig, second: number) => void][] = [
    [
      'partial transcripts',
      false,
      (rig, second) => {
        rig.backend({
          type: 'transcript',
          role: 'caller',
          text: `words ${second}`,
          final: false,
          itemId: 'c1',
          generation: 0,
        })
      },
    ],
    [
      'a recogniser that says so',
      false,
      (rig) => {
        rig.backend({ type: 'understood' })
      },
    ],
    [
      'a service that hears speech',
      true,
      (rig, second) => {
        if (second === 0) rig.backend({ type: 'speech-started' })
      },
    ],
  ]
  for (const [what, serverVad, words] of ways) {
    const rig = unheld({ serverVad })
    for (let second = 0; second < 89; second++) {
      rig.speak(500)
      words(rig, second)
      rig.speak(500)
    }
    t.same([rig.texts(), rig.all('backend-speech-end')], [[], []], what)
    rig.run(2000, true)
    t.equal(serverVad ? rig.texts().length : rig.all('backend-speech-end').length, 1, `${what}: and then is answered`)
  }
})

t.test('music after words gets an answer within eight seconds', async (t) => {
  const rig = unheld()
  rig.speak(10_000 - 6000)
  rig.backend({ type: 'understood' })
  const longest = longestWait(rig, 20_000)
  t.ok(longest <= LIMIT_MS, `${longest} ms`)
})

t.test('a caller who pauses may interrupt again at once', async (t) => {
  const rig = unheld()
  rig.speak(5600)
  rig.answer(2, 'retry', 5000, 'Sorry, I did not catch that.')
  rig.speak(300)
  rig.run(700)
  rig.speak(300)
  t.equal(rig.logged('barge-in').length + rig.all('playout-clear').length, 2, 'and may interrupt')
})

t.test('a failed announcement is followed by another', async (t) => {
  const rig = unheld()
  rig.announceMs = null
  rig.speak(7200)
  t.equal(rig.texts().length, 1)
  rig.in({ type: 'announce-failed', itemId: rig.only('announce').itemId })
  rig.announceMs = 1000
  rig.speak(600)
  t.equal(rig.texts().length, 2)
})

t.test('digits reset the unrecognised sound like words', async (t) => {
  const rig = unheld()
  rig.speak(5000)
  rig.in({ type: 'dtmf', digit: '4' })
  rig.speak(5000)
  t.same([rig.texts(), rig.all('backend-speech-end')], [[], []])
})
