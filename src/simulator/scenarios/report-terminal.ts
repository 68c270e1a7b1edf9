import type { ScenarioReport } from './report-json.js'

type Result = ScenarioReport['results'][number]
type Line = NonNullable<Result['call']>['transcript'][number]

/** Lines of the conversation shown around a place where something went wrong. */
const LINES_BEFORE = 3
const LINES_AFTER = 2
const LINES_AT_THE_END = 6

/** How a report is coloured; nothing where it goes to a file. */
export interface Paint {
  readonly good: (text: string) => string
  readonly bad: (text: string) => string
  readonly dim: (text: string) => string
}

const plain = (text: string): string => text
export const NO_PAINT: Paint = { good: plain, bad: plain, dim: plain }
const paint = (code: number) => (text: string): string => `\u001b[${code}m${text}\u001b[0m`
export const TERMINAL_PAINT: Paint = { good: paint(32), bad: paint(31), dim: paint(2) }

/** One result as it comes: a line, and for a failed one what was wrong with the conversation around it. */
export function resultText(result: Result, { good, bad, dim }: Paint): string {
  const word = { passed: good('ok    '), failed: bad('FAILED'), skipped: dim('skipped') }[result.status]
  const again = result.repetition > 1 ? ` #${result.repetition}` : ''
  const took = result.call === null ? '' : ` (${seconds(result.call.durationMs)} of call in ${seconds(result.realMs)})`
  const why = result.skipped === null ? '' : `: ${result.skipped}`
  const lines = [`${word} ${result.agent}/${result.name}${again} ${dim(`${result.mode}${took}`)}${why}`]
  if (result.status === 'failed') {
    // What is to be seen at the same place of the call is shown with one piece of it.
    for (const nearMs of new Set(result.findings.map((finding) => finding.nearMs))) {
      const there = result.findings.filter((finding) => finding.nearMs === nearMs)
      lines.push(...there.map((finding) => `       ${bad(finding.what)}`), ...around(result, nearMs).map((line) => dim(`         ${line}`)))
    }
    lines.push(dim(`       ${result.file}, seed ${result.seed}${result.call === null ? '' : `, call ${result.call.callSid}`}`))
  }
  return `${lines.join('\n')}\n`
}

/** The last line. */
export function summaryText({ passed, failed, skipped, realMs }: Pick<ScenarioReport, 'passed' | 'failed' | 'skipped' | 'realMs'>, { good, bad }: Paint): string {
  const rest = skipped === 0 ? '' : `, ${skipped} skipped`
  return `\n${failed === 0 ? good(`${passed} passed`) : bad(`${failed} failed, ${passed} passed`)}${rest} in ${seconds(realMs)}\n`
}

/** The conversation near `atMs` (its end, where that is null), as lines of text. */
export function around(result: Result, atMs: number | null): string[] {
  const all = result.call?.transcript ?? []
  const last = atMs === null ? all.length - 1 : all.findLastIndex((line) => line.startMs <= atMs)
  const from = atMs === null ? Math.max(0, all.length - LINES_AT_THE_END) : Math.max(0, last - LINES_BEFORE + 1)
  const to = atMs === null ? all.length : last + 1 + LINES_AFTER
  return [
    ...(from > 0 ? ['...'] : []), ...all.slice(from, to).map(lineText), ...(to < all.length ? ['...'] : []),
  ]
}

/** A line of the conversation: when, who, what. */
export function lineText({ role, text, startMs, interrupted }: Line): string {
  return `${seconds(startMs).padStart(7)} ${role.padEnd(7)} ${text}${interrupted ? ' (interrupted)' : ''}`
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
