import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'
import { WrongOption, command, oneOf } from '../kit/command.js'
import { machineLines, provenance } from '../kit/machine.js'
import { benchProgress } from '../kit/progress.js'
import { LEVELS } from '../protocol.js'
import type { CaseResult } from '../results.js'
import { comparisonTable, voidBecause } from './compare.js'
import type { Pair, Run } from './compare.js'

const HELP = `npm run bench -- --against COMMIT [how]

Builds COMMIT of this clone in a temporary folder and runs both builds in turn, each with its own bench.

  --level L               one of ${LEVELS.join(', ')} (default L2); COMMIT must know it
  --calls N               1 to 5000 calls at once (default 100)
  --seconds S             2 to 600 seconds of measuring for each run (default 8)
  --repeat N              1 to 20 pairs (default 3)
Exit code: 0, 1 when the comparison is void (it says why), 2 for wrong options.`

const OPTIONS = { against: { type: 'string' }, level: { type: 'string', default: 'L2' } } as const
const WHOLES = { calls: [100, 1, 5000], seconds: [8, 2, 600], repeat: [3, 1, 20] } as const
/**
 * Time in ms of a run in addition to measuring. It is long because the run searches for a number of calls that holds,
 * if the requested number does not hold.
 */
const RUN_OVERHEAD_MS = 600_000
const BUILD_MS_MAX = 900_000
/** Clock ticks of /proc per second, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

/** Compares two builds. Their runs alternate. */
export const againstBench = command(HELP, OPTIONS, WHOLES, async ({ against, level, calls, seconds, repeat }, argv) => {
  const how = ['--level', oneOf('--level', level, LEVELS), '--calls', `${calls}`, '--seconds', `${seconds}`]
  const commit = commitOf(against ?? '')
  const facts = await provenance(`npm run bench -- ${argv.join(' ')}`)
  const { say, end } = benchProgress()
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-against-'))
  try {
    const there = join(folder, 'build')
    build(commit, there, say)
    const pairs: Pair[] = []
    for (let round = 1; round <= repeat; round++) {
      const run = (root: string, name: string): Run => {
        say(`pair ${round} of ${repeat}: ${name}`)
        return runOf(root, how, join(folder, 'run.json'), seconds)
      }
      // The builds take turns in running first, so that effects of an earlier run are the same for both.
      const first = round % 2 === 1 ? run(packageRoot(), facts.commit) : null
      const other = run(there, commit)
      pairs.push({ here: first ?? run(packageRoot(), facts.commit), there: other })
    }
    end()
    const reasons = voidBecause(pairs, availableParallelism())
    const lines = [
      `mkondo bench, commit ${facts.commit} against ${commit}, ${facts.at}`,
      ...machineLines(facts).map((line) => `  ${line}`),
      ...comparisonTable(pairs, commit),
      ...reasons.map((reason) => `void: ${reason}`),
    ]
    console.log(lines.join('\n'))
    return reasons.length === 0 ? 0 : 1
  } finally {
    end()
    rmSync(folder, { recursive: true, force: true })
  }
})

/** @throws WrongOption if this clone does not have the commit */
function commitOf(name: string): string {
  const { status, stdout } = spawnSync('git', ['rev-parse', '--short=12', '--verify', '--quiet', `${name}^{commit}`], {
    cwd: packageRoot(),
    encoding: 'utf8',
  })
  if (status !== 0 || name.startsWith('-'))
    throw new WrongOption(`--against is '${name}'; allowed is a commit of this clone`)
  return stdout.trim()
}

/** A separate clone, not a work tree: if a run is stopped, no files remain in this clone. */
function build(commit: string, to: string, say: (line: string) => void): void {
  say(`building ${commit} in ${to}`)
  const root = packageRoot()
  run('git', ['clone', '--quiet', '--shared', '--no-checkout', root, to], root)
  run('git', ['checkout', '--quiet', '--detach', commit], to)
  const lock = (folder: string): string => readFileSync(join(folder, 'package-lock.json'), 'utf8')
  if (lock(to) === lock(root) && existsSync(join(root, 'node_modules')))
    symlinkSync(join(root, 'node_modules'), join(to, 'node_modules'))
  else run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], to)
  run('npm', ['run', '-s', 'build'], to)
}

/** @throws Error with the end of the program's output if the program fails */
function run(file: string, args: readonly string[], cwd: string): void {
  const { status, stdout, stderr, error } = spawnSync(file, args, {
    cwd,
    encoding: 'utf8',
    timeout: BUILD_MS_MAX,
    maxBuffer: OUTPUT_BYTES_MAX,
  })
  if (status !== 0)
    throw new Error(`${file} ${args.join(' ')} failed: ${error?.message ?? `${stdout}${stderr}`.slice(-2000)}`)
}

/** Runs the gateway of the build in `root` once, with the bench of the same build. */
function runOf(root: string, how: readonly string[], json: string, seconds: number): Run {
  rmSync(json, { force: true })
  const before = processorTimes()
  const args = [join(root, 'dist/bench/main.js'), ...how, '--repeat', '1', '--subject', 'mkondo', '--json', json]
  const { stderr, stdout } = spawnSync(process.execPath, [...args, '--html', `${json}.html`], {
    cwd: root,
    encoding: 'utf8',
    timeout: RUN_OVERHEAD_MS + 1000 * seconds,
    maxBuffer: OUTPUT_BYTES_MAX,
  })
  const after = processorTimes()
  const foreignCores = Math.max(0, (after.busyS - before.busyS - (after.ownS - before.ownS)) / (after.atS - before.atS))
  const cases = existsSync(json)
    ? (JSON.parse(readFileSync(json, 'utf8')) as { readonly cases: readonly CaseResult[] }).cases
    : []
  const [result] = cases
  if (result === undefined) {
    const said = `${stdout}${stderr}`.trim().split('\n').at(-1) ?? ''
    return { ...NO_FIGURES, verdict: 'failed', reasons: [`its bench wrote no result: ${said}`], foreignCores }
  }
  const { verdict, reasons, speed, memory } = result
  const bytes = speed?.heapBytesPerFrame ?? null
  const perCall = memory?.bytesPerCall ?? null
  return {
    verdict,
    reasons,
    cpuMsPerCallSecond: speed?.cpuMsPerCallSecond ?? null,
    addedP99Ms: speed?.addedMs?.p99 ?? null,
    kbPerCall: perCall === null ? null : perCall / 1024,
    heapBytesPerFrame: bytes === null ? null : bytes.main + bytes.workers,
    foreignCores,
  }
}

const NO_FIGURES = { cpuMsPerCallSecond: null, addedP99Ms: null, kbPerCall: null, heapBytesPerFrame: null }

/**
 * CPU times in s: of all cores of the machine, including stolen time; and of this process with its ended children. Also
 * the current time.
 */
function processorTimes(): { readonly busyS: number; readonly ownS: number; readonly atS: number } {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] = (
    readFileSync('/proc/stat', 'latin1').split('\n')[0] ?? ''
  )
    .split(/\s+/)
    .slice(1)
    .map(Number)
  const stat = readFileSync('/proc/self/stat', 'latin1')
  // Fields after the process's name, which may contain spaces. The first of them is field 3. Fields 14 to 17 are times.
  const own = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ownTicks = own.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0)
  return {
    busyS: (user + nice + system + irq + softIrq + steal) / TICKS_PER_SECOND,
    ownS: ownTicks / TICKS_PER_SECOND,
    atS: performance.now() / 1000,
  }
}
