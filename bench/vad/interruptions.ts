import { FRAME_MS } from '../../src/core/units.js'
import { type CallerFrame, CallerSpeech } from '../../src/call/caller-speech.js'
import { BargeIn } from '../../src/call/barge-in.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'

export interface Interruptions {
  readonly pausesPerMin: number
  readonly commitsPerMin: number
}

/** Frames that may be music count half: twice as much voice is needed (docs/VAD.md). */
const DOUBTFUL_SHARE = 0.5
const START = { firstVoicedMs: 0, itemId: null, heardMs: 0, audible: true }

/**
 * How often a sound without a caller pauses an agent who never stops talking, and how often it takes his turn: by the
 * defaults of an agent (docs/ARCHITECTURE.md, barge-in). After a commit he talks on as soon as the sound lets him.
 */
export function interruptionsOf(frames: readonly CallerFrame[]): Interruptions {
  const { speech: speechOptions, bargeIn: bargeInOptions } = DEFAULT_CALL_OPTIONS
  const speech = new CallerSpeech(speechOptions)
  const bargeIn = new BargeIn(bargeInOptions)
  let pauses = 0
  let commits = 0
  let pausedAtMs = 0
  let voiceMs = 0
  let answering = false
  frames.forEach((frame, i) => {
    const { voiced, doubtful } = frame
    const nowMs = (i + 1) * FRAME_MS
    const edge = speech.frame(frame, nowMs)
    if (edge === 'end') answering = false
    if (answering) return
    const share = doubtful ? DOUBTFUL_SHARE : 1
    if (!bargeIn.paused && voiced && speech.speaking) {
      bargeIn.pause(START)
      pauses++
      pausedAtMs = nowMs
      voiceMs = share * (edge === 'onset' ? speech.voicedMs : FRAME_MS)
    } else if (bargeIn.paused && voiced && speech.speaking) {
      voiceMs += share * (edge === 'onset' ? speech.voicedMs : FRAME_MS)
    }
    if (bargeIn.shouldCommit(voiceMs)) {
      commits++
      bargeIn.abandon()
      answering = true
    } else if (
      bargeIn.paused &&
      nowMs - pausedAtMs >= bargeInOptions.resumeAfterMs &&
      bargeIn.mayResume(speech.quietMs(nowMs))
    ) {
      bargeIn.abandon()
    }
  })
  const minutes = (frames.length * FRAME_MS) / 60_000
  return { pausesPerMin: pauses / minutes, commitsPerMin: commits / minutes }
}
