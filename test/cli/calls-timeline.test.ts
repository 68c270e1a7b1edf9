import type { CallTimelineView } from '../../src/call/documents/call-view.js'
import { createServer } from 'node:http'
import t from 'tap'
import { waterfall } from '../../src/cli/calls.js'
import { command } from '../support/command.js'

const VIEW: CallTimelineView = {
  version: 1,
  callSid: 'HD_00000000beef',
  agent: 'order-status',
  backend: 'openai',
  live: true,
  startedAt: '2026-11-20T10:00:00.000Z',
  streamOpenedMs: 200,
  traceId: 'ab'.repeat(16),
  timelineDropped: 3,
  timeline: [
    { name: 'webhook', atMs: 0, detail: 'inbound to order-status' },
    { name: 'backend-connect', atMs: 10 },
    { name: 'backend-ready', atMs: 90 },
    { name: 'first-frame', atMs: 240 },
    { name: 'caller-speech-end', atMs: 4000 },
    { name: 'agent-sound', atMs: 4800, detail: 'answer' },
    { name: 'ended', atMs: 9000, detail: 'caller-hung-up' },
  ],
  turns: [{ callerStoppedMs: 3200, firstSoundMs: 400, answerMs: 1400, ear: { firstSoundMs: 480, answerMs: 1490 } }],
  bargeIns: [],
  tools: [{ name: 'lookup_order', startMs: 3300, ms: 700, ok: false }],
}

const linesOf = (view: CallTimelineView, columns = 120): string[] => waterfall(view, columns).split('\n')
const barOf = (line: string | undefined): number => [...(line ?? '')].filter((character) => character === '█').length

t.test('a call is drawn by its turns, with bars as long as what they took', async (t) => {
  const lines = linesOf(VIEW)
  t.match(lines[0], /HD_00000000beef {2}order-status on openai, live, .* trace abab/)
  t.match(lines[1], /3 marks/)
  t.match(
    waterfall(VIEW, 120),
    /turn 1: the caller stopped at 3\.400 s, first sound 400 ms, answer 1400 ms, at the caller 1490 ms/,
  )
  const line = (name: string): string | undefined => lines.find((text) => text.includes(` ${name} `))
  t.ok(barOf(line('answer')) > 3 * barOf(line('first sound')) - 3, 'three and a half times as long')
  t.match(line('lookup_order (failed)'), /░+█+ +700 ms/, 'a tool begins later')
  t.equal(
    lines.filter((text) => text.includes('●')).length + lines.filter((text) => text.includes('›')).length,
    VIEW.timeline.length,
    'each mark is there once, also one beyond the scale',
  )
})

t.test('it fits the terminal it is drawn in', async (t) => {
  for (const columns of [80, 120, 200]) {
    for (const text of linesOf(
      { ...VIEW, timeline: VIEW.timeline.map(({ name, atMs }) => ({ name, atMs })) },
      columns,
    ).slice(3)) {
      if (!text.startsWith('turn'))
        t.ok([...text].length <= Math.max(80, columns), `${[...text].length} of ${columns}: ${text}`)
    }
  }
})

t.test('a call that is only being set up, and one without marks, are drawn too', async (t) => {
  t.match(
    waterfall({ ...VIEW, streamOpenedMs: null, turns: [], tools: [], timeline: [] }, 100),
    /set-up and greeting\n$/,
  )
  t.match(
    waterfall({ ...VIEW, turns: [{ callerStoppedMs: 100, firstSoundMs: null, answerMs: null }] }, 100),
    /first sound never, answer never/,
  )
})

t.test('characters that a terminal would interpret are shown as dots', async (t) => {
  const text = waterfall(
    {
      ...VIEW,
      agent: 'a\u001b[2Jb',
      timeline: [{ name: 'x\u0007\ny', atMs: 1, detail: '\u001b]0;title\u0007\u202e' }],
    },
    100,
  )
  t.notMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f\u202e]/)
  t.match(text, /x··y/)
})

t.test('mkondo calls timeline asks the gateway and draws, or says that there is no such call', async (t) => {
  const server = createServer((request, response) => {
    const known = request.url === `/api/calls/${VIEW.callSid}/timeline`
    response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' })
    response.end(JSON.stringify(known ? VIEW : { error: { code: 'CALL_UNKNOWN', message: 'no such call' } }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const timeline = (...argv: string[]) =>
    command(['calls', 'timeline', ...argv, '--ops-url', `http://127.0.0.1:${address.port}`])
  t.match(await timeline(VIEW.callSid), { code: 0, out: /turn 1: the caller stopped at 3\.400 s/ })
  const asJson = await timeline(VIEW.callSid, '--json')
  t.equal(asJson.code, 0)
  t.same(JSON.parse(asJson.out), VIEW)
  t.match(await timeline('HD_unknown'), { code: 1, err: /CALL_UNKNOWN/ })
  t.match(await timeline('"; rm -rf'), { code: 2, err: /the SID is not valid; allowed: 1 to 64/ })
})
