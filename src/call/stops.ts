import type { StopKind, StopRecord, TimelineMark } from './record.js'

/** The marks that say why the agent fell silent or somebody was not served, and as what they count. */
const KINDS: Readonly<Record<string, StopKind>> = {
  'barge-in-pause': 'interruption',
  'barge-in-resume': 'interruption',
  'barge-in': 'interruption',
  'audio-dropped': 'drop',
  'carrier-stall': 'drop',
  underrun: 'drop',
  'socket-stuck': 'drop',
  'silence-prompt': 'silence-prompt',
  'tool-refused': 'refusal',
  'escalation-refused': 'refusal',
  'answer-missing': 'failure',
  'response-failed': 'failure',
  'backend-failed': 'failure',
  'escalation-failed': 'failure',
  'worker-lost': 'failure',
  goodbye: 'hang-up',
  'hang-up': 'hang-up',
  forced: 'hang-up',
  ended: 'hang-up',
}

/** What a mark says of "why did it stop talking?"; null for a mark that says nothing of it. */
export function stopOf(mark: TimelineMark): StopRecord | null {
  const kind = KINDS[mark.name]
  return kind === undefined ? null : { kind, atMs: mark.atMs, mark: mark.name, why: mark.detail ?? mark.name }
}
