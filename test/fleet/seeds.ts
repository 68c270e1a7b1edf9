import type { Test } from 'tap'

/** The last lines of a failed seed. */
const TRACE_LINES = 250

/** What a simulation breaks where the fleet does. */
export class Violation extends Error {}

/** Counts of events over many seeds: a simulation in which nothing happens proves nothing. */
export class Tally {
  readonly counts = new Map<string, number>()
  add(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }
}

interface Seeds {
  /**
   * `OWNERSHIP`: OWNERSHIP_SEED runs one seed and shows all that happens in it. OWNERSHIP_SEEDS is the number of seeds,
   * or the first and the last seed: 10000, 7..9.
   */
  readonly name: string
  readonly seeds: readonly number[]
  /** This seed, run twice, must be the same to the last event: else one that fails cannot be run again. */
  readonly twice: number
  /** Events that must occur among the seeds, or they prove nothing. */
  readonly mustHappen: readonly string[]
  /** @throws Violation */
  readonly run: (seed: number, tally: Tally, trace: string[] | null) => Promise<void>
}

export function seedsFrom(first: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => first + i)
}

/** @param range  a number of seeds, from `first`; or the first and the last seed: 7..9 */
function seedsIn(range: string, first: number): readonly number[] {
  const [, low = '', high] = /^(\d+)(?:\.\.(\d+))?$/.exec(range) ?? []
  if (low === '') throw new Error(`seeds are '${range}'; allowed: a number of seeds, or FIRST..LAST`)
  return high === undefined ? seedsFrom(first, Number(low)) : seedsFrom(Number(low), Number(high) - Number(low) + 1)
}

/** The first seeds: these run with `npm test`, the next ones with the slow tests. */
export const FIRST_OWNERSHIP = seedsFrom(1, 1000)
export const MORE_OWNERSHIP = seedsFrom(1001, 1000)

/** Seeds far from the first ones that were once wrong, of each simulation. */
export const FAR_OWNERSHIP = [4347, 9677, 10_294, 12_925, 12_996, 13_773, 14_213, 15_368, 18_598]
export const FAR_GATEWAYS = [349, 419, 530, 546, 593, 861, 871]

/** Each of these seeds, and the fifty before and after it. */
export function neighboursOf(seeds: readonly number[]): readonly number[] {
  return seeds.flatMap((seed) => seedsFrom(seed - 50, 101))
}

/** One test of `t`, a file's, over many seeds of a simulation; a seed that fails is run again, and shown. */
export function testSeeds(t: Test, title: string, { name, seeds, twice, mustHappen, run }: Seeds): void {
  const { [`${name}_SEED`]: one, [`${name}_SEEDS`]: range } = process.env
  const chosen = range === undefined ? seeds : seedsIn(range, seeds[0] ?? 0)

  const violationOf = async (seed: number, tally: Tally, trace: string[] | null): Promise<string | null> => {
    try {
      await run(seed, tally, trace)
      return null
    } catch (error) {
      return error instanceof Error ? (error.stack ?? error.message) : String(error)
    }
  }

  const replay = async (t: Test, seed: number, lines: number): Promise<void> => {
    const trace: string[] = []
    const violation = await violationOf(seed, new Tally(), trace)
    for (const line of trace.slice(-lines)) t.comment(line)
    t.equal(violation, null, `${name}_SEED=${seed}`)
  }

  void t.test(title, async (t) => {
    if (one !== undefined) return replay(t, Number(one), Infinity)
    const tally = new Tally()
    for (const seed of chosen) if ((await violationOf(seed, tally, null)) !== null) return replay(t, seed, TRACE_LINES)
    t.strictSame(
      mustHappen.filter((what) => !tally.counts.has(what)),
      [],
    )
    const [trace, again]: [string[], string[]] = [[], []]
    await violationOf(twice, tally, trace)
    await violationOf(twice, tally, again)
    t.ok(trace.length > 0)
    t.strictSame(again, trace)
    return undefined
  })
}
