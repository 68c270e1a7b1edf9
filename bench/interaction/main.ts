import { setTimeout as sleep } from 'node:timers/promises'
import { CallerVoices } from '../../src/carrier/caller-voices.js'
import { startCall } from '../../src/carrier/carrier-call.js'
import type { LineOptions } from '../../src/carrier/line.js'
import { seededRandom } from '../../src/carrier/random.js'
import { type Flite, loadFlite } from '../../src/speech/flite.js'
import { SimulatedClock } from '../../src/simulator/simulated-clock.js'
import { type Options, WrongOption, command, oneOf, writeReport } from '../kit/command.js'
import { machineLines, provenance } from '../kit/machine.js'
import { type BenchProgress, benchProgress } from '../kit/progress.js'
import { missingMaterial } from '../material.js'
import { agentSpeaker, spokenMs } from './agent-voice.js'
import { type CallerPlan, type PlannedCaller, type PlannedClip, plannedPerson } from './caller.js'
import {
  LINES,
  type Line,
  PEOPLE,
  type Person,
  type PersonClips,
  RECORDED,
  SWAHILI_PEOPLE,
  clipsOf,
  rateOf,
} from './clips.js'
import { CONDITIONS, type Condition, Surroundings } from './conditions.js'
import type { Gateways } from './gateways.js'
import type { HeardCall } from './heard-call.js'
import { panelOf } from './panel.js'
import { type RowResult, resultOf, tableOf, targetsOf, wordTable } from './report.js'
import { ANSWER, type Subject, SubjectServer } from './subject.js'
import { publishedRows } from './published.js'
import { differencesFromExpected, publishedConversations } from './tau-voice.js'
import { missingProgram } from './programs.js'

const HELP = `npm run bench -- --interaction [options]
  Whom the agent lets finish: τ-voice's interaction figures (bench/interaction/README.md) of the gateway, which decides, with a
  model double. Callers of the simulated carrier interrupt, say "mm", cough and talk to somebody else, over the agent and in
  its silence; words come 300 ms late from the offline recogniser, with its errors.
  --condition LIST  of ${CONDITIONS.join(', ')} (default: all)
  --line LIST       of ${LINES.join(', ')}: G.711 at 8 kHz, 16 kHz, GSM, AMR (default: all when clean, else g711)
  --only LIST       of interruptions, backchannels, tics, others (default: all)
  --words W         late: as above; none: a realtime model that sends no words (default: late, and a row of none)
  --language L      en, sw, or both: Swahili in a table apart (default: both, with --quick en)
  --people LIST     of ${PEOPLE.join(', ')} (default: all, with --quick three)
  --rounds N        calls of each person in each row (default 1)
  --calls N         calls at once (default 12)
  --noise DIR       WAV files of a street and of people talking; without it such sounds are made
  --seed N          order of the events, pauses, noises (default 1)
  --quick           clean, babble and echo, less of all: under two minutes
  --gateway DIR     the gateway of another built clone of this repository, for a table before and after
  --ticks DIR       no calls: the figures of τ-voice's published conversations in DIR, against its own expected_metrics.json
  --published FILE  rows of τ-voice's leaderboard, which are printed below ours
  --json FILE       where the results go (default bench/results/)
Exit code: 0, 1 where a target is not met or a call failed, 2 for wrong options.`

const KINDS = ['interruptions', 'backchannels', 'tics', 'others'] as const
type Kind = (typeof KINDS)[number]

const OPTIONS = {
  interaction: { type: 'boolean' },
  quick: { type: 'boolean', default: false },
  condition: { type: 'string' },
  line: { type: 'string' },
  only: { type: 'string' },
  people: { type: 'string' },
  words: { type: 'string' },
  language: { type: 'string' },
  noise: { type: 'string' },
  gateway: { type: 'string' },
  ticks: { type: 'string' },
  published: { type: 'string' },
  json: { type: 'string' },
} satisfies Options
const WHOLES = { rounds: [1, 1, 20], calls: [12, 1, 100], seed: [1, 1, 1_000_000] } as const

const QUICK_PEOPLE = ['allison', 'carlo', 'rms'] as const
const QUICK_CONDITIONS = ['clean', 'babble', 'echo'] as const
const CALL_MS_MAX = 90_000
const QUICK_CALL_MS_MAX = 55_000
/** Time in ms after the planned end of a call in which the call must end. Otherwise the call has failed to end. */
const CALL_END_MS_MAX = 15_000
/** Time in ms between the starts of two calls of a row. */
const BETWEEN_CALLS_MS = 150
/** Number of events of each kind in one call: over the agent, and while the agent is silent. */
const EVENTS = { interruptions: [4, 0], backchannels: [3, 0], tics: [2, 2], others: [2, 2] } as const
const QUICK_EVENTS = { interruptions: [3, 0], backchannels: [2, 0], tics: [1, 1], others: [1, 1] } as const

/** One row of a table. */
export interface Row {
  readonly condition: Condition
  readonly line: Line
  readonly subject: Subject
  readonly language: 'en' | 'sw'
}

/** Measures interruptions, backchannels, tics and speech to others, by the published definitions. */
export const interactionBench = command(HELP, OPTIONS, WHOLES, async (values, argv) => {
  if (values.ticks !== undefined) return published(values.ticks)
  const { quick } = values
  const language = oneOf('--language', values.language ?? (quick ? 'en' : 'both'), ['en', 'sw', 'both'])
  const words = values.words === undefined ? null : oneOf('--words', values.words, ['late', 'none'])
  const conditions = listOf('--condition', values.condition, CONDITIONS)
  const lines = listOf('--line', values.line, LINES)
  const kinds = listOf('--only', values.only, KINDS) ?? KINDS
  const people = listOf('--people', values.people, PEOPLE) ?? (quick ? QUICK_PEOPLE : PEOPLE)
  const rows = rowsOf(conditions ?? (quick ? QUICK_CONDITIONS : CONDITIONS), lines, words, language, quick)
  const needs = missingMaterial(...RECORDED) ?? missingProgram(rows)
  if (needs !== null) {
    console.error(`bench: apt-get install --no-install-recommends ${needs}`)
    return 1
  }
  const beside = values.published === undefined ? [] : await publishedRows(values.published)
  const surroundings = await Surroundings.load(values.noise ?? null)
  const facts = await provenance(`npm run bench -- ${argv.join(' ')}`)
  const progress = benchProgress()
  const run = {
    ...{ surroundings, kinds, quick, progress, calls: values.calls, seed: values.seed },
    people: (row: Row) => (row.language === 'sw' ? SWAHILI_PEOPLE : people),
    rounds: values.rounds,
    gatewayDir: values.gateway ?? null,
  }
  const results = await measure(rows, run).finally(() => progress.end())
  const english = results.filter(({ row }) => row.language === 'en')
  const swahili = results.filter(({ row }) => row.language === 'sw')
  const targets = english.length > 0 ? targetsOf(english, kinds) : []
  const report = [
    ...machineLines(facts),
    ...(english.length > 0 ? tableOf(english, beside) : []),
    ...(swahili.length > 0
      ? [
          '',
          'Swahili, synthesised by espeak-ng: no recorded Swahili is to be had here, so its figures stand apart.',
          ...tableOf(swahili, []),
        ]
      : []),
    ...wordTable(results),
    '',
    ...targets.map(({ what, got, met }) => `${met ? 'met    ' : 'NOT MET'} ${what}: ${got}`),
    ...results.flatMap(({ faults }) => faults),
  ]
  for (const line of report) console.log(line)
  const json = { version: 1, provenance: facts, results, targets }
  writeReport(values.json, 'interaction-', 'json', facts, `${JSON.stringify(json, null, 1)}\n`)
  return targets.every(({ met }) => met) && results.every(({ faults }) => faults.length === 0) ? 0 : 1
})

async function published(folder: string): Promise<number> {
  const panel = panelOf(await publishedConversations(folder))
  console.log(JSON.stringify(panel, null, 1))
  const differences = await differencesFromExpected(folder, panel)
  if (differences === null) console.log('the folder has no expected_metrics.json to compare with')
  else if (differences.length === 0) console.log('all figures are as expected_metrics.json has them')
  else for (const difference of differences) console.log(`DIFFERS ${difference}`)
  return differences !== null && differences.length > 0 ? 1 : 0
}

function listOf<T extends string>(name: string, text: string | undefined, allowed: readonly T[]): readonly T[] | null {
  return text === undefined ? null : text.split(',').map((one) => oneOf(name, one.trim(), allowed))
}

function rowsOf(
  conditions: readonly Condition[],
  lines: readonly Line[] | null,
  words: 'late' | 'none' | null,
  language: 'en' | 'sw' | 'both',
  quick: boolean,
): readonly Row[] {
  const subject: Subject = words === 'none' ? 'realtime' : 'cascade'
  const rows: Row[] = []
  if (language !== 'sw')
    for (const condition of conditions)
      for (const line of lines ?? (condition === 'clean' && !quick ? LINES : ['g711' as const]))
        rows.push({ condition, line, subject, language: 'en' })
  const isWhole = words === null && lines === null && !quick
  if (isWhole && language !== 'sw' && conditions.includes('clean'))
    rows.push({ condition: 'clean', line: 'g711', subject: 'realtime', language: 'en' })
  if (language !== 'en')
    for (const condition of conditions.filter((one) => language === 'sw' || one === 'clean'))
      for (const line of lines ?? (['g711'] as const)) rows.push({ condition, line, subject, language: 'sw' })
  if (rows.length === 0) throw new WrongOption('nothing is left to run: --language both has Swahili when clean only')
  return rows
}

interface Run {
  readonly surroundings: Surroundings
  readonly kinds: readonly Kind[]
  readonly quick: boolean
  readonly calls: number
  readonly seed: number
  readonly rounds: number
  readonly people: (row: Row) => readonly Person[]
  readonly gatewayDir: string | null
  readonly progress: BenchProgress
}

/**
 * A call that can be placed. All its sounds are made before the first call begins, because the callers' clock must not
 * wait for them.
 */
interface Job {
  readonly row: Row
  readonly person: Person
  readonly line: LineOptions
  readonly plan: CallerPlan
  readonly from: string
}

type Ended = { readonly row: Row } & (
  { readonly call: HeardCall; readonly notSaid: number } | { readonly fault: string }
)

async function jobsOf(rows: readonly Row[], run: Run, flite: Flite, answerMs: number): Promise<readonly Job[]> {
  const clipsKnown = new Map<string, PersonClips>()
  const jobs: Job[] = []
  for (let round = 0; round < run.rounds; round++)
    for (const row of rows)
      for (const [i, person] of run.people(row).entries()) {
        run.progress.show(`sounds of ${nameOf(row)}, ${person}`)
        const key = `${person} ${row.line}`
        const clips = clipsKnown.get(key) ?? (await clipsOf(person, row.line, flite, run.seed))
        clipsKnown.set(key, clips)
        const index = round * PEOPLE.length + i
        const seed = run.seed * 1000 + index
        jobs.push({
          ...{ row, person },
          line: await run.surroundings.line(row.condition, rateOf(row.line), person, index, seed),
          plan: planOf(clips, run, answerMs, seed),
          from: `+2547${String(10_000_000 + jobs.length)}`,
        })
      }
  return jobs
}

async function measure(rows: readonly Row[], run: Run): Promise<readonly RowResult[]> {
  const flite = await loadFlite()
  const speaker = agentSpeaker(flite)
  const speech = await CallerVoices.load()
  const ended: Ended[] = []
  try {
    const jobs = await jobsOf(rows, run, flite, spokenMs(speaker(ANSWER).pcm))
    for (const subject of ['cascade', 'realtime'] as const) {
      const waiting = jobs.filter(({ row }) => row.subject === subject)
      if (waiting.length === 0) continue
      const clock = new SimulatedClock()
      const server = await SubjectServer.start({ subject, speaker, clock, gatewayDir: run.gatewayDir })
      const work = async (): Promise<void> => {
        for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
          run.progress.show(`call ${ended.length + 1} of ${jobs.length}: ${nameOf(job.row)}, ${job.person}`)
          ended.push(await placed(job, server.gateways, clock, speech))
        }
      }
      try {
        const workers: Promise<void>[] = []
        for (let i = Math.min(run.calls, waiting.length); i > 0; i--) {
          const startMs = workers.length * BETWEEN_CALLS_MS
          workers.push(clock.wait(startMs).then(work))
        }
        await passed(clock, Promise.all(workers))
        run.progress.say(server.summary)
      } finally {
        await server.close()
      }
    }
  } finally {
    await speech.close()
  }
  return rows.map((row) => {
    const own = ended.filter((one) => one.row === row)
    const faults = own.flatMap((one) => ('fault' in one ? [`FAILED ${nameOf(row)}: ${one.fault}`] : []))
    const heard = own.flatMap((one) => ('call' in one ? [one] : []))
    const notSaid = heard.reduce((sum, one) => sum + one.notSaid, 0)
    const calls = heard.map((one) => one.call)
    return resultOf(row, calls, notSaid, faults)
  })
}

const nameOf = ({ condition, line, subject, language }: Row): string =>
  `${condition}, ${line}${subject === 'realtime' ? ', no words' : ''}${language === 'sw' ? ', Swahili' : ''}`

/**
 * Runs the clock until `work` is settled. The services and the recogniser run in real time, so each step takes at least
 * its own duration in real time. If a step takes longer, the clock does not catch up. Otherwise the delays of the
 * services would be longer in the time of the calls.
 */
async function passed(clock: SimulatedClock, work: Promise<unknown>): Promise<void> {
  let over = false
  const done = work.finally(() => {
    over = true
  })
  done.catch(() => undefined) // awaited below
  while (!over) {
    const [realMs, callMs] = [performance.now(), clock.nowMs()]
    await clock.step()
    const leftMs = clock.nowMs() - callMs - (performance.now() - realMs)
    if (leftMs > 0) await sleep(leftMs)
  }
  await done
}

async function placed(
  { row, person, line, plan, from }: Job,
  gateways: Gateways,
  clock: SimulatedClock,
  speech: CallerVoices,
): Promise<Ended> {
  let caller: PlannedCaller | null = null
  const gateway = gateways.open()
  const live = startCall({
    voiceUrl: 'http://gateway.invalid/voice/bench',
    eventsUrl: null,
    from,
    to: '+254709000000',
    caller: plannedPerson(line, plan, speech, (opened) => {
      caller = opened
    }),
    environment: gateway.environment,
  })
  const result = await Promise.race([live.done, clock.wait(plan.callMsMax + CALL_END_MS_MAX)])
  if (result === undefined) live.hangUp()
  await gateway.close()
  if (result === undefined) return { row, fault: `a call of ${person} did not end` }
  const said = (caller as PlannedCaller | null)?.result()
  const { by, why } = result.ended
  if (by !== 'caller' || said === undefined) return { row, fault: `a call of ${person} ended by ${by}: ${why}` }
  const [complaint] = result.complaints
  if (complaint !== undefined) return { row, fault: `in a call of ${person}: ${complaint}` }
  const { notSaid, ...heard } = said
  return { row, call: heard, notSaid }
}

/** All sounds of one call, in random order. For each kind, the clips are used in turn. */
function planOf(clips: PersonClips, { kinds, quick }: Run, answerMs: number, seed: number): CallerPlan {
  const random = seededRandom(seed)
  const planned: (PlannedClip & { readonly at: number })[] = []
  const names = { interruptions: 'interruption', backchannels: 'backchannel', tics: 'tic', others: 'others' } as const
  for (const kind of kinds) {
    const own = clips[kind]
    let next = Math.floor(random() * own.length)
    const [over, silent] = (quick ? QUICK_EVENTS : EVENTS)[kind]
    for (let i = 0; i < over + silent; i++) {
      const clip = own[next++ % own.length]
      if (clip !== undefined) planned.push({ kind: names[kind], over: i < over, clip, at: random() })
    }
  }
  return {
    turns: clips.turns,
    planned: planned.toSorted((a, b) => a.at - b.at),
    answerMs,
    callMsMax: quick ? QUICK_CALL_MS_MAX : CALL_MS_MAX,
    seed,
  }
}
