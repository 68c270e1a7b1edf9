import t from 'tap'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import { RESUME_TOOL } from '../../src/call/gateway-tools.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { Rig, escalation } from './rig.js'

/** A caller who asked something is rung back by another node. */
function rungBack(overrides: ConstructorParameters<typeof Rig>[0] = {}): { readonly before: Rig; readonly rig: Rig } {
  const before = Rig.talking()
  before.speak(500)
  before.run(620)
  before.heardWords('Where is order five?')
  before.answer(2, 'a2', 500, 'It was sent.')
  before.run(1000)
  const { checkpoint, log } = before.resume
  const resume = parseResume({
    checkpoint: {
      ...checkpoint,
      state: 'live',
      greeted: false,
      greetingMs: null,
      owed: 'nothing',
      identity: null,
      callBack: 'asks',
    },
    log,
    newStream: { streamMs: 3000, consented: true },
  })
  const rig = new Rig(overrides, resume)
  rig.nowMs = before.nowMs + 20_000
  rig.open()
  rig.ready()
  return { before, rig }
}

const words = (records: CallRecord['transcript']): string[] => records.map(({ text }) => text)

t.test('a caller who is rung back is asked first, and a tool then gives the conversation', (t) => {
  const { before, rig } = rungBack()
  t.same(rig.texts(), [], 'the gateway says nothing of it')
  t.match(rig.only('backend-text'), { respond: true }, 'the backend greets')
  t.notMatch(JSON.stringify(rig.all('backend-text')), /order five/)
  t.same(
    words(rig.session.log.transcript).slice(0, 2),
    words(before.session.log.transcript).slice(0, 2),
    'the log goes on',
  )
  rig.backend({ type: 'turn-start', generation: 1 })
  rig.backend({ type: 'tool-call', callId: 'r1', name: RESUME_TOOL, args: {}, generation: 1 })
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'r1', ok: true })
  t.match(JSON.stringify(rig.all('backend-tool-result').at(-1)), /Where is order five\?.*It was sent\./)
  t.equal(rig.session.checkpoint().callBack, 'confirmed')
  rig.backend({ type: 'tool-call', callId: 'r2', name: RESUME_TOOL, args: {}, generation: 1 })
  t.match(rig.all('backend-tool-result').at(-1), { callId: 'r2', ok: false }, 'once')
  t.end()
})

t.test('digit 1 confirms, and any other is the backend’s', (t) => {
  const { rig } = rungBack()
  rig.in({ type: 'dtmf', digit: '2' })
  t.equal(rig.session.checkpoint().callBack, 'asks')
  rig.in({ type: 'dtmf', digit: '1' })
  t.equal(rig.session.checkpoint().callBack, 'confirmed')
  t.match(rig.all('backend-text').slice(-2), [
    { text: /Where is order five/, role: 'system', respond: false },
    { text: '1', role: 'caller', respond: true },
  ])
  t.end()
})

t.test('a human who is asked for before that hears nothing of the call either', (t) => {
  const { rig } = rungBack({ escalation })
  rig.backend({ type: 'turn-start', generation: 1 })
  rig.backend({
    type: 'tool-call',
    callId: 'e1',
    name: 'escalate_to_human',
    args: { reason: 'asked for' },
    generation: 1,
  })
  const packet = JSON.stringify(rig.all('escalate'))
  t.match(packet, /asked for/)
  t.notMatch(packet, /order five/)
  t.end()
})

t.test('an answering machine is told nothing', (t) => {
  const { rig } = rungBack({ amd: { message: null, onSilence: 'speak' } })
  t.same(rig.all('backend-text'), [], 'not before it is known who answers')
  rig.in({ type: 'screened', who: 'machine', why: 'a beep' })
  t.match(rig.all('end-stream').at(-1), { reason: 'answering-machine' })
  t.end()
})
