import { randomUUID } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { BroadcastChannel } from 'node:worker_threads'

/**
 * Environment variable of each program that this process starts, and of all processes that the program starts. Its
 * value is NAMESPACE:PID:START:ID. The first three parts are the starter, and the last part is the program.
 */
const NAME = 'MKONDO_PROGRAM'
const MARK = new RegExp(String.raw`(?:^|\0)${NAME}=(\d+):(\d+):(\d+):[0-9a-f-]{36}(?:\0|$)`)
/** Maximum number of processes of the machine that one search reads. */
const PROCESSES_MAX = 32_768
/** Maximum time in milliseconds between a signal and the next signal to the processes that still run. */
const SIGNAL_MS = 2000
/** Time between two looks at these processes, in milliseconds. */
const LOOK_MS = 100
/** Signals to the processes of dead starters. Each is preceded by a new search, which finds new children. */
const SIGNALS = ['SIGTERM', 'SIGKILL', 'SIGKILL'] as const
/** Indices of `state` and `starttime` in /proc/PID/stat (proc(5)), counted after the program's name. */
const STATE = 0
const START = 19
/** Channel from the threads of this process, which close programs, to its main thread. */
const CHANNEL = 'mkondo-left-processes'

/** Result of a search for processes of programs whose starter has died. */
interface OrphansEnded {
  /** Number of processes that got a signal. */
  readonly ended: number
  /** Number of processes that could not be ended, or were not read because the machine has more than PROCESSES_MAX. */
  readonly left: number
}

/** Mark of one program. */
export interface ProgramMark {
  /** Environment that the program gets in addition. Empty if /proc is missing, where the mark could not be found. */
  readonly env: Readonly<Record<string, string>>
  /** The mark as it is in /proc/PID/environ; '' if /proc is missing. */
  readonly text: string
}

/** Returns a new mark for a program that this process starts. */
export function programMark(): ProgramMark {
  const namespace = ownNamespace()
  const start = namespace === null ? null : startOf(ownStat())
  if (start === null) return { env: {}, text: '' }
  const value = `${namespace}:${process.pid}:${start}:${randomUUID()}`
  return { env: { [NAME]: value }, text: `${NAME}=${value}` }
}

/**
 * Ends the processes that bear the mark of a dead starter: another gateway was killed, and so were the guards of its
 * programs. Processes of living starters and of other PID namespaces are left alone.
 * @returns null if /proc is missing
 */
export async function endOrphans(): Promise<OrphansEnded | null> {
  const namespace = ownNamespace()
  if (namespace === null) return null
  const signalled = new Set<string>()
  let left = 0
  for (const signal of SIGNALS) {
    const { orphans, unread } = await findOrphans(namespace)
    left = unread + orphans.length
    if (orphans.length === 0) break
    for (const { pid, start } of orphans) if (sent(pid, signal)) signalled.add(`${pid}:${start}`)
    left = unread + (await stillRunning(orphans))
  }
  return { ended: signalled.size, left }
}

/** Reports to the main thread that a closed program had left processes behind, which were ended. */
export function tellEnded(count: number): void {
  const channel = new BroadcastChannel(CHANNEL)
  channel.postMessage(count)
  channel.close()
}

/**
 * Calls `listener` with the number of processes that a closed program had left behind.
 * @returns function that removes the listener
 */
export function onEnded(listener: (count: number) => void): () => void {
  const channel = new BroadcastChannel(CHANNEL)
  channel.onmessage = (event) => listener((event as { readonly data: number }).data)
  channel.unref()
  return () => channel.close()
}

interface Orphan {
  readonly pid: number
  /** Time of its start, in clock ticks since the start of the machine. With this time a pid is unique. */
  readonly start: string
}

async function findOrphans(namespace: string): Promise<{ orphans: readonly Orphan[]; unread: number }> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name)).map(Number)
  const orphans: Orphan[] = []
  for (const pid of pids.slice(0, PROCESSES_MAX)) {
    if (pid === process.pid) continue
    const start = await processStart(pid)
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '') // of another user
    const [, of, starter, starterStart] = MARK.exec(environment) ?? []
    if (start === null || of !== namespace || (await processStart(Number(starter))) === starterStart) continue
    orphans.push({ pid, start })
  }
  return { orphans, unread: Math.max(0, pids.length - PROCESSES_MAX) }
}

/** Waits until the processes have ended. @returns the number of processes that still run after SIGNAL_MS */
async function stillRunning(all: readonly Orphan[]): Promise<number> {
  for (let waitedMs = 0; ; waitedMs += LOOK_MS) {
    let running = 0
    for (const { pid, start } of all) if ((await processStart(pid)) === start) running++
    if (running === 0 || waitedMs >= SIGNAL_MS) return running
    await setTimeout(LOOK_MS)
  }
}

function sent(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal)
  } catch {
    return false // The process has ended.
  }
}

async function processStart(pid: number): Promise<string | null> {
  return startOf(await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => null))
}

/** Returns the start time in the text of /proc/PID/stat; null if the process has ended. */
function startOf(stat: string | null): string | null {
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields === undefined || /^[ZX]/.test(fields[STATE] ?? '') ? null : (fields[START] ?? null)
}

/** Returns the number of this process's PID namespace; null if /proc is missing. */
function ownNamespace(): string | null {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? null
  } catch {
    return null
  }
}

function ownStat(): string | null {
  try {
    return readFileSync('/proc/self/stat', 'latin1')
  } catch {
    return null
  }
}
