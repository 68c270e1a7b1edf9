/** What real telephones do differently: each difference is simulated as it is described, and a gateway's calls survive it. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { WebSocket } from 'ws'
import type { CallingPerson } from '../../src/carrier/caller-end.js'
import { startCall } from '../../src/carrier/carrier-call.js'
import { rmsOf } from '../../src/carrier/line.js'
import { packageRoot } from '../../src/config/package-root.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { simulatedPerson } from '../../src/simulator/caller.js'
import type { ScenarioReport } from '../../src/simulator/scenarios/report.js'
import {
  differenceOf,
  telephone,
  TELEPHONE_DIFFERENCES,
  type TelephoneDifference,
} from '../../src/simulator/telephones.js'
import { vocabularyOf } from '../../src/simulator/vocabulary.js'
import { command } from '../support/command.js'
import { GatewayDouble } from './support/gateway-double.js'

const A_NUMBER = `version: 1
agent: order-status
caller:
  number: '+254700000009'
  order: '4127'
  steps: [{ say: My order number is 4127., heard: tell me your order number }, { hangup: true }]
expect:
  outcome: [contained, abandoned]
  understood: '4127'
  said: Order 4127. Is that right?
  escalated: false
  bargeIns: 0
`
const KEYS_OVER_THE_GREETING = `version: 1
agent: order-status
caller:
  number: '+254700000009'
  steps: [{ press: '8214#', interruptAfterMs: 1500 }, { hangup: true }]
expect:
  outcome: [contained, abandoned]
  called: [{ tool: lookup_order, with: { orderNumber: '8214' } }]
  said: Order 8214 is packed
  escalated: false
`
const A_BUSY_HUMAN = `version: 1
agent: order-status
caller:
  number: '+254700000009'
  steps: [{ say: I want to talk to a human. }, { wait: 15000 }]
human: { outcome: busy }
expect: { escalated: { outcome: busy } }
`

t.test('calls survive each telephone difference and all together', async (t) => {
  const folder = join(t.testdir(), 'runs')
  await mkdir(folder)
  const scenarios = {
    number: A_NUMBER,
    keys: KEYS_OVER_THE_GREETING,
    human: A_BUSY_HUMAN,
  }
  // A phone either sends noise or nothing.
  const together = TELEPHONE_DIFFERENCES.filter((name) => name !== 'no-packets' && name !== 'late-media')
  const runs: readonly (readonly [keyof typeof scenarios, readonly TelephoneDifference[]])[] = [
    ...TELEPHONE_DIFFERENCES.map((name) => ['number', [name]] as const),
    ...(['number', 'keys', 'human'] as const).map((name) => [name, together] as const),
    ['keys', ['key-events', 'late-media']],
  ]
  for (const [i, [name, differences]] of runs.entries())
    await writeFile(join(folder, `${name}-${i}.yaml`), `${scenarios[name]}\ntelephone: [${differences.join(', ')}]\n`)
  const { code, out, err } = await command(['simulate', folder, '--json', '-'])
  t.equal(code, 0, err)
  const { results } = JSON.parse(out) as ScenarioReport
  t.equal(results.length, runs.length)
})

const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())

/** Somebody who presses 5 and hangs up a second later, or who waits. */
function person(does: 'presses' | 'waits', names: readonly TelephoneDifference[] = []): CallingPerson {
  const { line, caller } = telephone(names)
  const acts = [{ type: 'press', keys: '5' }, { type: 'wait', ms: 1000 }, { type: 'hangup' }] as const
  return simulatedPerson({
    script: {
      ...{ name: does, rules: [], reactionMs: 0, patienceMs: 200, order: null },
      steps: (does === 'waits' ? [{ type: 'wait', ms: 5000 } as const] : acts).map((act) => ({
        ...{ act, heard: [], interruptAfterMs: null },
      })),
    },
    voice: 'rms',
    line: { sampleRateHz: 16_000, ...line },
    speech,
    files: new Map(),
    record: false,
    timeoutMs: 10_000,
    vocabulary: vocabularyOf(null),
    ...caller,
  })
}

/** Messages of the carrier in a call whose caller presses 5 and hangs up. */
async function messagesOf(
  t: { teardown(run: () => void): unknown },
  names: readonly TelephoneDifference[],
): Promise<readonly (string | Int16Array)[]> {
  const messages: (string | Int16Array)[] = []
  const onSocket = (socket: WebSocket): void => {
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      messages.push(isBinary ? new Int16Array(Uint8Array.from(data).buffer) : data.toString())
    })
  }
  const answer: Parameters<typeof GatewayDouble.start>[0]['answer'] = (post, self) =>
    post.fields['callSessionState'] === 'Ringing' ? self.streamDocument() : '<Response></Response>'
  const double = await GatewayDouble.start({ answer, onSocket })
  t.teardown(() => double.close())
  const { carrier } = telephone(names)
  await startCall({
    voiceUrl: `${double.origin}/voice`,
    eventsUrl: null,
    from: '+254700000001',
    to: '+254700000000',
    caller: person('presses', names),
    ...carrier,
  }).done
  return messages
}

t.test('the first messages and keys match their description', async (t) => {
  const sounds = (messages: readonly (string | Int16Array)[]): Int16Array[] =>
    messages.filter((message) => typeof message !== 'string')
  const loudest = (messages: readonly (string | Int16Array)[]): number =>
    Math.max(...sounds(messages).map((pcm) => rmsOf(pcm)))
  const digits = (messages: readonly (string | Int16Array)[]): number =>
    messages.filter((message) => typeof message === 'string' && message.includes('"dtmf":"5"')).length
  const [plain, rings, late, first, events] = await Promise.all(
    ([[], ['ring-back'], ['late-media'], ['audio-first'], ['key-events']] as const).map((names) =>
      messagesOf(t, names),
    ),
  )
  if (!plain || !rings || !late || !first || !events) throw new Error('five calls were made')
  t.equal(typeof plain[0], 'string', 'text is first')
  t.equal(sounds(plain)[0]?.length, 1220 * 16, 'with the line from before the stream')
  t.equal(rmsOf(sounds(plain)[0] ?? new Int16Array(1)), 0, 'which was quiet')
  t.ok(loudest(plain) > 3000, 'keys are tones')
  t.equal(digits(plain), 0, 'and no events')
  t.ok(rmsOf(sounds(rings)[0] ?? new Int16Array(1)) > 1500, 'a ringing tone before the stream')
  t.equal(sounds(late)[0]?.length, 20 * 16, 'the first message is the first frame')
  t.not(typeof first[0], 'string', 'sound is first')
  t.equal(digits(events), 1, 'a key is one event')
  t.equal(loudest(events), 0, 'and no tone')
})

t.test('an unanswered Dial is reported as described', async (t) => {
  const statesOf = async (names: readonly TelephoneDifference[]): Promise<string[]> => {
    const answer: Parameters<typeof GatewayDouble.start>[0]['answer'] = ({ fields }) =>
      fields['callSessionState'] === 'Ringing'
        ? '<Response><Dial timeout="1"><Number>+254720000010</Number></Dial></Response>'
        : '<Response><Hangup/></Response>'
    const double = await GatewayDouble.start({ answer })
    t.teardown(() => double.close())
    const { carrier } = telephone(names)
    await startCall({
      ...{ voiceUrl: `${double.origin}/voice`, eventsUrl: null, from: '+254700000001', to: '+254700000000' },
      caller: person('waits'),
      human: { outcome: 'busy', ringMs: 0, talkMs: 0, greeting: null },
      ...carrier,
    }).done
    return double.postsOf('/voice')
  }
  t.same(await statesOf([]), ['Ringing', 'DialCompleted', 'Completed'])
  t.same(await statesOf(['reports-dials']), ['Ringing', 'Busy', 'Completed'])
})

t.test('contradictory differences are refused', async (t) => {
  for (const [one, other] of [
    ['no-packets', 'comfort-noise'],
    ['late-media', 'ring-back'],
  ]) {
    const options = ['--telephone', `${one}`, '--telephone', `${other}`]
    t.match(await command(['call', ...options], {}), { code: 2, err: /exclude each other: / }, `${one}, ${other}`)
    const file = join(t.testdir(), `${one}.yaml`)
    await writeFile(file, `${A_NUMBER}telephone: [${one}, ${other}]\n`)
    t.match(await command(['simulate', file], {}), { code: 2, err: /telephone.* exclude each other: / })
  }
  const burst = ['call', '--opening-burst', '300', '--telephone', 'ring-back']
  t.match(await command(burst, {}), { code: 2, err: /--opening-burst excludes/ })
})

t.test('the manual describes each difference', async (t) => {
  const manual = await readFile(join(packageRoot(), 'docs/SIMULATOR.md'), 'utf8')
  for (const name of TELEPHONE_DIFFERENCES) {
    const { what } = differenceOf(name)
    t.ok(manual.includes(`| \`${name}\` | ${what}`), name)
  }
})
