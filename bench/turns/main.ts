import { judged } from '../kit/command.js'
import { type CascadeSubject, SERVICE_MS, hasLiveKit, measureCascade } from './cascade.js'
import type { CascadeResult } from './cascade.js'
import { figure, measureShare, messagesOf } from './share.js'
import type { ShareOptions, ShareResult } from './share.js'
import { measureTakeovers } from './takeovers.js'

const HELP = `npm run bench -- --turns [--calls N] [--seconds S] [--takeovers N] [--json FILE]
  What the gateway adds to the time between the end of a caller's words and the first sound of the answer, with a backend whose
  delay is known: realtime models, and cascades whose services take 150, 300 and 120 ms (beside LiveKit's agents where
  bench/peers is installed). And the gaps of takeovers with a healthy second backend, the caller's audio compared sample by sample.
  --calls N      calls at once (default 20)
  --seconds S    of each run (default 40)
  --takeovers N  (default 200)`

/** Target for the gateway's share in ms (docs/LATENCY.md). */
const SHARE_P99_MS_MAX = 30
const GAP_P99_MS_MAX = 800
/**
 * Targets in ms for a cascade: for the time in addition to its services' delays, and for the whole time from the end of
 * the turn.
 */
const CASCADE_P50_MS_MAX = 15
const CASCADE_P99_MS_MAX = 40
const WHOLE_P50_MS_MAX = 650
/**
 * Maximum CPU time of a cascade's calls, as a multiple of the CPU time of the same callers' calls on a realtime model
 * with its defaults.
 */
const CASCADE_COST_MAX = 1.3

const WHOLES = { calls: [20, 1, 200], seconds: [40, 1, 10_000], takeovers: [200, 1, 10_000] } as const

/** Measures the time from the end of the caller's speech to the first sound, and takeovers. */
export const turnsBench = judged('turns', HELP, {}, WHOLES, async ({ calls, seconds, takeovers }, { say, show }) => {
  const runs: readonly Pick<ShareOptions, 'turns' | 'messageMs' | 'streamSilence'>[] = [
    { turns: 'gateway', messageMs: null, streamSilence: false },
    { turns: 'server_vad', messageMs: null, streamSilence: false },
    { turns: 'server_vad', messageMs: null, streamSilence: true },
  ]
  say("caller stops to first sound, gateway's share:")
  const shares: ShareResult[] = []
  for (const run of runs) {
    show(`${calls} calls for ${seconds} s, turns by ${run.turns}`)
    shares.push(await measureShare({ ...run, calls, seconds }, say))
  }
  const { stt, llm, tts } = SERVICE_MS
  say(`cascades whose services take ${stt}, ${llm} and ${tts} ms:`)
  const cascades: CascadeResult[] = []
  const subjects: readonly CascadeSubject[] = hasLiveKit() ? ['in turn', 'ahead', 'livekit'] : ['in turn', 'ahead']
  if (!hasLiveKit()) say("  LiveKit's agents are not installed: node bench/peers/install.mjs")
  for (const subject of subjects) {
    show(`${calls} calls for ${seconds} s, ${subject}`)
    cascades.push(await measureCascade({ subject, calls, seconds }, say))
  }
  const [inTurn, ahead] = cascades
  // Each part must meet the target alone. If the silence began before the word's last sound, this must not make up for
  // a delay after the turn.
  const parts = [inTurn?.afterEnd, inTurn?.share]
  const realtime = shares.find(({ turns, streamSilence }) => turns === 'server_vad' && !streamSilence)
  const cost = (ahead?.cpuMs ?? NaN) / (realtime?.cpuMs ?? NaN)
  say('takeovers:')
  show(`${takeovers} takeovers`)
  const taken = await measureTakeovers({ takeovers, calls: Math.min(10, calls) }, say)
  const checks = [
    ...shares.map((share) => ({
      what: `gateway's share of caller-stops-to-first-sound, turns by ${share.turns}, ${messagesOf(share)}: p99 under ${SHARE_P99_MS_MAX} ms`,
      got: `${figure(share.share?.p99)} ms of ${share.answered} turns`,
      met: (share.share?.p99 ?? Infinity) < SHARE_P99_MS_MAX,
    })),
    {
      what: `gateway's share of a cascade's turn, after its end and after the last voiced sample: p50 to ${CASCADE_P50_MS_MAX}, p99 to ${CASCADE_P99_MS_MAX} ms`,
      got: `${parts.map((part) => `${figure(part?.p50)} and ${figure(part?.p99)} ms`).join('; ')} of ${inTurn?.answered} turns`,
      met: parts.every(
        (part) => (part?.p50 ?? Infinity) <= CASCADE_P50_MS_MAX && (part?.p99 ?? Infinity) <= CASCADE_P99_MS_MAX,
      ),
    },
    {
      what: `a cascade's whole answer, from the end of the turn: p50 to ${WHOLE_P50_MS_MAX} ms`,
      got: `${figure(inTurn?.whole?.p50)} ms`,
      met: (inTurn?.whole?.p50 ?? Infinity) <= WHOLE_P50_MS_MAX,
    },
    {
      what: `processor time of a cascade's calls: to ${CASCADE_COST_MAX} x those on a realtime model`,
      got: `${cost.toFixed(2)} x (${figure(ahead?.cpuMs)} and ${figure(realtime?.cpuMs)} ms of a call and second)`,
      met: cost <= CASCADE_COST_MAX,
    },
    {
      what: `gap of a takeover: p99 under ${GAP_P99_MS_MAX} ms`,
      got: `${figure(taken.gap?.p99)} ms of ${taken.done}`,
      met: taken.done === takeovers && (taken.gap?.p99 ?? Infinity) < GAP_P99_MS_MAX,
    },
    {
      what: 'caller audio lost by a takeover: 0 ms, sample by sample',
      got: `${taken.samplesWrong} of ${taken.samplesChecked} samples`,
      met: taken.samplesWrong === 0 && taken.audioLostMs === 0 && taken.samplesChecked > 0,
    },
  ]
  return {
    ok: checks.every(({ met }) => met),
    lines: checks.map(({ what, got, met }) => `${met ? 'met    ' : 'NOT MET'} ${what}: ${got}`),
    results: { shares, cascades, takeovers: taken, checks },
  }
})
