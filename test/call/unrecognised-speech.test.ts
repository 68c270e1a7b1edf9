import t from 'tap'
import { Rig as AnyRig } from './rig.js'
import type { CallSessionOptions } from '../../src/call/call-options.js'

const LIMIT_MS = 8000

/** An agent that does not wait on hold. */
class Rig extends AnyRig {
  static override talking(overrides: Partial<CallSessionOptions> = {}): AnyRig {
    return AnyRig.talking({ putOnHold: null, ...overrides })
  }
}

/** Longest time without agent sound within `ms`, for a caller whose sound goes on. */
function longestWait(rig: AnyRig, ms: number, voiced: (passedMs: number) => boolean = () => true): number {
  let heardAtMs = rig.nowMs
  let longest = 0
  for (let passed = 0; passed < ms; passed += 20) {
    rig.run(20, voiced(passed))
    if (rig.ledger.audible(rig.nowMs)) heardAtMs = rig.nowMs
    longest = Math.max(longest, rig.nowMs - heardAtMs)
  }
  return longest
}

t.test('a caller on whose line music plays hears the agent within eight seconds, each time', async (t) => {
  for (const serverVad of [false, true]) {
    const rig = Rig.talking({ serverVad })
    const longest = longestWait(rig, 20_000)
    t.ok(longest <= LIMIT_MS, `${longest} ms, ${serverVad ? 'the service has a VAD and says nothing' : 'our VAD'}`)
    t.same(rig.texts().slice(0, 2), ['Sorry, could you say that again?', 'Are you still there?'])
    t.same(rig.all('playout-clear'), [], 'and the music does not cut us off')
  }
})

t.test('the backend is told that the caller has stopped, so that it can answer before the gateway does', async (t) => {
  const rig = Rig.talking()
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

t.test('a sentence after a sound that nobody understood is heard in one piece', async (t) => {
  for (let beforeMs = 500; beforeMs <= 2000; beforeMs += 500) {
    const rig = Rig.talking()
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
  const rig = Rig.talking()
  const longest = longestWait(rig, 25_000, (passedMs) => passedMs % 2500 < 1700)
  t.ok(longest <= LIMIT_MS, `${longest} ms`)
})

t.test('music for ever ends the call', async (t) => {
  const rig = Rig.talking()
  rig.speak(60_000)
  t.same(rig.texts().slice(0, 3), [
    'Sorry, could you say that again?',
    'Are you still there?',
    'I cannot hear you. Are you still there?',
  ])
  t.match(rig.only('end-stream'), { reason: 'silence-limit', detail: 'asked 3 times, and nothing was understood' })
})

t.test('a caller who is understood may speak for ninety seconds', async (t) => {
  const ways: [string, boolean, (rig: AnyRig, second: number) => void][] = [
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
    const rig = Rig.talking({ serverVad })
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

t.test(
  'a caller who was understood and then plays music hears the agent within eight seconds of the last word',
  async (t) => {
    const rig = Rig.talking()
    rig.speak(10_000 - 6000)
    rig.backend({ type: 'understood' })
    const longest = longestWait(rig, 20_000)
    t.ok(longest <= LIMIT_MS, `${longest} ms`)
  },
)

t.test('a caller who pauses is heard again at once', async (t) => {
  const rig = Rig.talking()
  rig.speak(5600)
  rig.answer(2, 'retry', 5000, 'Sorry, I did not catch that.')
  rig.speak(300)
  rig.run(700)
  rig.speak(300)
  t.equal(rig.logged('barge-in').length + rig.all('playout-clear').length, 2, 'and may interrupt')
})

t.test('an announcement that is never heard does not end the waiting', async (t) => {
  const rig = Rig.talking()
  rig.announceMs = null
  rig.speak(7200)
  t.equal(rig.texts().length, 1)
  rig.in({ type: 'announce-failed', itemId: rig.only('announce').itemId })
  rig.announceMs = 1000
  rig.speak(600)
  t.equal(rig.texts().length, 2)
})

t.test('digits count as words', async (t) => {
  const rig = Rig.talking()
  rig.speak(5000)
  rig.in({ type: 'dtmf', digit: '4' })
  rig.speak(5000)
  t.same([rig.texts(), rig.all('backend-speech-end')], [[], []])
})
