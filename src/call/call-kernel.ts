import { AgentSpeech } from './turns/agent-speech.js'
import { CallCore } from './call-core.js'
import type { CallFeatures } from './call-feature.js'
import { withCaller } from './caller-data.js'
import type { CallSessionOptions } from './call-options.js'
import { CallerSpeech } from './turns/caller-speech.js'
import type { CallCheckpoint, NewStream, OwedAnswer, SessionResume } from './documents/checkpoint.js'
import type { TranscriptEntry } from './documents/record.js'
import type { TurnDecider } from './turns/end-of-turn.js'
import type { CallOutput, PlayoutView } from './events.js'
import { textIn, type LocalizedText } from './spoken/localized-text.js'
import { Effects } from './resources/effects.js'
import { Floor } from './resources/floor.js'
import { Input } from './resources/input.js'
import { Keypad } from './resources/keypad.js'
import { Line } from './resources/line.js'
import { Model } from './resources/model.js'
import { Person } from './resources/person.js'
import { Wait } from './resources/wait.js'
import { Stages } from './stages.js'
import { Transcript } from './spoken/transcript.js'
import { ANNOUNCEMENT, TurnTaking } from './turns/turn-taking.js'

/** Kernel of a call: the core, the resources, turn-taking, and the features. */
export class CallKernel extends CallCore {
  readonly callerSpeech: CallerSpeech
  readonly agentSpeech = new AgentSpeech()
  readonly transcript: Transcript
  /** Speech of the previous worker that the caller has not heard yet. */
  readonly owed: OwedAnswer
  // Resources of the call. At most one feature at a time holds each resource.
  readonly line: Line
  readonly floor: Floor
  readonly input: Input
  readonly keypad: Keypad
  readonly model: Model
  readonly effects: Effects
  readonly wait: Wait
  /** Person on the line, and the identity that this person has proved. */
  readonly person: Person
  /** The stages of the call; null without stages. */
  readonly stages: Stages | null
  /** Turn-taking between caller and agent. */
  readonly talk: TurnTaking
  readonly features: CallFeatures

  /**
   * @param resume  state of this call from its previous worker. With this state the session continues and does not
   * greet again
   * @param turnDecider  replaces the turn decider of the options
   */
  constructor(
    options: CallSessionOptions,
    playout: PlayoutView,
    features: (call: CallKernel, resume: SessionResume | undefined) => CallFeatures,
    resume?: SessionResume,
    turnDecider?: TurnDecider,
  ) {
    super(options, playout, resume)
    this.owed = this.resume === null ? 'nothing' : owedBy(this.resume, this.newStream)
    this.callerSpeech = new CallerSpeech(options.speech, turnDecider)
    this.effects = new Effects(this, resume)
    for (const entry of this.resume?.openTranscript ?? []) {
      const text = entry.text.trim()
      if (text !== '') this.record({ kind: 'transcript', record: { ...entry, text } })
    }
    this.transcript = new Transcript((record, itemId, playedMs) => {
      const spoken = options.languages.length > 1 ? { ...record, language: this.language.now } : record
      this.record({ kind: 'transcript', record: spoken })
      if (record.role === 'agent') this.#agentSaid(record, itemId, playedMs)
    })
    this.person = new Person(this)
    this.floor = new Floor(this.agentSpeech)
    this.wait = new Wait(this)
    this.model = new Model(this, this.agentSpeech, this.wait)
    this.line = new Line(this, this.floor, this.model)
    this.input = new Input(this, this.transcript, this.callerSpeech)
    this.keypad = new Keypad(this)
    this.stages = stagesOf(this, this.person)
    this.talk = new TurnTaking(this, this)
    this.features = features(this, resume)
  }

  override out(output: CallOutput): void {
    if (asksBackend(output)) this.floor.asked()
    super.out(output)
  }

  /** Returns a phrase in the call's language, with the caller's values in it; '' if the phrase is absent. */
  text(phrase: LocalizedText | null | undefined): string {
    return phrase == null ? '' : withCaller(textIn(phrase, this.language.now), this.person.values)
  }

  get goodbye(): string {
    return this.text(this.options.goodbyeText)
  }

  /** Acts on a change of the call's language. The voice changes too. */
  languageChanged(): void {
    this.mark('language', this.language.now)
    this.out({ type: 'language', language: this.language.now })
    this.changed()
  }

  #agentSaid(entry: TranscriptEntry, itemId: string, playedMs: number | null): void {
    if (this.agentSpeech.item(itemId)?.as === 'greeting') return
    const by = itemId.startsWith(ANNOUNCEMENT) ? 'gateway' : 'model'
    if (by === 'model') this.language.answered()
    this.tell({ type: 'agent-said', entry, itemId, playedMs, by })
  }
}

/**
 * Returns the speech that the caller has not heard yet. If the stream was lost, the result includes waiting speech in
 * shared memory, and speech that was already sent.
 */
function owedBy({ owed, openTranscript }: CallCheckpoint, newStream: NewStream | null): OwedAnswer {
  if (newStream === null || owed !== 'nothing') return owed
  return openTranscript.some(({ role }) => role === 'agent') ? 'rest-of-answer' : 'nothing'
}

function stagesOf(core: CallCore, person: Person): Stages | null {
  const { options, resume } = core
  if (options.stages === null) return null
  return new Stages(
    options.stages,
    person,
    (entry) => {
      core.record(entry)
      if (entry.kind === 'fact') return core.mark('fact', entry.record.name)
      const { from, stage, why } = entry.record
      core.mark('stage', from === null ? stage : `${from} to ${stage}: ${why}`)
    },
    resume?.identity != null,
    options.collections.flatMap(({ secretFor }) => secretFor?.tool ?? []),
  )
}

/** True if this output asks the backend for an answer. */
function asksBackend(output: CallOutput): boolean {
  switch (output.type) {
    case 'backend-speech-end':
    case 'backend-dtmf':
    case 'backend-tool-result':
    case 'backend-tool-outcome':
      return true
    case 'backend-text':
      return output.respond
    default:
      return false
  }
}
