import { create } from 'xmlbuilder2'
import type { ScenarioReport } from './report-json.js'
import { around, lineText } from './report-terminal.js'

type Result = ScenarioReport['results'][number]

/** Characters that XML 1.0 has no way to write. */
const UNWRITABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g

/** The results as JUnit XML, as CI systems read it: a suite an agent, a case a run. Times are what runs really took. */
export function junitXml(report: ScenarioReport): string {
  const root = create({ version: '1.0', encoding: 'UTF-8' }).ele('testsuites', {
    name: 'mkondo simulate', tests: report.results.length, failures: report.failed, skipped: report.skipped, errors: 0, time: seconds(report.realMs),
  })
  for (const agent of new Set(report.results.map((result) => result.agent))) {
    const results = report.results.filter((result) => result.agent === agent)
    const count = (status: Result['status']): number => results.filter((result) => result.status === status).length
    const suite = root.ele('testsuite', {
      name: agent, tests: results.length, failures: count('failed'), skipped: count('skipped'), errors: 0, timestamp: report.startedAt,
      time: seconds(results.reduce((sum, result) => sum + result.realMs, 0)),
    })
    for (const result of results) addCase(suite, result)
  }
  return `${root.end({ prettyPrint: true })}\n`
}

function addCase(suite: ReturnType<ReturnType<typeof create>['ele']>, result: Result): void {
  const again = result.repetition > 1 ? ` #${result.repetition}` : ''
  const testCase = suite.ele('testcase', { name: `${result.name}${again} (${result.mode})`, classname: result.agent, file: result.file, time: seconds(result.realMs) })
  testCase.ele('properties').ele('property', { name: 'seed', value: result.seed })
  if (result.status === 'skipped') testCase.ele('skipped', { message: writable(result.skipped ?? '') })
  // One element: readers of the format take the first failure of a case for the only one.
  if (result.findings.length > 0) {
    const text = result.findings.map((finding) => [finding.what, ...around(result, finding.nearMs).map((line) => `  ${line}`)].join('\n')).join('\n\n')
    testCase.ele('failure', { type: 'expectation', message: writable(result.findings.map((finding) => finding.what).join('; ')) }).txt(writable(text))
  }
  const { call } = result
  if (call !== null && result.status === 'failed') {
    testCase.ele('system-out').txt(writable([`call ${call.callSid}: ${call.outcome ?? 'no record'}, ${call.ended}`, ...call.transcript.map(lineText)].join('\n')))
  }
}

function writable(text: string): string {
  return text.replace(UNWRITABLE, '')
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3)
}
