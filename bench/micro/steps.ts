import { Base64Audio } from '../../src/backends/transport/base64-audio.js'
import { APPEND_PREFIX, APPEND_SUFFIX } from '../../src/vendors/self-hosted/realtime/wire.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { EchoMatcher } from '../../src/media/echo/echo-canceller.js'
import { LoudspeakerEcho } from '../../src/media/echo/loudspeaker-echo.js'
import { hasSound } from '../../src/media/pcm.js'
import { Playout } from '../../src/media/playout/playout.js'
import { ResamplerBank } from '../../src/media/resample/resampler.js'
import { ComposedDetector, type VadBank } from '../../src/media/vad/vad.js'
import { loadMediaAssets, voiceDetectors } from '../../src/workers/shared/media-assets.js'
import { SharedCall, allocateSharedCall } from '../../src/workers/shared/shared-call.js'
import { FrameHistogram } from '../../src/telemetry/frame-histogram.js'
import { FRAME_MS } from '../../src/core/units.js'
import type { SampleRateHz } from '../../src/core/units.js'

/**
 * One step that runs for every frame. It has the state of many calls, so that caches are as cold as in a media worker
 * with many calls.
 */
export interface Step {
  readonly name: string
  /** Processes one frame of each call. */
  frame(): void
}

/** Number of calls that a step processes in turn. */
export const STEP_CALLS = 256

/** Noise that resembles speech: 20 ms for each of eight callers. It is always the same. */
function material(rateHz: SampleRateHz): Int16Array[] {
  let state = 1
  const random = (): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return state / 2147483648 - 1
  }
  return Array.from({ length: 8 }, () =>
    Int16Array.from({ length: (rateHz * FRAME_MS) / 1000 }, (_, i) =>
      Math.round(3000 * Math.sin(i * 0.07) + 1200 * random()),
    ),
  )
}

const calls = <T>(make: () => T): T[] => Array.from({ length: STEP_CALLS }, make)

/** All steps. Each has its own state. */
export async function makeSteps(): Promise<readonly Step[]> {
  const assets = await loadMediaAssets()
  const resamplers = new ResamplerBank({ rows: assets.rows, kernel: assets.firKernel })
  const vads = voiceDetectors(assets)
  return [
    packetRing(),
    sampleRing(),
    callerPath(vads),
    loudspeakerEcho(false),
    loudspeakerEcho(true),
    mixedLine(),
    detector(vads),
    vad(vads),
    lineLevel(8000, vads),
    lineLevel(16000, vads),
    resampler(resamplers, 16000, 24000),
    resampler(resamplers, 24000, 16000),
    resampler(resamplers, 8000, 24000),
    resampler(resamplers, 24000, 8000),
    encode(),
    decode(),
    playout(),
    silence(),
    histogram(),
  ]
}

function packetRing(): Step {
  const rings = calls(() => new SharedCall(allocateSharedCall()).inbound)
  const packet = new Uint8Array(640).fill(7)
  return {
    name: 'workers/shared/shared-call: packet in and out of the ring',
    frame: () => {
      for (const ring of rings) {
        ring.write(packet, 1)
        lastSample += (ring.next() as Uint8Array)[0] as number
        ring.release()
      }
    },
  }
}

function sampleRing(): Step {
  const rings = calls(() => new SharedCall(allocateSharedCall()).outbound)
  const samples = new Int16Array(320).fill(7)
  const out = new Int16Array(320)
  return {
    name: 'workers/shared/shared-call: samples in and out of the ring',
    frame: () => {
      for (const ring of rings) {
        ring.write(samples)
        ring.peek(out, 320)
        ring.consume(320)
      }
    },
  }
}

function callerPath(vadBank: VadBank): Step {
  const paths = calls(() => new CallerPath({ sampleRateHz: 16000, track: 'inbound_track', vadBank }))
  const frames = material(16000).map((frame) => new Uint8Array(frame.buffer))
  let nowMs = 0
  let turn = 0
  return {
    name: 'media/caller-path: reframe, jitter, echo, voice, digits',
    frame: () => {
      nowMs += FRAME_MS
      for (const path of paths) {
        path.push(frames[turn++ & 7] as Uint8Array, nowMs)
        while (path.pull(nowMs)) {
          /* a call would read the frame's fields here */
        }
      }
    },
  }
}

/** Two seconds of sound that always changes, as speech does: six tones, with new frequencies every 60 ms. */
function changing(rateHz: SampleRateHz): Int16Array[] {
  let state = 7
  const random = (): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 4294967296
  const frame = (rateHz * FRAME_MS) / 1000
  let tones: { readonly hz: number; readonly peak: number }[] = []
  return Array.from({ length: CHANGING_FRAMES }, (_, n) => {
    if (n % 3 === 0) tones = Array.from({ length: 6 }, () => ({ hz: 150 + 3200 * random(), peak: 2500 * random() }))
    return Int16Array.from({ length: frame }, (_, i) => {
      const s = (n * frame + i) / rateHz
      return Math.round(
        tones.reduce((sum, { hz, peak }) => sum + peak * Math.sin(2 * Math.PI * hz * s), 200 * random()),
      )
    })
  })
}

const CHANGING_FRAMES = 100
const LOOKED_FOR_FRAMES = 400
/**
 * Delay in frames, and gain, of our speech when it comes back: from a loudspeaker, and as the copy that a carrier mixes
 * in.
 */
const LOUDSPEAKER_ECHO = { frames: 6, gain: 0.1 }
const MIXED_COPY = { frames: 2, gain: 0.8 }

/** Our speech, and the sound of our speech that comes back. */
function echoed({ frames, gain }: { readonly frames: number; readonly gain: number }) {
  const sent = changing(16000)
  const heard = sent.map((frame) => frame.map((sample) => Math.round(gain * sample)))
  return {
    sent: (n: number) => sent[n % CHANGING_FRAMES] as Int16Array,
    heard: (n: number) => heard[(n + CHANGING_FRAMES - frames) % CHANGING_FRAMES] as Int16Array,
  }
}

/**
 * Step while we talk: stores the reference and judges the frame.
 * @param known  true: there is an echo, which is known after the warm-up
 */
function loudspeakerEcho(known: boolean): Step {
  const make = () => calls(() => new LoudspeakerEcho({ sampleRateHz: 16000 }))
  let echoes = make()
  const { sent, heard } = echoed(LOUDSPEAKER_ECHO)
  const caller = material(16000)
  let n = 0
  return {
    name: `media/echo: our speech from a loudspeaker, while we talk: ${known ? 'told from the caller' : 'looked for'}`,
    frame: () => {
      n++
      const nowMs = n * FRAME_MS
      // If an echo matcher has found no echo for long, it searches only a fifth of the time. So new ones are made from
      // time to time.
      if (!known && n % LOOKED_FOR_FRAMES === 0) echoes = make()
      for (const echo of echoes) {
        echo.reference(sent(n), nowMs - FRAME_MS)
        lastSample += echo.judge(known ? heard(n) : (caller[n & 7] as Int16Array), nowMs) === 'caller' ? 1 : 0
      }
    },
  }
}

/** Step while we talk on a line into which the carrier mixes our own speech. Our speech is found and removed. */
function mixedLine(): Step {
  const matchers = calls(() => new EchoMatcher({ sampleRateHz: 16000 }))
  const { sent, heard } = echoed(MIXED_COPY)
  const frame = new Int16Array((16000 * FRAME_MS) / 1000)
  let n = 0
  return {
    name: 'media/echo: our speech taken out of a mixed line, while we talk',
    frame: () => {
      n++
      const nowMs = n * FRAME_MS
      for (const matcher of matchers) {
        matcher.reference(sent(n), nowMs - FRAME_MS)
        frame.set(heard(n))
        if (matcher.match(frame, nowMs) === 'own') lastSample += matcher.cancel(frame)
      }
    },
  }
}

/** Level of a frame after the line's filter. */
function lineLevel(rateHz: 8000 | 16000, vadBank: VadBank): Step {
  const detectors = calls(
    () => vadBank.openDetector?.(rateHz) ?? new ComposedDetector({ sampleRateHz: rateHz, vad: vadBank.open(rateHz) }),
  )
  const frames = material(rateHz)
  let turn = 0
  return {
    name: `media/vad/line-filter: level without offset and hum, ${rateHz / 1000} kHz`,
    frame: () => {
      for (const detector of detectors) lastSample += detector.levelDbfs(frames[turn++ & 7] as Int16Array)
    },
  }
}

function detector(bank: VadBank): Step {
  const detectors = calls(
    () => bank.openDetector?.(16000) ?? new ComposedDetector({ sampleRateHz: 16000, vad: bank.open(16000) }),
  )
  const frames = material(16000)
  let turn = 0
  return {
    name: 'media/voice-detector: voice, tones and digits of one frame',
    frame: () => {
      for (const one of detectors) one.detect(frames[turn++ & 7] as Int16Array, -20)
    },
  }
}

function vad(bank: VadBank): Step {
  const vads = calls(() => bank.open(16000))
  const frames = material(16000)
  let turn = 0
  return {
    name: 'media/voice-detector: voice alone of one frame',
    frame: () => {
      for (const one of vads) one.isSpeech(frames[turn++ & 7] as Int16Array)
    },
  }
}

function resampler(bank: ResamplerBank, from: SampleRateHz, to: SampleRateHz): Step {
  const streams = calls(() => bank.open(from, to))
  const frames = material(from)
  const out = new Int16Array((to * FRAME_MS) / 1000)
  let turn = 0
  return {
    name: `media/resampler: ${from / 1000} to ${to / 1000} kHz`,
    frame: () => {
      for (const stream of streams) stream.process(frames[turn++ & 7] as Int16Array, out)
    },
  }
}

/** A message of 60 ms contains three frames. */
const MESSAGE_FRAMES = 3
const MESSAGE_BYTES = 24 * 60 * 2

function encode(): Step {
  const audio = Buffer.alloc(MESSAGE_BYTES, 7)
  let turn = 0
  return {
    name: 'vendors/self-hosted/realtime: caller audio into 60 ms messages',
    frame: () => {
      if (++turn % MESSAGE_FRAMES !== 0) return
      for (let i = 0; i < STEP_CALLS; i++)
        lastSample += Buffer.from(APPEND_PREFIX + audio.toString('base64', 0, MESSAGE_BYTES) + APPEND_SUFFIX).length
    },
  }
}

/** Uses a decoded sample. Without a use, the compiler could remove the decoding. */
let lastSample = 0

function swallow(pcm: Int16Array): void {
  lastSample = (lastSample + (pcm[pcm.length - 1] as number)) | 0
}

function decode(): Step {
  const audio = new Base64Audio('pcm16')
  const message = Buffer.from(
    `{"type":"response.output_audio.delta","event_id":"e","response_id":"r","item_id":"i","output_index":0,"content_index":0,"delta":"${Buffer.alloc(MESSAGE_BYTES, 7).toString('base64')}"}`,
  )
  let turn = 0
  return {
    name: 'vendors/self-hosted/realtime: agent audio out of 60 ms messages',
    frame: () => {
      if (++turn % MESSAGE_FRAMES !== 0) return
      for (let i = 0; i < STEP_CALLS; i++)
        audio.decode((JSON.parse(message.toString()) as { readonly delta: string }).delta, swallow)
    },
  }
}

function playout(): Step {
  const lines = calls(() => ({
    playout: new Playout({ sampleRateHz: 16000 }),
    ring: new SharedCall(allocateSharedCall()).outbound,
  }))
  const samples = new Int16Array(320).fill(7)
  const out = new Int16Array(16_000)
  let nowMs = 0
  return {
    name: 'media/playout: two ticks of the clock, one frame out of the ring',
    frame: () => {
      nowMs += FRAME_MS
      for (const line of lines) {
        line.playout.speechEnded = false
        line.ring.write(samples)
        line.playout.pump(nowMs - FRAME_MS / 2, line.ring, out)
        line.playout.pump(nowMs, line.ring, out)
      }
    },
  }
}

/** A frame of speech is recognised at its first loud sample. A silent frame takes longest. */
function silence(): Step {
  const frames = calls(() => new Int16Array(320).fill(7))
  return {
    name: 'media/pcm: whether a silent frame has a sound',
    frame: () => {
      for (const pcm of frames) if (hasSound(pcm)) lastSample++
    },
  }
}

function histogram(): Step {
  const histograms = calls(() => new FrameHistogram())
  let ms = 0
  return {
    name: 'telemetry/frame-histogram: observe',
    frame: () => {
      for (const one of histograms) one.observeMs((ms += 0.37) % 20)
    },
  }
}
