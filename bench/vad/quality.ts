import type { LegRateHz } from '../../src/core/units.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { type LabelledCall, type Utterances, joined, makeCalls, speakUtterances, throughLine } from './corpus.js'
import { type Score, ON_FRAMES, decisionsOf, scoreOf, shareOf, smoothed } from './score.js'
import { NOISES, NON_SPEECH, type Noise, holdMusic } from './sounds.js'
import { HOLD_MUSIC, type MeasuredSplit, SPLITS } from './splits.js'

interface SpeechRow extends Score {
  readonly rateHz: LegRateHz
  readonly noise: Noise | 'none'
  readonly snrDb: number | null
}

interface NonSpeechRow {
  readonly rateHz: LegRateHz
  readonly name: string
  readonly signal: boolean
  /** Share of frames in the raw decision, and after the hang-over; and how often the agent would have been stopped. */
  readonly rawShare: number
  readonly share: number
  readonly onsets: number
}

export interface Quality {
  readonly speech: readonly SpeechRow[]
  readonly nonSpeech: readonly NonSpeechRow[]
}

interface QualityOptions {
  readonly vadBank: VadBank
  /** `heldOut` when it is not given. */
  readonly split?: MeasuredSplit
  /** Other callers than those of the split. */
  readonly speak?: (rateHz: LegRateHz, count: number) => Promise<Utterances>
  readonly rates: readonly LegRateHz[]
  /** Utterances in the corpus: 24 are about a minute and a half. */
  readonly utterances: number
  readonly noises?: readonly Noise[]
  readonly snrsDb?: readonly number[]
  readonly nonSpeechMs: number
}

export const SNRS_DB = [20, 10, 5, 0] as const
const ECHO_DB = -20
const ECHO_DELAYS_MS = [60, 180, 320] as const
const TRACKS = ['inbound_track', 'both_tracks'] as const

/** Measures the caller's path, as calls have it, on a corpus that is made anew each time and always the same. */
export async function measureQuality(options: QualityOptions): Promise<Quality> {
  const speech: SpeechRow[] = []
  const nonSpeech: NonSpeechRow[] = []
  const split = options.split ?? 'heldOut'
  const { seed } = SPLITS[split]
  for (const rateHz of options.rates) {
    const utterances = await (options.speak?.(rateHz, options.utterances) ??
      speakUtterances(rateHz, options.utterances, split))
    const telephone = rateHz === 8000
    const decide = (call: LabelledCall): boolean[] => smoothed(decisionsOf(call.samples, rateHz, options.vadBank))
    speech.push({
      rateHz,
      noise: 'none',
      snrDb: null,
      ...scoreOf(makeCalls({ utterances, noise: null, snrDb: 0, seed: seed + 1, telephone }), decide),
    })
    for (const noise of options.noises ?? NOISES) {
      for (const snrDb of options.snrsDb ?? SNRS_DB) {
        speech.push({
          rateHz,
          noise,
          snrDb,
          ...scoreOf(makeCalls({ utterances, noise, snrDb, seed: seed + 2, telephone }), decide),
        })
      }
    }
    for (const { name, signal, make } of [...NON_SPEECH, ...HOLD_MUSIC[split].map(holdMusic)]) {
      const samples = throughLine(make({ rateHz, ms: options.nonSpeechMs, seed: seed + 7 }), rateHz, telephone)
      nonSpeech.push(nonSpeechRow(name, signal, rateHz, decisionsOf(samples, rateHz, options.vadBank)))
    }
    nonSpeech.push(...echoRows(utterances, options))
  }
  return { speech, nonSpeech }
}

/** The agent's own voice out of the caller's loudspeaker, with nobody else speaking. */
function echoRows({ rateHz, voices }: Utterances, options: QualityOptions): NonSpeechRow[] {
  const agent = throughLine(joined(voices.filter((_, i) => i % 4 === 0)), rateHz, false)
  const gain = 10 ** (ECHO_DB / 20)
  return TRACKS.flatMap((track) =>
    ECHO_DELAYS_MS.map((delayMs) => {
      const delay = (rateHz * delayMs) / 1000
      const back = Float64Array.from({ length: agent.length + delay }, (_, i) => gain * (agent[i - delay] ?? 0))
      const decisions = decisionsOf(throughLine(back, rateHz, rateHz === 8000), rateHz, options.vadBank, {
        agent,
        delayMs,
        track,
      })
      return nonSpeechRow(`echo, ${ECHO_DB} dB, ${delayMs} ms, ${track}`, false, rateHz, decisions)
    }),
  )
}

function nonSpeechRow(name: string, signal: boolean, rateHz: LegRateHz, raw: readonly boolean[]): NonSpeechRow {
  let row = 0
  let onsets = 0
  for (const voiced of raw) {
    row = voiced ? row + 1 : 0
    if (row === ON_FRAMES) onsets++
  }
  return { rateHz, name, signal, rawShare: shareOf(raw), share: shareOf(smoothed(raw)), onsets }
}

/** The mean over the noises at one signal-to-noise ratio. */
export function meanF1(rows: readonly SpeechRow[], snrDb: number, noises: readonly Noise[]): number {
  const chosen = rows.filter((row) => row.snrDb === snrDb && row.noise !== 'none' && noises.includes(row.noise))
  return chosen.reduce((sum, row) => sum + row.f1, 0) / Math.max(1, chosen.length)
}
