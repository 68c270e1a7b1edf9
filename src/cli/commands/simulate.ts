import { availableParallelism } from 'node:os'
import { SCENARIO_JOBS_MAX } from '../../core/limits.js'
import { UsageError, withExitCodes } from '../exit-codes.js'
import { chosen, firstSecret, jsonFileOption, jsonTarget, origin, valued, whole } from '../options.js'
import { TEXT_MODEL_SETTINGS } from '../../vendors/list.js'
import type { SimulateOptions } from '../simulate.js'
import type { Terminal } from '../terminal.js'
import type { Define } from './define.js'

/** Repeats of each scenario. */
const SCENARIO_REPEATS_MAX = 1000
const MODEL_REQUESTS_MAX = 100_000
const MODEL_COST_MAX = 1000

/** Options in commander's form. */
interface Given extends Omit<SimulateOptions, 'gateway' | 'json'> {
  readonly url?: string
  readonly opsUrl?: string
  readonly secret?: string
  readonly envFile?: string
  readonly json?: string | true
}

export const defineSimulate: Define = (program, terminal, ends) => {
  const command = program
    .command('simulate')
    .description('run scenario files: simulated callers and the expected results of their calls')
    .argument('[path...]', 'scenario files (docs/SIMULATOR.md), or folders with scenarios, at any depth', ['scenarios'])
    .optionsGroup('What to test (default: the agents of --agents on the embedded backend, in a temporary gateway):')
    .addOption(valued('--url <url>', 'public address of a running gateway; all calls are spoken', origin))
    .addOption(valued('--ops-url <url>', 'ops address of that gateway (token in OPS_TOKEN)', origin))
    .option('--agents <folder>', 'folder of agent files (default: AGENTS_DIR, or the shipped ones)')
    .option(
      '--secret <secret>',
      'signs the webhooks of a running gateway (default: the first of SAUTIKIT_WEBHOOK_SECRETS)',
    )
    .option(
      '--env-file <file>',
      'as for serve: file with variables (NAME=value lines); the environment takes precedence',
    )
    .optionsGroup('How:')
    .addOption(
      chosen(
        '--mode <mode>',
        "text: without sound, many times faster than speech; audio: spoken, over the carrier's protocol (default: text, and audio for scenarios that need it); scenarios that cannot run in the mode are skipped",
        ['text', 'audio'],
      ),
    )
    .addOption(
      valued('--jobs <n>', 'number of concurrent calls', whole(1, SCENARIO_JOBS_MAX)).default(
        Math.min(SCENARIO_JOBS_MAX, Math.floor(availableParallelism() / 2) + 1),
        'half of the cores, plus one',
      ),
    )
    .option('--filter <text>', 'only scenarios whose AGENT/NAME contains TEXT or matches /a regular expression/')
    .addOption(
      valued(
        '--repeat <n>',
        'runs each scenario this many times, each time with the next seed',
        whole(1, SCENARIO_REPEATS_MAX),
      ).default(1),
    )
    .addOption(valued('--seed <n>', "added to every scenario's seed", whole(0, 0x7fff_ffff)).default(0))
    .optionsGroup(`Callers and judges that are language models (of ${TEXT_MODEL_SETTINGS}):`)
    .addOption(
      valued(
        '--model-cost <amount>',
        'run scenarios with such models, up to this cost in the currency of the prices (USD, or the currency of PRICES_FILE); 0: only models without cost',
        amount,
      ),
    )
    .addOption(valued('--model-requests <n>', 'requests to models in all', whole(1, MODEL_REQUESTS_MAX)).default(1000))
    .option(
      '--transcripts <folder>',
      'one JSON file for each call, with the conversation and the verdicts, for this user only',
    )
    .optionsGroup('Results:')
    .option('--junit <file>', 'JUnit XML')
    .option('--sarif <file>', 'failed runs as SARIF 2.1.0, for the code scanning of a CI')
    .addOption(jsonFileOption())
    .option('--record <folder>', 'spoken calls as stereo WAV; left: the caller, right: what the caller heard')
    .option('--cover', 'also print stages of the agents, and ways between stages, that no call used (docs/STAGES.md)')
    .option('--list', 'only list the names of the scenarios')
  withExitCodes(
    command,
    'every scenario passed',
    'one failed',
    'wrong usage, a scenario that cannot run, or no gateway',
  ).action(async (paths: string[], options: Given) => {
    const [{ environmentOf }, { simulate }] = await Promise.all([
      import('../serve/serve-plans.js'),
      import('../simulate.js'),
    ])
    const env = environmentOf(terminal.env, options.envFile ?? null)
    const gateway = gatewayOf(options, env)
    ends(await simulate(paths, { ...options, gateway, json: jsonTarget(options.json) }, { ...terminal, env }))
  })
}

function gatewayOf({ url, opsUrl, secret, mode, cover }: Given, env: Terminal['env']): SimulateOptions['gateway'] {
  if ((url === undefined) !== (opsUrl === undefined))
    throw new UsageError('--url and --ops-url need each other: the results of a call are read from the ops port')
  if (url !== undefined && mode === 'text')
    throw new UsageError('--mode text runs without a gateway; leave out --url, or the mode')
  if (url !== undefined && cover === true)
    throw new UsageError('--cover reads the stages of the agents; leave out --url, and name their folder with --agents')
  if (url === undefined && secret !== undefined)
    throw new UsageError('--secret needs --url: it is for a running gateway')
  return url === undefined || opsUrl === undefined ? null : { url, opsUrl, secret: secret ?? firstSecret(env) }
}

function amount(value: string, name: string): number {
  const number = Number(value)
  if (/^\d+(\.\d+)?$/.test(value) && number <= MODEL_COST_MAX) return number
  throw new UsageError(`${name} is not an amount; allowed: 0 to ${MODEL_COST_MAX}, such as 0.5`)
}
