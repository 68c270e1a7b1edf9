import type { ShadowReport, ShadowSide } from '../backends/shadow.js'

/** A shadow's report as a person reads it: one line a turn, then the sums. */
export function shadowReportText(report: ShadowReport): string {
  const { primary, second, turns } = report
  const rows = [
    ['turn', 'asked by', `${primary}: first sound`, `${second}: first sound`, `${primary}: tools`, `${second}: tools`, 'same tools', 'caller understood alike'],
    ...turns.map((turn, i) => [
      String(i + 1), turn.asked, ms(turn.primary.soundMs), ms(turn.second.soundMs), tools(turn.primary), tools(turn.second),
      turn.sameTools ? 'yes' : 'NO', turn.sameCallerText ? 'yes' : 'no',
    ]),
  ]
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const table = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd())
  const median = report.soundDifferenceMsMedian
  return [
    ...table, '',
    `${second} ${report.state === 'failed' ? `failed (${report.fault ?? 'unknown'})` : `was ${report.state}`}`
      + `${report.connectMs === null ? '' : `, ready after ${ms(report.connectMs)}`}`,
    `first sound: ${median === null ? 'no turn had sound from both' : `${second} ${ms(Math.abs(median))} ${median < 0 ? 'earlier' : 'later'} at the median`}`,
    `tools: chosen differently in ${report.turnsWithOtherTools} of ${turns.length} turns; ${report.toolsAnswered} calls of ${second} answered from ${primary}'s results, ${report.toolsUnanswered} not`,
    `${second} used ${report.usage.inputTokens} tokens in, ${report.usage.outputTokens} out; nothing of it was heard, and it ran no tool`,
  ].join('\n')
}

function ms(value: number | null): string {
  return value === null ? '-' : `${Math.round(value)} ms`
}

function tools(side: ShadowSide): string {
  return side.tools.map(({ name }) => name).join(', ') || '-'
}
