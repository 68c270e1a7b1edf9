import { GatewayError, messageOf } from '../core/errors.js'
import type { CallSessionOptions } from './call-options.js'
import { CallSession } from './call-session.js'
import type { CallOutput, PlayoutView } from './events.js'
import { readJournal } from './journal.js'
import type { JournalEntry, JournalHeader, PlayoutAnswers } from './journal.js'

/** One output of a replayed call, with the time of the entry that caused it. */
export interface ReplayedOutput {
  readonly atMs: number
  readonly output: CallOutput
}

export interface Replay {
  readonly session: CallSession
  readonly outputs: readonly ReplayedOutput[]
}

/** Answers as the playout of the recorded call did. */
class RecordedPlayout implements PlayoutView {
  readonly #answers = new Map<string, boolean | number | string | null>()

  learn(view: PlayoutAnswers): void {
    for (const [question, answer] of Object.entries(view)) this.#answers.set(question, answer)
  }

  audible(): boolean {
    return this.#answers.get('audible') === true
  }

  heardMs(itemId: string): number {
    return this.#number(`heardMs ${itemId}`) ?? 0
  }

  currentItem(): string | null {
    const item = this.#answers.get('currentItem')
    return typeof item === 'string' ? item : null
  }

  pendingMs(): number {
    return this.#number('pendingMs') ?? 0
  }

  lastSentAtMs(): number | null {
    return this.#number('lastSentAtMs')
  }

  #number(question: string): number | null {
    const answer = this.#answers.get(question)
    return typeof answer === 'number' ? answer : null
  }
}

/**
 * Runs a recorded call again, through the same code, without waiting for anything. The same journal gives the same
 * outputs; with other `options` it answers what would have been different.
 * @throws GatewayError JOURNAL_INVALID naming the line that cannot be read or run.
 */
export function replayJournal(lines: Iterable<string>, options?: Partial<CallSessionOptions>): Replay {
  const playout = new RecordedPlayout()
  const outputs: ReplayedOutput[] = []
  let session: CallSession | null = null
  let entries = 0
  for (const line of readJournal(lines)) {
    entries++
    if ('journal' in line) {
      session = open(line, playout, options)
      continue
    }
    if (session === null) break
    playout.learn(line.view)
    try {
      run(session, line, outputs)
    } catch (thrown) {
      const what = `journal entry ${entries} cannot be run: ${messageOf(thrown)}`
      throw new GatewayError('JOURNAL_INVALID', what, { cause: thrown })
    }
  }
  if (session === null) throw new GatewayError('JOURNAL_INVALID', 'the journal has no header')
  return { session, outputs }
}

function open(
  header: JournalHeader, playout: PlayoutView, options: Partial<CallSessionOptions> | undefined,
): CallSession {
  return new CallSession({ ...header.options, ...options }, playout, header.resume ?? undefined)
}

function run(session: CallSession, entry: JournalEntry, outputs: ReplayedOutput[]): void {
  switch (entry.type) {
    case 'input':
      session.handle(entry.input, entry.atMs)
      return drain(session, entry.atMs, outputs)
    case 'audio':
      session.acceptAudio(entry.itemId, entry.generation, entry.atMs)
      return drain(session, entry.atMs, outputs)
    case 'identity':
      return session.setIdentity(entry.identity)
    case 'frames':
      for (const frame of entry.frames) {
        session.callerFrame(frame.voiced, frame.atMs)
        drain(session, frame.atMs, outputs)
      }
      return
    default: {
      const never: never = entry
      return never
    }
  }
}

function drain(session: CallSession, atMs: number, outputs: ReplayedOutput[]): void {
  for (let output = session.pollOutput(); output !== null; output = session.pollOutput()) outputs.push({ atMs, output })
}
