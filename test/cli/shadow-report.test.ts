import t from 'tap'
import type { ShadowReport, ShadowSide } from '../../src/backends/shadow.js'
import { shadowReportText } from '../../src/cli/shadow-report.js'

const side = (changes: Partial<ShadowSide>): ShadowSide => ({
  callerText: '', agentText: '', soundMs: null, actMs: null, audioMs: 0, tools: [], failed: false, ...changes,
})

const REPORT: ShadowReport = {
  primary: 'embedded', second: 'openai', state: 'live', fault: null, connectMs: 31.4,
  turns: [
    { asked: 'text', primary: side({ soundMs: 120.2 }), second: side({ soundMs: 310 }), soundDifferenceMs: 189.8, sameTools: true, sameCallerText: true },
    {
      asked: 'speech', primary: side({ soundMs: 700, tools: [{ name: 'lookup_order', args: {} }] }), second: side({}),
      soundDifferenceMs: null, sameTools: false, sameCallerText: false,
    },
  ],
  turnsDropped: 0, turnsWithOtherTools: 1, soundDifferenceMsMedian: 189.8, toolsAnswered: 0, toolsUnanswered: 1,
  usage: { inputTokens: 40, outputTokens: 20, audioInMs: 0, audioOutMs: 0 },
}

t.test('a shadow\'s report is read turn by turn, both sides next to each other', async (t) => {
  const lines = shadowReportText(REPORT).split('\n')
  t.match(lines[0], /^turn +asked by +embedded: first sound +openai: first sound/)
  t.match(lines[1], /^1 +text +120 ms +310 ms +- +- +yes +yes$/)
  t.match(lines[2], /^2 +speech +700 ms +- +lookup_order +- +NO +no$/)
  t.match(lines.slice(3).join('\n'), /openai was live, ready after 31 ms\nfirst sound: openai 190 ms later at the median\ntools: chosen differently in 1 of 2 turns/)
})

t.test('one that failed says why, and one that was faster says so', async (t) => {
  const text = shadowReportText({ ...REPORT, state: 'failed', fault: 'auth', connectMs: null, soundDifferenceMsMedian: -50 })
  t.match(text, /openai failed \(auth\)\nfirst sound: openai 50 ms earlier/)
  t.match(shadowReportText({ ...REPORT, turns: [], soundDifferenceMsMedian: null }), /no turn had sound from both/)
})
