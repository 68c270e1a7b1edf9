import { loadFlite } from '../../src/speech/flite.js'

let flite: Awaited<ReturnType<typeof loadFlite>> | null = null

/** Words of a caller at 16 kHz, in another voice than the agent's. */
export async function callerSays(text: string): Promise<Int16Array> {
  flite ??= await loadFlite()
  const { pcm, sampleRateHz } = flite.speak(text, 'rms')
  if (sampleRateHz !== 16000) throw new Error(`the voice speaks at ${sampleRateHz} Hz`)
  return pcm
}
