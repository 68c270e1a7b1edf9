import { GatewayError } from '../../core/errors.js'
import type { BackendErrorCode } from '../backend.js'
import type { ConformanceCheck } from './harness.js'
import { connected, expect, expectEqual, expectTold, pause, rigged } from './harness.js'

const CLOSE_MS_MAX = 1000
const READY_DELAY_MS = 250
/** Time in ms that is longer than any backend's pause between two attempts. */
const AFTER_GIVING_UP_MS = 220

/** Faults that do not go away with another attempt. */
const FINAL: ReadonlySet<BackendErrorCode> = new Set(['auth', 'quota', 'bad_request'])

function connectFault(code: BackendErrorCode): ConformanceCheck {
  return rigged(
    `reports a connection that fails with ${code} once, and gives up`,
    { connectFault: code },
    async ({ recorder, vendor, secret, connect, canFailWith }) => {
      if (!canFailWith(code)) return
      const outcome = await rejectionOf(connect())
      expect(outcome instanceof GatewayError, 'connect to reject with a GatewayError')
      expectEqual(outcome.code, `BACKEND_${code.toUpperCase()}`, 'code of the rejection')
      expectEqual(outcome.retryable, !FINAL.has(code), 'retryable')
      const errors = recorder.all('error')
      expectEqual(errors.length, 1, 'error events')
      expectEqual(errors[0]?.code, code, 'code of the event')
      expectEqual(errors[0]?.fatal, true, 'fatal')
      expectEqual(errors[0]?.retryable, !FINAL.has(code), 'retryable')
      expectEqual(recorder.events.at(-1)?.type, 'closed', 'the last event')
      expectEqual(recorder.all('closed').length, 1, 'closed events')
      expectEqual(recorder.all('ready').length, 0, 'ready events')
      const told = `${outcome.message} ${errors[0]?.message ?? ''} ${recorder.all('closed')[0]?.reason ?? ''}`
      if (secret !== null) expect(!told.includes(secret), 'no key in the error texts')
      const tried = vendor.connections
      // After `bad_request`, a request without optional fields may succeed.
      if (code === 'bad_request') expect(tried <= 2, `one or two connections tried, not ${tried}`)
      else if (FINAL.has(code)) expectEqual(tried, 1, 'connections tried')
      await pause(AFTER_GIVING_UP_MS)
      expectEqual(vendor.connections, tried, 'connections tried after giving up')
    },
  )
}

/** Checks of the start, the end and the faults of a session. */
export const lifecycleChecks: readonly ConformanceCheck[] = [
  rigged(
    'keeps what the caller says until a slow service is ready',
    {
      readyDelayMs: READY_DELAY_MS,
      callerSays: ['is anybody there?'],
      replies: [{ say: 'Yes, hello.' }],
    },
    async ({ recorder, vendor, connect, speak, has }) => {
      const fromMs = performance.now()
      const readyAfterMs = recorder.next('ready').then(() => performance.now() - fromMs)
      const ready = connect()
      await speak(900)
      await ready
      // The service's timer has a resolution of 1 ms.
      if (has('connecting')) expect((await readyAfterMs) >= READY_DELAY_MS - 1, 'no ready event before the service was')
      await recorder.next('turn-done')
      expect(vendor.callerAudioMs >= 800, `the earlier speech to arrive, got ${vendor.callerAudioMs} ms`)
    },
  ),
  rigged(
    'keeps a text that comes before it is ready',
    { readyDelayMs: 100, callerWrites: ['Hello?'] },
    async ({ backend, recorder, vendor, connect }) => {
      const ready = connect()
      backend.interrupt({ itemId: null, playedMs: 0 })
      backend.toolResult('call_nobody', { ok: true, value: null })
      backend.updateSession({})
      backend.sendText('Hello?', { role: 'caller', respond: true })
      await ready
      const done = await recorder.next('turn-done')
      expectEqual(done.status, 'completed', 'status')
      expectTold(vendor, 'Hello?', 'the text to arrive')
    },
  ),
  ...(['auth', 'rate_limit', 'quota', 'session_expired', 'bad_request', 'network', 'timeout', 'internal'] as const).map(
    connectFault,
  ),
  rigged(
    'can be closed before it was connected, and does not connect afterwards',
    {},
    async ({ backend, recorder, vendor, connect }) => {
      await closeInTime(() => backend.close('never used'))
      expectEqual(recorder.all('closed').length, 1, 'closed events')
      expectClosed(await rejectionOf(connect()))
      expectEqual(vendor.connections, 0, 'connections')
    },
  ),
  rigged('can be closed while it connects', { readyDelayMs: 10_000 }, async ({ backend, recorder, connect, has }) => {
    if (!has('connecting')) return
    const outcome = rejectionOf(connect())
    await pause(50)
    await closeInTime(() => backend.close('the caller hung up'))
    expectClosed(await outcome)
    expectEqual(recorder.events.map((event) => event.type).join(), 'closed', 'events')
  }),
  rigged('does not connect for a call that is over', {}, async ({ backend, recorder, vendor, connect, hangup }) => {
    hangup.abort()
    expectClosed(await rejectionOf(connect()))
    await closeInTime(() => backend.close('the caller hung up'))
    expectEqual(recorder.events.map((event) => event.type).join(), 'closed', 'events')
    expectEqual(vendor.connections, 0, 'connections')
  }),
  rigged(
    "ends with the call's signal while it connects",
    { readyDelayMs: 10_000 },
    async ({ recorder, connect, hangup, has }) => {
      if (!has('connecting')) return
      const outcome = rejectionOf(connect())
      await pause(50)
      hangup.abort()
      expectClosed(await outcome)
      await recorder.next('closed')
    },
  ),
  connected(
    'can be closed during an answer and a tool call, and delivers nothing afterwards',
    {
      callerWrites: ['Look me up'],
      replies: [
        { calls: [{ callId: 'call_a', name: 'get_account', args: {} }] },
        { say: 'A long answer. '.repeat(20), audioMs: 4000, paceMs: 10 },
      ],
    },
    async ({ backend, recorder }) => {
      backend.sendText('Look me up', { role: 'caller', respond: true })
      const call = await recorder.next('tool-call')
      backend.toolResult(call.callId, { ok: true, value: 1 })
      await recorder.until('audio', () => recorder.audioPieces.length > 0)
      const closing = closeInTime(() => backend.close('the caller hung up'))
      const pieces = recorder.audioPieces.length
      const twice = backend.close('again')
      await Promise.all([closing, twice])
      // These method calls must neither throw nor cause an event.
      backend.pushAudio(new Int16Array(160))
      backend.speechStart(0)
      backend.speechEnd(0)
      backend.dtmf('1')
      backend.sendText('Hello?', { role: 'caller', respond: true })
      backend.interrupt({ itemId: null, playedMs: 0 })
      backend.toolResult(call.callId, { ok: true, value: 2 })
      backend.updateSession({ instructions: '' })
      await pause(60)
      expectEqual(recorder.audioPieces.length, pieces, 'pieces of audio after the end')
      const closed = recorder.all('closed')[0]
      expectEqual(closed?.clean, true, 'clean')
    },
  ),
  connected(
    'reports a connection that breaks during the call',
    {
      callerWrites: ['Talk', 'Hello?'],
      replies: [{ say: 'A long answer. '.repeat(20), audioMs: 4000, paceMs: 10 }],
    },
    async ({ backend, recorder, vendor, has }) => {
      if (!has('breakage')) return
      backend.sendText('Talk', { role: 'caller', respond: true })
      await recorder.until('audio', () => recorder.audioPieces.length > 0)
      const tried = vendor.connections
      vendor.breakOff()
      // A backend without a connection notices only at its next request that the service is lost.
      if (recorder.all('error').length === 0) backend.sendText('Hello?', { role: 'caller', respond: true })
      const error = await recorder.next('error')
      expectEqual(error.code, 'network', 'code')
      expectEqual(error.retryable, true, 'retryable')
      if (!error.fatal) return
      const closed = await recorder.next('closed')
      expectEqual(closed.clean, false, 'clean')
      await pause(AFTER_GIVING_UP_MS)
      expectEqual(vendor.connections, tried, 'connections: only the call may replace the session')
    },
  ),
  connected('tells the call when its session is about to end', {}, async ({ recorder, vendor, has }) => {
    if (!has('expiry')) return
    expect(vendor.warnOfEnd(), 'a warning, or `expiry` among what the harness lacks')
    const expiring = await recorder.next('expiring')
    expect(expiring.inMs >= 0, 'a remaining time')
    expectEqual(recorder.all('error').length, 0, 'errors')
  }),
]

/** Error of a pending connection; null if the connection succeeds. */
function rejectionOf(connecting: Promise<void>): Promise<unknown> {
  return connecting.then(
    () => null,
    (error: unknown) => error,
  )
}

function expectClosed(error: unknown): void {
  expect(error instanceof GatewayError && error.code === 'BACKEND_CLOSED', 'connect to reject with BACKEND_CLOSED')
}

async function closeInTime(close: () => Promise<void>): Promise<void> {
  const startedAtMs = performance.now()
  await close()
  const ms = performance.now() - startedAtMs
  expect(ms < CLOSE_MS_MAX, `to be closed within ${CLOSE_MS_MAX} ms, took ${Math.round(ms)}`)
}
