import { msToSamples } from '../../../src/core/units.js'
import { decodeMuLaw, encodeMuLaw } from '../../../src/media/pcm.js'
import type { Flite, Speech } from '../../../src/speech/flite.js'
import type { SpeechClient } from '../../../src/speech/speech-client.js'

/** A caller's voice as the gateway receives it: 8 kHz, through G.711 mu-law, with a little silence before and after. */
export function overThePhone(flite: Flite, text: string, voice: string): Int16Array {
  const speech = flite.speak(text, voice)
  const pcm = speech.sampleRateHz === 8000 ? speech.pcm : halved(speech.pcm)
  const padded = new Int16Array(msToSamples(200, 8000) + pcm.length + msToSamples(600, 8000))
  padded.set(throughMuLaw(pcm), msToSamples(200, 8000))
  return padded
}

/** As G.711 carries it. */
export function throughMuLaw(pcm: Int16Array): Int16Array {
  const coded = new Uint8Array(pcm.length)
  encodeMuLaw(pcm, coded)
  const out = new Int16Array(pcm.length)
  decodeMuLaw(coded, out)
  return out
}

/** 20 ms frames of 8 kHz samples. */
export function framesOf(pcm: Int16Array): Int16Array[] {
  const frames: Int16Array[] = []
  for (let at = 0; at + 160 <= pcm.length; at += 160) frames.push(pcm.subarray(at, at + 160))
  return frames
}

const TAPS = 31

/** Half-band windowed sinc, so that frequencies above 4 kHz do not alias into the speech. */
function halved(pcm: Int16Array): Int16Array {
  const middle = (TAPS - 1) / 2
  const taps = Array.from({ length: TAPS }, (_, i) => {
    const x = i - middle
    const sinc = x === 0 ? 0.5 : Math.sin((Math.PI * x) / 2) / (Math.PI * x)
    return sinc * (0.54 + 0.46 * Math.cos((Math.PI * x) / middle))
  })
  return Int16Array.from({ length: Math.floor(pcm.length / 2) }, (_, i) => {
    let sum = 0
    for (let k = 0; k < TAPS; k++) sum += (taps[k] ?? 0) * (pcm[2 * i + k - middle] ?? 0)
    return Math.max(-32768, Math.min(32767, Math.round(sum)))
  })
}

/** All of `text` in one piece. Rejects as `Speaking.done`. */
export async function synthesise(speech: SpeechClient, text: string, voice: string): Promise<Speech> {
  const pcm: number[] = []
  let sampleRateHz: Speech['sampleRateHz'] = 16000
  await speech.speak(text, voice, (chunk) => {
    for (const sample of chunk.pcm) pcm.push(sample)
    sampleRateHz = chunk.sampleRateHz
  }).done
  return { pcm: Int16Array.from(pcm), sampleRateHz }
}
