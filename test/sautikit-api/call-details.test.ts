import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { CarrierDetail } from '../../src/call/documents/record.js'
import { parseCallSid } from '../../src/core/ids.js'
import { CARRIER_DETAILS_PENDING_MAX, CallDetails, saveRecording } from '../../src/sautikit-api/call-details.js'
import { parseCarrierCall } from '../../src/sautikit-api/carrier-call.js'
import type { CarrierRecording } from '../../src/sautikit-api/client.js'
import type { CarrierCall } from '../../src/sautikit-api/carrier-call.js'
import { CarrierApiError } from '../../src/sautikit-api/http.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/until.js'
import { portOf } from '../support/port-of.js'

const SID = parseCallSid('HD_0a8d5911d055')
const call = (status: string, more: object = {}): CarrierCall =>
  parseCarrierCall({ id: 'c-1', session_id: SID, status, ...more })
const FINAL = call('completed', {
  duration_seconds: 61,
  cost_minor: 300,
  cost_currency: 'KES',
  ended_at: '2026-11-20T10:00:00Z',
  events: [{ payload: { hangup_cause: 'normal_clearing' } }],
})
const notThere = (): CarrierApiError =>
  new CarrierApiError('GET /v1/calls: refused', { status: 404, carrierCode: 'calls.not_found' })

/** A follower whose time is the test's, and whose carrier answers as the test says. */
function follower(
  t: Test,
  carrier: { getCall?: () => Promise<CarrierCall>; recording?: () => Promise<CarrierRecording> },
  folder: string | null = null,
) {
  const due: { readonly atMs: number; readonly work: () => void }[] = []
  const reported: CarrierDetail[] = []
  let nowMs = 0
  let asked = 0
  const details = new CallDetails({
    client: {
      getCall: () => {
        asked++
        return carrier.getCall?.() ?? Promise.resolve(FINAL)
      },
      recording: () => carrier.recording?.() ?? Promise.resolve({ state: 'none' }),
    },
    recordings: folder === null ? null : { dataFolder: folder, daysOf: () => 7 },
    allowHttp: true,
    log: createLog({ level: 'silent' }),
    onDetail: (_sid, detail) => reported.push(detail),
    schedule: (ms, work) => {
      const entry = { atMs: nowMs + ms, work }
      due.push(entry)
      return () => {
        due.splice(due.indexOf(entry), 1)
      }
    },
    now: () => nowMs,
    wallClock: () => 0,
    random: () => 0.5,
  })
  t.teardown(() => details.close())
  return {
    details,
    reported,
    asked: () => asked,
    /** Lets time pass until nothing is waited for. */
    run: async (): Promise<number[]> => {
      const times: number[] = []
      for (let steps = 0; steps < 50; steps++) {
        const next = due.sort((a, b) => a.atMs - b.atMs).shift()
        if (next === undefined) break
        nowMs = next.atMs
        times.push(Math.round(nowMs))
        next.work()
        for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve))
      }
      return times
    },
  }
}

t.test("the carrier's record is fetched with cost and cause", async (t) => {
  const { details, reported, run } = follower(t, {})
  details.follow(SID)
  details.follow(SID)
  t.same(await run(), [2000])
  t.match(reported, [
    {
      status: 'completed',
      durationS: 61,
      costMinor: 300,
      costCurrency: 'KES',
      hangupCause: 'normal_clearing',
      recording: null,
      recordingState: 'off',
    },
  ])
  t.match(details.counters, { fetched: 1, missing: 0 })
  t.equal(details.pending, 0)
})

t.test('fetching stops for an erased call', async (t) => {
  const folder = t.testdir()
  const server = createServer((_, response) => {
    details.forget(SID)
    response.setHeader('content-type', 'audio/wav')
    response.end(Buffer.alloc(64))
  })
  const url = `http://127.0.0.1:${await portOf(t, server)}/x.wav`
  const { details, reported, run, asked } = follower(
    t,
    {
      recording: () => Promise.resolve({ state: 'ready', url }),
    },
    folder,
  )
  details.follow(SID)
  details.forget(SID)
  t.same(await run(), [])
  t.equal(asked(), 0)
  details.follow(SID)
  await run()
  await details.close()
  t.equal(reported.length, 1, 'the record, before the call was erased')
  t.same(filesIn(folder), [], 'no recording')
})

t.test('a missing record is requested at growing intervals [1]', async (t) => {
  const answers = [notThere(), call('answered'), FINAL]
  const late = follower(t, {
    getCall: () => {
      const answer = answers.shift() ?? FINAL
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
    },
  })
  late.details.follow(SID)
  t.same(await late.run(), [2000, 8000, 30_000])
  t.equal(late.reported.length, 1)
  const never = follower(t, { getCall: () => Promise.reject(notThere()) })
  never.details.follow(SID)
  t.same(await never.run(), [2000, 8000, 30_000, 120_000, 600_000])
  t.match(never.details.counters, { fetched: 0, missing: 1 })
  const open = follower(t, { getCall: () => Promise.resolve(call('answered')) })
  open.details.follow(SID)
  await open.run()
  t.match(open.reported, [{ status: 'answered' }], 'what is known is reported at the last try')
})

t.test('a key without scope is not used again [2]', async (t) => {
  const { details, run, asked } = follower(t, {
    getCall: () => Promise.reject(new CarrierApiError('no', { status: 403, carrierCode: 'api_key.scope_denied' })),
  })
  details.follow(SID)
  await run()
  t.equal(asked(), 1)
  t.match(details.counters, { refused: 1 })
})

t.test('pending requests are cancelled and counted at the end [3]', async (t) => {
  const { details, run } = follower(t, {})
  for (let i = 0; i < CARRIER_DETAILS_PENDING_MAX + 3; i++) details.follow(parseCallSid(`HD_${i}`))
  t.equal(details.pending, CARRIER_DETAILS_PENDING_MAX)
  await details.close()
  t.match(details.counters, { dropped: 3, cancelled: CARRIER_DETAILS_PENDING_MAX, fetched: 0 })
  t.same(await run(), [], 'nothing is left that could run')
})

async function storage(t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  return `http://127.0.0.1:${await portOf(t, server)}/x.wav?signature=1`
}

function filesIn(folder: string): string[] {
  const all = readdirSync(folder, { recursive: true, withFileTypes: true })
  return all.filter((entry) => entry.isFile()).map(({ name }) => name)
}

function folderFor(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-recordings-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  return folder
}

t.test('a recording is downloaded without the key', async (t) => {
  const folder = folderFor(t)
  const authorizations: unknown[] = []
  const url = await storage(t, (request, response) => {
    authorizations.push(request.headers.authorization)
    response.writeHead(200, { 'content-type': 'audio/wav' }).end(Buffer.alloc(100_000, 7))
  })
  const answers: CarrierRecording[] = [
    { state: 'pending', retryAfterS: 5 },
    { state: 'ready', url },
  ]
  const { details, reported, run } = follower(
    t,
    { recording: () => Promise.resolve(answers.shift() ?? { state: 'none' }) },
    folder,
  )
  details.follow(SID)
  await run()
  await until(() => details.pending === 0, 10_000, 'the download')
  t.same(
    reported.map(({ recordingState }) => recordingState),
    ['pending', 'ready'],
  )
  t.equal(reported.at(-1)?.recording, `carrier-recordings/7d/${SID}.wav`)
  t.equal(readFileSync(join(folder, 'carrier-recordings', '7d', `${SID}.wav`)).byteLength, 100_000)
  t.same(authorizations, [undefined])
  t.match(details.counters, { recordings: 1, recordingBytes: 100_000, recordingsFailed: 0 })
})

t.test('each try requests a new link that is not kept', async (t) => {
  const folder = folderFor(t)
  const asked: string[] = []
  const url = await storage(t, ({ url = '' }, response) => {
    asked.push(url)
    if (asked.length === 1) response.writeHead(503).end()
    else response.writeHead(200, { 'content-type': 'audio/wav' }).end(Buffer.alloc(1000, 7))
  })
  let links = 0
  const { details, reported, run } = follower(
    t,
    { recording: () => Promise.resolve({ state: 'ready', url: `${url}&link=${++links}` }) },
    folder,
  )
  details.follow(SID)
  // Not in one turn of the loop: the download comes over a socket.
  const done = async (): Promise<boolean> => (await run(), details.pending === 0)
  await until(done, 10_000, 'the second download')
  t.same(asked, ['/x.wav?signature=1&link=1', '/x.wav?signature=1&link=2'])
  t.equal(filesIn(folder).length, 1)
  t.notMatch(JSON.stringify(reported), /signature|http/)
})

t.test('the recording state distinguishes missing from never made', async (t) => {
  const states = async (recording: () => Promise<CarrierRecording>): Promise<unknown[]> => {
    const { details, reported, run } = follower(t, { recording }, folderFor(t))
    details.follow(SID)
    await run()
    t.equal(details.pending, 0)
    return reported.map(({ recordingState }) => recordingState)
  }
  t.same(await states(() => Promise.resolve({ state: 'none' })), ['pending', 'off'])
  t.same(await states(() => Promise.resolve({ state: 'pending', retryAfterS: null })), ['pending', 'missing'])
  t.same(await states(() => Promise.reject(new CarrierApiError('no', { status: 403 }))), ['pending', 'missing'])
})

t.test('an announced recording is fetched at once', async (t) => {
  let asked = 0
  const recording = (): Promise<CarrierRecording> => {
    asked++
    return Promise.resolve({ state: 'none' })
  }
  const early = follower(t, { recording }, folderFor(t))
  early.details.follow(SID)
  early.details.recordingReady(SID)
  t.same(await early.run(), [2000], 'with the account')
  const late = follower(t, { recording }, folderFor(t))
  late.details.follow(SID)
  t.same(await late.run(), [2000, 8000], 'without a word: at its time')
  t.equal(asked, 2)
  late.details.recordingReady(SID)
  t.equal(late.details.pending, 0, 'and a word about a call that is done is nothing')
})

t.test('an unusable recording leaves nothing behind [4]', async (t) => {
  const folder = folderFor(t)
  const large = await storage(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'audio/wav' }).end(Buffer.alloc(5000))
  })
  await t.rejects(saveRecording(large, SID, { folder, allowHttp: true, bytesMax: 4000 }), {
    message: /larger than 4000 bytes/,
  })
  const page = await storage(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<html>')
  })
  await t.rejects(saveRecording(page, SID, { folder, allowHttp: true }), { message: /no audio/ })
  const cut = await storage(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'audio/wav', 'content-length': '100000' })
    response.write(Buffer.alloc(1000), () => {
      response.destroy()
    })
  })
  await t.rejects(saveRecording(cut, SID, { folder, allowHttp: true }), { code: 'CARRIER_API_NETWORK' })
  await t.rejects(saveRecording(large, SID, { folder, allowHttp: false }), { message: /not https/ })
  await t.rejects(saveRecording('file:///etc/passwd', SID, { folder, allowHttp: true }), { message: /not https/ })
  const elsewhere = await storage(t, (_request, response) => {
    response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()
  })
  await t.rejects(saveRecording(elsewhere, SID, { folder, allowHttp: true }), { code: 'CARRIER_API_NETWORK' })
  t.same(filesIn(folder), [])
})
