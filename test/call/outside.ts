import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import type { CallSessionOptions } from '../../src/call/call-options.js'
import type { FeatureName } from '../../src/call/call-session.js'
import type { SessionResume } from '../../src/call/documents/checkpoint.js'
import type { CallOutput } from '../../src/call/events.js'
import { Rig } from './rig.js'

/** What the escalation driver comes to: nobody, an offer of a call back, a human, or no step at all. */
type Human = 'nobody' | 'offer' | 'bridged' | 'no-step'

interface Heard {
  readonly atMs: number
  readonly output: CallOutput
  /** Number of the session that gave it: a handover or a takeover makes another. */
  readonly session: number
}

const MODEL_MS = 700
const TOOL_MS: Readonly<Record<string, number>> = { find_order: 900, pay: 1500, refund: 4000 }
/** A caller who has asked for a moment has this long. */
const WAIT_MS = DEFAULT_CALL_OPTIONS.silence.afterWaitMs ?? 0
/** The caller has acted at most this long before a sentence is cut because of them. */
const ACTED_MS = 4000

/**
 * A call with everything around its session, in virtual time. The rig plays playout and the journal; this class plays the model,
 * the tools, the escalation driver, the carrier's socket, the supervisor and the next agent, each as the gateway's own does it.
 */
export class Outside {
  rig: Rig
  readonly heard: Heard[] = []
  readonly journal: string[] = []
  /** Sentences that were cut although no caller, operator or limit wanted that. */
  readonly cutForNobody: string[] = []
  /** The longest time in which the caller heard nothing, with what the call was doing then. */
  quietMsMax = 0
  quietIn = ''
  human: Human = 'nobody'
  /** Tools do not answer any more. */
  toolsLost = false
  /** Added to the time of each tool. */
  toolsLateMs = 0
  /** From the call of a tool whose outcome comes later to that outcome. */
  outcomeMs = 6000
  /** This tool fails. */
  failing = ''
  /** Sentences of the gateway in another language than the call's, though they exist in that. */
  readonly inWrongLanguage: string[] = []
  /** Prompts that came before the moment was over that the caller had asked for. */
  readonly promptsTooSoon: string[] = []
  /** Calls that left for another agent in the middle of a word. */
  readonly leftInAWord: string[] = []
  /** What was said to a recording, or asked of the model for it. */
  readonly saidToRecording: string[] = []
  /** Longest time of conversation in the stage whose limit is looked at. */
  stageMsMax = 0
  /** Keys that the caller enters once a secret number was asked for; empty: none. */
  secret = ''
  #options: Partial<CallSessionOptions>
  readonly #without: readonly FeatureName[]
  /** Phrases of the options that exist in both languages, by the words of one. */
  readonly #swahiliOf: ReadonlyMap<string, string>
  readonly #due: { atMs: number; run: () => void; callId?: string }[] = []
  #sessions = 1
  #seen = 0
  #generation = 0
  #answerAt: object | null = null
  #dead = false
  #soundedAtMs: number
  #waitingSound = false
  #actedAtMs = -Infinity
  #tools = 0
  #died = false
  /** Tool calls that a model made. */
  readonly called = new Set<string>()
  #language = 'en'
  #askedToWaitAtMs = NaN
  #recording = false
  #stageMs = 0
  readonly #untold = new Set<string>()
  #listenedAtMs = Infinity
  #readyMs = 300

  constructor(
    options: Partial<CallSessionOptions>,
    without: readonly FeatureName[] = [],
    { resume, nowMs = 1000 }: { readonly resume?: SessionResume; readonly nowMs?: number } = {},
  ) {
    this.#options = options
    this.#without = without
    this.#swahiliOf = new Map(swahiliOf(options))
    this.rig = new Rig({ ...options, preparedAtMs: nowMs }, resume, without)
    this.rig.nowMs = nowMs
    this.#soundedAtMs = nowMs
  }

  /** The stream opens, and the model is ready a little later. */
  begin(): void {
    this.rig.open()
    this.after(this.#readyMs, () => this.rig.ready())
    this.#react()
  }

  after(ms: number, run: () => void, callId?: string): void {
    this.#due.push({ atMs: this.rig.nowMs + ms, run, ...(callId === undefined ? {} : { callId }) })
  }

  /** A model has died. */
  get died(): boolean {
    return this.#died
  }

  /** Workers that died. */
  get takeovers(): number {
    return this.#sessions - 1 - this.all('handover').length
  }

  get sessions(): number {
    return this.#sessions
  }

  get over(): boolean {
    return this.rig.session.state === 'ended'
  }

  /** Time passes; what is due outside happens. */
  run(ms: number, voiced = false): void {
    const untilMs = this.rig.nowMs + ms
    while (this.rig.nowMs < untilMs && !this.over) {
      if (voiced) this.#acts()
      this.#step(untilMs, voiced)
      for (const one of this.#due.filter(({ atMs }) => atMs <= this.rig.nowMs).toSorted((a, b) => a.atMs - b.atMs)) {
        const at = this.#due.indexOf(one)
        if (at < 0) continue
        this.#due.splice(at, 1)
        one.run()
        this.#react()
      }
      this.#react()
      this.#listen(voiced)
    }
  }

  /** The caller says something. */
  says(words: string, ms = 800): void {
    this.run(ms, true)
    this.act(() => this.rig.heardWords(words, `c${this.rig.nowMs}`))
    this.run(200)
  }

  press(keys: string): void {
    for (const digit of keys) {
      const key = this.rig.session.keyOf(digit)
      if (key !== null) this.act(() => this.rig.in({ type: 'dtmf', digit: key }))
      this.run(300)
    }
  }

  /** Something that the caller, an operator or the carrier does: it may cut what is being said. */
  act(run: () => void): void {
    if (this.over) return
    this.#acts()
    run()
    this.#react()
  }

  #acts(): void {
    this.#actedAtMs = this.rig.nowMs
    this.#askedToWaitAtMs = NaN
  }

  /** Something that nobody did who may interrupt the agent. */
  happens(run: () => void): void {
    if (this.over) return
    run()
    this.#react()
  }

  /** The model calls a tool. */
  tool(name: string, args: Record<string, unknown> = {}): string {
    const callId = `t${++this.#tools}`
    if (!this.over && !this.#dead) this.called.add(callId)
    if (this.#dead) return callId
    this.happens(() => this.rig.toolCall(callId, name, args, this.#next()))
    return callId
  }

  /** The model says something of itself. */
  speaks(text: string, ms = 1500): void {
    if (this.#dead) return
    this.happens(() => {
      const generation = this.#next()
      this.rig.answer(generation, `a${generation}`, ms, text)
    })
  }

  /** The model connects, and makes its first sound, later than the gateway waits for its greeting. */
  slowModel(): void {
    this.#readyMs = 3600
  }

  die(): void {
    this.#died = true
    this.#dead = true
    this.happens(() => this.rig.backend({ type: 'closed', code: 1006, reason: '', clean: false }))
  }

  /** The worker dies; another one goes on from the checkpoint, perhaps with another agent. */
  takeover(options = this.#options, resume = JSON.parse(JSON.stringify(this.rig.resume)) as SessionResume): void {
    if (this.over) return
    const { nowMs, wallOffsetMs } = this.rig
    this.journal.push(...this.rig.journal)
    this.#options = options
    this.#sessions++
    this.#seen = 0
    this.#generation = 0
    this.#dead = false
    this.#waitingSound = false
    this.#answerAt = null
    this.#actedAtMs = nowMs
    // The main thread runs the tools and the escalation; only what the model was to do is gone.
    for (const one of this.#due.filter(({ callId }) => callId === 'model')) this.#due.splice(this.#due.indexOf(one), 1)
    this.rig = new Rig({ ...options, preparedAtMs: nowMs, wallOffsetMs }, resume, this.#without)
    this.rig.nowMs = nowMs
    this.begin()
    for (const callId of this.#untold) this.after(100, () => this.#outcome(callId), callId)
  }

  all<Type extends CallOutput['type']>(type: Type): Extract<CallOutput, { readonly type: Type }>[] {
    return this.heard.flatMap(({ output }) =>
      output.type === type ? [output as Extract<CallOutput, { readonly type: Type }>] : [],
    )
  }

  marked(name: string): boolean {
    return this.all('mark').some((mark) => mark.name === name)
  }

  #next(): number {
    return ++this.#generation
  }

  get #sounding(): boolean {
    const { announcing, ledger, nowMs } = this.rig
    return announcing || ledger.audible(nowMs) || ledger.pendingMs() > 0
  }

  /** In quiet time passes up to what is due next. */
  #step(untilMs: number, voiced: boolean): void {
    const { rig } = this
    const wakeMs = rig.session.nextWake()?.atMs ?? Infinity
    const dueMs = Math.min(untilMs, wakeMs, ...this.#due.map(({ atMs }) => atMs))
    if (voiced || this.#sounding || rig.session.private || dueMs - rig.nowMs <= 100) rig.run(20, voiced)
    else rig.leap(dueMs)
  }

  #listen(voiced: boolean): void {
    const { rig } = this
    const { state } = rig.session
    const human = state === 'bridged' || state === 'closed' || state === 'ended'
    if (voiced || human || this.#waitingSound || this.#sounding) this.#soundedAtMs = rig.nowMs
    const stage = rig.session.stages?.name
    if (stage !== 'second') this.#stageMs = 0
    else if (state === 'live') this.#stageMs += Math.max(0, rig.nowMs - this.#listenedAtMs)
    this.stageMsMax = Math.max(this.stageMsMax, this.#stageMs)
    this.#listenedAtMs = rig.nowMs
    const quietMs = rig.nowMs - this.#soundedAtMs
    if (quietMs <= this.quietMsMax) return
    this.quietMsMax = quietMs
    this.quietIn = state
  }

  #answer(): void {
    const token = {}
    this.#answerAt = token
    this.after(
      MODEL_MS,
      () => {
        if (this.#answerAt !== token || this.#dead) return
        this.#answerAt = null
        const generation = this.#next()
        this.rig.answer(generation, `a${generation}`, 1500, 'Here is what I know.')
      },
      'model',
    )
  }

  #react(): void {
    for (;;) {
      const entry = this.rig.log[this.#seen]
      if (entry === undefined) return
      this.#seen++
      this.heard.push({ ...entry, session: this.#sessions })
      this.#to(entry.output)
    }
  }

  #to(output: CallOutput): void {
    const { rig } = this
    switch (output.type) {
      case 'backend-tool-result':
        return output.pending === true ? undefined : this.#answer()
      case 'backend-tool-outcome':
        return output.respond ? this.#answer() : undefined
      case 'backend-speech-end':
      case 'backend-dtmf':
        return this.#answer()
      case 'backend-interrupt':
        this.#answerAt = null
        return
      case 'backend-close':
        this.#dead = true
        return
      case 'waiting-sound':
        this.#waitingSound = output.on
        return
      case 'wait':
        this.#untold.delete(output.callId)
        return
      case 'language':
        this.#language = output.language
        return
      case 'mark':
        return this.#marked(output.name, output.detail ?? '')
      case 'backend-text':
        if (output.respond && this.#toRecording) this.saidToRecording.push(output.text)
        return output.respond ? this.#answer() : undefined
      case 'run-tool':
        return this.#runTool(output.callId, output.name)
      case 'cancel-tools':
        for (const one of this.#due.filter(({ callId }) => callId !== undefined && output.callIds.includes(callId)))
          this.#due.splice(this.#due.indexOf(one), 1)
        return
      case 'do-not-call':
        return this.after(300, () => rig.in({ type: 'tool-result', callId: output.callId, ok: true, value: {} }))
      case 'escalate':
        return this.#drive()
      case 'handover':
        if (rig.ledger.pendingMs() > 0) this.leftInAWord.push(`at ${rig.nowMs}, ${rig.ledger.pendingMs()} ms unheard`)
        return this.#handOver(output.record)
      case 'end-stream':
        return this.after(100, () => this.rig.in({ type: 'stream-closed', code: output.code }))
      case 'announce':
        if (this.#language === 'sw' && this.#swahiliOf.has(output.text)) this.inWrongLanguage.push(output.text)
        if (this.#toRecording) this.saidToRecording.push(output.text)
        if (this.secret !== '' && output.text.includes('PIN'))
          this.after(1800, () => {
            const keys = this.secret
            this.secret = ''
            this.press(keys)
          })
        return
      case 'playout-clear':
        // Who takes the line for good, or for a human, need not wait for a sentence.
        if (['escalating', 'bridged', 'closing'].includes(rig.session.state)) return
        if (rig.nowMs - this.#actedAtMs > ACTED_MS) this.cutForNobody.push(`at ${rig.nowMs} in ${rig.session.state}`)
        return
      default:
        return
    }
  }

  /** The recording is over: a person is there. */
  recordingOver(): void {
    this.#recording = false
  }

  /** Nobody has asked for a human, nor for the end, meanwhile. */
  get #toRecording(): boolean {
    const { state } = this.rig.session
    return this.#recording && (state === 'connecting' || state === 'live')
  }

  #marked(name: string, detail: string): void {
    if (name === 'asked-to-wait') this.#askedToWaitAtMs = this.rig.nowMs
    else if (name === 'answered-by') this.#recording = detail.startsWith('recording')
    else if (name === 'silence-prompt' && this.rig.nowMs - this.#askedToWaitAtMs < WAIT_MS)
      this.promptsTooSoon.push(`${this.rig.nowMs - this.#askedToWaitAtMs} ms after the caller had asked to wait`)
  }

  #runTool(callId: string, name: string): void {
    if (this.toolsLost) return
    const send = (input: Parameters<Rig['in']>[0]) => () => this.rig.in(input)
    if (name === 'order_later') {
      this.after(300, send({ type: 'tool-pending', callId, waitMs: 9000 }), callId)
      this.after(this.outcomeMs, () => this.#outcome(callId), callId)
      return
    }
    const value = name === 'find_order' ? { order: { number: 4127 } } : { done: true }
    const result =
      name === this.failing
        ? ({ type: 'tool-result', callId, ok: false, value: null, error: 'the service answered 500' } as const)
        : ({ type: 'tool-result', callId, ok: true, value } as const)
    this.after((TOOL_MS[name] ?? 500) + this.toolsLateMs, send(result), callId)
  }

  /** The main thread keeps an outcome until it was told. */
  #outcome(callId: string): void {
    this.#untold.add(callId)
    this.rig.in({ type: 'tool-outcome', callId, status: 'succeeded', value: { ready: true } })
  }

  /** The escalation machine: holds the caller, rings for a while, and says how that ended. */
  #drive(): void {
    const step = (ms: number, step: Extract<Parameters<Rig['in']>[0], { type: 'escalation' }>['step']): void =>
      this.after(ms, () => this.rig.in({ type: 'escalation', step }))
    if (this.human === 'no-step') return
    step(200, { type: 'hold' })
    if (this.human === 'bridged') {
      step(4000, { type: 'bridged', strategy: 'supervision' })
      return this.after(9000, () => this.rig.in({ type: 'stream-closed', code: 1000 }))
    }
    const type = this.human === 'offer' ? 'offer' : 'failed'
    step(4000, { type, outcome: 'no-answer', detail: 'nobody answers', closed: false })
  }

  /** The next agent has the call: the promise is kept, and the record has the handover. */
  #handOver(record: Extract<CallOutput, { type: 'handover' }>['record']): void {
    const { checkpoint, log } = JSON.parse(JSON.stringify(this.rig.resume)) as SessionResume
    const { handover: _, ...rest } = checkpoint
    this.takeover(
      { ...this.#options, agent: record.to, greeting: 'This is the other agent.', stages: null },
      { checkpoint: { ...rest, greeted: false }, log: { ...log, handovers: [...(log.handovers ?? []), record] } },
    )
  }
}

/** Phrases below `value` that have words in both languages. */
function* swahiliOf(value: unknown): Generator<[string, string]> {
  if (typeof value !== 'object' || value === null) return
  const { en, sw } = value as { readonly en?: unknown; readonly sw?: unknown }
  if (typeof en === 'string' && typeof sw === 'string') yield [en, sw]
  else for (const one of Object.values(value)) yield* swahiliOf(one)
}
