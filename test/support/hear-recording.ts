import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { channelOf, parseWav } from '../../src/media/wav.js'
import { vocabularyOf } from '../../src/simulator/agent-vocabulary.js'
import { EAR_RATE_HZ, loadEar } from '../../src/simulator/ear.js'
import { factsIn } from '../../src/simulator/heard-facts.js'
import type { HeardFacts } from '../../src/simulator/heard-facts.js'
import { SpeechSpans } from '../../src/simulator/speech-spans.js'
import { atRate } from '../../src/simulator/vendors/spoken.js'
import { repositoryRoot } from './host.js'

/** The demo shop's order, as the recogniser may know it beforehand. */
const KNOWN = { orders: ['4127'], etas: ['today between 4 and 6 PM'], others: ['PikiPiki'] }

/**
 * Listens to the recording of a call on the order line when it is over: what a caller hears while a machine is busy with
 * other things may be misheard, and a recording may be heard again.
 */
export async function hearRecording(file: string): Promise<{ readonly texts: readonly string[]; readonly facts: HeardFacts }> {
  const wav = parseWav(await readFile(file))
  const heard = atRate(channelOf(wav, 1), wav.sampleRateHz, EAR_RATE_HZ)
  const yaml = await readFile(join(repositoryRoot(), 'agents', 'order-status.yaml'), 'utf8')
  const vocabulary = vocabularyOf(yaml, KNOWN)
  const pieces: Int16Array[] = []
  const spans = new SpeechSpans({ sampleRateHz: EAR_RATE_HZ, pieceSilenceMs: 200, turnSilenceMs: 700, pieceMsMax: 15_000 }, {
    onTurnStart: () => undefined, onTurnEnd: () => undefined, onPiece: (_span, pcm) => pieces.push(pcm),
  })
  const frame = EAR_RATE_HZ / 50
  for (let at = 0; at + frame <= heard.length; at += frame) spans.push(heard.subarray(at, at + frame), (at * 1000) / EAR_RATE_HZ)
  spans.end((heard.length * 1000) / EAR_RATE_HZ)
  const ear = await loadEar(vocabulary)
  try {
    const texts = pieces.map((pcm) => ear.hear(pcm)).filter((text) => text !== '')
    const all = texts.map((text) => factsIn(text, vocabulary))
    const last = <K extends keyof HeardFacts>(key: K): HeardFacts[K] | null => all.findLast((facts) => facts[key] !== null)?.[key] ?? null
    return { texts, facts: { order: last('order'), status: last('status'), eta: last('eta') } }
  } finally {
    ear.close()
  }
}
