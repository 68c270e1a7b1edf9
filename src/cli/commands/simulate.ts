import { availableParallelism } from 'node:os'
import { SCENARIO_JOBS_MAX, SCENARIO_REPEATS_MAX } from '../../core/limits.js'
import type { CallMode } from '../../simulator/scenarios/scenario.js'
import { UsageError, withExitCodes } from '../exit-codes.js'
import { chosen, firstSecret, jsonFileOption, jsonTarget, origin, valued, whole } from '../options.js'
import type { SimulateArguments } from '../simulate.js'
import type { Terminal } from '../terminal.js'
import type { Define } from './define.js'

/** As commander gives them. */
interface SimulateOptions {
  readonly url?: string
  readonly opsUrl?: string
  readonly agents?: string
  readonly secret?: string
  readonly mode?: CallMode
  readonly jobs: number
  readonly filter?: string
  readonly repeat: number
  readonly seed: number
  readonly junit?: string
  readonly json?: string | true
  readonly record?: string
  readonly list?: true
}

export const defineSimulate: Define = (program, terminal, ends) => {
  const command = program
    .command('simulate')
    .description('run scenario files: simulated callers, and what must come of their calls')
    .argument('[path...]', 'scenario files (docs/SIMULATOR.md), or folders: all scenarios in them and below', [
      'scenarios',
    ])
    .optionsGroup('What to test (default: the agents of --agents on the embedded backend, in a gateway of its own):')
    .addOption(valued('--url <url>', 'a running gateway, by its public address; all calls are spoken', origin))
    .addOption(valued('--ops-url <url>', 'and by its ops address (token in OPS_TOKEN)', origin))
    .option('--agents <folder>', "folder of the agents' files (default: AGENTS_DIR, or those shipped)")
    .option(
      '--secret <secret>',
      'signs the webhooks of a running gateway (default: the first of SAUTIKIT_WEBHOOK_SECRETS)',
    )
    .optionsGroup('How:')
    .addOption(
      chosen(
        '--mode <mode>',
        "text: without sound, many times as fast as speech; audio: spoken through the carrier's protocol (default: text, and audio for scenarios that need it); what cannot run in the mode is skipped",
        ['text', 'audio'],
      ),
    )
    .addOption(
      valued('--jobs <n>', 'calls at once', whole(1, SCENARIO_JOBS_MAX)).default(
        Math.min(SCENARIO_JOBS_MAX, Math.floor(availableParallelism() / 2) + 1),
        'half of the cores and one',
      ),
    )
    .option('--filter <text>', 'only scenarios whose AGENT/NAME contains TEXT or matches /a regular expression/')
    .addOption(
      valued(
        '--repeat <n>',
        'runs each scenario so often, each time with the next seed',
        whole(1, SCENARIO_REPEATS_MAX),
      ).default(1),
    )
    .addOption(valued('--seed <n>', "added to every scenario's seed", whole(0, 0x7fff_ffff)).default(0))
    .optionsGroup('Results:')
    .option('--junit <file>', 'JUnit XML')
    .addOption(jsonFileOption())
    .option('--record <folder>', 'spoken calls as stereo WAV: the caller left, what the caller heard right')
    .option('--list', 'only list the names of the scenarios')
  withExitCodes(
    command,
    'every scenario passed',
    'one failed',
    'wrong usage, a scenario that cannot be run, or no gateway',
  ).action(async (paths: string[], options: SimulateOptions) => {
    const args = argumentsOf(paths, options, terminal.env)
    ends(await (await import('../simulate.js')).simulate(args, terminal))
  })
}

function argumentsOf(paths: readonly string[], options: SimulateOptions, env: Terminal['env']): SimulateArguments {
  const { url, opsUrl, mode } = options
  if ((url === undefined) !== (opsUrl === undefined))
    throw new UsageError('--url and --ops-url belong together: what became of a call is asked of the ops port')
  if (url !== undefined && mode === 'text')
    throw new UsageError('--mode text drives the call without a gateway; leave out --url, or the mode')
  if (url === undefined && options.secret !== undefined)
    throw new UsageError('--secret is for a running gateway; give --url too')
  return {
    paths,
    gateway:
      url === undefined || opsUrl === undefined ? null : { url, opsUrl, secret: options.secret ?? firstSecret(env) },
    agentsDir: options.agents ?? null,
    mode: mode ?? null,
    jobs: options.jobs,
    filter: options.filter ?? null,
    repeat: options.repeat,
    seed: options.seed,
    junit: options.junit ?? null,
    json: jsonTarget(options.json),
    record: options.record ?? null,
    list: options.list === true,
  }
}
