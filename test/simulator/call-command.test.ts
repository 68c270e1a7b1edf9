import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runCallCommand } from '../../src/simulator/call-command.js'
import { goalOf } from '../../src/simulator/call-report.js'
import type { SimulatedCallResult } from '../../src/simulator/call-options.js'
import { readWavFile } from '../../src/simulator/wav-file.js'
import { GatewayDouble } from './support/gateway-double.js'

async function run(argv: string[], env: Readonly<Record<string, string>> = {}): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const code = await runCallCommand(argv, { out: (text) => { out += text }, err: (text) => { err += text }, env })
  return { code, out, err }
}

void t.test('wrong usage is one clear line and exit code 2', async (t) => {
  const wrong = async (argv: string[], message: RegExp): Promise<void> => {
    const { code, err, out } = await run(argv)
    t.equal(code, 2, argv.join(' '))
    t.match(err, message)
    t.equal(err.split('\n').length, 2, 'one line')
    t.equal(out, '')
  }
  await wrong(['--ordre', '4127'], /Unknown option '--ordre'/)
  await wrong(['--order', 'abc'], /--order is "abc"; it has to be 3 to 12 digits/)
  await wrong(['--order', '4127', '--wav', 'x.wav'], /exclude each other/)
  await wrong(['--rate', '44100'], /one of 8000, 16000/)
  await wrong(['--calls', '0'], /whole number from 1/)
  await wrong(['--url', 'ftp://x'], /http or https/)
  await wrong(['--script', '/nowhere.yaml'], /cannot be read/)
  await wrong(['--wav', '/nowhere.wav'], /cannot be read/)
  const { err } = await run(['--from', '+2547123456x'])
  t.notMatch(err, /123456x/, 'a phone number is not repeated')
  t.match(await run(['--help']), { code: 0, out: /--order N/ })
})

void t.test('a call without the ops port is reported from what was said and heard', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-'))
  const double = await GatewayDouble.start({
    answer: (post, self) => (post.fields['callSessionState'] === 'Ringing' ? self.streamDocument() : '<Response></Response>'),
  })
  t.teardown(async () => {
    double.close()
    await rm(folder, { recursive: true })
  })
  const script = join(folder, 'call.yaml')
  await writeFile(script, 'version: 1\norder: "4127"\npatienceMs: 500\nsteps:\n  - say: hello\n  - press: "5"\n  - hangup: true\n')
  const json = join(folder, 'calls.json')
  const record = join(folder, 'call.wav')
  const { code, out } = await run(['--url', double.origin, '--script', script, '--json', json, '--record', record, '--ops-url', 'http://127.0.0.1:9'])
  t.equal(code, 1, 'no status was heard')
  t.match(out, /did NOT reach its goal: the caller never heard a status/)
  t.match(out, /ops port cannot be reached/)
  const report = JSON.parse(await readFile(json, 'utf8')) as { calls: unknown[] }
  t.match(report.calls, [{
    agent: null, backend: null, outcome: null, source: 'caller', toolCalls: [], recording: record, heard: { order: null, status: null },
    transcript: [{ role: 'caller', text: 'hello' }, { role: 'caller', text: '[keys 5]' }], turns: [{ firstSoundMs: null, answerMs: null }, {}],
  }])
  const wav = await readWavFile(record)
  t.equal(wav.sampleRateHz, 8000)
  t.ok(wav.pcm.some((sample) => Math.abs(sample) > 3000), 'the caller is on the left')
  t.equal((await run(['--url', 'http://127.0.0.1:9', '--ops-url', 'http://127.0.0.1:9'])).code, 1, 'no gateway')
})

void t.test('the goal needs the right status of the right order', (t) => {
  const result = (heard: Partial<SimulatedCallResult['heard']>): SimulatedCallResult => ({
    callSid: 'HD_1', from: '', to: '', answered: true, ended: { by: 'caller', why: '' }, durationMs: 1, webhooks: [], verbs: [], stream: null, dials: [],
    said: [], heardPieces: [], callerHeard: { greetingMs: null, turns: [], bargeIns: [] }, complaints: [], audio: null,
    heard: { order: null, status: null, eta: null, text: [], ...heard },
  })
  const expected = { kind: 'order', order: '4127', statuses: new Map([['4127', 'out_for_delivery'], ['2968', 'delivered']]) } as const
  t.equal(goalOf(result({ order: '4127', status: 'out_for_delivery' }), expected).reached, true)
  t.match(goalOf(result({ order: '4127', status: 'delivered' }), expected), { reached: false, why: /shop says "out_for_delivery"/ })
  t.match(goalOf(result({ order: '2968', status: 'delivered' }), expected), { reached: false, why: /asked about 4127 and heard 2968/ })
  t.match(goalOf(result({ status: 'out_for_delivery' }), expected), { reached: false })
  t.match(goalOf(result({}), expected), { reached: false, why: /never heard a status/ })
  t.equal(goalOf(result({ status: 'delivered' }), { ...expected, order: null }).reached, true, 'one of their orders')
  t.end()
})
