import t from 'tap'
import { type CallerScript } from '../../src/simulator/caller-script.js'
import { CallerModel, type CallerMove } from '../../src/simulator/caller-model.js'
import { orderCaller, recordedCaller } from '../../src/simulator/personas.js'
import { parseScript } from '../../src/simulator/script-file.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { COMMON_STATUSES } from '../../src/simulator/vocabulary.js'

/** Drives a model on a clock of its own: the agent says something for two seconds, the caller answers for one. */
class Conversation {
  nowMs = 0
  readonly model: CallerModel

  constructor(script: CallerScript) {
    this.model = new CallerModel(script, COMMON_STATUSES, 0)
  }

  /** The caller's action until `forMs` have gone by; null for none. */
  wait(forMs: number): CallerMove | null {
    for (const untilMs = this.nowMs + forMs; this.nowMs < untilMs; this.nowMs += 20) {
      const move = this.model.next(this.nowMs)
      if (move !== null) return move
    }
    return null
  }

  spoke(): void {
    this.nowMs += 1000
    this.model.finishedSpeaking(this.nowMs)
  }

  /** The agent speaks, and `text` is understood of it. */
  agent(text: string): CallerMove | null {
    this.model.agentStarted(this.nowMs)
    const over = this.wait(2000)
    this.model.agentStopped(this.nowMs)
    this.model.heard(text, this.nowMs)
    if (over !== null) this.spoke()
    const move = over ?? this.wait(1000)
    if (over === null && move !== null && move.type !== 'hangup') this.spoke()
    return move
  }
}

const PERSONA = orderCaller({ order: '4127', interrupt: false })

void t.test('the caller confirms the right digits and then leaves', (t) => {
  const talk = new Conversation(PERSONA)
  t.same(talk.agent('hello you can tell me your order number'), { type: 'say', text: '4127' })
  t.same(talk.agent('four one two eight is that right'), { type: 'say', text: 'No.' })
  t.same(talk.agent('sorry please say your order number again'), { type: 'say', text: '4127' })
  t.same(talk.agent('four one two seven is that right'), { type: 'say', text: 'Yes, that is right.' })
  t.equal(talk.agent('one moment please'), null, 'a filler is no answer')
  t.same(talk.agent('order four one two seven is out for delivery'), { type: 'say', text: 'No, thank you.' })
  t.match(talk.agent('thank you for calling goodbye'), { type: 'hangup' })
  t.equal(talk.wait(60_000), null, 'nothing after hanging up')
  t.end()
})

void t.test('the caller follows its steps when it recognises nothing', (t) => {
  const talk = new Conversation(PERSONA)
  const said: string[] = []
  for (let i = 0; i < 6; i++) {
    talk.agent('')
    const move = talk.wait(8000)
    if (move === null) break
    said.push(move.type === 'say' ? move.text : move.type)
    if (move.type === 'hangup') break
    talk.spoke()
  }
  t.same(said, ['4127', 'Yes, that is right.', 'No, thank you.', 'Goodbye.', 'hangup'])
  t.end()
})

void t.test("the caller waits for a slow recogniser's words", (t) => {
  const talk = new Conversation(PERSONA)
  talk.model.agentStarted(talk.nowMs)
  talk.wait(2000)
  talk.model.agentStopped(talk.nowMs)
  t.equal(talk.wait(20_000), null)
  talk.model.heard('hello you can tell me your order number', talk.nowMs)
  t.same(talk.wait(1000), { type: 'say', text: '4127' })
  t.end()
})

void t.test('the caller interrupts the greeting and answers it once', (t) => {
  const talk = new Conversation(orderCaller({ order: '4127', interrupt: true }))
  talk.model.agentStarted(0)
  t.equal(talk.wait(1180), null)
  t.same(talk.wait(60), { type: 'say', text: '4127' })
  talk.model.agentStopped(talk.nowMs)
  talk.spoke()
  talk.model.heard('tell me your order number', talk.nowMs)
  t.equal(talk.wait(3000), null)
  t.end()
})

void t.test('a script without rules takes one step per turn', (t) => {
  const talk = new Conversation(
    parseScript(
      `
version: 1
patienceMs: 5000
steps:
  - say: one
  - say: two
    heard: out for delivery
  - wait: 1000
  - press: "12#"
  - hangup: true
`,
      'a.yaml',
    ),
  )
  t.same(talk.agent('anything'), { type: 'say', text: 'one' })
  t.equal(talk.agent('not this'), null)
  t.same(talk.agent('it is out for delivery now'), { type: 'say', text: 'two' })
  const fromMs = talk.nowMs
  t.same(talk.agent('yes') ?? talk.wait(5000), { type: 'press', keys: '12#' })
  t.equal(talk.nowMs - fromMs, 3260, 'two seconds of the agent, the reaction time and the wait')
  t.end()
})

void t.test("a recording is played after the agent's first words", (t) => {
  const conversation = new Conversation(recordedCaller('question.wav'))
  t.match(conversation.agent('hello'), { type: 'play', file: 'question.wav' })
  t.equal(conversation.agent('order four one two seven is that right'), null)
  t.match(conversation.wait(6000), { type: 'hangup' })
  t.end()
})

void t.test('a wrong script is refused with file and line', (t) => {
  const refused = (text: string, message: RegExp): void => {
    t.throws(() => parseScript(text, 'calls/x.yaml'), { code: 'SCRIPT_INVALID', message })
  }
  refused('version: 1\nsteps:\n  - say: Press # now\n', /^calls\/x\.yaml:3:16: steps\[0\]\.say ends before the #/)
  refused('version: 2\nsteps: [{say: hi}]', /^calls\/x\.yaml:1:\d+: version is 2; must be 1$/)
  refused(
    'version: 1\nsteps:\n  - say: hi\n  - say: hi\n    press: "1"\n',
    /^calls\/x\.yaml:4:\d+: steps\[1\] needs exactly one of say, press/,
  )
  refused('version: 1\nsteps:\n  - press: "12x"\n', /^calls\/x\.yaml:3:\d+: steps\[0\]\.press must be keys/)
  refused('version: 1\nsteps:\n  - [oops\n', /^calls\/x\.yaml:\d:\d+: /)
  refused('version: 1\n', /has neither steps nor rules/)
  refused('version: 1\nrules:\n  - say: hi\n', /^calls\/x\.yaml:3:\d+: rules\[0\] needs one of heard, about/)
  t.end()
})

void t.test('a step with a pause follows only the step before', (t) => {
  const talk = new Conversation(
    parseScript(
      "version: 1\nrules: [{ heard: hello, say: Hi. }]\nsteps: [{ say: '4 1', heard: number }, { say: '2 7', pauseMs: 900 }]\n",
      'parts.yaml',
    ),
  )
  t.same(talk.agent('hello'), { type: 'say', text: 'Hi.' })
  t.equal(talk.wait(2000), null, 'a rule is not the step before')
  t.same(talk.agent('your number please'), { type: 'say', text: '4 1' })
  talk.model.agentStarted(talk.nowMs)
  const sinceMs = talk.nowMs
  t.same(talk.wait(2000), { type: 'say', text: '2 7' })
  t.equal(talk.nowMs - sinceMs, 900)
  t.end()
})

const GOODBYE = { say: 'Goodbye.', calls: [{ callId: 'c1', name: 'end_call', args: {} }] }

t.test('scripted answers come in order and once', (t) => {
  const script = new Script([{ say: 'one' }], ['first'])
  script.reply({ say: 'two' })
  script.callerSays('second')
  t.same(
    [script.nextReply(), script.nextReply(), script.nextReply()],
    [{ say: 'one' }, { say: 'two' }, { say: 'Yes.' }],
  )
  t.same([script.nextCallerText(), script.nextCallerText(), script.nextCallerText()], ['first', 'second', 'hello'])
  t.equal(script.answers, 3)
  t.end()
})

t.test('an interrupted answer is repeated with new call ids', (t) => {
  let nowMs = 0
  const script = new Script([{ calls: [{ callId: 'c0', name: 'lookup', args: {} }] }, { say: 'Found.' }, GOODBYE], [], {
    againWithinMs: 1500,
    nowMs: () => nowMs,
  })
  t.match(script.nextReply(), { calls: [{ callId: 'c0' }] })
  t.match(script.nextReply(), { say: 'Found.' }, 'what follows a look-up follows at once, and nothing was cut')
  nowMs += 1500
  t.same(script.nextReply(), GOODBYE)
  nowMs += 1499
  t.same(script.nextReply(), { ...GOODBYE, calls: [{ callId: 'c1_again', name: 'end_call', args: {} }] })
  nowMs += 100
  t.match(script.nextReply(), { say: 'Goodbye.', calls: [{ callId: 'c1_again_again' }] }, 'as often as it is cut')
  nowMs += 1500
  t.same(script.nextReply(), { say: 'Yes.' })
  t.end()
})
