export interface SpokenText {
  readonly pcm: Int16Array
  readonly sampleRateHz: number
}

/** Synthesises a text; flite's `speak` has this form. */
export type Speaker = (text: string) => SpokenText

const MS_PER_CHAR = 55
export const SILENCE_MS = 200

/** Makes a tone about as long as the spoken text, for tests that do not recognise the words. */
export function toneSpeaker(sampleRateHz: number): Speaker {
  const step = (2 * Math.PI * 220) / sampleRateHz
  return (text) => {
    const pcm = new Int16Array(Math.round((Math.max(1, text.length) * MS_PER_CHAR * sampleRateHz) / 1000))
    for (let i = 0; i < pcm.length; i++) pcm[i] = Math.round(6000 * Math.sin(step * i))
    return { pcm, sampleRateHz }
  }
}
