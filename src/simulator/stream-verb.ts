import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../core/errors.js'
import { AudioFork, type ForkClosed } from './audio-fork.js'
import type { CallControl } from './call-control.js'
import type { PlaceCallOptions, StreamRecord } from './call-options.js'
import { HandshakeRefused } from './handshake.js'
import { seededRandom } from './random.js'
import { DocumentRefused, readStream, type StreamRequest, type Verb } from './voice-document.js'

const HANDSHAKE_TIMEOUT_MS = 5000
/** After a graceful shutdown the gateway has to close; later than this and it has left the socket open. */
const GRACEFUL_WAIT_MS = 10_000
/** Audio that is still queued when the gateway closes is played, this long at most. */
const DRAIN_MS_MAX = 10_000
const FRAMES_BEFORE_LATE_TEXT = 5

/** How the document goes on: the socket was lost or never opened, or the leg stays forked in the background. */
export type StreamEnd = 'stopped' | 'refused' | 'in-background'

/** Runs a Stream verb until its socket has ended or the call has. */
export async function runStream(call: CallControl, verb: Verb): Promise<StreamEnd> {
  const request = readRequest(call, verb)
  if (request === null) return 'refused'
  const streamSid = `ST_${randomBytes(6).toString('hex')}`
  let closed: (reason: ForkClosed) => void = () => undefined
  const closing = new Promise<ForkClosed>((resolve) => { closed = resolve })
  const fork = await openFork(call, request, streamSid, closed)
  if (fork === null) return 'refused'
  call.answer()
  hang(call, fork, request)
  tell(call, request, streamSid, 'stream-started')
  const ending = watch(call, fork, request, streamSid, closing)
  if (request.connect) {
    await ending
    return 'stopped'
  }
  call.keep(ending)
  return 'in-background'
}

function readRequest(call: CallControl, verb: Verb): StreamRequest | null {
  try {
    const { request, complaints } = readStream(verb)
    for (const complaint of complaints) call.complain(complaint)
    return request
  } catch (thrown) {
    if (!(thrown instanceof DocumentRefused)) throw thrown
    call.complain(thrown.message)
    return null
  }
}

async function openFork(
  call: CallControl, request: StreamRequest, streamSid: string, onClosed: (closed: ForkClosed) => void,
): Promise<AudioFork | null> {
  const { options } = call
  try {
    return await AudioFork.connect({
      url: request.url, timeoutMs: HANDSHAKE_TIMEOUT_MS, verifyTls: options.verifyTls ?? true, sampleRateHz: request.outputRateHz,
      channels: request.track === 'both_tracks' && options.trackLayout === 'stereo' ? 2 : 1,
      firstText: firstText(call, request, streamSid),
      framesBeforeFirstText: options.firstText === 'after-audio' ? FRAMES_BEFORE_LATE_TEXT : 0,
      honourKill: options.honourKill ?? true, coalesceFrames: options.coalesceFrames ?? 1,
    }, { onClosed })
  } catch (thrown) {
    const status = thrown instanceof HandshakeRefused ? thrown.status : null
    call.complain(`the media socket could not be opened: ${messageOf(thrown)}`)
    tell(call, request, streamSid, 'stream-error', `handshake failed${status === null ? '' : ` with ${status}`}`)
    return null
  }
}

function hang(call: CallControl, fork: AudioFork, request: StreamRequest): void {
  const { leg } = call.caller
  const { jitter } = call.options
  if (jitter) leg.stallEvery = { everyMs: jitter.everyMs, stallMsMax: jitter.stallMsMax, random: seededRandom(jitter.seed) }
  leg.attach({
    fork, outputRateHz: request.outputRateHz, inputRateHz: request.inputRateHz, track: request.track, layout: call.options.trackLayout ?? 'mixed',
  })
  const openedAtMs = performance.now()
  leg.stallsAt = [...call.options.stalls ?? []].sort((a, b) => a.atMs - b.atMs).map(({ atMs, ms }) => ({ atMs: openedAtMs + atMs, ms }))
  call.emit({ type: 'stream-opened' })
  call.streamOutcome = { openedAtMs, record: (startedMs) => recordOf(fork, Math.round(openedAtMs - startedMs)) }
}

/** Waits for whichever ends first, then tidies up and tells the gateway. */
async function watch(call: CallControl, fork: AudioFork, request: StreamRequest, streamSid: string, closing: Promise<ForkClosed>): Promise<void> {
  await Promise.race([closing, call.ending])
  if (fork.closed === null) await endFork(call, fork, closing)
  else await drain(call, fork)
  call.caller.leg.detach()
  const closed = fork.closed ?? { by: 'carrier', code: null, reason: '' }
  call.emit({ type: 'stream-closed', by: closed.by, code: closed.code })
  tell(call, request, streamSid, 'stream-stopped')
}

async function endFork(call: CallControl, fork: AudioFork, closing: Promise<ForkClosed>): Promise<void> {
  const how = call.options.streamEnd ?? 'close'
  if (how === 'close') fork.close()
  else if (how === 'abort') fork.abort()
  else {
    fork.shutDownGracefully()
    await Promise.race([closing, sleep(GRACEFUL_WAIT_MS, undefined, { ref: false })])
    if (fork.closed !== null) return
    call.complain(`the gateway left the socket open for ${GRACEFUL_WAIT_MS / 1000} s after the empty frame`)
    fork.abort()
  }
}

/** A closed socket does not silence what is already queued. */
async function drain(call: CallControl, fork: AudioFork): Promise<void> {
  const untilMs = performance.now() + DRAIN_MS_MAX
  while (fork.playout.releasedSamples > 0 && !call.ended && performance.now() < untilMs) {
    await Promise.race([sleep(20), call.ending])
  }
}

/** Stream edges: to the status callback if the document names one, and to the URL the carrier was seen to use. */
function tell(call: CallControl, request: StreamRequest, streamSid: string, event: string, error?: string): void {
  const more = { streamSid, streamEvent: event, streamStatus: event, ...(request.name === null ? {} : { name: request.name }), ...(error === undefined ? {} : { streamError: error }) }
  if (request.statusCallback !== null && request.statusEvents.includes(event)) call.postNotice('status', request.statusCallback, more)
  const edge = { ...more, callSessionState: EDGE[event] ?? event, isActive: '1' }
  // StreamStarted was seen at the voice URL. Where StreamStopped goes is the after-stream behaviour's business.
  if (event === 'stream-started') call.postNotice('voice', call.options.voiceUrl, edge)
  else if (call.ended || call.options.afterStream !== 'reposts') call.postNotice('events', call.options.eventsUrl, edge)
}

const EDGE: Readonly<Record<string, string>> = {
  'stream-started': 'StreamStarted', 'stream-stopped': 'StreamStopped', 'stream-error': 'StreamError',
}

function firstText(call: CallControl, request: StreamRequest, streamSid: string): string | null {
  const shape: PlaceCallOptions['firstText'] = call.options.firstText ?? 'wrapper'
  if (shape === 'none') return null
  if (shape === 'opaque') return request.openMetadata
  return JSON.stringify({
    event: 'start', streamSid, callSid: call.callSid, from: call.options.from, to: call.options.to,
    ...(request.name === null ? {} : { name: request.name }),
    ...(request.headerMetadata === null ? {} : { headers: request.headerMetadata }),
    ...(request.openMetadata === null ? {} : { metadata: request.openMetadata }),
  })
}

function recordOf(fork: AudioFork, openedMs: number): StreamRecord {
  const { counters, playout, buffer, closed } = fork
  return {
    openedMs, closedBy: closed?.by ?? 'nobody', closeCode: closed?.code ?? null,
    messagesSent: counters.messagesSent, messagesReceived: counters.messagesReceived, kills: counters.kills, marksPlayed: counters.marksPlayed,
    samplesHeard: playout.samplesPlayed, samplesFlushed: playout.samplesFlushed, bytesDropped: buffer.bytesDropped,
  }
}
