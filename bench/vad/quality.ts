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

interface LineRow extends Score {
  readonly rateHz: LegRateHz
  readonly line: FaultyLine
}

interface NonSpeechRow {
  readonly rateHz: LegRateHz
  readonly name: string
  readonly signal: boolean
  /**
   * Share of voiced frames in the raw decision. `share`: the same share after the hang-over. `onsets`: number of times
   * that the agent would have been stopped.
   */
  readonly rawShare: number
  readonly share: number
  readonly onsets: number
}

export interface Quality {
  readonly speech: readonly SpeechRow[]
  /** Results of the same callers without noise, on lines with an offset or with mains hum. */
  readonly lines: readonly LineRow[]
  readonly nonSpeech: readonly NonSpeechRow[]
}

interface QualityOptions {
  readonly vadBank: VadBank
  /** `heldOut` if absent. */
  readonly split?: MeasuredSplit
  /** Makes other callers than the callers of the split. */
  readonly speak?: (rateHz: LegRateHz, count: number) => Promise<Utterances>
  readonly rates: readonly LegRateHz[]
  /** Number of utterances in the corpus. 24 utterances are about a minute and a half. */
  readonly utterances: number
  readonly noises?: readonly Noise[]
  readonly snrsDb?: readonly number[]
  readonly nonSpeechMs: number
}

/** Sound that a faulty line adds: a constant offset, or hum of the mains with its harmonics at -20 dBFS. */
export const FAULTY_LINES = ['offset 8000', 'offset -8000', 'hum 50 Hz', 'hum 60 Hz'] as const
type FaultyLine = (typeof FAULTY_LINES)[number]
const HUM_RMS = 32_768 * 10 ** (-20 / 20)
const HUM_HARMONICS = 5

/** The samples after a faulty line, which comes after the telephone. */
export function overFaultyLine(samples: Int16Array, rateHz: LegRateHz, line: FaultyLine): Int16Array {
  const [kind, number = ''] = line.split(' ')
  const amount = Number(number)
  // The amplitude of harmonic k is 1 / k.
  const powers = Array.from({ length: HUM_HARMONICS }, (_, k) => (k + 1) ** -2 / 2)
  const gain = HUM_RMS / Math.sqrt(powers.reduce((sum, power) => sum + power, 0))
  return samples.map((sample, i) => {
    let added = amount
    if (kind === 'hum') {
      added = 0
      for (let k = 1; k <= HUM_HARMONICS; k++)
        added += (gain / k) * Math.sin((2 * Math.PI * k * amount * i) / rateHz + k)
    }
    return Math.max(-32_768, Math.min(32_767, Math.round(sample + added)))
  })
}

export const SNRS_DB = [20, 10, 5, 0] as const
const ECHO_DB = -20
const ECHO_DELAYS_MS = [60, 180, 320] as const
const TRACKS = ['inbound_track', 'both_tracks'] as const

/** Measures the caller's path of real calls, on a corpus that is made for each run and is always the same. */
export async function measureQuality(options: QualityOptions): Promise<Quality> {
  const speech: SpeechRow[] = []
  const lines: LineRow[] = []
  const nonSpeech: NonSpeechRow[] = []
  const split = options.split ?? 'heldOut'
  const { seed } = SPLITS[split]
  for (const rateHz of options.rates) {
    const utterances = await (options.speak?.(rateHz, options.utterances) ??
      speakUtterances(rateHz, options.utterances, split))
    const telephone = rateHz === 8000
    const decide = (call: LabelledCall): boolean[] => smoothed(decisionsOf(call.samples, rateHz, options.vadBank))
    const clean = makeCalls({ utterances, noise: null, snrDb: 0, seed: seed + 1, telephone })
    speech.push({ rateHz, noise: 'none', snrDb: null, ...scoreOf(clean, decide) })
    for (const line of FAULTY_LINES) {
      const calls = clean.map((call) => ({ ...call, samples: overFaultyLine(call.samples, rateHz, line) }))
      lines.push({ rateHz, line, ...scoreOf(calls, decide) })
    }
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
  return { speech, lines, nonSpeech }
}

/** Only the agent's own voice, from the caller's loudspeaker. No other person speaks. */
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

/** Mean over all noises at one signal-to-noise ratio. */
export function meanF1(rows: readonly SpeechRow[], snrDb: number, noises: readonly Noise[]): number {
  const chosen = rows.filter((row) => row.snrDb === snrDb && row.noise !== 'none' && noises.includes(row.noise))
  return chosen.reduce((sum, row) => sum + row.f1, 0) / Math.max(1, chosen.length)
}
