import type { CallOutput } from '../../call/events.js'
import { replayJournal } from '../../call/journal/replay.js'
import type { Replay } from '../../call/journal/replay.js'
import { diffOutputs } from '../../call/journal/replay-diff.js'
import { GatewayError } from '../../core/errors.js'
import { maskText } from '../../telemetry/redact.js'
import { outputName } from './replay-report.js'

interface CutOptions {
  /** Number of seconds from the call's start that are kept; null for the whole call. */
  readonly untilS: number | null
  /** True if words stay readable; false if each letter and digit of the words is replaced. */
  readonly withWords: boolean
  /** True if the caller's audio is kept, and so the words in it. */
  readonly withAudio: boolean
}

/** SID in every cut journal. It replaces the real SID, so that the journal does not identify the call. */
const CUT_SID = 'HD_cut'

type Line = Record<string, unknown>

/** Keys of inputs that may contain a person's words or digits, or a tool's result. */
const WORDS: ReadonlySet<string> = new Set([
  'text',
  'args',
  'value',
  'result',
  'summary',
  'detail',
  'digit',
  'identity',
  'error',
  'message',
  'escalation',
])

/**
 * Makes a test from a journal: a part of the call with another SID and without phone numbers. Words and audio are kept
 * only on request. The outputs come from a replay of the cut call, so they do not contain words either.
 * @throws GatewayError JOURNAL_INVALID if the call behaves differently without its words, or cannot be replayed
 */
export function cutJournal(journal: readonly string[], options: CutOptions): readonly string[] {
  const parsed = journal.filter((text) => text.trim() !== '').map((text) => JSON.parse(text) as Line)
  const kept = until(parsed, options.untilS)
    .filter((line) => options.withAudio || !('media' in line && Array.isArray(line['media'])))
    .map(({ out: _, ...line }) => line)
  const callSid = (kept[0]?.['options'] as { callSid?: string } | undefined)?.callSid ?? ''
  const cut = kept.map((line) => {
    const scrubbed = JSON.stringify(scrub(line, options))
    return JSON.parse(callSid === '' ? scrubbed : scrubbed.replaceAll(callSid, CUT_SID)) as Line
  })
  const was = replayJournal(kept.map((line) => JSON.stringify(line)))
  const is = replayJournal(cut.map((line) => JSON.stringify(line)))
  if (shape(was) !== shape(is)) {
    throw new GatewayError('JOURNAL_INVALID', 'the call behaves differently without its words; use --with-words')
  }
  cut.forEach((line, index) => {
    if ('journal' in line || Array.isArray(line['media'])) return // header lines and audio lines do not have outputs
    const out = is.outputs.filter((timed) => timed.entry === index).map(({ output }) => output)
    if (out.length > 0) line['out'] = out
  })
  const lines = cut.map((line) => JSON.stringify(line))
  const { outputs, recorded } = replayJournal(lines)
  if (diffOutputs(recorded, outputs, { toleranceMs: 0 }).length > 0)
    throw new GatewayError('JOURNAL_INVALID', whyNotCut(until(parsed, options.untilS)))
  return lines
}

/**
 * Reason why a call cannot be cut. In a journal, a line of frames ends at the frame that caused outputs. If this
 * version decides differently, its outputs fall on other frames, which the lines cannot express.
 */
function whyNotCut(kept: readonly Line[]): string {
  const { header, outputs, recorded } = replayJournal(kept.map((line) => JSON.stringify(line)))
  const [first] = diffOutputs(recorded, outputs, { toleranceMs: 0 })
  if (first === undefined)
    return 'the replay of the cut call differs from its own outputs: this is a fault of the gateway'
  const what = `this version runs the call differently from the version that recorded it (${header.build})`
  const advice = '"mkondo replay --diff" shows the differences; cut the call with that version'
  const { atMs, output } = first.kind === 'new' ? first.is : first.was
  const firstAtMs = kept.find((line) => typeof line['t'] === 'number')?.['t'] as number
  const sameS = Math.floor((atMs - firstAtMs) / 1000)
  const at = `${((atMs - header.options.preparedAtMs) / 1000).toFixed(3)} s into it, "${outputName(output)}"`
  return `${what}: first ${at}; ${advice}${sameS > 0 ? `, or cut only the part before it, with --until ${sameS}` : ''}`
}

/**
 * Actions of a call, without its words. An audited statement of the agent (a claim) is not an action, but the reaction
 * to the claim is an action.
 */
function shape(replay: Replay): string {
  return JSON.stringify(
    replay.outputs.flatMap(({ atMs, output }) => (isAboutClaim(output) ? [] : [[atMs, output.type]])),
  )
}

function isAboutClaim(output: CallOutput): boolean {
  return output.type === 'mark' ? output.name === 'claim' : output.type === 'log' && output.entry.kind === 'claim'
}

function until(lines: readonly Line[], untilS: number | null): readonly Line[] {
  if (untilS === null) return lines
  const firstAtMs = lines.find((line) => typeof line['t'] === 'number')?.['t'] as number | undefined
  const end = lines.findIndex((line) => typeof line['t'] === 'number' && line['t'] - (firstAtMs ?? 0) > untilS * 1000)
  // Audio after the last entry is removed too. Otherwise a replay would make frames that the call did not have.
  return lines.slice(
    0,
    1 + lines.findLastIndex((line, index) => (end < 0 || index < end) && !Array.isArray(line['media'])),
  )
}

function scrub(line: Line, { withWords, withAudio }: CutOptions): Line {
  const { media, options, levels, pitch, ...rest } = line
  const clean = scrubValue(rest, withWords || withAudio, false) as Line
  // These settings belong to the agent. They do not contain a caller's words.
  if (options !== undefined) clean['options'] = options
  // The figures of frames are stored as text. They are not scrubbed, because their digits are not a phone number.
  if (levels !== undefined) clean['levels'] = levels
  if (pitch !== undefined) clean['pitch'] = pitch
  if (media !== undefined) clean['media'] = withAudio || Array.isArray(media) ? media : null
  return clean
}

/** Shape of words: each letter becomes an x, each digit a 0. */
export function shapeOf(words: string): string {
  return words.replace(/\p{L}/gu, 'x').replace(/\p{N}/gu, '0')
}

function scrubValue(value: unknown, withWords: boolean, said: boolean): unknown {
  if (typeof value === 'string') return said && !withWords ? shapeOf(value) : maskText(value)
  if (typeof value === 'number') return said && !withWords ? 0 : value
  if (Array.isArray(value)) return value.map((item: unknown) => scrubValue(item, withWords, said))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, scrubValue(item, withWords, said || WORDS.has(key))]),
  )
}
