import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { packageRoot } from '../../src/config/package-root.js'
import { channelOf, parseWav } from '../../src/media/wav.js'
import { vocabularyOf } from '../../src/simulator/vocabulary.js'
import { RECOGNISER_RATE_HZ } from '../../src/speech/speech-protocol.js'
import { loadRecogniser } from '../../src/simulator/recogniser.js'
import { factsIn } from '../../src/simulator/spoken-words.js'
import type { OrderFacts } from '../../src/carrier/caller-end.js'
import { SpeechSpans } from '../../src/carrier/speech-spans.js'
import { atRate } from '../../src/simulator/vendors/double.js'

/** Order of the demo shop, as words that the recogniser may expect. */
const KNOWN = { orders: ['4127'], etas: ['today between 4 and 6 PM'], others: ['PikiPiki'] }

/**
 * Silences in ms at which the recording is divided into sentences, each tried in turn: a busy machine adds pauses to a
 * voice.
 */
const PIECE_SILENCES_MS: readonly number[] = [200, 120, 450, 700]

/**
 * Recognises the recording of an ended call on the order line. On a busy machine the recognition during the call may
 * fail; a recording can be recognised again.
 * @param fromS  time in s before which the recording is ignored
 */
export async function hearRecording(
  file: string,
  fromS = 0,
): Promise<{ readonly texts: readonly string[]; readonly facts: OrderFacts }> {
  const wav = parseWav(await readFile(file))
  const whole = atRate(channelOf(wav, 1), wav.sampleRateHz, RECOGNISER_RATE_HZ)
  const heard = whole.subarray(fromS * RECOGNISER_RATE_HZ)
  const yaml = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  const vocabulary = vocabularyOf(yaml, KNOWN)
  const recogniser = await loadRecogniser(vocabulary)
  try {
    const texts: string[] = []
    for (const pieceSilenceMs of PIECE_SILENCES_MS) {
      for (const pcm of piecesOf(heard, pieceSilenceMs)) {
        // Other calls may run in this thread.
        await setImmediate()
        const text = recogniser.hear(pcm)
        if (text !== '') texts.push(text)
      }
      const all = texts.map((text) => factsIn(text, vocabulary))
      const last = <K extends keyof OrderFacts>(key: K): OrderFacts[K] | null =>
        all.findLast((facts) => facts[key] !== null)?.[key] ?? null
      const facts = { order: last('order'), status: last('status'), eta: last('eta') }
      if (facts.status !== null || pieceSilenceMs === PIECE_SILENCES_MS.at(-1)) return { texts, facts }
    }
    throw new Error('there is a last way of cutting')
  } finally {
    recogniser.close()
  }
}

function piecesOf(heard: Int16Array, pieceSilenceMs: number): Int16Array[] {
  const pieces: Int16Array[] = []
  const spans = new SpeechSpans(
    { sampleRateHz: RECOGNISER_RATE_HZ, pieceSilenceMs, turnSilenceMs: 1000, pieceMsMax: 15_000 },
    {
      onTurnStart: () => undefined,
      onTurnEnd: () => undefined,
      onPiece: (_span, pcm) => pieces.push(pcm),
    },
  )
  const frame = RECOGNISER_RATE_HZ / 50
  for (let at = 0; at + frame <= heard.length; at += frame)
    spans.push(heard.subarray(at, at + frame), (at * 1000) / RECOGNISER_RATE_HZ)
  spans.end((heard.length * 1000) / RECOGNISER_RATE_HZ)
  return pieces
}
