import { writeFileSync } from 'node:fs'
import { loadVoiceDetectors } from '../../src/workers/shared/media-assets.js'
import { type Options, WrongOption, command } from '../kit/command.js'
import { benchProgress } from '../kit/progress.js'
import { missingCrowds, missingMaterial } from '../material.js'
import { type HeardTurn, LINES, NOISES, type Noise, SPEAKERS, type Speaker, TUNED_ON, heardTurns } from './corpus.js'
import { ACTORS, prosodyTable } from './prosody.js'
import { learnedFromRecordings } from './learned.js'
import { DECIDERS, type Decider, type EndingFigures, SHIPPED, endingOf, figuresOf } from './measure.js'

const HELP = `npm run bench -- --endpointing [--speaker NAME] [--quick] [--words] [--json FILE] | --learn | --prosody
  How often a caller is cut in a pause and how long the end of a turn takes: fixed pauses and the one that adapts, over turns of
  Debian's recorded speakers and of synthesised ones, clean and with pink noise or other people at 10 dB (bench/endpointing/README.md).
  --speaker NAME  only this one (may be given more than once): ${SPEAKERS.join(', ')}
  --words         also with the words of a streaming recogniser, where they are known, and dialogues with pauses in en, sw and both
  --quick         only the line of real calls: 8 kHz mu-law on a leg of 16 kHz
  --learn         instead: makes agents/learned-turns.json anew, from ${TUNED_ON.join(' and ')}, judged by the recorded speaker who is held out
  --prosody       instead: how well pitch, level and length of the last syllable tell an end from a pause, of people who read and of actors`

interface Row extends EndingFigures {
  readonly speaker: Speaker | 'dialogues'
  readonly noise: Noise
  readonly kind: HeardTurn['kind']
  readonly decider: Decider
}

const OPTIONS = {
  endpointing: { type: 'boolean' },
  speaker: { type: 'string', multiple: true, default: [] },
  words: { type: 'boolean', default: false },
  quick: { type: 'boolean', default: false },
  json: { type: 'string' },
  learn: { type: 'boolean', default: false },
  prosody: { type: 'boolean', default: false },
} satisfies Options

/**
 * Bench of endpointing. Its exit code is 1 if the recordings are not installed, or if the learned model is not better
 * than the rules.
 */
export const endpointingBench = command(HELP, OPTIONS, {}, async (values) => {
  const speakers = SPEAKERS.filter((one) => values.speaker.length === 0 || values.speaker.includes(one))
  if (speakers.length < values.speaker.length || speakers.length === 0)
    throw new WrongOption(`--speaker takes ${SPEAKERS.join(', ')}`)
  const missing = [
    missingMaterial('allison', 'june', 'carlo'),
    values.prosody ? missingCrowds(...ACTORS) : null,
  ].filter((packages) => packages !== null)
  if (missing.length > 0) {
    console.error(`bench: apt-get install --no-install-recommends ${missing.join(' ')}`)
    return 1
  }
  if (values.prosody) {
    console.log(await prosodyTable())
    return 0
  }
  if (values.learn) {
    const { learned, table, worse } = await learnedFromRecordings(await loadVoiceDetectors())
    console.log(table)
    if (worse !== null) console.error(`bench: nothing is written: ${worse}`)
    else writeFileSync(SHIPPED, `${JSON.stringify(learned, null, 2)}\n`)
    return worse === null ? 0 : 1
  }
  const rows: Row[] = []
  const { say, show, end } = benchProgress()
  const sources = values.words ? [...speakers, 'dialogues' as const] : speakers
  const deciders = DECIDERS.filter((one) => one !== 'words' || values.words)
  for (const [index, speaker] of sources.entries()) {
    const where = `${speaker}, ${index + 1} of ${sources.length} speakers`
    say(where)
    const measuring = (noise: Noise): void => {
      show(`${where}, ${noise}`)
    }
    rows.push(...(await rowsOf(speaker, values.quick ? ['tel'] : LINES, deciders, measuring)))
  }
  end()
  console.log(tables(rows, sources, deciders))
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ version: 1, rows }, null, 1))
  return 0
})

async function rowsOf(
  speaker: Row['speaker'],
  lines: readonly (typeof LINES)[number][],
  deciders: readonly Decider[],
  measuring: (noise: Noise) => void,
): Promise<Row[]> {
  const vadBank = await loadVoiceDetectors()
  const rows: Row[] = []
  for (const noise of NOISES) {
    measuring(noise)
    const turns: HeardTurn[] = []
    for (const line of lines) turns.push(...(await heardTurns(speaker, line, noise, vadBank)))
    for (const kind of new Set(turns.map((one) => one.kind))) {
      for (const decider of deciders) {
        const endings = turns.filter((one) => one.kind === kind).map((one) => endingOf(one, decider))
        rows.push({ speaker, noise, kind, decider, ...figuresOf(endings) })
      }
    }
  }
  return rows
}

function tables(rows: readonly Row[], speakers: readonly Row['speaker'][], deciders: readonly Decider[]): string {
  const out: string[] = []
  for (const kind of new Set(rows.map((row) => row.kind))) {
    out.push('', `${kind}: cut in 60, median / p90 wait after the end in ms`)
    out.push(`${'speaker'.padEnd(18)}noise   ${deciders.map((one) => one.padStart(19)).join('')}`)
    for (const speaker of speakers.filter((one) => rows.some((row) => row.kind === kind && row.speaker === one))) {
      for (const noise of NOISES) {
        const cells = deciders.map((decider) =>
          rows.find(
            (row) => row.kind === kind && row.speaker === speaker && row.noise === noise && row.decider === decider,
          ),
        )
        const name = speaker === 'dialogues' || TUNED_ON.includes(speaker) ? speaker : `${speaker} (held out)`
        out.push(`${name.padEnd(18)}${noise.padEnd(8)}${cells.map((row) => cell(row).padStart(19)).join('')}`)
      }
    }
  }
  return out.join('\n').trim()
}

function cell(row: Row | undefined): string {
  if (row === undefined) return ''
  const { cut, turns, medianMs, p90Ms, endless } = row
  const found = `${((60 * cut) / turns).toFixed(1)}, ${medianMs} / ${p90Ms}`
  return endless === 0 ? found : `${found} (${endless} endless)`
}
