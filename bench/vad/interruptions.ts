import type { CallerFrame } from '../../src/call/turns/frame-figures.js'
import { type CallSessionOptions, DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { CallSession } from '../../src/call/call-session.js'
import type { CallInput, CallOutput } from '../../src/call/events.js'
import { FRAME_MS } from '../../src/core/units.js'

export interface Interruptions {
  readonly pausesPerMin: number
  readonly commitsPerMin: number
}

/** Options of the session: an agent's defaults, on a backend that recognises words. */
const AGENT: CallSessionOptions = {
  ...DEFAULT_CALL_OPTIONS,
  callSid: 'HD_bench',
  agent: 'bench',
  preparedAtMs: 0,
  wallOffsetMs: 0,
  serverVad: false,
  serverInterrupts: false,
  truncate: false,
  weighsSpeech: true,
  toolNames: [],
  greeting: null,
  // Only the caller's sound leads to decisions.
  silence: { afterMs: Infinity, prompts: [] },
  answerTimeoutMs: Infinity,
  duration: { maxMs: Infinity, text: '' },
}
/**
 * Duration in ms of the agent's speech that waits to be sent while the agent talks. It is more than the end of a
 * sentence.
 */
const PENDING_MS = 10_000

/**
 * Session of a call whose agent never stops talking. After an interruption, the agent continues to talk as soon as the
 * session requests an answer. Words are recognised only if `understood` is called.
 */
export class TalkingAgent {
  /** Times at which the agent paused for a moment. `commitsAtMs`: times at which the agent lost the turn. */
  readonly pausesAtMs: number[] = []
  #ducked = false
  readonly commitsAtMs: number[] = []
  readonly resumesAtMs: number[] = []
  /** Decisions and their reasons, in the form of the timeline. */
  readonly decisions: string[] = []
  readonly session: CallSession
  nowMs = 0
  #generation = 0
  /** True if speech of the agent waits to be sent. After a lost turn it is false; during a pause the speech is kept. */
  #talks = false
  #paused = false
  #lastSentAtMs: number | null = null
  #answers = false

  constructor(changes: Partial<CallSessionOptions> = {}) {
    this.session = new CallSession(
      { ...AGENT, ...changes },
      {
        audible: () => this.#talks && !this.#paused,
        playedMs: () => 0,
        currentItem: () => (this.#talks ? `item-${this.#generation}` : null),
        pendingMs: () => (this.#talks ? PENDING_MS : 0),
        lastSentAtMs: () => this.#lastSentAtMs,
      },
    )
    this.#in({ type: 'stream-opened', sampleRateHz: 16_000 })
    this.#in({ type: 'backend', event: { type: 'ready' } })
    this.talk()
  }

  /** Reports that these words of the caller were recognised. */
  understood(words: string): void {
    const itemId = `caller-${this.nowMs}`
    this.#in({
      type: 'backend',
      event: { type: 'transcript', role: 'caller', text: words, final: true, itemId, generation: 0 },
    })
  }

  /** Makes the agent silent until `talk`, because the caller has the turn. */
  listen(): void {
    this.#in({ type: 'backend', event: { type: 'turn-done', generation: this.#generation, status: 'completed' } })
    this.#in({ type: 'item-heard', itemId: `item-${this.#generation}` })
    this.#talks = false
  }

  talk(): void {
    const generation = ++this.#generation
    const itemId = `item-${generation}`
    this.#in({ type: 'backend', event: { type: 'turn-start', generation } })
    this.session.acceptAudio(itemId, generation, this.nowMs)
    this.#talks = true
    this.#paused = false
    this.#in({ type: 'item-started', itemId, sentAtMs: this.nowMs })
  }

  frame(frame: CallerFrame): void {
    this.nowMs += FRAME_MS
    if (this.#talks && !this.#paused) this.#lastSentAtMs = this.nowMs
    this.session.callerFrame(frame, this.nowMs)
    this.#drain()
    const wake = this.session.nextWake()
    if (wake !== null && wake.atMs <= this.nowMs) this.#in({ type: 'timer' })
    if (!this.#answers) return
    this.#answers = false
    if (!this.#talks) this.talk()
  }

  #in(input: CallInput): void {
    this.session.handle(input, this.nowMs)
    this.#drain()
  }

  #drain(): void {
    for (let output = this.session.pollOutput(); output !== null; output = this.session.pollOutput()) this.#do(output)
  }

  #do(output: CallOutput): void {
    switch (output.type) {
      case 'playout-pause':
        this.#paused = true
        if (!this.#ducked) this.pausesAtMs.push(this.nowMs)
        return
      case 'playout-resume':
        this.#paused = false
        this.resumesAtMs.push(this.nowMs)
        return
      case 'playout-clear':
        this.#talks = false
        this.#paused = false
        this.commitsAtMs.push(this.nowMs)
        return
      case 'backend-speech-end':
        // Sound that may not be meant for the agent is answered only if words are recognised.
        if (output.unless === undefined) this.#answers = true
        return
      case 'mark':
        // The caller notices that the voice becomes softer. So this is the onset; a pause that follows is not counted
        // again.
        if (output.name === 'barge-in-duck') this.pausesAtMs.push(this.nowMs)
        if (output.name.startsWith('barge-in'))
          this.#ducked = output.name === 'barge-in-duck' || output.name === 'barge-in-pause'
        this.decisions.push(`${this.nowMs} ${output.name} ${output.detail ?? ''}`.trim())
        return
      default:
        return
    }
  }
}

/**
 * Counts how often sound without a caller pauses an agent who never stops talking, and how often it takes the agent's
 * turn. The session itself decides, with an agent's defaults.
 */
export function interruptionsOf(
  frames: readonly CallerFrame[],
  changes: Partial<CallSessionOptions> = {},
): Interruptions {
  const agent = new TalkingAgent(changes)
  for (const frame of frames) agent.frame(frame)
  const minutes = (frames.length * FRAME_MS) / 60_000
  return { pausesPerMin: agent.pausesAtMs.length / minutes, commitsPerMin: agent.commitsAtMs.length / minutes }
}
