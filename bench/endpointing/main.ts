import { writeFileSync } from 'node:fs'
import { loadVoiceDetectors } from '../../src/workers/media-assets.js'
import { benchArguments } from '../kit/arguments.js'
import { benchProgress } from '../kit/progress.js'
import { missingCrowds, missingMaterial } from '../material.js'
import { type HeardTurn, LINES, NOISES, type Noise, SPEAKERS, type Speaker, TUNED_ON, heardTurns } from './corpus.js'
import { ACTORS, prosodyTable } from './prosody.js'
import { DECIDERS, type Decider, type EndingFigures, endingOf, figuresOf } from './measure.js'

const HELP = `npm run bench -- --endpointing [--speaker NAME] [--quick] [--json FILE] | --prosody
  How often a caller is cut in a pause and how long the end of a turn takes: fixed pauses and the one that adapts, over turns of
  Debian's recorded speakers and of synthesised ones, clean and with pink noise or other people at 10 dB (bench/vad/README.md).
  --speaker NAME  only this one (may be given more than once): ${SPEAKERS.join(', ')}
  --quick         only the line of real calls: 8 kHz mu-law on a leg of 16 kHz
  --prosody       instead: how well pitch, level and length of the last syllable tell an end from a pause, of people who read and of actors`

interface Row extends EndingFigures {
  readonly speaker: Speaker
  readonly noise: Noise
  readonly kind: HeardTurn['kind']
  readonly decider: Decider
}

/** @returns 0, 1 when the recordings are not installed, 2 for wrong options */
export async function endpointingBench(argv: readonly string[]): Promise<number> {
  const values = benchArguments(argv, HELP, {
    endpointing: { type: 'boolean' },
    speaker: { type: 'string', multiple: true, default: [] },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    prosody: { type: 'boolean', default: false },
  })
  if (typeof values === 'number') return values
  const speakers = SPEAKERS.filter((one) => values.speaker.length === 0 || values.speaker.includes(one))
  if (speakers.length < values.speaker.length || speakers.length === 0) {
    console.error(`bench: --speaker takes ${SPEAKERS.join(', ')}`)
    return 2
  }
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
  const rows: Row[] = []
  const { say, show, end } = benchProgress()
  for (const [index, speaker] of speakers.entries()) {
    const where = `${speaker}, ${index + 1} of ${speakers.length} speakers`
    say(where)
    const measuring = (noise: Noise): void => {
      show(`${where}, ${noise}`)
    }
    rows.push(...(await rowsOf(speaker, values.quick ? ['tel'] : LINES, measuring)))
  }
  end()
  console.log(tables(rows, speakers))
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ version: 1, rows }, null, 1))
  return 0
}

async function rowsOf(
  speaker: Speaker,
  lines: readonly (typeof LINES)[number][],
  measuring: (noise: Noise) => void,
): Promise<Row[]> {
  const vadBank = await loadVoiceDetectors()
  const rows: Row[] = []
  for (const noise of NOISES) {
    measuring(noise)
    const turns: HeardTurn[] = []
    for (const line of lines) turns.push(...(await heardTurns(speaker, line, noise, vadBank)))
    for (const kind of new Set(turns.map((one) => one.kind))) {
      for (const decider of DECIDERS) {
        const endings = turns.filter((one) => one.kind === kind).map((one) => endingOf(one, decider))
        rows.push({ speaker, noise, kind, decider, ...figuresOf(endings) })
      }
    }
  }
  return rows
}

function tables(rows: readonly Row[], speakers: readonly Speaker[]): string {
  const out: string[] = []
  for (const kind of new Set(rows.map((row) => row.kind))) {
    out.push('', `${kind}: cut in 60, median / p90 wait after the end in ms`)
    out.push(`${'speaker'.padEnd(18)}noise   ${DECIDERS.map((one) => one.padStart(19)).join('')}`)
    for (const speaker of speakers) {
      for (const noise of NOISES) {
        const cells = DECIDERS.map((decider) =>
          rows.find(
            (row) => row.kind === kind && row.speaker === speaker && row.noise === noise && row.decider === decider,
          ),
        )
        const name = TUNED_ON.includes(speaker) ? speaker : `${speaker} (held out)`
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
