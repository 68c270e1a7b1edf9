import { endWithParent, machineMs, optionsFromEnvironment, tellParent } from '../kit/process.js'
import { messageOf } from '../../src/core/errors.js'
import { encode, newHistogram } from '../kit/histogram.js'
import { FRAME_MS } from '../../src/core/units.js'
import { FOLLOWING_MESSAGE_MS_MAX, isConversation } from '../protocol.js'
import type { FromGenerator, GeneratorOptions, GeneratorResult, ToGenerator } from '../protocol.js'
import { Caller, type SharedByCallers, Interruptions, SPEECH_MS, Wheel } from './caller.js'
import { END_OF_TURN_MS, THINK_MS, answerToHear, callerFrames, voiceAnswer } from './conversation.js'
import { ReceivedAudio, newAudioCounts } from './received-audio.js'
import { LineEcho, hasLineEcho } from './line-echo.js'
import { lineFor } from './lines.js'
import { askForStream, closeWebhooks, freshConnections, openSocket, overTls } from './opening.js'
import { MARKER_HZ, TONE_HZ, speechFrames, talkFrames, toneFrame } from './signal.js'

/**
 * Load generator: one process with one timer for all its calls. It does not know which subject is measured. It is the
 * same for the gateway and for every peer.
 */
const options = optionsFromEnvironment<GeneratorOptions>('BENCH_GENERATOR')
endWithParent()
if (options.freshWebhooks) freshConnections()
if (options.tls) overTls()
// Safeguard: at its time limit, this process always ends.
setTimeout(() => process.exit(4), options.lifeMs)

const OPENING_AT_ONCE = 8
const FAILURES_TOLD = 5

const sequence = options.level === 'L0' || options.level === 'L1'
const line = lineFor(options.opening, sequence && options.opening !== 'twilio', options.legRateHz)
const tone = toneFrame(line.rateHz, TONE_HZ)
const counts = newAudioCounts()
const shared: SharedByCallers = {
  line,
  counts,
  tone,
  marker: toneFrame(line.rateHz, MARKER_HZ),
  lateness: newHistogram(),
  speech:
    options.level === 'L3'
      ? (await speechFrames(line.rateHz, SPEECH_MS)).map((frame) => line.frame(frame, 'speech'))
      : [],
  talk: options.level === 'L2-prod-repeat' ? await talkFrames(line.rateHz, tone) : [],
  conversation: isConversation(options.level)
    ? {
        frames: (await callerFrames(line.rateHz)).map((frame) => line.frame(frame, 'conversation')),
        answer: await (options.level === 'L2-cascade'
          ? voiceAnswer(line.rateHz)
          : answerToHear(line.rateHz, options.coding)),
        answerDueMs: options.level === 'L2-cascade' ? null : END_OF_TURN_MS + THINK_MS,
      }
    : null,
  answerAfterMs: options.answerAfterMs,
  audio: {
    rateHz: line.rateHz,
    sequence: sequence && options.opening !== 'twilio',
    interrupted: options.level === 'L3',
    messageFrames: options.messageFrames,
  },
  truthEvery: options.truthEvery,
  dutyPercent: options.dutyPercent,
  framesSent: 0,
}
const callers: Caller[] = []
const wheel = new Wheel()
wheel.start()

async function open(wanted: number): Promise<void> {
  const failures: string[] = []
  let next = callers.length
  const worker = async (): Promise<void> => {
    while (next < wanted) {
      const index = next++
      try {
        await openOne(options.firstCall + index)
      } catch (thrown) {
        failures.push(messageOf(thrown))
        // If a server refuses one call, it will refuse the next call too. So no further calls are tried.
        if (failures.length >= FAILURES_TOLD) return
      }
    }
  }
  await Promise.all(Array.from({ length: OPENING_AT_ONCE }, worker))
  tellParent({ type: 'opened', calls: callers.length, failures } satisfies FromGenerator)
}

/** Echo of the gateway's speech on a call; null if the line has no echo. */
function farEnd(index: number): LineEcho | null {
  const echoes = hasLineEcho(index, options.lineEchoPercent)
  const isMixed = options.track === 'both_tracks'
  return echoes || isMixed ? new LineEcho(line.rateHz, echoes, isMixed) : null
}

async function openOne(index: number): Promise<void> {
  const callSid = `HD_bench_${process.pid}_${index}`
  const caller = new Caller(
    shared,
    callSid,
    index,
    options.level === 'L3' ? new Interruptions(options.seed + index) : null,
    farEnd(index),
  )
  let port = options.port
  let target = `/audio?call=${callSid}`
  if (options.opening === 'webhook') {
    const url = await askForStream(options.port, callSid)
    port = Number(url.port)
    target = `${url.pathname}${url.search}`
  }
  const socket = await openSocket(port, target, {
    onBytes: (bytes) => caller.bytes(bytes),
    onClose: () => caller.closed(),
  })
  caller.opened(socket, line.greeting(callSid))
  callers.push(caller)
  wheel.add(caller)
}

/** Time in ms for answers that have not arrived when the last frame is sent. */
const DRAIN_MS = 400

function finish(): void {
  counts.windowEndMs = machineMs()
  const windowMs = counts.windowEndMs - counts.windowStartMs
  for (const caller of callers) caller.finish()
  setTimeout(() => {
    tellParent({ type: 'result', result: result(windowMs) } satisfies FromGenerator)
    wheel.stop()
    for (const caller of callers) caller.close()
    closeWebhooks()
  }, DRAIN_MS)
}

function result(windowMs: number): GeneratorResult {
  // Not counted as lost: when the caller fell silent, an incomplete message was never sent, and audio that the backend
  // still had did not come back.
  const unsent = (options.messageFrames ?? FOLLOWING_MESSAGE_MS_MAX / FRAME_MS) - 1 + options.answerAfterMs / FRAME_MS
  let framesLost = counts.framesLost
  if (options.level !== 'L3') {
    for (const caller of callers) {
      const { received } = caller
      if (!caller.lost && received instanceof ReceivedAudio)
        framesLost += Math.max(0, caller.framesSent - unsent - received.framesReached)
    }
  }
  const snrs = counts.snrsDb.toSorted((a, b) => a - b)
  return {
    calls: callers.length,
    callsLost: callers.filter((caller) => caller.lost).length,
    windowMs,
    framesSent: shared.framesSent,
    framesReceived: counts.framesReceived,
    addedUs: encode(counts.added),
    wholeUs: encode(counts.whole),
    latenessUs: encode(shared.lateness),
    gapUs: encode(counts.gaps),
    stopUs: encode(counts.stops),
    heldUs: encode(counts.held),
    bargeIns: counts.bargeIns,
    truth: {
      framesLost,
      framesAdded: counts.framesAdded,
      markersSeen: counts.markersSeen,
      gapsUnasked: counts.gapsUnasked,
      snrDbMedian: snrs[Math.floor(snrs.length / 2)] ?? null,
      blocksPoor: counts.blocksPoor,
      blocksSeen: counts.snrsDb.length,
    },
  }
}

process.on('message', (message: ToGenerator) => {
  switch (message.type) {
    case 'open':
      void open(Math.min(message.calls, options.calls))
      return
    case 'measure':
      counts.windowStartMs = machineMs()
      return
    case 'finish':
      finish()
      return
  }
})
