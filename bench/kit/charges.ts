import { Worker } from 'node:worker_threads'
import { seededRandom } from '../../src/carrier/random.js'

/**
 * Time that the machine itself charges for what a gateway does thousands of times a second: falling asleep, being woken, and
 * reading memory that is in no cache. One virtual machine was seen to charge 33 and 70 µs for the same sleep within two
 * hours; the figures of a run move with these, and mean little beside those of another machine without them.
 */
export interface MachineCharges {
  /** Processor time of a thread that sleeps for 1 ms, in µs a sleep. */
  readonly sleepUs: number
  /** Processor time of a thread that wakes another and is woken by it, in µs a wake. */
  readonly wakeUs: number
  /** The first read of a cache line somewhere in 64 MiB, each at the address that the one before gave, in ns. */
  readonly coldReadNs: number
}

const SLEEPS = 150
const ROUNDS = 1500
const LINE_WORDS = 16
const LINES = (64 * 2 ** 20) / (LINE_WORDS * Int32Array.BYTES_PER_ELEMENT)
const READS = 300_000
const ANSWER_MS = 5000

/** Takes about half a second, in which nothing else should run in this process. */
export async function machineCharges(): Promise<MachineCharges> {
  return { sleepUs: sleep(), wakeUs: await wake(), coldReadNs: coldRead() }
}

function sleep(): number {
  const nothing = new Int32Array(new SharedArrayBuffer(4))
  const from = process.cpuUsage()
  for (let i = 0; i < SLEEPS; i++) Atomics.wait(nothing, 0, 0, 1)
  const { user, system } = process.cpuUsage(from)
  return (user + system) / SLEEPS
}

/** Two threads throw a ball: the word counts the throws, and each waits while it is the other's turn. */
async function wake(): Promise<number> {
  const ball = new Int32Array(new SharedArrayBuffer(4))
  const partner = new Worker(new URL('./charges-partner.js', import.meta.url), { workerData: { ball, rounds: ROUNDS } })
  try {
    await new Promise((resolve, reject) => {
      partner.once('message', resolve).once('error', reject)
    })
    const from = process.cpuUsage()
    throwBall(ball, 0, ROUNDS)
    const { user, system } = process.cpuUsage(from)
    return (user + system) / (2 * ROUNDS)
  } finally {
    await partner.terminate()
  }
}

/**
 * Throws the ball when the count is even (`turn` 0) or odd (1).
 * @throws Error when the other thread does not throw it back
 */
export function throwBall(ball: Int32Array, turn: 0 | 1, rounds: number): void {
  for (let round = 0; round < rounds; round++) {
    const mine = 2 * round + turn
    // The first throw waits for nothing.
    while (mine > 0 && Atomics.load(ball, 0) < mine) {
      if (Atomics.wait(ball, 0, mine - 1, ANSWER_MS) === 'timed-out') throw new Error('the other thread did not answer')
    }
    Atomics.store(ball, 0, mine + 1)
    Atomics.notify(ball, 0)
  }
}

function coldRead(): number {
  const words = new Int32Array(LINES * LINE_WORDS)
  // One ring through all lines (Sattolo's shuffle), the same at each run.
  const order = new Int32Array(LINES)
  for (let i = 0; i < LINES; i++) order[i] = i
  const random = seededRandom(1)
  for (let i = LINES - 1; i > 0; i--) {
    const j = Math.floor(random() * i)
    const kept = order[i] as number
    order[i] = order[j] as number
    order[j] = kept
  }
  for (let i = 0; i < LINES; i++)
    words[(order[i] as number) * LINE_WORDS] = (order[(i + 1) % LINES] as number) * LINE_WORDS
  const walk = (reads: number, at: number): number => {
    for (let i = 0; i < reads; i++) at = words[at] as number
    return at
  }
  const at = walk(READS, 0) // until V8 has compiled it
  const from = process.hrtime.bigint()
  walk(READS, at)
  return Number(process.hrtime.bigint() - from) / READS
}
