import { mkdirSync } from 'node:fs'
import { BENCHES } from './benches.js'
import { check, isTrue } from './checks.js'
import { htmlReport } from './html.js'
import { exitCodeOf, writeReport } from './kit/command.js'
import { provenance } from './kit/machine.js'
import type { Provenance } from './kit/machine.js'
import { benchProgress } from './kit/progress.js'
import { runMicro } from './micro/run.js'
import { HELP, parseOptions } from './options.js'
import type { BenchOptions } from './options.js'
import {
  TimeLeft,
  chooseSubjects,
  findCapacity,
  measureFew,
  measureGrowth,
  runCases,
  scaleOut,
  sweepMessages,
} from './plan.js'
import { RESULTS_VERSION } from './results.js'
import type { BenchResults } from './results.js'
import { terminalReport } from './terminal.js'

/** Load average above which the report mentions the load. */
const BUSY_LOAD_PER_CORE = 0.5
/** Exit code of a bench that failed itself. 0 and 1 are verdicts. */
const NO_VERDICT = 3

/** `npm run bench`: runs the requested measurements, and writes the results to the terminal, to JSON and to HTML. */
async function main(argv: readonly string[]): Promise<number> {
  for (const [option, { load }] of Object.entries(BENCHES))
    if (load !== null && argv.includes(option)) return (await load())(argv)
  return exitCodeOf(HELP, async () => {
    const options = parseOptions(argv)
    return options === null ? null : bench(options, argv)
  })
}

async function bench(options: BenchOptions, argv: readonly string[]): Promise<number> {
  if (options.profileDir !== null) mkdirSync(options.profileDir, { recursive: true })
  const facts = await provenance(`npm run bench${argv.length === 0 ? '' : ` -- ${argv.join(' ')}`}`)
  const time = new TimeLeft(options.quick, performance.now())
  const { say, end } = benchProgress()
  const { subjects, skipped } = chooseSubjects(options)
  for (const { name, why } of skipped) say(`skipped: ${name}: ${why}`)

  const micro = options.micro ? await runMicro(options.quick, say) : { results: [], skipped: [] }
  const { cases, notes } = options.cases ? await runCases(options, subjects, time, say) : { cases: [], notes: [] }
  const gateway = subjects.find((subject) => subject.name === 'mkondo')
  const capacities = []
  if (options.ramp) {
    for (const level of options.levels.length > 0 ? options.levels : (['L2'] as const)) {
      for (const subject of options.quick
        ? subjects.slice(0, 1)
        : subjects.filter((one) => one.levels.includes(level))) {
        capacities.push(await findCapacity(options, subject, level, options, time, say))
      }
    }
  }
  const scale = options.scale && gateway !== undefined ? await scaleOut(options, gateway, time, say) : []
  const messages = options.messages && gateway !== undefined ? await sweepMessages(options, gateway, time, say) : []
  const growth = options.growth && gateway !== undefined ? await measureGrowth(options, gateway, time, say) : []
  const { idle, few } =
    options.idle && gateway !== undefined ? await measureFew(options, gateway, time, say) : { idle: [], few: [] }
  const results: BenchResults = {
    version: RESULTS_VERSION,
    provenance: facts,
    micro: micro.results,
    cases,
    capacities,
    scale,
    messages,
    idle,
    growth,
    few,
    notes: [...busyNotes(facts), ...notes, ...time.notes()],
    skipped: [...skipped, ...micro.skipped],
    checks: check(cases, capacities, idle, few),
  }
  end()
  console.log(terminalReport(results))
  writeReport(options.json, '', 'json', facts, `${JSON.stringify(results, null, 1)}\n`)
  writeReport(options.html, '', 'html', facts, htmlReport(results))
  return isTrue([...cases, ...messages, ...growth, ...few]) ? 0 : 1
}

/** Load of the machine before the first process of the bench ran. It also affects the figures. */
function busyNotes({ machine }: Provenance): readonly string[] {
  if (machine.loadAtStart <= machine.cores * BUSY_LOAD_PER_CORE) return []
  return [
    `the machine had other work: a load of ${machine.loadAtStart} on ${machine.cores} cores before the start; compare only what was measured in this run`,
  ]
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (thrown) {
  console.error(thrown)
  process.exitCode = NO_VERDICT
}
