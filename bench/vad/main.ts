import { writeFileSync } from 'node:fs'
import type { LegRateHz } from '../../src/core/units.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { CallerPath } from '../../src/media/caller-path.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { loadVoiceDetectors } from '../../src/workers/shared/media-assets.js'
import { type Options, command } from '../kit/command.js'
import { makeCalls, speakUtterances } from './corpus.js'
import { type Floor, measureFloor, PLAIN } from './floor.js'
import { type NobodyRow, measureNobody } from './nobody.js'
import { type Quality, SNRS_DB, meanF1, measureQuality } from './quality.js'
import { recordedUtterances } from './recorded.js'
import { OFF_FRAMES, ON_FRAMES } from './score.js'
import { NOISES } from './sounds.js'
import { measureWaiting, WAITED_MS, type WaitingRow } from './waiting.js'

const HELP = `node dist/bench/vad/main.js: how well the caller's voice is told from everything else

  --quick          a shorter corpus
  --validation     the corpus that choices are made by, in place of the one that is measured with
  --voices DIR     recorded people in place of synthesised ones: WAV files, one sentence each (bench/vad/README.md)
  --nobody         only sounds in which nobody speaks: noise alone, real and rendered music, and how often they interrupt
  --floor          recorded people: who takes the turn from an agent who talks, and who does not
  --waiting        recorded people whose first words come after some seconds of noise, as of anybody who listens to a greeting
  --plain          with --floor: without backchannels and without levels, for comparison
  --json FILE      the figures as JSON; - for standard output instead of the tables`

const percent = (share: number): string => (100 * share).toFixed(1).padStart(5)

function tables(quality: Quality): string {
  const lines = [
    `speech, after ${ON_FRAMES} frames on and ${OFF_FRAMES} off`,
    'rate   noise    SNR    P %   R %   F1     false %  onset median / p90  missed',
  ]
  for (const row of quality.speech) {
    lines.push(
      [
        String(row.rateHz).padEnd(6),
        row.noise.padEnd(7),
        (row.snrDb === null ? '' : `${row.snrDb} dB`).padStart(5),
        percent(row.precision),
        percent(row.recall),
        row.f1.toFixed(3),
        percent(row.falseShare).padStart(8),
        `${row.onsetMedianMs} / ${row.onsetP90Ms} ms`.padStart(19),
        `${row.segmentsMissed} of ${row.segments}`.padStart(8),
      ].join(' '),
    )
  }
  for (const rateHz of new Set(quality.speech.map((row) => row.rateHz))) {
    const rows = quality.speech.filter((row) => row.rateHz === rateHz)
    lines.push(
      `${rateHz} Hz, mean F1 over ${NOISES.join(', ')}: ${SNRS_DB.map((snr) => `${meanF1(rows, snr, NOISES).toFixed(3)} at ${snr} dB`).join(', ')}`,
    )
  }
  lines.push('', 'bad lines, without noise', 'rate   line          P %   R %   F1     false %')
  for (const row of quality.lines)
    lines.push(
      `${String(row.rateHz).padEnd(6)} ${row.line.padEnd(12)} ${percent(row.precision)} ${percent(row.recall)} ${row.f1.toFixed(3)} ${percent(row.falseShare).padStart(8)}`,
    )
  lines.push('', 'no speech', 'rate   sound                              raw %  with hang-over %  onsets')
  for (const row of quality.nonSpeech) {
    lines.push(
      `${String(row.rateHz).padEnd(6)} ${row.name.padEnd(34)} ${percent(row.rawShare)} ${percent(row.share).padStart(17)} ${String(row.onsets).padStart(7)}`,
    )
  }
  return lines.join('\n')
}

function nobodyTable(rows: readonly NobodyRow[]): string {
  return [
    'nobody speaks                            line    voiced %  pauses/min  commits/min',
    ...rows.map(
      ({ name, line, voicedShare, pausesPerMin, commitsPerMin }) =>
        `${name.padEnd(40)} ${line.padEnd(7)} ${percent(voicedShare).padStart(8)} ${pausesPerMin.toFixed(1).padStart(11)} ${commitsPerMin.toFixed(1).padStart(12)}`,
    ),
  ].join('\n')
}

/** @param file undefined for no file; `-` for standard output instead of the table */
function report(figures: object, table: string, file: string | undefined): void {
  const json = JSON.stringify({ version: 1, ...figures }, null, 2)
  if (file !== undefined && file !== '-') writeFileSync(file, json)
  console.log(file === '-' ? json : table)
}

function waitingTable(rows: readonly WaitingRow[]): string {
  const lines = [
    'found within 400 ms, and onset median / p90, after so much noise',
    `who      rate   noise   SNR   ${WAITED_MS.map((ms) => `${ms / 1000} s`.padEnd(26)).join('')}`.trimEnd(),
  ]
  for (const { who, rateHz, noise, snrDb, waitedMs } of rows) {
    if (waitedMs !== WAITED_MS[0]) continue
    const cells = rows
      .filter((row) => row.who === who && row.rateHz === rateHz && row.noise === noise && row.snrDb === snrDb)
      .map((row) => `${row.found} of ${row.utterances}, ${row.onsetMedianMs} / ${row.onsetP90Ms} ms`.padEnd(26))
    lines.push(
      who.padEnd(9) + `${rateHz}`.padEnd(7) + noise.padEnd(8) + `${snrDb} dB`.padEnd(6) + cells.join('').trimEnd(),
    )
  }
  return lines.join('\n')
}

function floorTables({ interruptions, shortSounds, rooms, speakers }: Floor): string {
  return [
    'people interrupt      line    softer  committed  stop p95 from our onset / the true one  commit median / p95',
    ...interruptions.map(
      (row) =>
        `${''.padEnd(21)} ${row.line.padEnd(7)} ${`${row.softerDb} dB`.padStart(6)} ${`${row.committed} of ${row.calls}`.padStart(10)} ${`${row.stopP95Ms.toFixed(0)} / ${row.stopTrueP95Ms} ms`.padStart(39)} ${`${row.commitMedianMs} / ${row.commitP95Ms} ms`.padStart(20)}`,
    ),
    '',
    'short sounds          line    sounds  paused  committed  silent for',
    ...shortSounds.map(
      (row) =>
        `${''.padEnd(21)} ${row.line.padEnd(7)} ${String(row.sounds).padStart(6)} ${String(row.paused).padStart(7)} ${String(row.committed).padStart(10)} ${`${row.silentMedianMs} ms`.padStart(11)}`,
    ),
    '',
    'a television          line     below  pauses/min  commits/min',
    ...rooms.map(
      (row) =>
        `${''.padEnd(21)} ${row.line.padEnd(7)} ${`${row.belowDb} dB`.padStart(6)} ${row.pausesPerMin.toFixed(1).padStart(11)} ${row.commitsPerMin.toFixed(1).padStart(12)}`,
    ),
    '',
    'voiced frames         line    a tenth exceeds  a hundredth exceeds (above the RMS)',
    ...speakers.map(
      (row) =>
        `${row.speaker.padEnd(21)} ${row.line.padEnd(7)} ${`${row.tenthDb.toFixed(1)} dB`.padStart(15)} ${`${row.hundredthDb.toFixed(1)} dB`.padStart(20)}`,
    ),
  ].join('\n')
}

/** CPU time in µs per frame of the whole caller's path, from the fastest of a few rounds. */
async function cost(vadBank: VadBank, rateHz: LegRateHz): Promise<number> {
  const utterances = await speakUtterances(rateHz, 6)
  const [call] = makeCalls({ utterances, noise: 'pink', snrDb: 15, seed: 3, telephone: rateHz === 8000 })
  if (call === undefined) return NaN
  const bytes = new Uint8Array(call.samples.buffer)
  const frameBytes = (rateHz / 50) * 2
  let best = Infinity
  for (let round = 0; round < 8; round++) {
    const path = new CallerPath({ sampleRateHz: rateHz, track: 'inbound_track', vadBank })
    const startedMs = performance.now()
    let frames = 0
    for (let at = 0; at + frameBytes <= bytes.length; at += frameBytes) {
      frames++
      path.push(bytes.subarray(at, at + frameBytes), frames * 20)
      path.pull(frames * 20)
    }
    best = Math.min(best, ((performance.now() - startedMs) * 1000) / frames)
    path.release()
  }
  return best
}

const OPTIONS = {
  quick: { type: 'boolean' },
  validation: { type: 'boolean' },
  nobody: { type: 'boolean' },
  floor: { type: 'boolean' },
  waiting: { type: 'boolean' },
  plain: { type: 'boolean' },
  vad: { type: 'boolean' },
  voices: { type: 'string' },
  json: { type: 'string' },
} satisfies Options

/**
 * `npm run bench -- --vad`: prints tables for callers in noise and for sounds without a caller, or the tables that its
 * options request.
 */
export const vadBench = command(HELP, OPTIONS, {}, async (values) => {
  const vadBank = await loadVoiceDetectors()
  const quick = values.quick === true
  if (values.nobody === true) {
    const { rows, missing } = await measureNobody(vadBank, quick ? 60_000 : 120_000)
    for (const packages of missing) console.error(`LEFT OUT: apt-get install --no-install-recommends ${packages}`)
    report({ rows, missing }, nobodyTable(rows), values.json)
    return 0
  }
  if (values.floor === true) {
    const floor = await measureFloor(vadBank, values.plain === true ? PLAIN : DEFAULT_CALL_OPTIONS.bargeIn)
    report(floor, floorTables(floor), values.json)
    return 0
  }
  if (values.waiting === true) {
    const rows = await measureWaiting(vadBank)
    report({ rows }, waitingTable(rows), values.json)
    return 0
  }
  const { voices } = values
  const quality = await measureQuality({
    vadBank,
    rates: [8000, 16000],
    utterances: quick ? 18 : 54,
    nonSpeechMs: quick ? 20_000 : 60_000,
    split: values.validation === true ? 'validation' : 'heldOut',
    ...(voices === undefined ? {} : { speak: (rateHz, count) => recordedUtterances(voices, rateHz, count) }),
  })
  const costUs = { 8000: await cost(vadBank, 8000), 16000: await cost(vadBank, 16000) }
  const json = JSON.stringify({ version: 1, ...quality, callerPathUs: costUs }, null, 2)
  if (values.json === '-') {
    console.log(json)
    return 0
  }
  if (values.json !== undefined) writeFileSync(values.json, json)
  console.log(tables(quality))
  console.log(
    `\nthe whole caller's path, 20 ms: ${costUs[8000].toFixed(1)} us at 8 kHz, ${costUs[16000].toFixed(1)} us at 16 kHz`,
  )
  if (values.vad === true) {
    const { rows, missing } = await measureNobody(vadBank, quick ? 60_000 : 120_000)
    for (const packages of missing) console.error(`LEFT OUT: apt-get install --no-install-recommends ${packages}`)
    console.log(`\n${nobodyTable(rows)}`)
  }
  return 0
})

if (!process.argv.includes('--vad')) process.exitCode = await vadBench(process.argv.slice(2))
