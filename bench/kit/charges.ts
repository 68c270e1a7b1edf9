import { Worker } from 'node:worker_threads'
import { seededRandom } from '../../src/carrier/random.js'

/**
 * Time that the machine needs for operations that a gateway does thousands of times a second: putting a thread to
 * sleep, waking it, and reading memory that is in no cache. On one virtual machine, the time of the same sleep was once
 * 33 µs and two hours later 70 µs. The figures of a run change with these times. Without them, figures of two machines
 * can hardly be compared.
 */
export interface MachineCharges {
  /** CPU time in µs per sleep, of a thread that sleeps for 1 ms. */
  readonly sleepUs: number
  /** CPU time in µs per wake, of a thread that wakes another thread and is then woken by it. */
  readonly wakeUs: number
  /**
   * Time in ns of the first read of a cache line somewhere in 64 MiB. The address of each read comes from the read
   * before.
   */
  readonly coldReadNs: number
}

const SLEEPS = 150
const ROUNDS = 1500
const LINE_WORDS = 16
const LINES = (64 * 2 ** 20) / (LINE_WORDS * Int32Array.BYTES_PER_ELEMENT)
const READS = 300_000
const ANSWER_MS = 5000

/** Measures for about half a second. During this time, nothing else should run in this process. */
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

/** Two threads throw a ball in turn. The word counts the throws. Each thread waits until it is its turn. */
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
 * Throws the ball if the count is even (`turn` 0) or odd (`turn` 1).
 * @throws Error if the other thread does not throw the ball back
 */
export function throwBall(ball: Int32Array, turn: 0 | 1, rounds: number): void {
  for (let round = 0; round < rounds; round++) {
    const mine = 2 * round + turn
    // The first throw does not wait.
    while (mine > 0 && Atomics.load(ball, 0) < mine) {
      if (Atomics.wait(ball, 0, mine - 1, ANSWER_MS) === 'timed-out') throw new Error('the other thread did not answer')
    }
    Atomics.store(ball, 0, mine + 1)
    Atomics.notify(ball, 0)
  }
}

function coldRead(): number {
  const words = new Int32Array(LINES * LINE_WORDS)
  // One ring through all lines (Sattolo's shuffle). Each run has the same ring.
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
  const at = walk(READS, 0) // so that V8 has compiled the function
  const from = process.hrtime.bigint()
  walk(READS, at)
  return Number(process.hrtime.bigint() - from) / READS
}
