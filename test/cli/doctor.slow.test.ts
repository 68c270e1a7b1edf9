import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { ProbeStream } from '../../src/cli/doctor/probe-stream.js'
import { run } from '../../src/cli/program.js'
import { PROCESS_TERMINAL } from '../../src/cli/terminal.js'
import type { CallFacts, Question } from '../../src/cli/doctor/wire-facts.js'
import { BrowserCaller } from '../../src/carrier/browser-caller.js'
import type { PlaceCallOptions, SimulatedCallResult } from '../../src/carrier/call-options.js'
import { startCall } from '../../src/carrier/carrier-call.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import type { RestServerOptions } from '../../src/carrier/rest-server.js'
import { KEY, OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'
import { until } from '../support/until.js'
import { freePort } from '../support/free-ports.js'

t.jobs = 8

const SECRET = 'whsec_doctor_test'
const CALLER = '+254711222333'
const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())

interface Doctored {
  readonly code: number
  readonly report: {
    readonly findings: readonly { readonly ok: boolean | null; readonly what: string }[]
    readonly calls: readonly CallFacts[]
    readonly questions: readonly Question[]
    readonly settings: Readonly<Record<string, string>>
  }
  /** All that the doctor wrote. */
  readonly text: string
  readonly calls: readonly SimulatedCallResult[]
  /** Where the number led in the end. */
  readonly voiceUrl: string | null
}

interface Carrier extends Partial<PlaceCallOptions> {
  /** The key that the caller presses when the doctor asks for one. */
  readonly key?: string
  /** The first call is ended by its caller after two seconds. */
  readonly hangsUpFirst?: true
}

/** Runs the doctor against the simulated carrier, which calls as soon as its number leads to the doctor. */
async function doctored(
  t: Test,
  { key, hangsUpFirst, ...carrier }: Carrier,
  argv: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
  rest: Partial<RestServerOptions> = {},
): Promise<Doctored> {
  const { server, workspace } = await simulatedApi(t, rest)
  const port = await freePort()
  let out = ''
  let err = ''
  const running = run(['doctor', '--json', '--wait', '100', ...argv], {
    ...PROCESS_TERMINAL,
    out: (text) => (out += text),
    err: (text) => (err += text),
    showsProgress: false,
    ask: null,
    env: {
      PORT: String(port),
      OPS_PORT: '0',
      PUBLIC_URL: `http://127.0.0.1:${port}`,
      SAUTIKIT_API_URL: server.origin,
      SAUTIKIT_API_KEY: KEY,
      SAUTIKIT_WEBHOOK_SECRETS: `whsec_of_another,${SECRET}`,
      ...env,
    },
    signal: null,
  })
  const number = workspace.numbers[0]
  await until(() => number?.voiceUrl?.includes('/voice/doctor-') === true, 20_000, 'the number to lead to the doctor')
  const calls: SimulatedCallResult[] = []
  for (const hangsUp of hangsUpFirst === true ? [true, false] : [false]) {
    const said = err.length
    const caller = new BrowserCaller(speech, () => undefined)
    const call = startCall({
      voiceUrl: number?.voiceUrl ?? '',
      eventsUrl: number?.eventsUrl ?? null,
      from: CALLER,
      to: OUR_NUMBER,
      caller,
      workspace,
      secret: SECRET,
      ...carrier,
    })
    if (hangsUp) {
      await until(() => err.slice(said).includes('the audio socket is open'), 20_000, 'the audio socket')
      caller.hangUp()
    } else if (key !== undefined) {
      await until(() => err.slice(said).includes('killAudio: '), 60_000, 'the question for a key')
      setTimeout(() => {
        caller.press(key)
      }, 1000)
    }
    calls.push(await call.done)
    if (hangsUp) await until(() => err.slice(said).includes('ended before everything'), 20_000, 'the doctor to see it')
  }
  const code = await running
  return {
    code,
    report: JSON.parse(out) as Doctored['report'],
    text: out + err,
    calls,
    voiceUrl: number?.voiceUrl ?? null,
  }
}

const answerTo = ({ report }: Doctored, words: string): string | null | undefined =>
  report.questions.find(({ question }) => question.includes(words))?.answer

t.test('settings are found for a carrier that continues after streams', { buffered: true }, async (t) => {
  const file = join(t.testdir({ '.env': '# mine\nPORT=8080\n# SAUTIKIT_AFTER_STREAM=learn\n' }), '.env')
  const seen = await doctored(
    t,
    { afterStream: 'continues', key: '5', hangsUpFirst: true },
    ['--write', file],
    {},
    { spellings: ['route:put'] },
  )
  t.equal(seen.code, 0, 'it is done', { text: seen.text })
  t.match(seen.report.settings, {
    SAUTIKIT_AFTER_STREAM: 'continues',
    SAUTIKIT_BARE_SIGNATURES: 'false',
    SAUTIKIT_API_PATHS: 'route:put',
  })
  t.equal(
    readFileSync(file, 'utf8'),
    '# mine\nPORT=8080\nSAUTIKIT_AFTER_STREAM=continues\nSAUTIKIT_BARE_SIGNATURES=false\nSAUTIKIT_API_PATHS=route:put\n',
  )
  t.equal(statSync(file).mode & 0o777, 0o600)
  const [short, call] = seen.report.calls
  t.match(short, { stream: { endedBy: 'carrier' }, afterStream: { seen: 'unknown', askedBy: null } }, 'hung up')
  t.match(call, {
    track: 'inbound_track',
    stream: {
      endedBy: 'us',
      subprotocols: ['audio.drachtio.org'],
      firstText: { beforeAudio: true, fields: { event: 'start', callSid: 'HD_<12 hex>', from: '+<12 digits>' } },
      audio: { channels: 1, emptyMessages: 0, oddMessages: 0 },
      killAudio: { seen: 'obeyed', by: 'marks' },
      keys: { asTones: 1, asTexts: 0, asPosts: 0 },
    },
    afterStream: { seen: 'continues', askedBy: 'after-stream' },
  })
  t.match(call?.posts[0], {
    url: 'voice',
    contentType: 'application/x-www-form-urlencoded',
    state: 'ringing',
    signature: { form: 'dated', secret: 2 },
    fields: { sessionId: 'HD_<12 hex>', callerNumber: '+<12 digits>', callSessionState: 'Ringing', isActive: '1' },
  })
  t.equal(call?.stream?.audio.sizes[0]?.bytes, 640)
  t.ok(call?.posts.some(({ url, state }) => url === 'stream-status' && state === 'stream-stopped'))
  t.match(answerTo(seen, 'asks for the Dial'), /^\/after-stream is asked after \d+ ms$/)
  t.match(answerTo(seen, 'signed'), 'yes (t=…,v1=…), with secret 2')
  t.match(answerTo(seen, 'DTMF digits'), 'as tones in the audio')
  t.equal(answerTo(seen, 'both_tracks'), null)
  t.same(seen.calls.at(-1)?.complaints, [], 'nothing that a carrier would refuse')
  t.same(seen.calls.at(-1)?.verbs, ['Stream', 'Redirect', 'Say', 'Hangup'])
  t.match(seen.voiceUrl, /^http:\/\/127\.0\.0\.1:\d+\/voice$/, 'the number leads to the gateway')
  for (const secret of [CALLER, CALLER.slice(1), call === undefined ? '' : (seen.calls[0]?.callSid ?? ''), KEY, SECRET])
    t.notMatch(seen.text, secret, 'no number, id or secret is shown')
})

t.test('settings are found for a carrier that ignores killAudio', { buffered: true }, async (t) => {
  const seen = await doctored(
    t,
    {
      afterStream: 'reposts',
      signature: 'bare',
      encoding: 'json',
      honourKill: false,
      firstText: 'none',
      coalesceFrames: 3,
    },
    ['--agent', 'order-status'],
  )
  t.equal(seen.code, 0, 'it is done', { text: seen.text })
  t.same(seen.report.settings, { SAUTIKIT_AFTER_STREAM: 'continues', SAUTIKIT_BARE_SIGNATURES: 'true' })
  const [call] = seen.report.calls
  t.match(call, {
    stream: {
      firstText: null,
      killAudio: { seen: 'ignored', by: 'marks' },
      keys: { asTones: 0, asked: true },
    },
    afterStream: { seen: 'continues', askedBy: 'voice' },
  })
  t.equal(call?.stream?.audio.sizes[0]?.bytes, 1920, 'three frames in one message')
  t.match(answerTo(seen, 'signed'), 'yes (hex without a time), with secret 2')
  t.equal(answerTo(seen, 'first frame'), 'no text frame comes')
  t.equal(answerTo(seen, 'DTMF digits'), null, 'no digit was pressed')
  t.match(seen.voiceUrl, /\/voice\/order-status$/)
  t.same(seen.calls[0]?.complaints, [])
})

t.test('settings are found for a carrier that holds the call', { buffered: true }, async (t) => {
  const seen = await doctored(t, { afterStream: 'holds', secret: null, answerMarks: false, key: '1' })
  t.equal(seen.code, 0, 'it is done', { text: seen.text })
  t.same(seen.report.settings, { SAUTIKIT_AFTER_STREAM: 'holds' })
  t.match(seen.report.calls[0], {
    stream: { killAudio: { seen: 'obeyed', by: 'caller', marks: 'unanswered' } },
    afterStream: { seen: 'holds', askedBy: null, hangUp: 'ended' },
  })
  t.equal(answerTo(seen, 'asks for the Dial'), 'nobody: the carrier holds the call in silence')
  t.equal(answerTo(seen, 'signed'), 'no: the gateway refuses them')
  t.equal(seen.calls[0]?.ended.by, 'api')
})

t.test('a signature by an unknown secret decides no setting', { buffered: true }, async (t) => {
  const seen = await doctored(t, { secret: 'whsec_not_here', answerMarks: false, honourKill: false, key: '2' })
  t.equal(seen.code, 0, 'it is done', { text: seen.text })
  t.same(seen.report.settings, { SAUTIKIT_AFTER_STREAM: 'continues' })
  t.match(answerTo(seen, 'signed'), 'none of SAUTIKIT_WEBHOOK_SECRETS made')
  t.match(seen.report.calls[0]?.stream?.killAudio, { seen: 'ignored', by: 'caller' })
})

for (const [layout, channels, honourKill] of [
  ['stereo', 2, true],
  ['mixed', 1, false],
] as const) {
  t.test(`${layout} both_tracks show channels and the killAudio result`, { buffered: true }, async (t) => {
    const seen = await doctored(t, { trackLayout: layout, honourKill, answerMarks: false, firstText: 'after-audio' }, [
      '--both-tracks',
    ])
    t.equal(seen.code, 0, 'it is done', { text: seen.text })
    t.match(seen.report.calls[0], {
      track: 'both_tracks',
      stream: {
        audio: { channels },
        firstText: { beforeAudio: false },
        killAudio: { seen: honourKill ? 'obeyed' : 'ignored', by: 'echo' },
      },
    })
    t.match(answerTo(seen, 'both_tracks'), channels === 2 ? /^two channels/ : /^one channel/)
  })
}

// A sample of -1 that the carrier still plays looks like a mark to it (docs/PROTOCOL.md).
for (const { what, tooEarly, obeys, standsStillMs = 0, expected } of [
  { what: 'once', tooEarly: 1, obeys: true, expected: { seen: 'obeyed', by: 'marks', marks: 'answered' } },
  {
    what: 'once, on a stalled machine',
    tooEarly: 1,
    obeys: false,
    standsStillMs: 900,
    expected: { seen: 'ignored', by: 'marks', marks: 'answered' },
  },
  { what: 'twice', tooEarly: 2, obeys: false, expected: { seen: 'ignored', by: 'marks', marks: 'answered' } },
  { what: 'always', tooEarly: Infinity, obeys: true, expected: { seen: 'unknown', by: null, marks: 'unanswered' } },
]) {
  // A process that stands still holds up whatever runs beside it.
  t.test(`a mark answered before the stop is sent again: ${what}`, { buffered: standsStillMs === 0 }, async (t) => {
    const carrier = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    t.teardown(() => carrier.close())
    await once(carrier, 'listening')
    let marks = 0
    carrier.on('connection', (socket) => {
      const answer = (event: string) => socket.send(JSON.stringify({ type: 'mark', data: { name: 'doctor', event } }))
      let waits = false
      socket.on('message', (data: Buffer, isBinary) => {
        if (isBinary) return
        const { type } = JSON.parse(data.toString('utf8')) as { readonly type: string }
        if (type === 'mark') {
          waits = ++marks > tooEarly
          // The loop of both ends: the answer is read after the probe's wait is over.
          for (const untilMs = performance.now() + (waits ? 0 : standsStillMs); performance.now() < untilMs;);
          if (!waits) answer('playout')
          // The tone is three seconds long.
          else if (!obeys) setTimeout(() => answer('playout'), 3000)
        } else if (type === 'killAudio' && waits && obeys) answer('cleared')
      })
    })
    const socket = new WebSocket(`ws://127.0.0.1:${(carrier.address() as AddressInfo).port}`)
    const probe = new ProbeStream(socket, 'inbound_track')
    await once(socket, 'open')
    await probe.tryKillAudio()
    t.same(probe.killAudio, expected)
    // A stop that comes too late on a busy machine is tried again too.
    t.ok(marks >= Math.min(3, tooEarly + 1) && marks <= 3, `as often as needed, and three times at most: ${marks}`)
    probe.close()
  })
}

// Results of a machine that stands still while the tone should play.
for (const { track, framesBefore } of [
  { track: 'inbound_track', framesBefore: 5 },
  { track: 'both_tracks', framesBefore: 0 },
] as const) {
  t.test(`${track}: a tone that came back too short is repeated`, { buffered: true }, async (t) => {
    const carrier = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    t.teardown(() => carrier.close())
    await once(carrier, 'listening')
    let kills = 0
    carrier.on('connection', (socket) => {
      const playing: Buffer[] = []
      let played = 0
      const clock = setInterval(() => {
        const stands = kills === 0 && played === framesBefore
        const frame = stands ? undefined : playing.shift()
        if (frame !== undefined) played++
        socket.send(frame ?? Buffer.alloc(640))
      }, 20)
      socket.once('close', () => clearInterval(clock))
      socket.on('message', (data: Buffer, isBinary) => {
        if (isBinary) playing.push(data)
        else if (data.includes('killAudio')) {
          kills++
          playing.length = 0
        }
      })
    })
    const socket = new WebSocket(`ws://127.0.0.1:${(carrier.address() as AddressInfo).port}`)
    const probe = new ProbeStream(socket, track)
    await once(socket, 'open')
    await probe.tryKillAudio()
    t.same(probe.killAudio, { seen: 'obeyed', by: 'echo', marks: 'unanswered' })
    t.equal(kills, 2)
    probe.close()
  })
}
