import type { EchoPhone } from '../../src/carrier/line.js'
import { loadVoiceDetectors } from '../../src/workers/shared/media-assets.js'
import { type Options, command, oneOf } from '../kit/command.js'
import { missingMaterial } from '../material.js'
import { DISTURBED } from './agent-call.js'
import { type EchoCase, HELD_OUT, LEGS, placeEchoCall, TUNING, type Voices } from './cases.js'

const HELP = `node dist/bench/echo/main.js: how well the caller is told from our own speech out of their loudspeaker

  --tuning   the voices that choices were made by, in place of those that are measured with
  --quick    a sixth of the calls
  --verbose  each call that failed
  --disturbed carrier|lost|held|route|waits --ms 120   four times a call: the carrier stands still, what it forks is lost, audio
             waits both ways, its way to us becomes longer and then as long as before, audio waits only on its way to the caller
  --leg 8|16|tel, --track inbound_track|both_tracks, --phone plain|speakerphone   only these`

const TRACKS = ['inbound_track', 'both_tracks'] as const
const ALONE_DB = [-10, -20, -30, -40, -50]
const ALONE_MS = [40, 120, 250, 400]
// With an echo of -40 dB, echo and caller would both be softer than any line on which a person speaks.
const OVER_DB = { plain: [-10, -20, -30], speakerphone: [-10, -20, -30] } as const
const CALLER_DB = { plain: 0, speakerphone: 6 } as const
const OVER_CALLS = 30
const COMMIT_WITHIN_MS = 600

const OPTIONS = {
  tuning: { type: 'boolean' },
  quick: { type: 'boolean' },
  leg: { type: 'string' },
  track: { type: 'string' },
  phone: { type: 'string' },
  verbose: { type: 'boolean' },
  disturbed: { type: 'string' },
} satisfies Options

const main = command(HELP, OPTIONS, { ms: [120, 1, 1000] }, async (values) => {
  const { disturbed: what, ms } = values
  const disturbed = what === undefined ? null : { what: oneOf('--disturbed', what, DISTURBED), ms }
  const missing = missingMaterial('allison', 'june', 'carlo')
  if (missing !== null) throw new Error(`recordings are missing: apt-get install ${missing}`)
  const vadBank = await loadVoiceDetectors()
  const voices = values.tuning === true ? TUNING : HELD_OUT
  const part = values.quick === true ? 6 : 1
  console.log(
    'phone         leg  track          calls  false onsets  commits | at the same time: committed   median ms  before',
  )
  for (const phone of ['plain', 'speakerphone'] as const)
    for (const leg of LEGS)
      for (const track of TRACKS) {
        if ((values.leg ?? leg) !== leg || (values.track ?? track) !== track || (values.phone ?? phone) !== phone)
          continue
        const alone = aloneCases(leg, track, phone, voices).filter((_, i) => i % part === 0)
        let onsets = 0
        let commits = 0
        for (const one of alone) {
          const heard = await placeEchoCall(one, vadBank, disturbed)
          onsets += heard.onsetsAtMs.length
          commits += heard.commitsAtMs.length
          if (values.verbose === true && heard.onsetsAtMs.length > 0)
            console.log(
              `  ${one.echoDb} dB ${one.delayMs} ms ${one.voices.agent}: ${heard.onsetsAtMs.join(' ')} / ${heard.commitsAtMs.join(' ')} (${heard.echoDelayMs})`,
            )
        }
        const over = overCases(leg, track, phone, voices).filter((_, i) => i % part === 0)
        const tookMs: number[] = []
        let committed = 0
        let before = 0
        for (const one of over) {
          const { commitsAtMs, callerAtMs, callerEndMs } = await placeEchoCall(one, vadBank, disturbed)
          const commit = commitsAtMs.find((ms) => ms > callerAtMs && ms < callerEndMs + COMMIT_WITHIN_MS)
          const early = commitsAtMs.filter((ms) => ms <= callerAtMs)
          before += early.length > 0 ? 1 : 0
          if (values.verbose === true && early.length > 0)
            console.log(
              `  before: ${one.echoDb} dB ${one.delayMs} ms ${one.voices.agent} ${one.seed}: ${early.join(' ')}`,
            )
          if (commit === undefined) {
            if (values.verbose === true)
              console.log(`  missed: ${one.echoDb} dB ${one.delayMs} ms ${one.voices.agent} ${one.seed}`)
            continue
          }
          committed++
          tookMs.push(commit - callerAtMs)
        }
        tookMs.sort((a, b) => a - b)
        console.log(
          `${phone.padEnd(13)} ${leg.padEnd(4)} ${track.padEnd(14)} ${String(alone.length).padStart(5)} ${String(onsets).padStart(13)} ${String(commits).padStart(8)} | ${`+${CALLER_DB[phone]} dB`.padStart(6)} ${`${committed} of ${over.length}`.padStart(22)} ${(tookMs[tookMs.length >> 1] ?? NaN).toFixed(0).padStart(9)} ${String(before).padStart(7)}`,
        )
      }
  return 0
})

function aloneCases(
  leg: EchoCase['leg'],
  track: EchoCase['track'],
  phone: EchoPhone,
  voices: readonly Voices[],
): EchoCase[] {
  return ALONE_DB.flatMap((echoDb) =>
    ALONE_MS.flatMap((delayMs) =>
      voices.map((who, i) => ({
        leg,
        track,
        phone,
        echoDb,
        delayMs,
        callerOverEchoDb: null,
        voices: who,
        seed: delayMs - echoDb + i,
      })),
    ),
  )
}

function overCases(
  leg: EchoCase['leg'],
  track: EchoCase['track'],
  phone: EchoPhone,
  voices: readonly Voices[],
): EchoCase[] {
  return Array.from({ length: OVER_CALLS }, (_, i) => ({
    leg,
    track,
    phone,
    echoDb: OVER_DB[phone][i % 3] as number,
    delayMs: ALONE_MS[i % 4] as number,
    callerOverEchoDb: CALLER_DB[phone],
    voices: voices[(i >> 1) % voices.length] as Voices,
    seed: 100 + i,
  }))
}

process.exitCode = await main(process.argv.slice(2))
