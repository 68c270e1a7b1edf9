import { availableParallelism } from 'node:os'
import { messageOf } from '../../core/errors.js'
import { SCENARIO_JOBS_MAX, SCENARIO_REPEATS_MAX } from '../../core/limits.js'
import { firstSecret, flag, help, oneOf, origin, parsed, text, UsageError, whole } from '../arguments.js'
import { hasPattern, textPattern } from '../spoken-words.js'
import type { CallMode } from './scenario.js'

export const SIMULATE_USAGE = `mkondo simulate PATH... [options]
  Runs scenario files (docs/SIMULATOR.md): simulated callers and the expected results of their calls. A folder means all
  scenarios in it and below.

  What to test
    (nothing)            the agents of --agents on the embedded backend: a gateway of its own where a call is spoken,
                         and the demo's shop API unless SHOP_API_URL is set
    --url URL --ops-url URL
                         a running gateway by its public and its ops address (token in OPS_TOKEN); all calls are spoken
    --agents DIR         folder of the agents' files (AGENTS_DIR, or those shipped)
    --secret SECRET      signs the webhooks of a running gateway (first of SAUTIKIT_WEBHOOK_SECRETS)

  How
    --mode text|audio    text: without sound, many times as fast as speech; audio: spoken through the carrier's protocol.
                         Default: text, and audio for scenarios that need it; what cannot run in the mode is skipped
    --jobs N             calls at once (half of the cores and one, at most ${SCENARIO_JOBS_MAX})
    --filter TEXT        only scenarios whose AGENT/NAME contains TEXT or matches /a regular expression/
    --repeat N           runs each scenario N times, each time with the next seed
    --seed N             added to every scenario's seed (0)

  Results
    --junit FILE         JUnit XML
    --json FILE|-        everything as JSON, - for standard output
    --record DIR         spoken calls as stereo WAV: the caller left, what the caller heard right
    --list               only lists the names of the scenarios

  Exit code: 0 every scenario passed, 1 one failed, 2 wrong usage, a scenario that cannot be run, or no gateway.
`

export interface SimulateArguments {
  readonly paths: readonly string[]
  /** The running gateway to test; null starts one. */
  readonly gateway: { readonly url: string; readonly opsUrl: string; readonly secret: string | null } | null
  readonly agentsDir: string | null
  readonly mode: CallMode | null
  readonly jobs: number
  readonly filter: (name: string) => boolean
  readonly repeat: number
  readonly seed: number
  readonly junit: string | null
  readonly json: string | null
  readonly record: string | null
  readonly list: boolean
}

/**
 * Reads the command line of `mkondo simulate`.
 * @returns null when help is wanted
 * @throws UsageError
 */
export function parseSimulateArguments(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): SimulateArguments | null {
  const { values, positionals } = parsed({
    args: [...argv],
    allowPositionals: true,
    options: {
      url: text,
      'ops-url': text,
      agents: text,
      secret: text,
      mode: text,
      jobs: text,
      filter: text,
      repeat: text,
      seed: text,
      junit: text,
      json: text,
      record: text,
      list: flag,
      help: help,
    },
  })
  if (values.help === true) return null
  if (positionals.length === 0) throw new UsageError('a scenario file or a folder of them is needed')
  const { url, filter } = values
  const mode = values.mode === undefined ? null : oneOf('--mode', values.mode, ['text', 'audio'])
  const opsUrl = values['ops-url']
  if ((url === undefined) !== (opsUrl === undefined))
    throw new UsageError('--url and --ops-url belong together: what became of a call is asked of the ops port')
  if (url !== undefined && mode === 'text')
    throw new UsageError('--mode text drives the call without a gateway; leave out --url, or the mode')
  if (url === undefined && values.secret !== undefined)
    throw new UsageError('--secret is for a running gateway; give --url too')
  return {
    paths: positionals,
    gateway:
      url === undefined || opsUrl === undefined
        ? null
        : {
            url: origin('--url', url),
            opsUrl: origin('--ops-url', opsUrl),
            secret: values.secret ?? firstSecret(env),
          },
    agentsDir: values.agents ?? null,
    mode,
    jobs: whole(
      '--jobs',
      values.jobs ?? String(Math.min(SCENARIO_JOBS_MAX, Math.floor(availableParallelism() / 2) + 1)),
      1,
      SCENARIO_JOBS_MAX,
    ),
    filter: filter === undefined ? () => true : filterOf(filter),
    repeat: whole('--repeat', values.repeat ?? '1', 1, SCENARIO_REPEATS_MAX),
    seed: whole('--seed', values.seed ?? '0', 0, 0x7fff_ffff),
    junit: values.junit ?? null,
    json: values.json ?? null,
    record: values.record ?? null,
    list: values.list === true,
  }
}

function filterOf(source: string): (name: string) => boolean {
  try {
    const pattern = textPattern(source)
    return (name) => (pattern.expression === null ? name.includes(source) : hasPattern(name, pattern))
  } catch (thrown) {
    throw new UsageError(`--filter ${source} cannot be read: ${messageOf(thrown)}`)
  }
}
