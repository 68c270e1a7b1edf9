import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageRoot } from '../../src/config/package-root.js'
import { messageOf } from '../../src/core/errors.js'
import { Child } from '../kit/process.js'
import type { MicroResult } from '../results.js'
import type { FromMicro, MicroOptions, MicroTimes } from './main.js'

/** Peers for the work of a step. Each peer runs in its own process. */
const PEERS: readonly {
  readonly name: string
  readonly file: string
  readonly needs: string
  readonly quick: boolean
}[] = [
  {
    name: 'libsamplerate, an instance per stream',
    file: 'libsamplerate-mono.mjs',
    needs: '@alexanderolsen/libsamplerate-js',
    quick: true,
  },
  { name: 'LiveKit AudioResampler', file: 'livekit-resampler.mjs', needs: '@livekit/rtc-node', quick: true },
  { name: 'LiveKit Silero VAD', file: 'silero-vad.mjs', needs: '@livekit/agents-plugin-silero', quick: false },
]
const TIMEOUT_MS = 120_000

export async function runMicro(
  quick: boolean,
  say: (line: string) => void,
): Promise<{
  readonly results: MicroResult[]
  readonly skipped: { readonly name: string; readonly why: string }[]
}> {
  const options: MicroOptions = quick ? { rounds: 5, roundMs: 60 } : { rounds: 15, roundMs: 200 }
  const skipped: { name: string; why: string }[] = []
  say('the hot steps alone')
  const results = (await timesOf('the steps', fileURLToPath(new URL('./main.js', import.meta.url)), options)).map(
    (times) => resultOf(times, false),
  )
  for (const peer of PEERS) {
    const installed = ['bench/peers/node_modules', 'node_modules'].some((folder) =>
      existsSync(join(packageRoot(), folder, peer.needs, 'package.json')),
    )
    if (!installed)
      skipped.push({ name: peer.name, why: `${peer.needs} is not installed; node bench/peers/install.mjs does it` })
    else if (quick && !peer.quick) skipped.push({ name: peer.name, why: 'not part of a quick run' })
    if (!installed || (quick && !peer.quick)) continue
    say(`  ${peer.name}`)
    try {
      const times = await timesOf(peer.name, join(packageRoot(), 'bench/peers', peer.file), options)
      results.push(...times.map((one) => resultOf(one, true)))
    } catch (thrown) {
      skipped.push({ name: peer.name, why: `it failed: ${messageOf(thrown).slice(0, 300)}` })
    }
  }
  return { results, skipped }
}

async function timesOf(name: string, file: string, options: MicroOptions): Promise<readonly MicroTimes[]> {
  const child = new Child<never, FromMicro>({
    name,
    file,
    variable: 'BENCH_MICRO',
    options,
    nodeOptions: ['--expose-gc'],
  })
  try {
    return (await child.next('micro', TIMEOUT_MS)).times
  } finally {
    await child.stop(null)
  }
}

function resultOf({ name, us, heapBytesPerFrame }: MicroTimes, peer: boolean): MicroResult {
  const sorted = us.toSorted((a, b) => a - b)
  const usP50 = sorted[sorted.length >> 1] ?? NaN
  return {
    name,
    unit: 'us per call and 20 ms frame',
    usP50,
    usMin: sorted[0] ?? NaN,
    usMax: sorted.at(-1) ?? NaN,
    framesPerSecondPerCore: 1e6 / usP50,
    heapBytesPerFrame,
    peer,
  }
}
